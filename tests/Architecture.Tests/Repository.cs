using System.Xml.Linq;

namespace ObjectStore.Architecture.Tests;

/// <summary>The project files as they are in the working tree, by their paths relative to its root with forward slashes.</summary>
internal static class Repository
{
    /// <summary>The folder that holds ObjectStore.sln.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>Every project under src, tests and bench.</summary>
    public static IReadOnlyList<ProjectFile> Projects { get; } =
        [.. new[] { "src", "tests", "bench" }.SelectMany(folder => Files(folder, "*.csproj")).Select(path => new ProjectFile(path, Load(path)))];

    /// <summary>The projects of src by the names of their folders.</summary>
    public static IReadOnlyDictionary<string, ProjectFile> Source { get; } =
        Projects.Where(project => project.Path.StartsWith("src/", StringComparison.Ordinal)).ToDictionary(project => project.Folder);

    /// <summary>Files below a folder, without what a build writes.</summary>
    public static IEnumerable<string> Files(string folder, string pattern) => Directory
        .EnumerateFiles(Path.Combine(Root, folder), pattern, SearchOption.AllDirectories)
        .Select(path => Path.GetRelativePath(Root, path).Replace('\\', '/'))
        .Where(path => !path.Contains("/bin/", StringComparison.Ordinal) && !path.Contains("/obj/", StringComparison.Ordinal))
        .Order(StringComparer.Ordinal);

    public static string Read(string path) => File.ReadAllText(Path.Combine(Root, path));

    public static XElement Load(string path) => XElement.Parse(Read(path));

    private static string FindRoot()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "ObjectStore.sln"))) return folder.FullName;
        }

        throw new InvalidOperationException($"No folder above {AppContext.BaseDirectory} holds ObjectStore.sln.");
    }
}

/// <summary>One project file.</summary>
internal sealed record ProjectFile(string Path, XElement Xml)
{
    /// <summary>The folder it is in, such as "Gateway".</summary>
    public string Folder => Path.Split('/')[^2];

    public string Sdk => (string?)Xml.Attribute("Sdk") ?? "";

    public bool UsesGrains => Is("UsesGrains");

    public bool IsTest => Is("IsTestProject");

    /// <summary>The folders of the projects that it references, whatever the condition.</summary>
    public IReadOnlyList<string> References => [.. ProjectReferences.Select(reference => FolderOf((string)reference.Attribute("Include")!))];

    public IEnumerable<XElement> ProjectReferences => Xml.Descendants("ProjectReference");

    public IReadOnlyList<string> Packages => [.. Xml.Descendants("PackageReference").Select(reference => (string)reference.Attribute("Include")!)];

    public IReadOnlyList<string> Frameworks => [.. Xml.Descendants("FrameworkReference").Select(reference => (string)reference.Attribute("Include")!)];

    public static string FolderOf(string include) => include.Replace('\\', '/').Split('/')[^2];

    public override string ToString() => Path;

    private bool Is(string property) => Xml.Descendants(property).Any(value => value.Value.Equals("true", StringComparison.OrdinalIgnoreCase));
}
