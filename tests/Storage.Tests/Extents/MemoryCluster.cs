using System.Collections.Concurrent;
using System.Collections.Immutable;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Repair;
using ObjectStore.Storage.Simulation;

namespace ObjectStore.Storage.Tests.Extents;

/// <summary>An extent store over drives in memory, with time that stands still until it is moved, or with another clock.</summary>
internal sealed class MemoryCluster : IAsyncDisposable
{
    public static readonly FailureDomain Domain = new("region", "zone", "rack", "host");

    public MemoryCluster(int drives, int seed = 1, Scheme? small = null, Scheme? large = null, StorageOptions? options = null, int groups = 8, TimeProvider? clock = null)
    {
        Random = new Random(seed);
        Drives = [.. Enumerable.Range(1, drives).Select(NewDrive)];
        Directory = new FragmentStoreDirectory(Drives);
        Options = options ?? Settings(small, large);
        Map = Plan(1, groups);
        Store = new ExtentStore(Options, new ExtentStoreServices(Directory, clock ?? Time, Random64, Events, Repairs), Map);
    }

    public Random Random { get; }
    public ManualTime Time { get; } = new();
    public List<MemoryFragmentStore> Drives { get; }
    public FragmentStoreDirectory Directory { get; }
    public StorageOptions Options { get; }
    public ClusterMap Map { get; private set; }
    public ExtentStore Store { get; }
    public RecordedRepairs Repairs { get; } = new();
    public RecordedExtentEvents Events { get; } = new();

    public static StorageOptions Settings(Scheme? small = null, Scheme? large = null, int shardSizeBytes = 64 << 10, int blockSizeBytes = 128 << 10, int smallBelowBytes = 128 << 10)
        => new()
        {
            Schemes = new SchemePolicy([KeyValuePair.Create(SchemePolicy.Standard, new ClassSchemes(small ?? Scheme.Copies(3), large ?? new Scheme(6, 3), smallBelowBytes))]),
            ShardSizeBytes = shardSizeBytes,
            BlockSizeBytes = blockSizeBytes,
        };

    public MemoryFragmentStore NewDrive(int number) => new(new Guid(number, 0, 0, new byte[8]), Time);

    /// <summary>A map by the planner over the drives there are.</summary>
    public ClusterMap Plan(long epoch, int groups)
    {
        ClusterMap planned = MapPlanner.Plan(null, [.. Drives.Select(drive => new MappedDrive(drive.DriveId, 1, Domain))], groups, Options.Schemes.Schemes);
        return new ClusterMap(epoch, planned.Drives, Tables(planned, (_, _, slot) => slot));
    }

    /// <summary>Changes slots of every group and makes it the store's map.</summary>
    public void Change(Func<int, int, GroupSlot, GroupSlot> change, IEnumerable<MappedDrive>? drives = null)
    {
        Map = new ClusterMap(Map.Epoch + 1, drives ?? [.. Drives.Select(drive => new MappedDrive(drive.DriveId, 1, Domain))], Tables(Map, change));
        Store.UpdateMap(Map);
    }

    private static Dictionary<int, ImmutableArray<ImmutableArray<GroupSlot>>> Tables(ClusterMap map, Func<int, int, GroupSlot, GroupSlot> change)
        => map.Groups.GroupBy(group => group.Width).ToDictionary(
            table => table.Key,
            table => table.Select(group => map.SlotsOf(group).Select((slot, number) => change(group.Value, number, slot)).ToImmutableArray()).ToImmutableArray());

    /// <summary>With the group that the extent gets if it is stored by the class's scheme for large parts.</summary>
    public ExtentDescriptor Describe(string storageClass = SchemePolicy.Standard, Scheme? scheme = null)
    {
        ExtentId id = Store.Ids.Next();
        return new ExtentDescriptor(id, Store.ClusterMap.GroupOf(id, (scheme ?? Options.Schemes.For(storageClass).Large).Narrow(Map.WritableDrives).Width).Value, 7, "a/key"u8.ToArray(), 9, 1) { StorageClass = storageClass };
    }

    public byte[] Bytes(int length)
    {
        var bytes = new byte[length];
        Random.NextBytes(bytes);
        return bytes;
    }

    /// <summary>The drive of a shard.</summary>
    public MemoryFragmentStore DriveOf(int placementGroup, int shard)
    {
        Guid id = Map.SlotsOf(new PlacementGroupId(placementGroup))[shard].Drive!.Value;
        return Drives.Single(drive => drive.DriveId == id);
    }

    public async Task<ExtentLayout> WriteAsync(ExtentDescriptor descriptor, byte[] bytes, long? expected, CancellationToken stop)
    {
        await using IExtentWriter writer = Store.CreateExtent(descriptor, expected);
        await AppendAsync(writer, bytes, stop);
        return await writer.CompleteAsync(stop);
    }

    public async Task AppendAsync(IExtentWriter writer, ReadOnlyMemory<byte> bytes, CancellationToken stop)
    {
        while (!bytes.IsEmpty)
        {
            Memory<byte> room = writer.GetMemory();
            int count = Math.Min(Math.Min(room.Length, Random.Next(1, 90_000)), bytes.Length);
            bytes[..count].CopyTo(room);
            writer.Advance(count);
            bytes = bytes[count..];
            await writer.FlushIfFullAsync(stop);
        }
    }

    public async Task<byte[]> ReadAsync(ExtentLayout layout, long offset, long count, CancellationToken stop, int way = 0)
    {
        var bytes = new byte[count];
        await using IExtentReader reader = Store.OpenRead(layout, offset, count);
        int done = 0;
        while (done < count)
        {
            if (way % 3 == 2)
            {
                ReadOnlyMemory<byte> next = await reader.ReadNextAsync(stop);
                next.CopyTo(bytes.AsMemory(done));
                done += next.Length;
                continue;
            }

            done += await reader.ReadAsync(bytes.AsMemory(done, (int)Math.Min(count - done, way % 3 == 0 ? int.MaxValue : 10_000)), stop);
        }

        Assert.Equal(0, await reader.ReadAsync(new byte[1], stop));
        Assert.True((await reader.ReadNextAsync(stop)).IsEmpty);
        return bytes;
    }

    public Task<byte[]> ReadAsync(ExtentLayout layout, CancellationToken stop) => ReadAsync(layout, 0, layout.LengthBytes, stop, 2);

    /// <summary>Fails every operation of a drive as one that does not answer.</summary>
    public static void Disconnect(MemoryFragmentStore drive) => drive.Fault = (_, _, _) => ValueTask.FromException(new DriveUnavailableException(drive.DriveId, "injected"));

    /// <summary>Hangs a kind of operation until the source completes.</summary>
    public static TaskCompletionSource Hang(MemoryFragmentStore drive, FragmentOperation operation)
    {
        var source = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        drive.Fault = (asked, _, _) => asked == operation ? new ValueTask(source.Task) : default;
        return source;
    }

    /// <summary>Nothing goes on and nothing is held.</summary>
    public async Task AssertIdleAsync(CancellationToken stop)
    {
        await Store.Background.WhenIdleAsync().WaitAsync(TimeSpan.FromSeconds(20), stop);
        Assert.Equal(0, Store.Buffers.Lent);
        Assert.Equal((0L, 0L, 0L, 0L), (Store.WriteBudget.TakenBytes, Store.ReadBudget.TakenBytes, Store.RepairBudget.TakenBytes, Store.SubstituteBudget.TakenBytes));
    }

    public int Fragments => Drives.Sum(drive => drive.Count);

    public ValueTask DisposeAsync() => Store.DisposeAsync();

    private ulong Random64()
    {
        lock (Random)
            return (ulong)Random.NextInt64(long.MinValue, long.MaxValue);
    }
}

internal sealed class RecordedRepairs : IRepairSink
{
    public ConcurrentQueue<RepairNotice> Recorded { get; } = new();
    public ConcurrentQueue<RepairNotice> Reported { get; } = new();
    public Func<RepairNotice, ValueTask>? OnRecord { get; set; }

    public async ValueTask RecordAsync(RepairNotice notice, CancellationToken cancellationToken = default)
    {
        if (OnRecord is { } hook)
            await hook(notice);
        Recorded.Enqueue(notice);
    }

    public async ValueTask RecordAsync(IReadOnlyList<RepairNotice> notices, CancellationToken cancellationToken = default)
    {
        foreach (RepairNotice notice in notices)
            await RecordAsync(notice, cancellationToken);
    }

    public void Report(RepairNotice notice) => Reported.Enqueue(notice);
}

internal sealed class RecordedExtentEvents : IStorageEvents
{
    public ConcurrentQueue<(string Class, Scheme Asked, Scheme Used, int Drives)> Narrowed { get; } = new();
    public ConcurrentQueue<(ExtentId Extent, int Block, ShardSet Missing)> Reconstructed { get; } = new();
    public ConcurrentQueue<ShardSet> Degraded { get; } = new();
    public ConcurrentQueue<Guid> Unavailable { get; } = new();
    public ConcurrentQueue<Guid> AvailableAgain { get; } = new();

    public void SchemeNarrowed(string storageClass, Scheme asked, Scheme used, int drives) => Narrowed.Enqueue((storageClass, asked, used, drives));
    public void BlockReconstructed(ExtentId extent, int block, ShardSet missing) => Reconstructed.Enqueue((extent, block, missing));
    public void DegradedWrite(ExtentId extent, ShardSet missing) => Degraded.Enqueue(missing);
    public void DriveUnavailable(Guid driveId, string reason) => Unavailable.Enqueue(driveId);
    public void DriveAvailableAgain(Guid driveId) => AvailableAgain.Enqueue(driveId);
}

/// <summary>Time that passes when it is told to; timers fire then. Thread-safe.</summary>
internal sealed class ManualTime : TimeProvider
{
    private readonly Lock _lock = new();
    private readonly HashSet<ManualTimer> _timers = [];
    private readonly DateTimeOffset _start = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);
    private TimeSpan _passed;

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    /// <summary>How many timers wait.</summary>
    public int Timers
    {
        get
        {
            lock (_lock)
                return _timers.Count;
        }
    }

    /// <summary>When the next timer is due; null where none waits.</summary>
    public TimeSpan? UntilNext
    {
        get
        {
            lock (_lock)
                return _timers.Count == 0 ? null : _timers.Min(timer => timer.Due) - _passed;
        }
    }

    public override DateTimeOffset GetUtcNow()
    {
        lock (_lock)
            return _start + _passed;
    }

    public override long GetTimestamp()
    {
        lock (_lock)
            return _passed.Ticks;
    }

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new ManualTimer(this, () => callback(state));
        timer.Change(dueTime, period);
        return timer;
    }

    public void Advance(TimeSpan by)
    {
        List<ManualTimer> due;
        lock (_lock)
        {
            _passed += by;
            due = [.. _timers.Where(timer => timer.Due <= _passed).OrderBy(timer => timer.Due)];
            _timers.ExceptWith(due);
        }

        foreach (ManualTimer timer in due)
            timer.Fire();
    }

    private sealed class ManualTimer(ManualTime owner, Action fire) : ITimer
    {
        public TimeSpan Due { get; private set; }

        public void Fire() => fire();

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            lock (owner._lock)
            {
                owner._timers.Remove(this);
                if (dueTime == Timeout.InfiniteTimeSpan)
                    return true;
                Due = owner._passed + dueTime;
                owner._timers.Add(this);
            }

            return true;
        }

        public void Dispose()
        {
            lock (owner._lock)
                owner._timers.Remove(this);
        }

        public ValueTask DisposeAsync()
        {
            Dispose();
            return default;
        }
    }
}
