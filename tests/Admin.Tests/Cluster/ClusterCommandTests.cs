using System.Text.Json;
using System.Text.RegularExpressions;
using ObjectStore.Admin.Cluster;

namespace ObjectStore.Admin.Tests.Cluster;

public sealed partial class ClusterCommandTests
{
    private const string Token = "0123456789abcdef0123456789abcdef";
    private const string FirstDrive = "10111213-1415-1617-1819-1a1b1c1d1e1f";
    private const string SecondDrive = "10112222-1415-1617-1819-1a1b1c1d1e1f";

    [Fact]
    public async Task Status_PrintsWhatTheDocumentedExampleSays()
    {
        await using FakeNode node = new(_ => (200, ExampleOfTheDocument()));
        Run run = await Tool(node, "status");
        Assert.Equal((0, ""), (run.ExitCode, run.Error));
        Assert.Equal(("GET /admin/v1/status", Token, ""), Assert.Single(node.Requests));
        foreach (string part in (string[])[FirstDrive, "draining: asked for", "5+3 (asked for 6+3)", "NARROWED", "Repair: running", "512 MB/s", "14 min left", "could lose 2 more", "Scrub: throttled, 25", "Compaction: idle"])
            Assert.Contains(part, run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Json_IsWhatTheNodeSaid()
    {
        await using FakeNode node = new(_ => (200, ExampleOfTheDocument()));
        Run run = await Tool(node, "status", "--format", "json");
        Assert.True(JsonElement.DeepEquals(JsonDocument.Parse(ExampleOfTheDocument()).RootElement, JsonDocument.Parse(run.Output).RootElement), run.Output);
    }

    [Fact]
    public async Task Status_WithPropertiesOfALaterVersion_IsRead()
    {
        await using FakeNode node = new(_ => (200, ExampleOfTheDocument().Replace("\"mapEpoch\"", "\"later\": [1], \"mapEpoch\"", StringComparison.Ordinal)));
        Assert.Equal(0, (await Tool(node, "status")).ExitCode);
    }

    [Theory]
    [InlineData("status", "\"lostBlocks\": 0", "\"lostBlocks\": 2", "LOST: 2")]
    [InlineData("repair", "\"lostBlocks\": 0", "\"lostBlocks\": 2", "LOST: 2")]
    [InlineData("status", "\"unidentifiedBlocks\": 0", "\"unidentifiedBlocks\": 4", "of 4 blocks only", 0)]
    [InlineData("status", "\"kept\": false", "\"kept\": true", "KEPT", 0)]
    [InlineData("orphans", "\"kept\": false", "\"kept\": true", "KEPT")]
    [InlineData("scrub", "\"corruptFragments\": 0", "\"corruptFragments\": 3", "CORRUPT: 3")]
    public async Task Damage_IsExitCodeOne(string command, string whole, string damaged, string said, int exitCode = 1)
    {
        await using FakeNode node = new(_ => (200, ExampleOfTheDocument().Replace(whole, damaged, StringComparison.Ordinal)));
        Run run = await Tool(node, command);
        Assert.Equal(exitCode, run.ExitCode);
        Assert.Contains(said, run.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("drain", "draining", FirstDrive)]
    [InlineData("drain", "draining", "10111213")]
    [InlineData("undrain", "up", "/d1")]
    [InlineData("out", "out", "10111213-1415-1617-1819-1A1B")]
    [InlineData("remove", "removed", "/d1")]
    public async Task DriveState_IsPostedForTheDriveNamed(string verb, string state, string name)
    {
        await using FakeNode node = new(_ => (200, TwoDrives()));
        Run run = await Tool(node, "drive", verb, name);
        Assert.Equal((0, ""), (run.ExitCode, run.Error));
        Assert.Equal(["GET /admin/v1/drives", $"POST /admin/v1/drives/{FirstDrive}/state"], node.Requests.Select(request => request.Line));
        JsonElement body = JsonDocument.Parse(node.Requests[1].Body).RootElement;
        Assert.Equal((state, false), (body.GetProperty("state").GetString(), body.GetProperty("force").GetBoolean()));
        Assert.Equal(Token, node.Requests[1].Token);
    }

    [Fact]
    public async Task DriveState_WithForce_SaysSo()
    {
        await using FakeNode node = new(_ => (200, TwoDrives()));
        await Tool(node, "drive", "out", FirstDrive, "--force");
        Assert.Contains("\"force\": true", node.Requests[1].Body, StringComparison.Ordinal);
    }

    [Fact]
    public async Task DriveRemove_WithForce_FirstSaysWhatIsGivenUp()
    {
        string status = ExampleOfTheDocument().Replace("\"sourceOf\": 17", "\"sourceOf\": 1234", StringComparison.Ordinal)
            .Replace("\"awaitingBlocks\": 0", "\"awaitingBlocks\": 5678", StringComparison.Ordinal).Replace("\"lostBlocks\": 0", "\"lostBlocks\": 91", StringComparison.Ordinal);
        await using FakeNode node = new(line => (200, line.EndsWith("/status", StringComparison.Ordinal) ? status : TwoDrives()));
        Run run = await Tool(node, "drive", "remove", FirstDrive, "--force");
        Assert.Equal(0, run.ExitCode);
        foreach (string part in (string[])[FirstDrive, "1234 slots", "5678 blocks", "91 are lost"]) Assert.Contains(part, run.Error, StringComparison.Ordinal);
        Assert.Equal(["GET /admin/v1/drives", "GET /admin/v1/status", $"POST /admin/v1/drives/{FirstDrive}/state"], node.Requests.Select(request => request.Line));
        Assert.Contains("\"force\": true", node.Requests[2].Body, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Repair_SaysWhatWaitsForDrivesThatAreOut()
    {
        await using FakeNode node = new(_ => (200, ExampleOfTheDocument().Replace("\"awaitingBlocks\": 0", "\"awaitingBlocks\": 12", StringComparison.Ordinal)));
        Run run = await Tool(node, "repair");
        Assert.Equal(0, run.ExitCode);
        Assert.Contains("WAITING: 12 blocks", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Repair_OfANodeOfAnEarlierVersion_IsRead()
    {
        string status = ExampleOfTheDocument();
        await using FakeNode node = new(_ => (200, status.Replace(",\n        \"awaitingBlocks\": 0", "", StringComparison.Ordinal)));
        Assert.DoesNotContain("awaitingBlocks", status.Replace(",\n        \"awaitingBlocks\": 0", "", StringComparison.Ordinal), StringComparison.Ordinal);
        Assert.DoesNotContain("WAITING", (await Tool(node, "repair")).Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("1011", "2 drives")]
    [InlineData("101", "no drive")]
    [InlineData("ffff", "no drive")]
    public async Task DriveNameThatIsNotOne_ChangesNothing(string name, string said)
    {
        await using FakeNode node = new(_ => (200, TwoDrives()));
        Run run = await Tool(node, "drive", "out", name);
        Assert.Equal(2, run.ExitCode);
        Assert.Contains(said, run.Error, StringComparison.Ordinal);
        Assert.Single(node.Requests);
    }

    [Theory]
    [InlineData("repair", "pause")]
    [InlineData("repair", "resume")]
    [InlineData("scrub", "start")]
    [InlineData("scrub", "pause")]
    [InlineData("orphans", "release")]
    public async Task Action_IsPosted(string command, string action)
    {
        await using FakeNode node = new(_ => (200, ExampleOfTheDocument()));
        Assert.Equal(0, (await Tool(node, command, action)).ExitCode);
        (string line, _, string body) = Assert.Single(node.Requests);
        Assert.Equal($"POST /admin/v1/{command}", line);
        Assert.Equal(action, JsonDocument.Parse(body).RootElement.GetProperty("action").GetString());
    }

    [Fact]
    public async Task Drives_ShowWhatIsLeftToMove_AndSayWhatIsNotKnown()
    {
        DriveStatus first = JsonSerializer.Deserialize(ExampleOfTheDocument(), AdminApiJson.Default.ClusterStatus)!.Drives[0];
        DriveStatus silent = first with { CapacityBytes = null, FreeBytes = null, UsedBytes = null, GarbageBytes = null, LiveFragments = null, Errors = null };
        await using FakeNode node = new(_ => (200, JsonSerializer.Serialize(new DriveList([silent with { SourceOf = 987 }]), AdminApiJson.Default.DriveList)));
        Run run = await Tool(node, "drives");
        Assert.Contains("left to move", run.Output, StringComparison.Ordinal);
        Assert.Contains(" 987 ", run.Output, StringComparison.Ordinal);
        Assert.Equal(6, run.Output.Split("not known").Length);
    }

    [Fact]
    public async Task RepairThatWasNeverAtWork_HasNoRate()
    {
        await using FakeNode node = new(_ => (200, ExampleOfTheDocument().Replace("\"bytesPerSecond\": 512000000", "\"bytesPerSecond\": null", StringComparison.Ordinal)));
        Assert.Contains("rate not known", (await Tool(node, "repair")).Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task DriveFormat_PostsThePath()
    {
        await using FakeNode node = new(_ => (200, TwoDrives()));
        Assert.Equal(0, (await Tool(node, "drive", "format", "/d3")).ExitCode);
        (string line, _, string body) = Assert.Single(node.Requests);
        Assert.Equal(("POST /admin/v1/drives/format", "/d3"), (line, JsonDocument.Parse(body).RootElement.GetProperty("path").GetString()));
    }

    [Theory]
    [InlineData(401, "", "refuses the token")]
    [InlineData(404, "<html>", "has no /admin/v1/drives")]
    [InlineData(409, """{"error":"too few drives are left","remedy":"add one"}""", "too few drives are left; add one")]
    [InlineData(500, "", "status 500")]
    [InlineData(302, "", "status 302")]
    [InlineData(200, "not json", "does not understand")]
    [InlineData(200, """{"drives":null}""", "does not understand")]
    public async Task AnswerThatIsNone_IsOneLineAndExitCodeThree(int status, string body, string said)
    {
        await using FakeNode node = new(_ => (status, body));
        Run run = await Tool(node, "drives");
        Assert.Equal((3, ""), (run.ExitCode, run.Output));
        Assert.Contains(said, run.Error, StringComparison.Ordinal);
        Assert.Single(run.Error.TrimEnd().Split('\n'));
        Assert.DoesNotContain(Token, run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task NodeThatIsNotThere_IsExitCodeThree()
    {
        string url;
        await using (FakeNode node = new(_ => (200, ""))) url = node.Url;
        Run run = await Run.ToolWith(_ => Token, "drives", "--endpoint", url);
        Assert.Equal(3, run.ExitCode);
        Assert.Contains("cannot be reached", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Token_ComesFromTheFileNamed()
    {
        await using FakeNode node = new(_ => (200, TwoDrives()));
        string folder = Directory.CreateTempSubdirectory("objectstore-admin-").FullName;
        try
        {
            string file = Path.Combine(folder, "admin.token");
            await File.WriteAllTextAsync(file, Token + "\n", TestContext.Current.CancellationToken);
            Assert.Equal(0, (await Run.Tool("drives", "--endpoint", node.Url, "--token-file", file)).ExitCode);
            Assert.Equal(Token, node.Requests[0].Token);
            await File.WriteAllTextAsync(file, "short", TestContext.Current.CancellationToken);
            Assert.Equal(2, (await Run.Tool("drives", "--endpoint", node.Url, "--token-file", file)).ExitCode);
            File.Delete(file);
            Run run = await Run.Tool("drives", "--endpoint", node.Url, "--token-file", file);
            Assert.Equal(2, run.ExitCode);
            Assert.Contains("--token-file", run.Error, StringComparison.Ordinal);
            Assert.Single(node.Requests);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public async Task Token_DoesNotGoToAnotherMachineInTheClear()
    {
        Run run = await Run.ToolWith(_ => Token, "drives", "--endpoint", "http://192.0.2.1:9000");
        Assert.Equal(2, run.ExitCode);
        Assert.Contains("--allow-plaintext", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Durability_TakesTheRateThatTheNodeMeasured()
    {
        await using FakeNode node = new(_ => (200, "objectstore_repair_bytes_rebuilt_bytes_total 5000000000\nobjectstore_repair_active_seconds_total 20\n"));
        Run run = await Run.Tool("durability", "--endpoint", node.Url);
        Assert.Equal("GET /metrics", Assert.Single(node.Requests).Line);
        Assert.Contains("250 MB/s", run.Output, StringComparison.Ordinal);
        Assert.Contains("measured: objectstore_repair_bytes_rebuilt_bytes_total", run.Output, StringComparison.Ordinal);
        run = await Run.Tool("durability", "--endpoint", node.Url, "--repair-rate", "100MB");
        Assert.Contains("100 MB/s", run.Output, StringComparison.Ordinal);
        Assert.Contains("source of the rate: --repair-rate", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Durability_WhereNothingWasRepaired_SaysThatItsRateIsNotMeasured()
    {
        await using FakeNode idle = new(_ => (200, "objectstore_repair_active_seconds_total 0\nobjectstore_drive_capacity_bytes{drive=\"x\"} 1000000000000\n"));
        Run run = await Run.Tool("durability", "--endpoint", idle.Url, "--scheme", "1x");
        Assert.Contains("the default of --repair-rate, not measured: nothing has been repaired yet", run.Output, StringComparison.Ordinal);
        Assert.Contains("1 TB at 500 MB/s", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task EveryCommand_HasHelpThatNamesIt()
    {
        Run list = await Run.Tool("--help");
        Assert.Equal(0, list.ExitCode);
        foreach (CommandLine.ICommand command in AdminTool.Commands)
        {
            Assert.Contains($"  {command.Name} ", list.Output, StringComparison.Ordinal);
            Run help = await Run.Tool([.. command.Name.Split(' '), "--help"]);
            Assert.Equal((0, ""), (help.ExitCode, help.Error));
            Assert.StartsWith($"Usage: s3-admin {command.Name}", help.Output, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("drive")]
    [InlineData("drive", "shred")]
    [InlineData("launch")]
    [InlineData("drive", "out")]
    [InlineData("drive", "out", "a", "b")]
    [InlineData("repair", "start")]
    [InlineData("status", "now")]
    [InlineData("status", "--format", "xml")]
    [InlineData("status", "--allow-plaintext=yes")]
    public async Task WordsThatCannotBeUsed_AreRefused(params string[] words)
    {
        Run run = await Run.Tool(words);
        Assert.Equal((2, ""), (run.ExitCode, run.Output));
        Assert.Single(run.Error.TrimEnd().Split('\n'));
    }

    [Fact]
    public async Task NoWords_PrintTheHelpAsAnError()
    {
        Run run = await Run.Tool();
        Assert.Equal((2, ""), (run.ExitCode, run.Output));
        Assert.StartsWith("Usage:", run.Error, StringComparison.Ordinal);
    }

    private static Task<Run> Tool(FakeNode node, params string[] words) => Run.ToolWith(name => name == "OBJECTSTORE_ADMIN_TOKEN" ? Token : null, [.. words, "--endpoint", node.Url]);

    private static string TwoDrives()
    {
        DriveStatus first = JsonSerializer.Deserialize(ExampleOfTheDocument(), AdminApiJson.Default.ClusterStatus)!.Drives[0];
        return JsonSerializer.Serialize(new DriveList([first, first with { DriveId = new Guid(SecondDrive), Path = "/d2" }]), AdminApiJson.Default.DriveList);
    }

    /// <summary>The example of docs/admin-api.md: the document is the test's data, so that it stays true.</summary>
    private static string ExampleOfTheDocument()
    {
        DirectoryInfo? folder = new(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder!.FullName, "ObjectStore.sln"))) folder = folder.Parent;
        string[] lines = File.ReadAllText(Path.Combine(folder.FullName, "docs", "admin-api.md")).Split('\n');
        int begin = Array.FindIndex(lines, line => Brace().IsMatch(line));
        int end = Array.FindIndex(lines, begin, line => line == "    }");
        return string.Join('\n', lines[begin..(end + 1)]);
    }

    [GeneratedRegex(@"^    \{$")]
    private static partial Regex Brace();
}
