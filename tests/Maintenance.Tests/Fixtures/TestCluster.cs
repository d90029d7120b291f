using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using ObjectStore.EmbeddedRuntime.Simulation;
using ObjectStore.Grains;
using ObjectStore.Maintenance.Liveness;
using ObjectStore.Maintenance.Repair;
using ObjectStore.Maintenance.Scrubbing;
using ObjectStore.Maintenance.Throttling;
using ObjectStore.Metadata;
using ObjectStore.Storage;
using ObjectStore.Storage.ErasureCoding;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Repair;
using ObjectStore.Storage.Simulation;
using ObjectStore.Testing;

namespace ObjectStore.Maintenance.Tests.Fixtures;

/// <summary>An extent that was written, with what each of its fragments has to be.</summary>
internal sealed record TestExtent(string Key, VersionId Version, ExtentDescriptor Descriptor, Scheme Scheme, int BlockSizeBytes, int LengthBytes, byte[][][] Shards)
{
    public ExtentId Id => Descriptor.Id;

    public int Group => Descriptor.PlacementGroup;

    public int BlockLength(int block) => Math.Min(BlockSizeBytes, LengthBytes - block * BlockSizeBytes);

    public PartLayout Part => new(1, LengthBytes, Group, (ulong)(Id.Value >> 64), (ulong)Id.Value, Scheme.Id, BlockSizeBytes, new ETag(1, 2, 0), null);

    public IEnumerable<FragmentKey> Keys => Enumerable.Range(0, Shards.Length).SelectMany(block => Enumerable.Range(0, Scheme.Width).Select(shard => new FragmentKey(Id, block, (ushort)shard)));
}

/// <summary>
/// Drives in memory under a real cluster map, with metadata in memory and a clock that stands still until it is moved. It plays the owner of the map: losses, drains and
/// joins are planned by the planner, and completed slots are marked in the map.
/// </summary>
internal sealed class TestCluster : IFragmentStoreDirectory, ISlotCompletion
{
    public static readonly Scheme[] Schemes = [Scheme.Copies(3), new Scheme(4, 2)];

    private readonly Random _random;
    private readonly Dictionary<Guid, MemoryFragmentStore> _stores = [];
    private readonly ConcurrentDictionary<Guid, bool> _unreachable = [];
    private readonly List<MappedDrive> _mapped = [];
    private readonly ExtentIdFactory _ids;
    private BucketId _bucket;
    private RangeLease _lease = null!;
    private volatile ClusterMap _map = null!;
    private ExtentStore _extents = null!;

    private TestCluster(int seed, IForegroundLatency? latency)
    {
        _random = new Random(seed);
        _ids = new ExtentIdFactory(Time, () => (ulong)_random.NextInt64());
        Governor = new LoadGovernor(Time, new LoadGovernorOptions(), latency);
        Liveness = new MetadataExtentLiveness(Metadata, Time, MetadataExtentLiveness.DefaultOrphanGrace, NullLogger<MetadataExtentLiveness>.Instance);
        Queue = new RepairQueue(Metadata, Time, new RepairQueueOptions(), NullLogger<RepairQueue>.Instance);
    }

    public VirtualTimeProvider Time { get; } = new();

    public InMemoryMetadataStore Metadata { get; } = new();

    public LoadGovernor Governor { get; }

    public MetadataExtentLiveness Liveness { get; }

    public RepairQueue Queue { get; }

    public RecordingRepairer Repairer { get; private set; } = null!;

    public ClusterMap Map => _map;

    public List<TestExtent> Live { get; } = [];

    public IReadOnlyList<MappedDrive> Mapped => _mapped;

    public IReadOnlyCollection<IFragmentStore> All => [.. _stores.Values.Where(store => !_unreachable.ContainsKey(store.DriveId))];

    /// <summary>Called before slots are marked complete.</summary>
    public Action<IReadOnlyList<SlotCompletion>>? OnComplete { get; set; }

    public static async Task<TestCluster> CreateAsync(int drives, int groups = 16, int seed = 1, IForegroundLatency? latency = null)
    {
        TestContext.Current.SendDiagnosticMessage("seed {0}", seed);
        var cluster = new TestCluster(seed, latency);
        cluster._bucket = (await cluster.Metadata.CreateBucketAsync("bucket", "owner", "region", 1)).Bucket.Id;
        cluster._lease = (await cluster.Metadata.AcquireRangeAsync(cluster._bucket, 1))!;
        for (int i = 0; i < drives; i++)
            cluster.AddStore();
        cluster._map = MapPlanner.Plan(null, cluster._mapped, groups, Schemes);
        cluster._extents = new ExtentStore(new StorageOptions(), new ExtentStoreServices(cluster, cluster.Time, () => 7, NoStorageEvents.Instance, cluster.Queue), cluster._map);
        cluster.Repairer = new RecordingRepairer(cluster._extents.Repairer);
        return cluster;
    }

    public IFragmentStore? Find(Guid driveId) => _unreachable.ContainsKey(driveId) ? null : _stores.GetValueOrDefault(driveId);

    public MemoryFragmentStore Store(Guid drive) => _stores[drive];

    public ValueTask CompleteAsync(IReadOnlyList<SlotCompletion> slots, CancellationToken cancellationToken = default)
    {
        OnComplete?.Invoke(slots);
        SetMap(MapPlanner.Complete(_map, slots));
        return default;
    }

    // ---- What happens to drives ------------------------------------------------------------------------------------------------

    /// <summary>The drive and all that it held are gone, and others get its slots.</summary>
    public void Lose(Guid drive)
    {
        _stores[drive].Clear();
        _unreachable[drive] = true;
        Change(drive, mapped => mapped with { Weight = 0, IsReadable = false });
    }

    /// <summary>The drive is given up and others get its slots; what it holds stays on it.</summary>
    public void TakeOut(Guid drive)
    {
        _unreachable[drive] = true;
        Change(drive, mapped => mapped with { Weight = 0, IsReadable = false });
    }

    /// <summary>The drive is in again after <see cref="TakeOut"/>, with what it held.</summary>
    public void BringBack(Guid drive)
    {
        _unreachable.TryRemove(drive, out _);
        Change(drive, mapped => mapped with { Weight = 100, IsReadable = true });
    }

    /// <summary>The drive is gone for good: the map knows it no more.</summary>
    public void GiveUp(Guid drive)
    {
        _mapped.RemoveAll(mapped => mapped.Id == drive);
        Plan();
    }

    /// <summary>The drive is taken back after <see cref="GiveUp"/>, with what it held.</summary>
    public void TakeBack(Guid drive)
    {
        _unreachable.TryRemove(drive, out _);
        _mapped.Add(new MappedDrive(drive, 100, new FailureDomain("region", "zone", "rack", "back")));
        Plan();
    }

    /// <summary>A map that differs from the one before by its epoch only.</summary>
    public void RaiseEpoch() => ChangeSlots((_, _, slot) => slot);

    /// <summary>The next map: that of now with slots changed, of which the group and the number are given.</summary>
    public void ChangeSlots(Func<int, int, GroupSlot, GroupSlot> change)
    {
        ClusterMap map = Map;
        SetMap(new ClusterMap(map.Epoch + 1, map.Drives, map.Widths.ToDictionary(width => width, width => Enumerable.Range(0, map.GroupCount).Select(index => new PlacementGroupId(width, index))
            .Select(group => map.SlotsOf(group).Select((slot, number) => change(group.Value, number, slot)).ToImmutableArray()).ToImmutableArray())));
    }

    public async Task<byte[]> ReadAsync(TestExtent extent)
    {
        var bytes = new byte[extent.LengthBytes];
        await using IExtentReader reader = _extents.OpenRead(new ExtentLayout(extent.Id, extent.Group, extent.Scheme.Id, extent.BlockSizeBytes, extent.LengthBytes), 0, extent.LengthBytes);
        for (int done = 0; done < bytes.Length;)
            done += await reader.ReadAsync(bytes.AsMemory(done));
        return bytes;
    }

    public void Drain(Guid drive) => Change(drive, mapped => mapped with { Weight = 0 });

    public Guid Join()
    {
        Guid drive = AddStore();
        Plan();
        return drive;
    }

    public void SetReachable(Guid drive, bool reachable)
    {
        if (reachable)
            _unreachable.TryRemove(drive, out _);
        else
            _unreachable[drive] = true;
    }

    /// <summary>Puts a map in place as it is.</summary>
    public void SetMap(ClusterMap map)
    {
        _map = map;
        _extents.UpdateMap(map);
    }

    // ---- What clients do -------------------------------------------------------------------------------------------------------

    /// <summary>Writes an extent to the drives of the map, and commits a version that names it.</summary>
    /// <param name="without">Shards that do not get there.</param>
    public async Task<TestExtent> WriteAsync(Scheme scheme, int lengthBytes = 1000, int blockSizeBytes = 4096, ShardSet without = default, bool commit = true)
    {
        ExtentId id = _ids.Next();
        string key = $"key-{id}";
        var version = new VersionId((ulong)_random.NextInt64(), (ulong)_random.NextInt64() | 1);
        var descriptor = new ExtentDescriptor(id, Map.GroupOf(id, scheme.Width).Value, _bucket.Value, Encoding.UTF8.GetBytes(key), new UInt128(version.High, version.Low), 1);
        var data = new byte[lengthBytes];
        _random.NextBytes(data);
        int blocks = Math.Max(1, (lengthBytes + blockSizeBytes - 1) / blockSizeBytes);
        var extent = new TestExtent(key, version, descriptor, scheme, blockSizeBytes, lengthBytes,
            [.. Enumerable.Range(0, blocks).Select(block => Encode(scheme, data.AsSpan(block * blockSizeBytes, Math.Min(blockSizeBytes, lengthBytes - block * blockSizeBytes))))]);
        foreach (FragmentKey fragment in extent.Keys.Where(fragment => !without.Contains(fragment.Shard)))
        {
            if (Map.SlotsOf(new PlacementGroupId(extent.Group))[fragment.Shard].Drive is { } drive)
                await PutAsync(extent, fragment, drive);
        }

        if (commit)
            await CommitAsync(extent);
        return extent;
    }

    public async Task CommitAsync(TestExtent extent)
    {
        var version = new ObjectVersion { VersionId = extent.Version, SizeBytes = extent.LengthBytes, ETag = new ETag(1, 2, 0), LastModifiedUnixMs = 1, Parts = [extent.Part] };
        CommitResult result = (await Metadata.CommitAsync(new RangeCommit(_bucket, 1, _lease.Epoch, [new ObjectMutation(extent.Key, VersionId.None, version, [], null)], 0)))[0];
        Assert.Equal(CommitStatus.Committed, result.Status);
        Live.Add(extent);
    }

    public async Task PutAsync(TestExtent extent, FragmentKey fragment, Guid drive)
    {
        byte[] payload = extent.Shards[fragment.Block][fragment.Shard];
        await _stores[drive].WriteAsync(
            new FragmentWrite(extent.Descriptor, extent.Scheme, extent.BlockSizeBytes, fragment.Block, extent.BlockLength(fragment.Block), fragment.Shard, payload, FragmentChecksums.Of(payload)), sync: true);
    }

    public async Task WriteManyAsync(int count, int maxBytes = 12_000)
    {
        for (int i = 0; i < count; i++)
            await WriteAsync(Schemes[i % Schemes.Length], _random.Next(1, maxBytes));
    }

    /// <summary>Takes a version away as a client does; its extent becomes garbage, due at once.</summary>
    public async Task DeleteAsync(TestExtent extent)
    {
        CommitResult result = (await Metadata.CommitAsync(new RangeCommit(_bucket, 1, _lease.Epoch, [new ObjectMutation(extent.Key, extent.Version, null, [extent.Version], null)], 0)))[0];
        Assert.Equal(CommitStatus.Committed, result.Status);
        Live.Remove(extent);
    }

    /// <summary>What the reclaimer does with an extent that was deleted, on the drives that answer.</summary>
    public async Task ReclaimAsync(TestExtent extent)
    {
        foreach (IFragmentStore drive in All)
            await drive.DeleteAsync(extent.Keys.ToArray());
        await Metadata.RemoveGarbageAsync([.. (await Metadata.ListGarbageAsync(long.MaxValue, 10_000)).Where(garbage => garbage.Extent.ExtentLow == (ulong)extent.Id.Value).Select(garbage => garbage.GarbageId)]);
    }

    // ---- What is to be true ----------------------------------------------------------------------------------------------------

    public Guid DriveOf(TestExtent extent, int shard) => Map.SlotsOf(new PlacementGroupId(extent.Group))[shard].Drive!.Value;

    /// <summary>Every fragment of every live extent is on the drive that the map names, with the right bytes.</summary>
    public async Task AssertWholeAsync()
    {
        foreach (TestExtent extent in Live)
        {
            foreach (FragmentKey key in extent.Keys)
                Assert.True(await IsIntactAsync(extent, key, DriveOf(extent, key.Shard)), $"{key} of {extent.Scheme} is not on the drive of its slot.");
        }
    }

    public async Task<bool> IsIntactAsync(TestExtent extent, FragmentKey key, Guid drive)
    {
        byte[] expected = extent.Shards[key.Block][key.Shard];
        var read = new byte[expected.Length];
        try
        {
            await _stores[drive].ReadAsync(new FragmentAddress(key, extent.Group, extent.Scheme, expected.Length), 0, read);
            return expected.AsSpan().SequenceEqual(read);
        }
        catch (Storage.StorageException)
        {
            return false;
        }
    }

    /// <summary>Fragments on drives that the map does not name for them.</summary>
    public IReadOnlyList<(Guid Drive, FragmentKey Key)> Strays()
    {
        Dictionary<ExtentId, TestExtent> extents = Live.ToDictionary(extent => extent.Id);
        return [.. _stores.Values.SelectMany(store => store.Keys.Where(key => extents.ContainsKey(key.Extent) && DriveOf(extents[key.Extent], key.Shard) != store.DriveId).Select(key => (store.DriveId, key)))];
    }

    public int IncompleteSlots => Map.Groups.Sum(group => Map.SlotsOf(group).Count(slot => !slot.IsComplete));

    /// <summary>A repair service that has read what the one before left, and whose loop does not run.</summary>
    public async Task<RepairService> StartRepairAsync(RepairOptions? options = null)
    {
        RepairService repair = CreateRepair(options);
        await repair.BeginAsync(CancellationToken.None);
        return repair;
    }

    public RepairService CreateRepair(RepairOptions? options = null) => new(
        Metadata, this, () => Map, Repairer, this, Liveness, Queue, Governor, Time, options ?? new RepairOptions(), NullLogger<RepairService>.Instance);

    public ScrubService CreateScrub(ScrubOptions? options = null) => new(
        Metadata, this, () => Map, Queue, Liveness, Governor, Time, options ?? new ScrubOptions(), NullLogger<ScrubService>.Instance);

    /// <summary>Runs passes, moving the clock between them, until a thing is true.</summary>
    public async Task RunPassesUntilAsync(RepairService repair, Func<bool> condition)
    {
        for (int i = 0; i < 200 && !condition(); i++)
        {
            if (!await repair.RunNextPassAsync(CancellationToken.None))
                Time.Advance(TimeSpan.FromSeconds(5));
        }

        Assert.True(condition(), $"It did not come about; {IncompleteSlots} slots are incomplete.");
    }

    /// <summary>Lets time pass, from timer to timer, until the work has ended.</summary>
    public async Task LetTimePassUntilAsync(Task work)
    {
        using CancellationTokenSource limit = new(TimeSpan.FromSeconds(30));
        while (!work.IsCompleted)
        {
            limit.Token.ThrowIfCancellationRequested();
            await Task.Yield();
            Time.AdvanceToNextTimer();
        }

        await work;
    }

    /// <summary>Works off the queue until nothing is left in it.</summary>
    public async Task RunQueueUntilEmptyAsync(RepairService repair)
    {
        for (int i = 0; i < 200 && await Metadata.CountRepairsAsync() > 0; i++)
        {
            if (!await repair.WorkOffQueueAsync(CancellationToken.None))
                Time.Advance(TimeSpan.FromSeconds(5));
        }

        Assert.Equal(0, await Metadata.CountRepairsAsync());
    }

    /// <summary>The fragments of a block, by shard.</summary>
    internal static unsafe byte[][] Encode(Scheme scheme, ReadOnlySpan<byte> block)
    {
        if (scheme.IsReplicated)
        {
            byte[] copy = block.ToArray();
            return [.. Enumerable.Repeat(copy, scheme.Width)];
        }

        int shardBytes = scheme.ShardBytes(block.Length);
        byte[][] shards = [.. Enumerable.Range(0, scheme.Width).Select(_ => GC.AllocateArray<byte>(shardBytes, pinned: true))];
        for (int i = 0; i < scheme.DataShards && i * shardBytes < block.Length; i++)
            block.Slice(i * shardBytes, Math.Min(shardBytes, block.Length - i * shardBytes)).CopyTo(shards[i]);
        nint[] pointers = [.. shards.Select(shard => Marshal.UnsafeAddrOfPinnedArrayElement(shard, 0))];
        ReedSolomon.For(scheme).Encode(pointers.AsSpan(0, scheme.DataShards), pointers.AsSpan(scheme.DataShards), shardBytes);
        return shards;
    }

    private Guid AddStore()
    {
        int number = _mapped.Count + 1;
        var id = new Guid(number, 7, 7, [1, 2, 3, 4, 5, 6, 7, (byte)number]);
        _stores.Add(id, new MemoryFragmentStore(id, Time));
        _mapped.Add(new MappedDrive(id, 100, new FailureDomain("region", "zone", "rack", $"host{number}")));
        return id;
    }

    private void Change(Guid drive, Func<MappedDrive, MappedDrive> change)
    {
        int at = _mapped.FindIndex(mapped => mapped.Id == drive);
        _mapped[at] = change(_mapped[at]);
        Plan();
    }

    private void Plan() => SetMap(MapPlanner.Plan(_map, [.. _mapped], Map.GroupCount, Schemes));
}
