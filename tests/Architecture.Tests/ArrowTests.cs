using System.Xml.Linq;

namespace ObjectStore.Architecture.Tests;

/// <summary>The table "Projects" of ARCHITECTURE.md, held against the project files.</summary>
public sealed class ArrowTests
{
    // What each project of src may reference; one that isn't here has not been thought about yet.
    private static readonly Dictionary<string, string[]> Allowed = new()
    {
        ["S3"] = [],
        ["Storage"] = [],
        ["Grains.Interfaces"] = [],
        ["EmbeddedRuntime"] = [],
        ["Metadata"] = ["Grains.Interfaces"],
        ["Metadata.MySql"] = ["Grains.Interfaces", "Metadata"],
        ["Grains"] = ["Grains.Interfaces", "Metadata", "Storage"],
        ["Maintenance"] = ["Grains.Interfaces", "Metadata", "Storage"],
        ["Gateway"] = ["S3", "Storage", "Grains.Interfaces"],
        ["Admin"] = ["Storage"],
        ["Silo"] = ["S3", "Storage", "Grains.Interfaces", "Metadata", "Metadata.MySql", "Grains", "Gateway", "Maintenance"],
    };

    public static TheoryData<string> SourceFolders => [.. Repository.Source.Keys.Order(StringComparer.Ordinal)];

    [Theory, MemberData(nameof(SourceFolders))]
    public void Project_ReferencesOnlyWhatArchitectureAllows(string folder)
    {
        Assert.True(Allowed.TryGetValue(folder, out string[]? allowed), $"src/{folder} is new: give it a line in ARCHITECTURE.md and here.");
        Assert.Empty(Repository.Source[folder].References.Except(allowed));
    }

    [Theory, MemberData(nameof(SourceFolders))]
    public void Project_HasALineInArchitecture(string folder) =>
        Assert.Contains($"| `src/{folder}` |", Repository.Read("ARCHITECTURE.md"), StringComparison.Ordinal);

    [Theory]
    [InlineData("S3")]
    [InlineData("Storage")]
    [InlineData("Grains.Interfaces")]
    [InlineData("EmbeddedRuntime")]
    public void Foundation_ReferencesNoProject(string folder) => Assert.Empty(Repository.Source[folder].References);

    [Fact]
    public void GrainsInterfaces_GetsTheGrainApiThroughUsesGrainsOnly()
    {
        ProjectFile project = Repository.Source["Grains.Interfaces"];
        Assert.True(project.UsesGrains);
        Assert.Empty(project.Packages);
        Assert.Empty(project.Frameworks);
    }

    [Theory]
    [InlineData("S3")]
    [InlineData("Storage")]
    public void PlaneWithoutHost_KnowsNeitherAspNetNorOrleans(string folder)
    {
        ProjectFile project = Repository.Source[folder];
        Assert.Equal("Microsoft.NET.Sdk", project.Sdk);
        Assert.False(project.UsesGrains);
        Assert.Empty(project.Frameworks);
        Assert.DoesNotContain(project.Packages, package => package.StartsWith("Microsoft.AspNetCore", StringComparison.Ordinal) || package.StartsWith("Microsoft.Orleans", StringComparison.Ordinal));
        Assert.Empty(FilesThatSay($"src/{folder}", "using Orleans", "using Microsoft.AspNetCore"));
    }

    [Fact]
    public void Gateway_ReachesTheMetadataPlaneThroughItsInterfacesOnly()
    {
        IReadOnlyList<string> reached = Closure("Gateway");
        Assert.DoesNotContain("Grains", reached);
        Assert.DoesNotContain("Metadata", reached);
        Assert.DoesNotContain("Silo", reached);
    }

    [Fact]
    public void Grains_UseOfTheDataPlaneItsPlacementAlone()
    {
        string[] files = [.. Repository.Files("src/Grains", "*.cs").Where(path => Repository.Read(path).Contains("using ObjectStore.Storage", StringComparison.Ordinal))];
        Assert.Equal(["src/Grains/GrainOptions.cs", "src/Grains/Placement/PlacementGrain.cs"], files);
        Assert.DoesNotContain(files, path => Repository.Read(path).Split('\n').Any(line =>
            line.StartsWith("using ObjectStore.Storage", StringComparison.Ordinal) && line is not ("using ObjectStore.Storage.Placement;" or "using ObjectStore.Storage.Extents;")));
    }

    [Fact]
    public void EmbeddedRuntime_IsReferencedByDirectoryBuildTargetsAlone()
    {
        XElement targets = Repository.Load("Directory.Build.targets");
        XElement reference = Assert.Single(targets.Descendants("ProjectReference"));
        Assert.Equal("EmbeddedRuntime", ProjectFile.FolderOf((string)reference.Attribute("Include")!));
        Assert.Contains("'$(GrainRuntime)' == 'Embedded'", (string)reference.Parent!.Attribute("Condition")!, StringComparison.Ordinal);

        // Its own tests test nothing else, in whichever build.
        IEnumerable<string> others = Repository.Projects.Where(project => project.References.Contains("EmbeddedRuntime")).Select(project => project.Folder);
        Assert.Empty(others.Except(["EmbeddedRuntime.Tests"]));
    }

    [Fact]
    public void EmbeddedRuntime_IsKnownInSourceByTheHostsWiringAlone() => Assert.Equal(
        ["src/Silo/Hosting/EmbeddedHosting.cs", "src/Silo/Hosting/OrleansGrainStorage.cs", "src/Silo/Hosting/OrleansHosting.cs"],
        FilesThatSay("src", "ObjectStore.EmbeddedRuntime").Where(path => !path.StartsWith("src/EmbeddedRuntime/", StringComparison.Ordinal)));

    [Fact]
    public void OrleansBuild_LeavesTheEmbeddedWiringOut()
    {
        XElement group = Assert.Single(
            Repository.Source["Silo"].Xml.Elements("ItemGroup"),
            group => group.Elements("Compile").Any(compile => (string?)compile.Attribute("Remove") == "Hosting/EmbeddedHosting.cs"));
        Assert.Equal("'$(GrainRuntime)' == 'Orleans'", (string?)group.Attribute("Condition"));
    }

    [Fact]
    public void OrleansPackages_AreReferencedInOrleansBuildsOnly()
    {
        IEnumerable<XElement> references = Repository.Projects.Select(project => project.Xml).Append(Repository.Load("Directory.Build.targets"))
            .SelectMany(xml => xml.Descendants("PackageReference"))
            .Where(reference => ((string)reference.Attribute("Include")!).StartsWith("Microsoft.Orleans", StringComparison.Ordinal));
        Assert.All(references, reference => Assert.Contains(
            "'$(GrainRuntime)' == 'Orleans'", (string?)reference.Attribute("Condition") + (string?)reference.Parent!.Attribute("Condition"), StringComparison.Ordinal));
    }

    private static IReadOnlyList<string> Closure(string folder)
    {
        HashSet<string> reached = [];
        Queue<string> next = new([folder]);
        while (next.TryDequeue(out string? current))
        {
            foreach (string reference in Repository.Source[current].References)
            {
                if (reached.Add(reference)) next.Enqueue(reference);
            }
        }

        return [.. reached];
    }

    private static IEnumerable<string> FilesThatSay(string folder, params string[] texts) =>
        Repository.Files(folder, "*.cs").Where(path => Repository.Read(path) is var text && texts.Any(part => text.Contains(part, StringComparison.Ordinal)));
}
