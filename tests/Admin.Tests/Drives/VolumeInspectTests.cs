using System.Globalization;
using System.Text;
using System.Text.Json;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;

namespace ObjectStore.Admin.Tests.Drives;

public sealed class VolumeInspectTests : IDisposable
{
    private readonly TestDrive _drive = new();

    public void Dispose() => _drive.Dispose();

    [Fact]
    public async Task SoundVolumes_ShowEveryRecordAsItWasWritten()
    {
        List<FragmentWrite> written = await _drive.FillAsync();
        Dictionary<string, string> before = _drive.Snapshot();
        List<JsonElement> records = [];
        foreach (string volume in _drive.Volumes)
        {
            (Run run, JsonElement root) = await Inspect(volume);
            Assert.Equal(0, run.ExitCode);
            Assert.False(root.GetProperty("summary").GetProperty("damaged").GetBoolean());
            records.AddRange(root.GetProperty("records").EnumerateArray());
        }

        JsonElement[] fragments = [.. records.Where(record => Text(record, "kind") == "fragment")];
        Assert.Equal(written.Count, fragments.Length);
        foreach (FragmentWrite write in written)
        {
            JsonElement record = Assert.Single(fragments, record => Text(record, "extent") == write.Descriptor.Id.ToString());
            Assert.True(record.GetProperty("intact").GetBoolean());
            Assert.Equal((0, write.Shard, "2 copies", 0), (Number(record, "block"), Number(record, "shard"), Text(record, "scheme"), Number(record, "placementGroup")));
            Assert.Equal((77, "some/key", write.Descriptor.PartNumber, write.Payload.Length), (Number(record, "bucketId"), Text(record, "key"), Number(record, "partNumber"), Number(record, "payloadBytes")));
            Assert.Equal(write.Descriptor.Version.ToString("x32", CultureInfo.InvariantCulture), Text(record, "version"));
        }

        Assert.Equal(2, records.Where(record => Text(record, "kind") == "tombstone").Sum(record => Number(record, "tombstoneEntries")));
        Assert.Equal(before, _drive.Snapshot());
    }

    [Fact]
    public async Task SealedVolume_PrintsItsHeaderAndThatItsChecksumMatches()
    {
        List<FragmentWrite> written = await _drive.FillAsync();
        Run run = await Run.Tool("volume", "inspect", _drive.Volume(1));
        Assert.Equal((0, ""), (run.ExitCode, run.Error));
        foreach (string part in (string[])["Volume 1:", "cluster ", "generation ", $"{written[0].Descriptor.Id}/0/0  2 copies", "key some/key  ok", "footer", "matches the footer", "  sound"])
            Assert.Contains(part, run.Output, StringComparison.Ordinal);
        run = await Run.Tool("volume", "inspect", _drive.Volume(1), "--summary");
        Assert.DoesNotContain("some/key", run.Output, StringComparison.Ordinal);
        Assert.Contains("matches the footer", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Keys_AreEscaped()
    {
        await _drive.FillAsync([.. "a\n\x1b[2J\\é"u8, 0xFF, .. Encoding.UTF8.GetBytes("\u202E")]);
        (_, JsonElement root) = await Inspect(_drive.Volume(1));
        const string escaped = @"a\x0a\x1b[2J\\é\xff\xe2\x80\xae";
        Assert.Equal(escaped, Text(root.GetProperty("records")[0], "key"));
        Assert.Contains($"key {escaped}  ok", (await Run.Tool("volume", "inspect", _drive.Volume(1))).Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task DamagedPayload_IsShownInItsRecord_AndTheOthersAreSound()
    {
        await _drive.FillAsync();
        JsonElement[] before = await Records(_drive.Volume(1));
        JsonElement victim = before[1];
        TestDrive.Flip(_drive.Volume(1), Number(victim, "offset") + Number(victim, "lengthBytes") - 100);
        (Run run, JsonElement root) = await Inspect(_drive.Volume(1));
        Assert.Equal(1, run.ExitCode);
        JsonElement damaged = Assert.Single(root.GetProperty("records").EnumerateArray(), record => !record.GetProperty("intact").GetBoolean());
        Assert.Equal(Number(victim, "offset"), Number(damaged, "offset"));
        Assert.Equal(before.Length, root.GetProperty("records").GetArrayLength());
        Assert.Equal("mismatch", Text(root.GetProperty("summary"), "fileChecksum"));
        run = await Run.Tool("volume", "inspect", _drive.Volume(1), "--summary");
        Assert.Contains("DAMAGED: the payload does not match", run.Output, StringComparison.Ordinal);
        Assert.Contains("CHECKSUM MISMATCH", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task DamagedRecordHeader_IsACorruptRegion_AndWhatFollowsIsRead()
    {
        await _drive.FillAsync();
        JsonElement[] before = await Records(_drive.Volume(1));
        TestDrive.Flip(_drive.Volume(1), Number(before[1], "offset") + 20);
        (Run run, JsonElement root) = await Inspect(_drive.Volume(1));
        Assert.Equal(1, run.ExitCode);
        JsonElement region = Assert.Single(root.GetProperty("summary").GetProperty("corruptRegions").EnumerateArray());
        Assert.Equal(Number(before[1], "offset"), Number(region, "offset"));
        Assert.Equal(before.Length - 1, root.GetProperty("records").GetArrayLength());
        Assert.Contains("CORRUPT REGION", (await Run.Tool("volume", "inspect", _drive.Volume(1))).Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(30)]
    [InlineData(4096 + 30)]
    public async Task DamagedCopyOfTheHeader_DoesNotHideTheRecords(long offset)
    {
        await _drive.FillAsync();
        JsonElement[] before = await Records(_drive.Volume(1));
        TestDrive.Flip(_drive.Volume(1), offset);
        (Run run, JsonElement root) = await Inspect(_drive.Volume(1));
        Assert.Equal((1, 1), (run.ExitCode, Number(root.GetProperty("header"), "volumeId")));
        Assert.Equal(before.Length, root.GetProperty("records").GetArrayLength());
        Assert.Contains("one of the two copies", (await Run.Tool("volume", "inspect", _drive.Volume(1))).Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task VolumeOfANewerFormat_IsNamed()
    {
        await _drive.FillAsync();
        byte[] bytes = await File.ReadAllBytesAsync(_drive.Volume(1), TestContext.Current.CancellationToken);
        foreach (int page in (int[])[0, 4096])
        {
            bytes[page + 8] = 99;
            BitConverter.TryWriteBytes(bytes.AsSpan(page + 4088), ObjectStore.Storage.Integrity.Crc64Nvme.Compute(bytes.AsSpan(page, 4088)));
        }

        await File.WriteAllBytesAsync(_drive.Volume(1), bytes, TestContext.Current.CancellationToken);
        (Run run, JsonElement root) = await Inspect(_drive.Volume(1));
        Assert.Equal(1, run.ExitCode);
        Assert.Contains("format 99", Text(root.GetProperty("summary"), "headerProblem"), StringComparison.Ordinal);
        Run recover = await Run.Tool("recover-index", _drive.Folder);
        Assert.Equal(3, recover.ExitCode);
        Assert.Contains("format 99", recover.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AnyByteOfASealedVolume_IsFoundWhenItChanges()
    {
        await _drive.FillAsync();
        int seed = Environment.TickCount;
        TestContext.Current.SendDiagnosticMessage($"seed {seed}");
        Random random = new(seed);
        string file = _drive.Volume(1);
        long length = new FileInfo(file).Length;
        JsonElement last = (await Records(file)).Single(record => Text(record, "kind") == "footer");
        long footer = Number(last, "offset");
        foreach (long offset in Enumerable.Range(0, 40).Select(_ => random.NextInt64(length)).Concat([0, 4095, 4096, footer - 1, footer + 4, footer + Number(last, "lengthBytes") - 6]))
        {
            TestDrive.Flip(file, offset);
            int code = (await Run.Tool("volume", "inspect", file, "--summary")).ExitCode;
            TestDrive.Flip(file, offset);

            // Behind the footer's payload there is only padding to the page, which nothing speaks of.
            Assert.True(code == 1 || offset >= footer + Number(last, "lengthBytes") - 4, $"byte {offset} of {length}, seed {seed}");
        }

        Assert.Equal(0, (await Run.Tool("volume", "inspect", file)).ExitCode);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(100)]
    [InlineData(4096)]
    [InlineData(100_000)]
    public async Task TruncatedVolume_IsDamaged(int length)
    {
        await _drive.FillAsync();
        using (FileStream stream = new(_drive.Volume(1), FileMode.Open)) stream.SetLength(length);
        (Run run, _) = await Inspect(_drive.Volume(1));
        Assert.Equal((1, ""), (run.ExitCode, run.Error));
        Assert.Equal(1, (await Run.Tool("volume", "inspect", _drive.Volume(1))).ExitCode);
    }

    [Fact]
    public async Task FileOfAnything_IsDamaged_AndNothingElseHappens()
    {
        await _drive.FillAsync();
        byte[] noise = new byte[300_000];
        new Random(3).NextBytes(noise);
        await File.WriteAllBytesAsync(_drive.Volume(1), noise, TestContext.Current.CancellationToken);
        (Run run, JsonElement root) = await Inspect(_drive.Volume(1));
        Assert.Equal((1, "both copies of the header are damaged, and without one no record can be read"), (run.ExitCode, Text(root.GetProperty("summary"), "headerProblem")));
    }

    [Fact]
    public async Task VolumeUnderAnothersName_IsDamaged()
    {
        await _drive.FillAsync();
        File.Move(_drive.Volume(1), _drive.Volume(99));
        (Run run, JsonElement root) = await Inspect(_drive.Volume(99));
        Assert.Equal(1, run.ExitCode);
        Assert.Contains("named 99", Text(root.GetProperty("summary"), "headerProblem"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task VolumeInUse_IsRead()
    {
        await _drive.FillAsync();
        await using LocalDrives open = await _drive.OpenAsync();
        foreach (string volume in _drive.Volumes) Assert.Equal(0, (await Run.Tool("volume", "inspect", volume)).ExitCode);
    }

    [Fact]
    public async Task FileThatCannotBeNamed_IsBadUsage()
    {
        await _drive.FillAsync();
        foreach (string[] words in (string[][])[["volume", "inspect"], ["volume", "inspect", _drive.Folder], ["volume", "inspect", "/no/such.vol"], ["volume", "inspect", "a", "b"], ["volume", "inspect", "--all"]])
        {
            Run run = await Run.Tool(words);
            Assert.Equal((2, ""), (run.ExitCode, run.Output));
            Assert.Single(run.Error.TrimEnd().Split('\n'));
        }
    }

    private static async Task<(Run Run, JsonElement Root)> Inspect(string file)
    {
        Run run = await Run.Tool("volume", "inspect", file, "--format", "json");
        return (run, JsonDocument.Parse(run.Output).RootElement);
    }

    private static async Task<JsonElement[]> Records(string file) => [.. (await Inspect(file)).Root.GetProperty("records").EnumerateArray()];

    private static long Number(JsonElement element, string name) => element.GetProperty(name).GetInt64();

    private static string Text(JsonElement element, string name) => element.GetProperty(name).GetString()!;
}
