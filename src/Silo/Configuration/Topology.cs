using System.Text.Json;

namespace ObjectStore.Silo.Configuration;

/// <summary>Where a drive stands, and its weight beside others; null takes its capacity.</summary>
internal sealed record DrivePlace(string Region, string Zone, string Rack, string Host, double? Weight);

/// <summary>
/// Where drives stand, from the file that --topology names; see docs/topology.md. Without one, every drive is in the host that has the machine's name.
/// </summary>
internal sealed class Topology
{
    private const string Default = "default";
    private static readonly string[] PlaceKeys = ["region", "zone", "rack", "host"];

    private readonly string _source;
    private readonly Section _all;

    private Topology(string source, Section all) => (_source, _all) = (source, all);

    public static Topology None { get; } = new("", new Section());

    /// <exception cref="StartException">The file cannot be read or says what cannot be; the message names the key and the remedy.</exception>
    public static Topology Load(string path)
    {
        try
        {
            return Parse(File.ReadAllText(path), path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new StartException($"the topology file '{path}' cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Drive folders that are not absolute are taken from the folder of <paramref name="path"/>.</summary>
    /// <exception cref="StartException">As <see cref="Load"/>.</exception>
    internal static Topology Parse(string json, string path)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(json);
            var reader = new Reader(path);
            Section all = reader.Section(document.RootElement, "", [.. PlaceKeys, "drives", "nodes"]);
            return new Topology(path, all);
        }
        catch (JsonException e)
        {
            throw new StartException($"the topology file '{path}' is no JSON: {e.Message}", e);
        }
    }

    /// <summary>
    /// The places of a node's drives, in their order. What stands nearest to the drive counts: its entry under the node, its entry at the top, the node, the top.
    /// </summary>
    /// <exception cref="StartException">The file names a drive of this node that the node does not have.</exception>
    public IReadOnlyList<DrivePlace> PlacesOf(string node, IReadOnlyList<string> drivePaths)
    {
        string[] folders = [.. drivePaths.Select(FolderOf)];
        Section own = _all.Nodes.GetValueOrDefault(node) ?? new Section();
        foreach ((string path, string key) in own.Drives.Select(drive => (drive.Key, $"nodes.{node}.drives"))
            .Concat(_all.Drives.Select(drive => (drive.Key, "drives"))))
        {
            if (!folders.Contains(path, StringComparer.Ordinal))
                throw new StartException($"the topology file '{_source}' names '{path}' under {key}, which is not among the drives; correct it, or add it to --drives");
        }

        return [.. folders.Select(path =>
        {
            Section?[] nearestFirst = [own.Drives.GetValueOrDefault(path), _all.Drives.GetValueOrDefault(path), own, _all];
            string Name(int key, string otherwise) => nearestFirst.Select(section => section?.Names[key]).FirstOrDefault(name => name is not null) ?? otherwise;
            return new DrivePlace(Name(0, Default), Name(1, Default), Name(2, Default), Name(3, node), nearestFirst.Select(section => section?.Weight).FirstOrDefault(weight => weight is not null));
        })];
    }

    /// <summary>
    /// The place of a storage node's drives: the entry of the node (MACHINE:PORT), that of its machine, the top. Its drives cannot be told apart, as their folders are not known here; what the
    /// machine's entry says of drives is meant for a node with all roles.
    /// </summary>
    public DrivePlace PlaceOf(string node, string host)
    {
        Section?[] nearestFirst = [_all.Nodes.GetValueOrDefault(node), _all.Nodes.GetValueOrDefault(host), _all];
        string Name(int key, string otherwise) => nearestFirst.Select(section => section?.Names[key]).FirstOrDefault(name => name is not null) ?? otherwise;
        return new DrivePlace(Name(0, Default), Name(1, Default), Name(2, Default), Name(3, host), nearestFirst.Select(section => section?.Weight).FirstOrDefault(weight => weight is not null));
    }

    /// <summary>One way to write each folder.</summary>
    public static string FolderOf(string path) => Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));

    private sealed class Section
    {
        /// <summary>By the order of <see cref="PlaceKeys"/>.</summary>
        public string?[] Names { get; } = new string?[PlaceKeys.Length];

        public double? Weight { get; set; }

        public Dictionary<string, Section> Drives { get; } = new(StringComparer.Ordinal);

        public Dictionary<string, Section> Nodes { get; } = new(StringComparer.Ordinal);
    }

    private sealed class Reader(string path)
    {
        private readonly string _folder = Path.GetDirectoryName(Path.GetFullPath(path))!;

        public Section Section(JsonElement element, string at, string[] allowed)
        {
            Section section = new();
            foreach ((string key, JsonElement value) in Members(element, at))
            {
                string here = at.Length == 0 ? key : $"{at}.{key}";
                if (!allowed.Contains(key, StringComparer.Ordinal)) throw Refuse(here, $"is unknown; use {string.Join(", ", allowed)}");
                switch (key)
                {
                    case "drives":
                        foreach ((string drives, JsonElement drive) in Members(value, here))
                        {
                            Section read = Section(drive, $"{here}.{drives}", [.. PlaceKeys, "weight"]);
                            foreach (string each in Expand(drives, here))
                            {
                                if (!section.Drives.TryAdd(FolderOf(Path.Combine(_folder, each)), read)) throw Refuse($"{here}.{drives}", $"names '{each}' a second time; name each drive once");
                            }
                        }

                        break;
                    case "nodes":
                        foreach ((string node, JsonElement content) in Members(value, here))
                        {
                            Section read = Section(content, $"{here}.{node}", [.. PlaceKeys, "drives"]);
                            if (read.Drives.Count > 0 && node.Contains(':', StringComparison.Ordinal))
                                throw Refuse($"{here}.{node}.drives", "cannot be: the folders of a storage node are not known here, so all of its drives stand at one place; leave it out");
                            section.Nodes.Add(node, read);
                        }

                        break;
                    case "weight":
                        section.Weight = value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double weight) && weight is > 0 and <= 1e9
                            ? weight
                            : throw Refuse(here, "has to be a number above 0, up to 1e9; to empty a drive, drain it");
                        break;
                    default:
                        section.Names[Array.IndexOf(PlaceKeys, key)] = value.ValueKind == JsonValueKind.String && value.GetString() is { Length: > 0 and <= 255 } name && !name.Contains('/', StringComparison.Ordinal)
                            ? name
                            : throw Refuse(here, "has to be a name of 1 to 255 characters without '/'");
                        break;
                }
            }

            return section;
        }

        private IEnumerable<(string Key, JsonElement Value)> Members(JsonElement element, string at)
        {
            if (element.ValueKind != JsonValueKind.Object) throw Refuse(at.Length == 0 ? "the whole" : at, "has to be an object: { … }");
            HashSet<string> seen = new(StringComparer.Ordinal);
            foreach (JsonProperty member in element.EnumerateObject())
            {
                if (!seen.Add(member.Name)) throw Refuse(at.Length == 0 ? member.Name : $"{at}.{member.Name}", "is there twice; keep one");
                yield return (member.Name, member.Value);
            }
        }

        private IReadOnlyList<string> Expand(string drives, string at)
        {
            string[] expanded = [.. SiloOptions.Expand(drives, $"the topology file '{path}': {at}")];
            return expanded.Length > 0 ? expanded : throw Refuse(at, "has a drive without a folder; name one");
        }

        private StartException Refuse(string key, string remedy) => new($"the topology file '{path}': {key} {remedy}");
    }
}
