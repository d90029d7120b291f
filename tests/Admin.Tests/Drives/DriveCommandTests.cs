using System.Text.Json;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Recovery;

namespace ObjectStore.Admin.Tests.Drives;

public sealed class DriveCommandTests : IDisposable
{
    private readonly TestDrive _drive = new();

    public void Dispose() => _drive.Dispose();

    [Fact]
    public async Task Inspect_ShowsIdentityVolumesAndWhatIsAlive_AndChangesNothing()
    {
        await _drive.FillAsync();
        Dictionary<string, string> before = _drive.Snapshot();
        (Run run, JsonElement root) = await Inspect();
        Assert.Equal((0, ""), (run.ExitCode, run.Error));
        Assert.False(root.GetProperty("inUse").GetBoolean());
        Assert.Equal(JsonValueKind.Null, root.GetProperty("indexProblem").ValueKind);
        JsonElement[] volumes = [.. root.GetProperty("volumes").EnumerateArray()];
        Assert.Equal(_drive.Volumes.Count, volumes.Length);
        Assert.Equal(24, volumes.Sum(volume => volume.GetProperty("liveFragments").GetInt64()));
        Assert.True(volumes.Sum(volume => volume.GetProperty("garbageBytes").GetInt64()) > 1 << 20);
        Assert.Equal("sealed", volumes[0].GetProperty("state").GetString());
        string text = (await Run.Tool("drive", "inspect", _drive.Folder)).Output;
        Assert.Contains(root.GetProperty("driveId").GetString()!, text, StringComparison.Ordinal);
        Assert.Contains("sealed", text, StringComparison.Ordinal);
        Assert.Equal(before, _drive.Snapshot());
    }

    [Fact]
    public async Task Inspect_OfADriveInUse_SaysSo()
    {
        await _drive.FillAsync();
        await using LocalDrives open = await _drive.OpenAsync();
        (Run run, JsonElement root) = await Inspect();
        Assert.Equal(0, run.ExitCode);
        Assert.True(root.GetProperty("inUse").GetBoolean());
        Assert.Equal(24, root.GetProperty("volumes").EnumerateArray().Sum(volume => volume.GetProperty("liveFragments").GetInt64()));
    }

    [Fact]
    public async Task Inspect_WithoutAnIndex_IsNoDamage()
    {
        await _drive.FillAsync();
        File.Delete(_drive.IndexFile);
        (Run run, JsonElement root) = await Inspect();
        Assert.Equal(0, run.ExitCode);
        Assert.Contains("rebuilds", root.GetProperty("indexProblem").GetString(), StringComparison.Ordinal);
        Assert.False(File.Exists(_drive.IndexFile));
    }

    [Theory]
    [InlineData("gone", "is gone")]
    [InlineData("header", "one of the two copies")]
    [InlineData("headers", "both copies")]
    [InlineData("cut", "cut off")]
    [InlineData("other", "says volume 1")]
    public async Task Inspect_NamesTheVolumeThatIsDamaged(string damage, string said)
    {
        await _drive.FillAsync();
        switch (damage)
        {
            case "gone": File.Delete(_drive.Volume(1)); break;
            case "header": TestDrive.Flip(_drive.Volume(1), 30); break;
            case "headers":
                TestDrive.Flip(_drive.Volume(1), 30);
                TestDrive.Flip(_drive.Volume(1), 4096 + 30);
                break;
            case "other": File.Copy(_drive.Volume(1), _drive.Volume(2), overwrite: true); break;
            case "cut":
                using (FileStream stream = new(_drive.Volume(1), FileMode.Open)) stream.SetLength(8192);
                break;
        }

        Run run = await Run.Tool("drive", "inspect", _drive.Folder);
        Assert.Equal(1, run.ExitCode);
        Assert.Contains(said, run.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("drive", "inspect")]
    [InlineData("recover-index")]
    public async Task FolderThatIsNoDrive_IsRefused_AndStaysAsItIs(params string[] command)
    {
        Directory.CreateDirectory(_drive.Folder);
        Run run = await Run.Tool([.. command, _drive.Folder]);
        Assert.Equal((3, ""), (run.ExitCode, run.Output));
        Assert.Contains("no drive.json", run.Error, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFileSystemEntries(_drive.Folder));
        Assert.Equal(3, (await Run.Tool([.. command, _drive.Folder + "-not-there"])).ExitCode);
        Assert.False(Directory.Exists(_drive.Folder + "-not-there"));
        Assert.Equal(2, (await Run.Tool(command)).ExitCode);
    }

    [Theory]
    [InlineData("sound")]
    [InlineData("missing")]
    [InlineData("noise")]
    [InlineData("another's")]
    [InlineData("marked")]
    [InlineData("earlier run")]
    public async Task RecoverIndex_MakesItFromTheVolumesAlone(string index)
    {
        List<FragmentWrite> written = await _drive.FillAsync();
        JsonElement before = (await Inspect()).Root;
        switch (index)
        {
            case "missing": File.Delete(_drive.IndexFile); break;
            case "noise": await File.WriteAllTextAsync(_drive.IndexFile, new string('x', 10_000), TestContext.Current.CancellationToken); break;
            case "marked": await File.WriteAllTextAsync(_drive.IndexFile + "-rebuild", "", TestContext.Current.CancellationToken); break;
            case "earlier run":
                File.Move(_drive.IndexFile, _drive.IndexFile + "-before-recovery");
                await File.WriteAllTextAsync(_drive.IndexFile, "half an index", TestContext.Current.CancellationToken);
                break;
            case "another's":
                using (TestDrive other = new())
                {
                    await other.FillAsync();
                    File.Copy(other.IndexFile, _drive.IndexFile, overwrite: true);
                }

                break;
        }

        Run run = await Run.Tool("recover-index", _drive.Folder);
        Assert.Equal((0, ""), (run.ExitCode, run.Error));
        Assert.Contains("26 found, 24 alive", run.Output, StringComparison.Ordinal);
        Assert.Equal(index != "missing", run.Output.Contains("the old one is removed", StringComparison.Ordinal));
        Assert.Equal(["drive.json", "index.db", "lock"], Directory.GetFiles(_drive.Folder).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        JsonElement after = (await Inspect()).Root;
        Assert.Equal(Live(before), Live(after));
        await _drive.AssertHolds(written);

        static string Live(JsonElement drive) => string.Join('\n', drive.GetProperty("volumes").EnumerateArray().Select(volume =>
            $"{volume.GetProperty("volumeId")} {volume.GetProperty("liveBytes")} {volume.GetProperty("liveFragments")}"));
    }

    [Fact]
    public async Task Inspect_AfterACrash_LeavesTheIndexAndItsLogAsTheyAre()
    {
        await _drive.FillAndCrashAsync();
        Dictionary<string, string> before = _drive.Snapshot();
        (Run run, JsonElement root) = await Inspect();
        Assert.Equal(0, run.ExitCode);
        Assert.Contains("log that a crash left behind", root.GetProperty("indexProblem").GetString(), StringComparison.Ordinal);
        Assert.Equal(before, _drive.Snapshot());
    }

    [Theory]
    [InlineData(14_999, false)]
    [InlineData(15_000, true)]
    public async Task RecoverIndex_KeepsTheOldIndexWhileItMakesTheNewOne_WhereThereIsRoomForBoth(long freeBytes, bool isKept)
    {
        string aside = _drive.IndexFile + "-before-recovery";
        Directory.CreateDirectory(_drive.Folder);
        for (int run = 0; run < 2; run++)
        {
            await File.WriteAllBytesAsync(_drive.IndexFile, new byte[10_000], TestContext.Current.CancellationToken);
            Assert.True(IndexRecovery.SetAside(_drive.IndexFile, freeBytes));
            Assert.Equal((false, isKept), (File.Exists(_drive.IndexFile), File.Exists(aside)));
        }

        // A run before, when there was room.
        await File.WriteAllBytesAsync(aside, new byte[10_000], TestContext.Current.CancellationToken);
        Assert.True(IndexRecovery.SetAside(_drive.IndexFile, 14_999));
        Assert.False(File.Exists(aside));
    }

    [Fact]
    public async Task RecoverIndex_WhereOnlyTheIndexKnowsAVolume_IsRefused_AndTheIndexGoesOn()
    {
        List<FragmentWrite> written = await _drive.FillAsync();
        using (FileStream file = new(_drive.Volume(1), FileMode.Open, FileAccess.Write))
            file.Write(new byte[8192]);
        byte[] index = await File.ReadAllBytesAsync(_drive.IndexFile, TestContext.Current.CancellationToken);
        Run run = await Run.Tool("recover-index", _drive.Folder);
        Assert.NotEqual(0, run.ExitCode);
        Assert.Contains("both headers of volume 1 are damaged", run.Error, StringComparison.Ordinal);
        Assert.Equal(index, await File.ReadAllBytesAsync(_drive.IndexFile, TestContext.Current.CancellationToken));
        await _drive.AssertHolds(written);
    }

    /// <summary>What a crash of recover-index leaves behind after each of its steps; and a crash of the store before it.</summary>
    [Theory]
    [InlineData("nothing done")]
    [InlineData("index moved")]
    [InlineData("index and log moved")]
    [InlineData("half a new index")]
    [InlineData("new index durable")]
    public async Task RecoverIndex_AfterACrashAtAnyStep_IsDoneByTheNextRun_OrTheNextStart(string step)
    {
        foreach (bool run in (bool[])[true, false])
        {
            using TestDrive drive = new();
            List<FragmentWrite> written = await drive.FillAndCrashAsync();
            string aside = drive.IndexFile + "-before-recovery";
            if (step != "nothing done") File.Copy(drive.IndexFile, aside);
            if (step is not ("nothing done" or "index moved")) File.Copy(drive.IndexFile + "-wal", aside + "-wal");
            switch (step)
            {
                case "index moved":
                    File.Delete(drive.IndexFile);
                    File.Delete(drive.IndexFile + "-shm");
                    break;
                case "index and log moved" or "half a new index" or "new index durable":
                    foreach (string suffix in (string[])["", "-wal", "-shm"]) File.Delete(drive.IndexFile + suffix);
                    break;
            }

            if (step == "half a new index") await File.WriteAllTextAsync(drive.IndexFile, "", TestContext.Current.CancellationToken);
            if (step == "new index durable") await (await drive.OpenAsync()).DisposeAsync();
            if (run)
            {
                Run again = await Run.Tool("recover-index", drive.Folder);
                Assert.Equal((0, ""), (again.ExitCode, again.Error));
                Assert.Equal(["drive.json", "index.db", "lock"], Directory.GetFiles(drive.Folder).Select(Path.GetFileName).Order(StringComparer.Ordinal));
            }

            await drive.AssertHolds(written);
        }
    }

    [Fact]
    public async Task RecoverIndex_OfADriveInUse_IsRefused()
    {
        List<FragmentWrite> written = await _drive.FillAsync();
        await using (LocalDrives open = await _drive.OpenAsync())
        {
            Run run = await Run.Tool("recover-index", _drive.Folder);
            Assert.Equal((3, ""), (run.ExitCode, run.Output));
            Assert.Contains("in use by another process", run.Error, StringComparison.Ordinal);
        }

        await _drive.AssertHolds(written);
    }

    [Fact]
    public async Task RecoverIndex_ReportsDamage()
    {
        await _drive.FillAsync();
        JsonElement record = JsonDocument.Parse((await Run.Tool("volume", "inspect", _drive.Volume(1), "--format", "json")).Output).RootElement.GetProperty("records")[2];
        TestDrive.Flip(_drive.Volume(1), record.GetProperty("offset").GetInt64() + 20);
        Run run = await Run.Tool("recover-index", _drive.Folder, "--format", "json");
        Assert.Equal((1, ""), (run.ExitCode, run.Error));
        JsonElement root = JsonDocument.Parse(run.Output).RootElement;
        JsonElement region = Assert.Single(root.GetProperty("corruptRegions").EnumerateArray());
        Assert.Equal((1, record.GetProperty("offset").GetInt64()), (region.GetProperty("volumeId").GetInt64(), region.GetProperty("offset").GetInt64()));
        Assert.Equal(23, root.GetProperty("liveFragments").GetInt64());
    }

    private async Task<(Run Run, JsonElement Root)> Inspect()
    {
        Run run = await Run.Tool("drive", "inspect", _drive.Folder, "--format", "json");
        return (run, JsonDocument.Parse(run.Output).RootElement);
    }
}
