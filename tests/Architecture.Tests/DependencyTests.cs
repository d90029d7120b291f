using System.Text.RegularExpressions;

namespace ObjectStore.Architecture.Tests;

/// <summary>Every package has a reason, one version, and every project a place in the solution.</summary>
public sealed partial class DependencyTests
{
    private static readonly string[] BuildFiles = ["Directory.Build.props", "Directory.Build.targets", "Directory.Packages.props"];

    [Fact]
    public void Package_HasALineInTheDependencyRecord()
    {
        string[] explained = [.. Repository.Read("docs/adr/0003-dependencies.md").Split('\n')
            .Where(line => line.StartsWith('|'))
            .SelectMany(line => line.Split('|')[1].Split(','))
            .Select(name => name.Trim().Split(' ')[0])
            .Where(name => name.Length > 0 && name != "package" && !name.StartsWith('-'))];
        Assert.NotEmpty(Packages());
        Assert.DoesNotContain(Packages(), package => !explained.Any(name => Matches(name, package)));
    }

    [Fact]
    public void PackageVersion_IsCentral()
    {
        Assert.All(Repository.Projects.SelectMany(project => project.Xml.Descendants("PackageReference")), reference => Assert.Null(reference.Attribute("Version")));
        string[] central = [.. Repository.Load("Directory.Packages.props").Descendants("PackageVersion").Select(version => (string)version.Attribute("Include")!)];
        Assert.Empty(Packages().Except(central));
    }

    [Fact]
    public void Project_IsInTheSolution()
    {
        string solution = Repository.Read("ObjectStore.sln").Replace('\\', '/');
        Assert.DoesNotContain(Repository.Projects.Select(project => project.Path), path => !solution.Contains($"\"{path}\"", StringComparison.Ordinal));
    }

    [Fact]
    public void Solution_NamesProjectsThatExist()
    {
        string solution = Repository.Read("ObjectStore.sln").Replace('\\', '/');
        string[] named = [.. ProjectPath().Matches(solution).Select(match => match.Groups[1].Value)];
        Assert.NotEmpty(named);
        Assert.DoesNotContain(named, path => !File.Exists(Path.Combine(Repository.Root, path)));
    }

    [Fact]
    public void FolderOfTests_HasAProject() => Assert.DoesNotContain(
        Directory.EnumerateDirectories(Path.Combine(Repository.Root, "tests")), folder => Directory.GetFiles(folder, "*.csproj").Length != 1);

    [Fact]
    public void ProjectNamedTests_IsATestProject() =>
        Assert.All(Repository.Projects.Where(project => project.Folder.EndsWith(".Tests", StringComparison.Ordinal)), project => Assert.True(project.IsTest, project.Path));

    private static IReadOnlyList<string> Packages() =>
        [.. Repository.Projects.Select(project => project.Xml).Concat(BuildFiles.Select(Repository.Load))
            .SelectMany(xml => xml.Descendants("PackageReference"))
            .Select(reference => (string)reference.Attribute("Include")!)
            .Distinct()];

    private static bool Matches(string explained, string package) =>
        explained.EndsWith(".*", StringComparison.Ordinal) ? package.StartsWith(explained[..^1], StringComparison.Ordinal) : explained == package;

    [GeneratedRegex("\"([^\"]+\\.csproj)\"")]
    private static partial Regex ProjectPath();
}
