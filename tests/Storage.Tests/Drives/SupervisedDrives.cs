using System.Collections.Concurrent;
using System.Diagnostics;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Tests.Simulation;

namespace ObjectStore.Storage.Tests.Drives;

/// <summary>Three drives under a supervisor, each a folder with faults on command; and what the host hears of them.</summary>
internal sealed class SupervisedDrives : IStorageEvents, IDriveSet, IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);
    private readonly TestFolder _folder = new();
    private readonly Random _random = new(11);
    private readonly ExtentIdFactory _ids;
    private readonly Lock _lock = new();
    private readonly List<string> _told = [];
    private DriveSupervisor? _supervisor;

    public SupervisedDrives()
    {
        _ids = new ExtentIdFactory(TimeProvider.System, Random64);
        for (int i = 0; i < 3; i++)
            Faults[FolderOf(i)] = new DriveFaults();
    }

    public static CancellationToken Stop => TestContext.Current.CancellationToken;

    public Dictionary<string, DriveFaults> Faults { get; } = [];

    /// <summary>The drives in use.</summary>
    public ConcurrentDictionary<Guid, IFragmentStore> InUse { get; } = new();

    public DriveSupervisor Supervisor => _supervisor!;

    public DriveSupervisorOptions Settings { get; set; } = new()
    {
        ProbeInterval = TimeSpan.FromMilliseconds(25),
        HangLimit = TimeSpan.FromSeconds(20),
        ReopenDelay = TimeSpan.FromMilliseconds(20),
        CloseLimit = TimeSpan.FromSeconds(2),
    };

    /// <summary>The clock of all limits.</summary>
    public TimeProvider Time { get; set; } = TimeProvider.System;

    public string Root => _folder.Path;

    public string FolderOf(int number) => Path.Combine(_folder.Path, $"d{number}");

    public DriveFaults FaultsOf(int number) => Faults[FolderOf(number)];

    public LocalFragmentStore StoreAt(int number) => InUse.Values.OfType<LocalFragmentStore>().Single(store => store.Path == FolderOf(number));

    public DriveHealth HealthOf(int number) => Supervisor.Health[number];

    public async Task OpenAsync()
    {
        var options = new StorageOptions { DrivePaths = [.. Faults.Keys.Order()], VolumeSizeBytes = 2 << 20, HeadroomBytes = 0, WritersPerDrive = 1 };
        var services = new EngineServices(options, Time, Random64, this, Threaded: true) { DriveCount = 3 };
        _supervisor = await DriveSupervisor.OpenAsync(services, Settings, this, path => new FaultyDrive(new FileDrive(path, directIo: true), Faults[path]), Stop);
    }

    public async Task CloseAsync()
    {
        await Supervisor.DisposeAsync();
        _supervisor = null;
    }

    /// <summary>Waits until the host has been told something that contains all of the words.</summary>
    public Task Told(params string[] words) => Until(() =>
    {
        lock (_lock)
            return _told.Any(text => words.All(word => text.Contains(word, StringComparison.Ordinal)));
    }, $"told of '{string.Join("', '", words)}'");

    public Task Until(DriveHealthState state, int number, string reason) => Until(() => HealthOf(number).State == state && HealthOf(number).Reason.Contains(reason, StringComparison.Ordinal), $"{state}: {reason}");

    public async Task Until(Func<bool> condition, string what)
    {
        long began = Stopwatch.GetTimestamp();
        while (!condition())
        {
            if (Stopwatch.GetElapsedTime(began) > Patience)
            {
                lock (_lock)
                    Assert.Fail($"Waited in vain for: {what}\n{string.Join('\n', _told)}\n{string.Join('\n', _supervisor?.Health ?? [])}");
            }

            await Task.Delay(5, Stop); // there is no event for each change of the health
        }
    }

    public FragmentWrite Make(int length, ReadOnlyMemory<byte>? memory = null, int group = 0)
    {
        var bytes = new byte[length];
        lock (_random)
            _random.NextBytes(bytes);
        if (memory is { } given)
            bytes.CopyTo(System.Runtime.InteropServices.MemoryMarshal.AsMemory(given));
        ulong[] checksums = [.. Enumerable.Range(0, (length + 65535) / 65536).Select(i => Crc64Nvme.Compute(bytes.AsSpan(i * 65536, Math.Min(65536, length - (i * 65536)))))];
        return new FragmentWrite(new ExtentDescriptor(_ids.Next(), group, 1, "k"u8.ToArray(), 1, 0), Scheme.SingleCopy, 1 << 20, 0, length, 0, memory ?? bytes, checksums);
    }

    public async Task<FragmentWrite> WriteAsync(IFragmentStore store, int length = 1000)
    {
        FragmentWrite write = Make(length);
        await store.WriteAsync(write, true, Stop);
        return write;
    }

    public static FragmentAddress AddressOf(FragmentWrite write) => new(write.Key, write.Descriptor.PlacementGroup, write.Scheme, write.Payload.Length);

    public static async Task<byte[]> ReadAsync(IFragmentStore store, FragmentWrite write)
    {
        var bytes = new byte[write.Payload.Length];
        await store.ReadAsync(AddressOf(write), 0, bytes, Stop);
        return bytes;
    }

    public static async Task AssertServes(IFragmentStore store, FragmentWrite write) => Assert.Equal(write.Payload.ToArray(), await ReadAsync(store, write));

    /// <summary>Every operation of the drive says that it is not available.</summary>
    public async Task AssertUnavailable(IFragmentStore store, FragmentWrite known)
    {
        foreach (Func<Task> operation in (Func<Task>[])[
            () => WriteAsync(store), () => ReadAsync(store, known), () => store.StatAsync(known.Key, Stop).AsTask(), () => store.ListAsync(null, null, 10, Stop).AsTask(),
            () => store.DeleteAsync(new[] { known.Key }, Stop).AsTask(), () => store.SyncAsync(default, Stop).AsTask(), () => store.GetStatisticsAsync(Stop).AsTask(),
            () => Task.FromResult(store.TryRead(AddressOf(known), 0, new byte[known.Payload.Length]))])
            Assert.Equal(store.DriveId, (await Assert.ThrowsAsync<DriveUnavailableException>(operation)).DriveId);
    }

    public string[] VolumesOf(int number) => [.. Directory.GetFiles(Path.Combine(FolderOf(number), "volumes"), "*.vol").Order()];

    public async ValueTask DisposeAsync()
    {
        foreach (DriveFaults faults in Faults.Values)
            faults.Answer();
        if (_supervisor is not null)
            await _supervisor.DisposeAsync();
        _folder.Dispose();
    }

    void IDriveSet.Add(IFragmentStore store) => Assert.True(InUse.TryAdd(store.DriveId, store));

    void IDriveSet.Remove(Guid driveId) => Assert.True(InUse.TryRemove(driveId, out _));

    public void RecoveryGoesOn(string path, Guid? driveId, long steps) => Tell($"goes on {path} ({driveId}): {steps} steps");

    public void DriveSetAside(string path, Guid? driveId, string reason) => Tell($"set aside {path}: {reason}");

    public void DriveUnavailable(Guid driveId, string reason) => Tell($"unavailable {driveId}: {reason}");

    public void DriveReopened(Guid driveId, string path, string? copyOf) => Tell($"again {driveId} from {path}{(copyOf is null ? "" : $", a copy of {copyOf}")}");

    public void VolumeCorrupt(Guid driveId, long volumeId, long offsetBytes, long lengthBytes) => Tell($"volume {volumeId} of {driveId} corrupt");

    public void VolumeOfNewerFormat(Guid driveId, long volumeId, uint format, uint newestKnown) => Tell($"volume {volumeId} of {driveId} newer format {format}");

    public void FragmentCorrupt(Guid driveId, long volumeId, long offsetBytes, ExtentId extent, int block, int shard, string reason) => Tell($"fragment {extent} of {driveId} corrupt: {reason}");

    public void RecoveryFinished(Guid driveId, RecoveryReport report) => Tell($"recovered {driveId} with {report.ReplayedRecords} records replayed");

    public void IndexRebuildStarted(Guid driveId, string reason) => Tell($"rebuild {driveId}: {reason}");

    private void Tell(string text)
    {
        lock (_lock)
            _told.Add(text);
    }

    public ulong Random64()
    {
        lock (_random)
            return (ulong)_random.NextInt64(long.MinValue, long.MaxValue);
    }
}
