using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Simulation;

namespace ObjectStore.Storage.Tests.Simulation;

/// <summary>One simulated drive behind a <see cref="LocalFragmentStore"/> whose writers move only when the test steps them. Chance comes from the seed.</summary>
internal sealed class SimulatedFragments : IDisposable
{
    private readonly TestFolder _folder = new();
    private readonly Random _random;
    private readonly ExtentIdFactory _ids;
    private readonly StorageOptions _options;
    private readonly TimeProvider _time;
    private LocalDrives _drives;

    public SimulatedFragments(int seed, int writers = 2, long capacityBytes = 64 << 20, long headroomBytes = 0, long volumeSizeBytes = 512 << 10, TimeProvider? time = null)
    {
        _time = time ?? TimeProvider.System;
        _random = new Random(seed);
        _ids = new ExtentIdFactory(TimeProvider.System, NextRandom);
        _options = new StorageOptions
        {
            DrivePaths = ["simulated"],
            VolumeSizeBytes = volumeSizeBytes,
            BlockSizeBytes = 64 << 10,
            WritersPerDrive = writers,
            HeadroomBytes = headroomBytes,
            IndexFlushEntries = 8,
            IndexFlushBytes = 1 << 20,
            LocationCacheEntries = 16,
        };
        Drive = new SimulatedDrive(seed, capacityBytes, Path.Combine(_folder.Path, "index.db"));
        _drives = Open();
    }

    public SimulatedDrive Drive { get; }

    /// <summary>Of the index database, as closed.</summary>
    public long IndexBytes => Directory.GetFiles(_folder.Path).Sum(file => new FileInfo(file).Length);

    public RecordedEvents Events { get; } = new();

    public LocalFragmentStore Store => _drives.Drives[0];

    public FragmentWrite Make(int length, Scheme? scheme = null)
    {
        var bytes = new byte[(scheme ?? Scheme.SingleCopy).ShardBytes(length)];
        _random.NextBytes(bytes);
        ulong[] checksums = [.. bytes.Chunk(65536).Select(chunk => Crc64Nvme.Compute(chunk))];
        var key = new byte[_random.Next(1, 40)];
        _random.NextBytes(key);
        var descriptor = new ExtentDescriptor(_ids.Next(), _random.Next(4), 5, key, (UInt128)_random.NextInt64(), _random.Next(3));
        return new FragmentWrite(descriptor, scheme ?? Scheme.SingleCopy, 64 << 10, 0, length, 0, bytes, checksums);
    }

    public async Task<byte[]> Read(FragmentWrite write)
    {
        var bytes = new byte[write.Payload.Length];
        await Store.ReadAsync(new FragmentAddress(write.Key, write.Descriptor.PlacementGroup, write.Scheme, bytes.Length), 0, bytes);
        return bytes;
    }

    public Task<T> Finish<T>(ValueTask<T> operation) => Pump(operation.AsTask());

    public async Task Finish(ValueTask operation)
    {
        Task task = operation.AsTask();
        Step(task);
        await task;
    }

    public async Task<T> Pump<T>(Task<T> task)
    {
        Step(task);
        return await task;
    }

    public void Step(Task task)
    {
        while (!task.IsCompleted)
        {
            if (!_drives.Step() && !task.IsCompleted)
                throw new InvalidOperationException("The operation waits for something that no writer will do.");
        }
    }

    public bool StepOnce() => _drives.Step();

    /// <summary>Power is cut; the index is kept, or lost, or as old as the given copy. Then the store starts again, and with the index it had replays no more than <see cref="RecoveryBound"/>.</summary>
    public void Crash(bool loseIndex, Dictionary<string, byte[]>? olderIndex = null)
    {
        RecoveryBound bound = RecoveryBound.Of(_options, Store.Engine);
        Store.Engine.Abandon();
        Drive.PowerCut();
        if (loseIndex || olderIndex is not null)
            ReplaceIndex(olderIndex);
        _drives = Open();
        if (!loseIndex && olderIndex is null)
            bound.AssertHolds(Events.LastRecovery!);
    }

    /// <summary>The process is killed; what it had not synced is still seen. Then the store starts again.</summary>
    public void Kill()
    {
        Store.Engine.Abandon();
        Drive.Kill();
        _drives = Open();
    }

    public Dictionary<string, byte[]> CopyIndex()
        => Directory.GetFiles(_folder.Path).Where(file => !file.EndsWith("-shm", StringComparison.Ordinal)).ToDictionary(file => file, File.ReadAllBytes);

    public async Task Restart(bool loseIndex)
    {
        await _drives.DisposeAsync();
        if (loseIndex)
            ReplaceIndex(null);
        _drives = Open();
    }

    public void Dispose()
    {
        Store.Engine.Abandon();
        _folder.Dispose();
    }

    private void ReplaceIndex(Dictionary<string, byte[]>? content)
    {
        foreach (string file in Directory.GetFiles(_folder.Path))
            File.Delete(file);
        foreach ((string file, byte[] bytes) in content ?? [])
            File.WriteAllBytes(file, bytes);
    }

    private LocalDrives Open() => LocalDrives.Open([Drive], new EngineServices(_options, _time, NextRandom, Events, Threaded: false));

    private ulong NextRandom() => (ulong)_random.NextInt64(long.MinValue, long.MaxValue);
}
