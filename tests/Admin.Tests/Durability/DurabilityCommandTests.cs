using System.Text.Json;
using ObjectStore.Admin.Durability;

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
