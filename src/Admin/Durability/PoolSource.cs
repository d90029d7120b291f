using System.Globalization;
using System.Text.RegularExpressions;
using ObjectStore.Admin.Cluster;
using ObjectStore.Admin.CommandLine;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Admin.Durability;

/// <summary>What a node's status says of the pool: drives, hosts, classes.</summary>
internal static partial class PoolSource
{
    /// <summary>Where the command line does not say otherwise. Drives that are out or removed do not count; the size is that of the largest.</summary>
    public static DurabilityInputs Take(DurabilityInputs inputs, Arguments arguments, ClusterStatus status, string from)
    {
        DriveStatus[] drives = [.. status.Drives.Where(drive => drive.State is not (AdminApi.Out or AdminApi.Removed))];
        if (drives.Length == 0) throw new CommandFailedException($"{from} has no drives in its pool");
        int count = arguments.Value("--drives") is null ? drives.Length : inputs.Drives;
        return inputs with
        {
            Drives = count,
            Hosts = arguments.Value("--hosts") is null ? Math.Min(count, drives.Select(drive => drive.Domain).Distinct(StringComparer.Ordinal).Count()) : inputs.Hosts,
            DriveBytes = arguments.Value("--drive-size") is null && drives.Max(drive => drive.CapacityBytes) is > 0 and var size ? size : inputs.DriveBytes,
            Classes = status.Classes.ToDictionary(
                row => row.StorageClass, row => new ClassSchemes(Parse(row.Small, from), Parse(row.Large, from), (int)Math.Clamp(row.SmallBelowBytes, 0, int.MaxValue)), StringComparer.Ordinal),
            PoolSource = $"the status of {from}, where no option says otherwise",
        };
    }

    /// <summary>As <see cref="Scheme.ToString"/> writes it.</summary>
    private static Scheme Parse(string text, string from)
    {
        Match match = SchemeText().Match(text);
        int Number(string group) => int.TryParse(match.Groups[group].ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : 0;
        try
        {
            if (match.Groups["copies"].Success) return Scheme.Copies(Number("copies"));
            if (match.Groups["data"].Success) return new Scheme(Number("data"), Number("parity"));
        }
        catch (ArgumentException)
        {
        }

        throw new CommandFailedException($"{from} names a scheme that this version does not understand: {text}");
    }

    [GeneratedRegex(@"^(?:(?<data>\d+)\+(?<parity>\d+)|(?<copies>\d+) cop(?:y|ies))$")]
    private static partial Regex SchemeText();
}
