using System.Text.Json;
using ObjectStore.Admin.Durability;
using ObjectStore.Admin.Tests.Cluster;

namespace ObjectStore.Admin.Tests.Durability;

public sealed class DurabilityCommandTests
{
    [Fact]
    public async Task Defaults_PrintEveryClassTheSpreadsAndTheAssumptions()
    {
        Run run = await Run.Tool("durability");
        Assert.Equal((0, ""), (run.ExitCode, run.Error));
        foreach (string part in (string[])["STANDARD ", "STANDARD_IA", "GLACIER", "DEEP_ARCHIVE", "6+3", "10+4", "17+3", "3 copies", "drives only", "all shards in one host", "source of the rate: the default", "A lost host is repaired as fast as a lost drive, though it has about 3 drives", "Assumptions"])
            Assert.Contains(part, run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Json_HoldsTheSameAsTheModel()
    {
        Run run = await Run.Tool("durability", "--scheme", "6+3", "--afr=1.5%", "--repair-time", "10h", "--drives", "9", "--hosts", "9", "--format", "json");
        JsonElement row = Assert.Single(JsonDocument.Parse(run.Output).RootElement.GetProperty("schemes").EnumerateArray());
        DurabilityReport expected = DurabilityReport.Make(new DurabilityInputs { AnnualFailureRate = 0.015, RepairTimeGiven = TimeSpan.FromHours(10), Drives = 9, Hosts = 9, Schemes = [new(6, 3)] });
        Assert.Equal(expected.Schemes[0].Nines, row.GetProperty("nines").GetDouble(), 1e-9);
        Assert.InRange(row.GetProperty("nines").GetDouble(), 11, 14);
    }

    [Fact]
    public async Task TooFewDrives_AreSaidLoudly()
    {
        Run run = await Run.Tool("durability", "--drives", "8", "--hosts", "4");
        Assert.Contains("NARROWED", run.Output, StringComparison.Ordinal);
        Assert.Contains("5+3 (asked for 6+3)", run.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("NARROWED", (await Run.Tool("durability")).Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task LatentErrors_CostNines()
    {
        double Nines(Run run) => JsonDocument.Parse(run.Output).RootElement.GetProperty("schemes")[0].GetProperty("nines").GetDouble();
        double without = Nines(await Run.Tool("durability", "--scheme", "2x", "--format", "json"));
        double with = Nines(await Run.Tool("durability", "--scheme", "2x", "--bit-error-rate", "1e-14", "--format", "json"));
        Assert.True(with < without, $"{with} {without}");
    }

    [Theory]
    [InlineData("--afr", "0")]
    [InlineData("--afr", "-1")]
    [InlineData("--afr", "often")]
    [InlineData("--drive-size", "16XB")]
    [InlineData("--drive-size", "0")]
    [InlineData("--repair-rate", "fast")]
    [InlineData("--repair-time", "-1h")]
    [InlineData("--repair-time", "1e99d")]
    [InlineData("--repair", "quick")]
    [InlineData("--out-after", "soon")]
    [InlineData("--drives", "0")]
    [InlineData("--hosts", "37")]
    [InlineData("--host-afr", "x")]
    [InlineData("--groups", "1.5")]
    [InlineData("--scheme", "6-3")]
    [InlineData("--scheme", "60+30")]
    [InlineData("--scheme", "6+0")]
    [InlineData("--scheme", "0x")]
    [InlineData("--scheme", "99999999999+3")]
    [InlineData("--bit-error-rate", "2")]
    [InlineData("--scrub-period", "14d")]
    [InlineData("--format", "xml")]
    [InlineData("--endpoint", "127.0.0.1")]
    [InlineData("--afr")]
    [InlineData("--speed", "1")]
    [InlineData("quickly")]
    public async Task WordsThatCannotBeUsed_AreNamedOnOneLine(params string[] words)
    {
        Run run = await Run.Tool(["durability", .. words]);
        Assert.Equal((2, ""), (run.ExitCode, run.Output));
        Assert.Contains(words[0], run.Error, StringComparison.Ordinal);
        Assert.Single(run.Error.TrimEnd().Split('\n'));
    }

    [Fact]
    public async Task Endpoint_WithAToken_GivesDrivesHostsAndClassesOfThePool()
    {
        const string token = "0123456789abcdef0123456789abcdef";
        string Drive(int number, string host, string state) => $$$"""
            {"driveId":"10111213-1415-1617-1819-1a1b1c1d1e{{{number:x2}}}","nodeId":"n","path":"/d","domain":"r/z/k/{{{host}}}","state":"{{{state}}}","reason":null,"capacityBytes":{{{number}}}000000000000,"freeBytes":1,
            "usedBytes":1,"garbageBytes":0,"liveFragments":1,"slots":1,"incompleteSlots":0,"sourceOf":0,"errors":0,"reduction":0}
            """;
        string status = $$$"""
            {"clusterId":"00010203-0405-0607-0809-0a0b0c0d0e0f","version":"0.1.0","mapEpoch":7,
            "drives":[{{{Drive(1, "a", "up")}}},{{{Drive(2, "a", "down")}}},{{{Drive(3, "b", "draining")}}},{{{Drive(4, "c", "out")}}},{{{Drive(5, "d", "removed")}}},{{{Drive(6, "b", "up")}}},{{{Drive(7, "b", "up")}}},{{{Drive(8, "b", "up")}}}],
            "classes":[{"storageClass":"STANDARD","smallBelowBytes":131072,"small":"2 copies","smallUsed":"2 copies","large":"3+2","largeUsed":"3+2","narrowed":false}],
            "repair":{"state":"idle","queuedExtents":0,"queuedGroups":0,"fewestSpare":null,"rebuiltBytes":0,"bytesPerSecond":null,"estimatedSecondsLeft":null,"lostBlocks":0},
            "scrub":{"state":"idle","periodSeconds":1,"fraction":1,"verifiedBytes":0,"corruptFragments":0,"lastCompleted":null},"compaction":{"state":"idle","garbageBytes":0,"reclaimedBytes":0},"orphans":{"kept":false},
            "spreads":[{"width":2,"shardsPerHost":[1,1]},{"width":5,"shardsPerHost":[4,1]},{"width":9,"shardsPerHost":[3]}]}
            """;
        await using FakeNode node = new(line => (200, line.Contains("/metrics", StringComparison.Ordinal) ? "objectstore_drive_capacity_bytes 9e12\n" : status));
        Run run = await Run.ToolWith(name => name == "OBJECTSTORE_ADMIN_TOKEN" ? token : null, "durability", "--endpoint", node.Url, "--format", "json");
        Assert.Equal((0, ""), (run.ExitCode, run.Error));
        JsonElement report = JsonDocument.Parse(run.Output).RootElement, inputs = report.GetProperty("inputs");
        Assert.Equal((5, 2, 8e12), (inputs.GetProperty("drives").GetInt32(), inputs.GetProperty("hosts").GetInt32(), inputs.GetProperty("driveBytes").GetDouble()));
        Assert.Equal(["2 copies", "3+2"], report.GetProperty("schemes").EnumerateArray().Select(row => row.GetProperty("scheme").GetString()));
        Assert.Equal([1, 4], report.GetProperty("schemes").EnumerateArray().Select(row => row.GetProperty("shardsPerHost").GetInt32()));
        Assert.Contains(report.GetProperty("domains").EnumerateArray(), row => row.GetProperty("spread").GetString() == "as it is: 4 + 1 shards in 2 hosts, where most are in one");
        Assert.Contains("the status of", inputs.GetProperty("poolSource").GetString(), StringComparison.Ordinal);

        run = await Run.ToolWith(name => name == "OBJECTSTORE_ADMIN_TOKEN" ? token : null, "durability", "--endpoint", node.Url, "--format", "json", "--hosts", "4", "--drives", "8");
        inputs = JsonDocument.Parse(run.Output).RootElement.GetProperty("inputs");
        Assert.Equal((8, 4), (inputs.GetProperty("drives").GetInt32(), inputs.GetProperty("hosts").GetInt32()));
        Assert.Equal([1, 2], JsonDocument.Parse(run.Output).RootElement.GetProperty("schemes").EnumerateArray().Select(row => row.GetProperty("shardsPerHost").GetInt32()));

        run = await Run.ToolWith(name => name == "OBJECTSTORE_ADMIN_TOKEN" ? token : null, "durability", "--endpoint", node.Url, "--format", "json", "--repair-time", "2d");
        inputs = JsonDocument.Parse(run.Output).RootElement.GetProperty("inputs");
        Assert.Equal((5, 172_800d, "--repair-time"), (inputs.GetProperty("drives").GetInt32(), inputs.GetProperty("repairSeconds").GetDouble(), inputs.GetProperty("repairRateSource").GetString()));

        run = await Run.Tool("durability", "--endpoint", node.Url);
        Assert.Contains("NOT those of the pool", run.Output, StringComparison.Ordinal);
        Assert.Contains("(1 drives in 1 hosts)", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Metrics_GiveTheRateOfRepairAndTheDrives()
    {
        MeasuredRepair measured = MetricsSource.Parse(
            """
            # TYPE objectstore_repair_bytes_rebuilt_bytes_total counter
            objectstore_repair_bytes_rebuilt_bytes_total{kind="a b"} 3000
            objectstore_repair_bytes_rebuilt_bytes_total{kind="c"} 1000
            objectstore_repair_active_seconds_total 8
            objectstore_drive_capacity_bytes{drive="x"} 100
            objectstore_drive_capacity_bytes{drive="y"} 300
            nonsense
            objectstore_other NaN
            """,
            "here");
        Assert.Equal((500, 300, 2), (measured.BytesPerSecond, measured.DriveBytes, measured.Drives));
        Assert.Contains("objectstore_repair_bytes_rebuilt_bytes_total", measured.Source, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("objectstore_repair_bytes_rebuilt_bytes_total 0\nobjectstore_repair_active_seconds_total 0\n")]
    [InlineData("objectstore_repair_bytes_rebuilt_bytes_total 5\n")]
    public void Metrics_WithoutARepair_MeasureNothing(string text) => Assert.Null(MetricsSource.Parse(text, "here").BytesPerSecond);
}
