using System.Runtime.ExceptionServices;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Simulation;

namespace ObjectStore.Storage.Tests.Simulation;

/// <summary>A store over one simulated drive whose writers move only when the test steps them. Time stands still; chance comes from the seed.</summary>
internal sealed class SimulatedStore : IDisposable
{
    private readonly TestFolder _folder = new();
    private readonly Random _random;
    private readonly StorageOptions _options;

    public SimulatedStore(int seed, StorageOptions? options = null, long capacityBytes = 64 << 20)
    {
        _random = new Random(seed);
        _options = options ?? new StorageOptions
        {
            DrivePaths = ["simulated"],
            VolumeSizeBytes = 512 << 10,
            BlockSizeBytes = 64 << 10,
            WritersPerDrive = 2,
            HeadroomBytes = 0,
            IndexFlushEntries = 8,
            IndexFlushBytes = 1 << 20,
            MaxBlocksInFlightPerExtent = 2,
            PlacementGroups = 4,
            LocationCacheEntries = 16,
        };
        Drive = new SimulatedDrive(seed, capacityBytes, IndexPath);
        Store = Open();
    }

    public string IndexPath => Path.Combine(_folder.Path, "index.db");

    public SimulatedDrive Drive { get; }

    public ExtentStore Store { get; private set; }

    public RecordedEvents Events { get; } = new();

    public ExtentStore Open()
        => ExtentStore.Open([Drive], new EngineServices(_options, TimeProvider.System, () => (ulong)_random.NextInt64(long.MinValue, long.MaxValue), Events, Threaded: false));

    /// <summary>Steps the writers until the operation has ended.</summary>
    public async Task<T> Finish<T>(ValueTask<T> operation)
    {
        Task<T> task = operation.AsTask();
        Pump(task);
        return await task;
    }

    public async Task Finish(ValueTask operation)
    {
        Task task = operation.AsTask();
        Pump(task);
        await task;
    }

    public void Pump(Task task)
    {
        while (!task.IsCompleted)
        {
            // What the writers have done may go on elsewhere for a moment.
            if (!Store.Step() && !((IAsyncResult)task).AsyncWaitHandle.WaitOne(TimeSpan.FromSeconds(20)))
                throw new InvalidOperationException("The operation waits for something that no writer will do.");
        }
    }

    /// <summary>Power is cut; the index is kept, or lost, or as old as the given copy. Then the store starts again, and with the index it had replays no more than <see cref="RecoveryBound"/>.</summary>
    public void Crash(bool loseIndex, Dictionary<string, byte[]>? olderIndex = null)
    {
        RecoveryBound bound = RecoveryBound.Of(_options, Store.Engines.Single());
        foreach (DriveEngine engine in Store.Engines)
            engine.Abandon();
        Store.Buffers.Close();
        Drive.PowerCut();
        if (loseIndex || olderIndex is not null)
        {
            foreach (string file in Directory.GetFiles(_folder.Path))
                File.Delete(file);
            foreach ((string file, byte[] content) in olderIndex ?? [])
                File.WriteAllBytes(file, content);
        }

        Store = Open();
        if (!loseIndex && olderIndex is null)
            bound.AssertHolds(Events.LastRecovery!);
    }

    /// <summary>The process is killed; what it had not synced is still seen. The store is not started again.</summary>
    public void Kill()
    {
        foreach (DriveEngine engine in Store.Engines)
            engine.Abandon();
        Store.Buffers.Close();
        Drive.Kill();
    }

    /// <summary>Starts the store after <see cref="Kill"/>.</summary>
    public void Start() => Store = Open();

    /// <summary>The index as it is now: what a power cut that undoes SQLite's unsynced transactions may bring back.</summary>
    public Dictionary<string, byte[]> CopyIndex()
        => Directory.GetFiles(_folder.Path).Where(file => !file.EndsWith("-shm", StringComparison.Ordinal)).ToDictionary(file => file, File.ReadAllBytes);

    public async Task Restart(bool loseIndex)
    {
        await Store.DisposeAsync();
        if (loseIndex)
        {
            foreach (string file in Directory.GetFiles(_folder.Path))
                File.Delete(file);
        }

        Store = Open();
    }

    /// <summary>Throws what the one drive said.</summary>
    public async Task<ExtentLayout> Write(byte[] bytes)
    {
        try
        {
            return await Finish(Store.WriteAsync(FaultTests.Descriptor(Store), bytes));
        }
        catch (WriteQuorumException e) when (e.InnerException is not null)
        {
            ExceptionDispatchInfo.Throw(e.InnerException);
            throw;
        }
    }

    public Task Delete(ExtentLayout layout) => Finish(Store.DeleteAsync(layout));

    /// <summary>Throws what the one drive said.</summary>
    public async Task<byte[]> Read(ExtentLayout layout)
    {
        var bytes = new byte[layout.LengthBytes];
        await using IExtentReader reader = Store.OpenRead(layout, 0, layout.LengthBytes);
        int done = 0;
        try
        {
            while (done < bytes.Length)
                done += await reader.ReadAsync(bytes.AsMemory(done));
        }
        catch (Exception e) when (e is ExtentLostException or ExtentUnavailableException && e.InnerException is not null)
        {
            ExceptionDispatchInfo.Throw(e.InnerException);
        }

        if (bytes.Length == 0 && !Store.TryReadSmall(layout, bytes))
        {
            // Nothing is read of an empty extent; that its record is there shows here only.
            var drive = Store.Services.Drives.All.Single();
            await drive.ReadAsync(new FragmentAddress(new FragmentKey(layout.Id, 0, 0), layout.PlacementGroup, Scheme.SingleCopy, 0), 0, Memory<byte>.Empty);
        }

        return bytes;
    }

    public void Dispose()
    {
        foreach (DriveEngine engine in Store.Engines)
            engine.Abandon();
        _folder.Dispose();
    }
}

internal sealed class RecordedEvents : IStorageEvents
{
    public int Corrupt { get; private set; }
    public int Poisoned { get; private set; }
    public int Full { get; private set; }
    public int SpaceAgain { get; private set; }
    public int VolumesDeleted { get; private set; }
    public int VolumesCorrupt { get; private set; }
    public int Torn { get; private set; }
    public int Voided { get; private set; }
    public int IndexFailures { get; private set; }
    public int Rebuilds { get; private set; }
    public RecoveryReport? LastRecovery { get; private set; }

    public void VolumePoisoned(Guid driveId, long volumeId, Exception cause) => Poisoned++;
    public void DriveFull(Guid driveId, long freeBytes, long headroomBytes) => Full++;
    public void DriveHasSpaceAgain(Guid driveId, long freeBytes) => SpaceAgain++;
    public void VolumeDeleted(Guid driveId, long volumeId, long freedBytes) => VolumesDeleted++;
    public void VolumeCorrupt(Guid driveId, long volumeId, long offsetBytes, long lengthBytes) => VolumesCorrupt++;
    public void FragmentCorrupt(Guid driveId, long volumeId, long offsetBytes, ExtentId extent, int block, int shard, string reason) => Corrupt++;
    public void TornTailDropped(Guid driveId, long volumeId, long offsetBytes, long lengthBytes) => Torn++;
    public void TornRangeVoided(Guid driveId, long volumeId, long offsetBytes, long lengthBytes) => Voided++;
    public void IndexWriteFailed(Guid driveId, Exception cause) => IndexFailures++;
    public void IndexRebuildStarted(Guid driveId, string reason) => Rebuilds++;
    public void RecoveryFinished(Guid driveId, RecoveryReport report) => LastRecovery = report;
}

internal sealed class TestFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("objectstore-storage-").FullName;

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
