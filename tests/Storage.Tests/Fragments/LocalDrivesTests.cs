using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Tests.Drives;
using ObjectStore.Storage.Tests.Extents;
using ObjectStore.Storage.Tests.Simulation;

namespace ObjectStore.Storage.Tests.Fragments;

public sealed class LocalDrivesTests : IDisposable
{
    private readonly TestFolder _folder = new();
    private readonly Random _random = new(6);
    private readonly SetAsideEvents _events = new();

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task NewFolders_BecomeDrivesOfOneCluster()
    {
        await using LocalDrives drives = await Open();
        Assert.Equal(4, drives.Drives.Count);
        Assert.Equal(4, drives.Drives.Select(drive => drive.DriveId).Distinct().Count());
        Assert.Empty(drives.SetAside);
        Assert.All(drives.Drives, drive => Assert.Equal(drives.ClusterId, drive.Engine.ClusterId));
    }

    [Theory]
    [InlineData("cluster", "belongs to cluster")]
    [InlineData("copy", "here twice")]
    [InlineData("damaged", "damaged")]
    [InlineData("checksum", "checksum")]
    [InlineData("newer", "version 9")]
    [InlineData("locked", "in use")]
    [InlineData("readonly", "read-only")]
    [InlineData("unformatted", "volumes but no drive.json")]
    [InlineData("file", "a")]
    [InlineData("volume", "format 1")]
    public async Task BadFolder_IsSetAsideWithItsReason_AndTheOthersServe(string kind, string reason)
    {
        Guid clusterId;
        await using (LocalDrives drives = await Open())
        {
            clusterId = drives.ClusterId;
            foreach (LocalFragmentStore drive in drives.Drives)
                await Write(drive);
        }

        string bad = Folder(3), identity = Path.Combine(bad, "drive.json");
        FileStream? holder = null;
        switch (kind)
        {
            case "cluster":
                Directory.Delete(bad, recursive: true);
                await (await LocalDrives.OpenAsync(new StorageOptions { DrivePaths = [bad] }, TimeProvider.System, Random64, NoStorageEvents.Instance, Stop)).DisposeAsync();
                break;
            case "copy":
                File.Copy(Path.Combine(Folder(0), "drive.json"), identity, overwrite: true);
                break;
            case "damaged":
                await File.WriteAllTextAsync(identity, "{ \"magic\": 3", Stop);
                break;
            case "checksum":
                await File.WriteAllTextAsync(identity, (await File.ReadAllTextAsync(identity, Stop)).Replace("\"checksum\": \"", "\"checksum\": \"0"), Stop);
                string text = await File.ReadAllTextAsync(identity, Stop);
                await File.WriteAllTextAsync(identity, System.Text.RegularExpressions.Regex.Replace(text, "\"checksum\": \"[0-9a-f]+\"", "\"checksum\": \"1\""), Stop);
                break;
            case "newer":
                await File.WriteAllTextAsync(identity, (await File.ReadAllTextAsync(identity, Stop)).Replace("\"formatVersion\": 1", "\"formatVersion\": 9"), Stop);
                break;
            case "locked":
                holder = new FileStream(Path.Combine(bad, "lock"), FileMode.Open, FileAccess.ReadWrite, FileShare.None);
                break;
            case "readonly":
                // What a read-only file system does to the lock, without the rights to mount one.
                File.Delete(Path.Combine(bad, "lock"));
                Directory.CreateDirectory(Path.Combine(bad, "lock"));
                break;
            case "unformatted":
                File.Delete(identity);
                break;
            case "file":
                Directory.Delete(bad, recursive: true);
                await File.WriteAllTextAsync(bad, "not a folder", Stop);
                break;
            case "volume":
                string volume = Directory.GetFiles(Path.Combine(bad, "volumes"))[0];
                byte[] bytes = await File.ReadAllBytesAsync(volume, Stop);
                bytes[8] = bytes[4096 + 8] = 1; // a newer one leaves the drive in use: see DriveSupervisorTests
                BitConverter.TryWriteBytes(bytes.AsSpan(4088), ObjectStore.Storage.Integrity.Crc64Nvme.Compute(bytes.AsSpan(0, 4088)));
                bytes.AsSpan(0, 4096).CopyTo(bytes.AsSpan(4096));
                await File.WriteAllBytesAsync(volume, bytes, Stop);
                break;
        }

        await using (LocalDrives drives = await Open())
        {
            Assert.Equal(clusterId, drives.ClusterId);
            Assert.Equal(3, drives.Drives.Count);
            SetAsideDrive aside = Assert.Single(drives.SetAside);
            Assert.Equal(bad, aside.Path);
            Assert.Contains(reason, aside.Reason, StringComparison.Ordinal);
            Assert.Equal([(bad, aside.Reason)], _events.SetAside);
            foreach (LocalFragmentStore drive in drives.Drives)
                await Write(drive);
        }

        holder?.Dispose();
    }

    [Fact]
    public async Task DriveThatDoesNotShowItsIdentity_IsSetAsideAtTheStart_AndLetGoWhenItAnswers()
    {
        var time = new ManualTime();
        var faults = new DriveFaults { HangIdentity = true };
        faults.Stop();
        Task<LocalDrives> opening = LocalDrives.OpenAsync(
            new EngineServices(Options(4 << 20), time, Random64, _events, Threaded: true), path => new FaultyDrive(new FileDrive(path, directIo: false), path == Folder(2) ? faults : new DriveFaults()),
            Timeout.InfiniteTimeSpan, Stop);
        await faults.Hanging.WaitAsync(Stop);
        while (time.Timers > 1) // the others have answered when only one is waited for
            await Task.Yield();
        Assert.False(opening.IsCompleted);
        time.Advance(TimeSpan.FromSeconds(30));
        await using LocalDrives drives = await opening.WaitAsync(TimeSpan.FromSeconds(20), Stop);
        SetAsideDrive aside = Assert.Single(drives.SetAside);
        Assert.Equal(Folder(2), aside.Path);
        Assert.Contains("does not answer", aside.Reason, StringComparison.Ordinal);
        foreach (LocalFragmentStore drive in drives.Drives)
            await Write(drive);
        faults.Answer();
        await faults.LetGo.Task.WaitAsync(TimeSpan.FromSeconds(20), Stop);
        new FileDrive(Folder(2), directIo: false).Dispose();
    }

    /// <summary>One drive hangs in its recovery, for which there is no limit, and one in its closing.</summary>
    [Fact(Timeout = 60_000)]
    public async Task Open_ThatIsCancelled_WaitsForNoDriveThatHangs_AndLetsGoOfAll()
    {
        await using (LocalDrives drives = await Open())
        {
            foreach (LocalFragmentStore drive in drives.Drives)
                await Write(drive);
        }

        var time = new ManualTime();
        Dictionary<string, DriveFaults> faults = Enumerable.Range(0, 4).ToDictionary(Folder, _ => new DriveFaults());
        (faults[Folder(1)].HangClose, faults[Folder(2)].HangReads) = (true, true);
        foreach (DriveFaults one in faults.Values)
            one.Stop();
        using var cancellation = new CancellationTokenSource();
        Task<LocalDrives> opening = LocalDrives.OpenAsync(
            new EngineServices(Options(4 << 20), time, Random64, _events, Threaded: true), path => new FaultyDrive(new FileDrive(path, directIo: false), faults[path]), Timeout.InfiniteTimeSpan, cancellation.Token);
        await faults[Folder(2)].Hanging.WaitAsync(Stop);
        await cancellation.CancelAsync();
        while (!opening.IsCompleted)
        {
            Stop.ThrowIfCancellationRequested();
            time.Advance(TimeSpan.FromSeconds(1));
            await Task.Yield();
        }

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => opening);
        foreach (DriveFaults one in faults.Values)
            one.Answer();
        foreach (DriveFaults one in faults.Values)
            await one.LetGo.Task.WaitAsync(TimeSpan.FromSeconds(20), Stop);
        await using LocalDrives again = await Open();
        Assert.Equal(4, again.Drives.Count);
    }

    [Fact]
    public async Task NoUsableFolder_IsAnError()
    {
        await using LocalDrives drives = await Open();
        await Assert.ThrowsAsync<DriveInUseException>(Open);
        await Assert.ThrowsAsync<DriveIdentityException>(() => LocalDrives.OpenAsync(
            new StorageOptions { DrivePaths = [Path.Combine(_folder.Path, "unmounted")], FormatNewDrives = false }, TimeProvider.System, Random64, _events, Stop));
    }

    [Fact]
    public async Task Drive_WhoseFolderGoesAway_IsUnavailable()
    {
        await using LocalDrives drives = await Open(volumeBytes: 2 << 20);
        LocalFragmentStore drive = drives.Drives[0];
        FragmentWrite write = await Write(drive);
        Directory.Move(drive.Path, drive.Path + "-gone");
        DriveUnavailableException? unavailable = null;
        for (int i = 0; unavailable is null && i < 10; i++)
        {
            try
            {
                await Write(drive, 1 << 20);
            }
            catch (DriveUnavailableException e)
            {
                unavailable = e;
            }
        }

        Assert.Equal(drive.DriveId, unavailable!.DriveId);
        Assert.Equal(DriveState.Unavailable, (await drive.GetStatisticsAsync(Stop)).State);
        Directory.Move(drive.Path + "-gone", drive.Path);
        await drive.ReadAsync(new FragmentAddress(write.Key, 0, write.Scheme, write.Payload.Length), 0, new byte[write.Payload.Length], Stop);
        await Write(drive, 1 << 20);
    }

    private async Task<FragmentWrite> Write(LocalFragmentStore drive, int length = 1000)
    {
        var bytes = new byte[length];
        ulong[] checksums = [.. Enumerable.Range(0, (length + 65535) / 65536).Select(i => ObjectStore.Storage.Integrity.Crc64Nvme.Compute(bytes.AsSpan(i * 65536, Math.Min(65536, length - (i * 65536)))))];
        var descriptor = new ObjectStore.Storage.Extents.ExtentDescriptor(new ObjectStore.Storage.Extents.ExtentId(new UInt128(Random64(), Random64())), 0, 1, "k"u8.ToArray(), 1, 0);
        var write = new FragmentWrite(descriptor, ObjectStore.Storage.Extents.Scheme.SingleCopy, 1 << 20, 0, length, 0, bytes, checksums);
        await drive.WriteAsync(write, true, Stop);
        return write;
    }

    private string Folder(int number) => Path.Combine(_folder.Path, $"d{number}");

    private Task<LocalDrives> Open() => Open(4 << 20);

    private Task<LocalDrives> Open(long volumeBytes)
        => LocalDrives.OpenAsync(Options(volumeBytes), TimeProvider.System, Random64, _events, Stop);

    private StorageOptions Options(long volumeBytes) => new() { DrivePaths = [.. Enumerable.Range(0, 4).Select(Folder)], VolumeSizeBytes = volumeBytes, HeadroomBytes = 0 };

    private ulong Random64()
    {
        lock (_random)
            return (ulong)_random.NextInt64(long.MinValue, long.MaxValue);
    }

    private sealed class SetAsideEvents : IStorageEvents
    {
        public List<(string Path, string Reason)> SetAside { get; } = [];

        public void DriveSetAside(string path, Guid? driveId, string reason) => SetAside.Add((path, reason));
    }
}
