using ObjectStore.Silo.Configuration;

namespace ObjectStore.Silo.Tests.Configuration;

/// <summary>The topology file, without a process.</summary>
public sealed class TopologyTests
{
    private static readonly string[] Drives = ["/d1", "/d2", "/d3", "/d4"];

    [Fact]
    public void WithoutAFile_AllDrivesAreInTheNodesHost() => Assert.All(
        Topology.None.PlacesOf("n1", Drives), place => Assert.Equal(new DrivePlace("default", "default", "default", "n1", null), place));

    [Fact]
    public void ExampleOfTheDocumentation_IsRead()
    {
        string document = File.ReadAllText(Path.Combine(RepositoryRoot(), "docs", "topology.md"));
        string[] examples = [.. document.Split("```json").Skip(1).Select(part => part.Split("```")[0])];
        Assert.Equal(2, examples.Length);
        string[] twelve = [.. Enumerable.Range(1, 12).Select(number => $"/d{number}")];
        IReadOnlyList<DrivePlace> simulated = Topology.Parse(examples[0], "/etc/topology.json").PlacesOf("n1", twelve);
        Assert.Equal(["h1", "h1", "h1", "h2", "h2", "h2", "h3", "h3", "h3", "h4", "h4", "h4"], simulated.Select(place => place.Host));
        Topology cluster = Topology.Parse(examples[1], "/etc/topology.json");
        Assert.Equal(new DrivePlace("eu-1", "b", "r7", "store-2", null), cluster.PlacesOf("store-2", Drives)[0]);
        Assert.Equal(new DrivePlace("eu-1", "a", "r1", "store-1", 8000), cluster.PlacesOf("store-1", twelve)[3]);
    }

    [Fact]
    public void NearestToTheDrive_Counts()
    {
        Topology topology = Topology.Parse("""
            { "region": "re", "zone": "z0", "drives": { "/d{1...2}": { "zone": "z1", "weight": 2 }, "d3/": { "host": "h3" } },
              "nodes": { "n1": { "rack": "ra", "host": "h1", "drives": { "/d1": { "zone": "z2", "host": "h2" } } }, "n2": { "drives": { "/else": {} } } } }
            """, "/topology.json");
        Assert.Equal(
            [
                new DrivePlace("re", "z2", "ra", "h2", 2), new DrivePlace("re", "z1", "ra", "h1", 2),
                new DrivePlace("re", "z0", "ra", "h3", null), new DrivePlace("re", "z0", "ra", "h1", null),
            ],
            topology.PlacesOf("n1", Drives));
    }

    [Fact]
    public void StorageNode_StandsWhereItsEntrySays_ThenThatOfItsMachine_ThenTheTop()
    {
        Topology topology = Topology.Parse("""
            { "region": "re", "zone": "z0", "nodes": { "m1:9100": { "rack": "own" }, "m1": { "zone": "z1", "rack": "machine", "host": "h1", "drives": { "/d1": { "zone": "else" } } } } }
            """, "/topology.json");
        Assert.Equal(new DrivePlace("re", "z1", "own", "h1", null), topology.PlaceOf("m1:9100", "m1"));
        Assert.Equal(new DrivePlace("re", "z1", "machine", "h1", null), topology.PlaceOf("m1:9200", "m1"));
        Assert.Equal(new DrivePlace("re", "z0", "default", "m2", null), topology.PlaceOf("m2:9100", "m2"));
    }

    [Theory]
    [InlineData("""{ "regoin": "x" }""", "regoin")]
    [InlineData("""{ "drives": { "/d1": { "hosts": "x" } } }""", "drives./d1.hosts")]
    [InlineData("""{ "drives": { "/d1": { "drives": {} } } }""", "drives./d1.drives")]
    [InlineData("""{ "nodes": { "n1": { "nodes": {} } } }""", "nodes.n1.nodes")]
    [InlineData("""{ "nodes": { "n1:9100": { "drives": { "/d1": {} } } } }""", "nodes.n1:9100.drives")]
    [InlineData("""{ "weight": 1 }""", "weight")]
    [InlineData("""{ "region": 1 }""", "region")]
    [InlineData("""{ "region": "" }""", "region")]
    [InlineData("""{ "region": null }""", "region")]
    [InlineData("""{ "rack": "a/b" }""", "rack")]
    [InlineData("""{ "region": "a", "region": "b" }""", "region")]
    [InlineData("""{ "drives": { "/d1": { "weight": 0 } } }""", "drives./d1.weight")]
    [InlineData("""{ "drives": { "/d1": { "weight": -1 } } }""", "drives./d1.weight")]
    [InlineData("""{ "drives": { "/d1": { "weight": "1" } } }""", "drives./d1.weight")]
    [InlineData("""{ "drives": { "/d1": { "weight": 1e300 } } }""", "drives./d1.weight")]
    [InlineData("""{ "drives": { "/d1": {}, "/d{1...2}": {} } }""", "drives./d{1...2}")]
    [InlineData("""{ "drives": { "/d{2...1}": {} } }""", "/d{2...1}")]
    [InlineData("""{ "drives": { "": {} } }""", "drives")]
    [InlineData("""{ "drives": [] }""", "drives")]
    [InlineData("""[]""", "the whole")]
    [InlineData("""{ "region": """, "JSON")]
    public void FileThatCannotBe_IsRefusedByItsKey(string json, string key)
    {
        StartException refused = Assert.Throws<StartException>(() => Topology.Parse(json, "/topology.json"));
        Assert.StartsWith("the topology file '/topology.json'", refused.Message, StringComparison.Ordinal);
        Assert.Contains(key, refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', refused.Message);
    }

    [Theory]
    [InlineData("""{ "drives": { "/d5": {} } }""")]
    [InlineData("""{ "nodes": { "n1": { "drives": { "/d5": {} } } } }""")]
    public void DriveThatTheNodeDoesNotHave_IsRefused(string json)
    {
        StartException refused = Assert.Throws<StartException>(() => Topology.Parse(json, "/topology.json").PlacesOf("n1", Drives));
        Assert.Contains("'/d5'", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void FileThatIsNotThere_IsRefusedByItsPath() =>
        Assert.Contains("/no/such.json", Assert.Throws<StartException>(() => Topology.Load("/no/such.json")).Message, StringComparison.Ordinal);

    private static string RepositoryRoot()
    {
        DirectoryInfo? folder = new(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "ObjectStore.sln"))) folder = folder.Parent;
        return folder?.FullName ?? throw new InvalidOperationException("No folder above the tests holds ObjectStore.sln.");
    }
}
