using System.Collections.Concurrent;
using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using ObjectStore.Grains;
using ObjectStore.Maintenance.Liveness;
using ObjectStore.Maintenance.Reclamation;
using ObjectStore.Maintenance.Repair;
using ObjectStore.Maintenance.Scrubbing;
using ObjectStore.Maintenance.Throttling;
using ObjectStore.Metadata;
using ObjectStore.Storage;
using ObjectStore.Storage.Compaction;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Simulation;
using ObjectStore.Testing;

namespace ObjectStore.Maintenance.Tests.Fixtures;

/// <summary>One life of a server on a <see cref="SimulatedPool"/>: what it has in memory dies with it. Once the power is gone nothing that it still tries has any effect.</summary>
internal sealed class PoolProcess : IFragmentStoreDirectory, ISlotCompletion
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    // Longer than a pass takes, as 15 minutes are in a server: what a repair makes that began before the deletion is deleted with the rest.
    private static readonly TimeSpan GarbageGrace = TimeSpan.FromSeconds(75);
    private static readonly CompactionOptions Compaction = new() { BytesPerSecond = 0, GarbageRatio = 0.1, MinActiveGarbageBytes = 1 };

    private readonly SimulatedPool _pool;
    private readonly LocalDrives _drives;
    private readonly ConcurrentDictionary<Guid, WatchedStore> _stores = [];
    private readonly ConcurrentDictionary<Guid, bool> _away = [];
    private readonly CancellationTokenSource _death = new();
    private readonly ExtentStore _extents;
    private readonly RepairQueue _queue;
    private readonly GarbageReclaimer _reclaimer;
    private readonly LoadGovernor _governor;
    private readonly MetadataExtentLiveness _liveness;
    private volatile ClusterMap _map;

    public PoolProcess(SimulatedPool pool, LocalDrives drives, IEnumerable<Guid> lost)
    {
        (_pool, _drives, _map) = (pool, drives, pool.Map);
        foreach (LocalFragmentStore drive in drives.Drives)
            _stores[drive.DriveId] = new WatchedStore(pool, this, drive);
        foreach (Guid drive in lost)
            _away[drive] = true;
        Metadata = new ObservedMetadataStore(pool.Metadata, pool.Time) { OnCall = OnMetadataCall };
        _governor = new LoadGovernor(pool.Time, new LoadGovernorOptions());
        _liveness = new MetadataExtentLiveness(Metadata, pool.Time, MetadataExtentLiveness.DefaultOrphanGrace, NullLogger<MetadataExtentLiveness>.Instance);
        _queue = new RepairQueue(Metadata, pool.Time, new RepairQueueOptions(), NullLogger<RepairQueue>.Instance);
        _extents = new ExtentStore(pool.Options, new ExtentStoreServices(this, pool.Time, pool.NextRandom, NoStorageEvents.Instance, _queue), _map);
        _reclaimer = new GarbageReclaimer(Metadata, _extents, pool.Time, new GarbageReclaimerOptions(), NullLogger<GarbageReclaimer>.Instance);
        Repair = new RepairService(
            Metadata, this, () => _map, _extents.Repairer, this, _liveness, _queue, _governor, pool.Time, new RepairOptions { CursorInterval = TimeSpan.FromTicks(1), ListPageEntries = 7 },
            NullLogger<RepairService>.Instance);
    }

    public ObservedMetadataStore Metadata { get; }

    public FoundDamage Damage => new(() => _map, _queue);

    /// <summary>From here on what reads report is recorded, as in a server.</summary>
    public Task StartQueueAsync() => _queue.StartAsync(CancellationToken.None);

    /// <summary>Scrubs one drive from its beginning to its end: its fragments and its sealed volumes.</summary>
    public async Task ScrubAsync(Guid drive)
    {
        await Metadata.SetCursorAsync("scrub/" + drive.ToString("N"), null);
        using var service = new ScrubService(
            Metadata, this, () => _map, _queue, _liveness, _governor, _pool.Time, new ScrubOptions { FloorBytesPerSecond = 1 << 30 }, NullLogger<ScrubService>.Instance);
        DriveScrubber scrubber = service.CreateScrubber(_stores[drive].Local);
        await scrubber.LoadAsync(Death);
        await scrubber.RunPassAsync(Death);
    }

    public async Task StartAsync()
    {
        foreach (WatchedStore store in _stores.Values)
            await store.LearnAsync();
        await RunAsync(() => Repair.BeginAsync(CancellationToken.None));
    }

    public RepairService Repair { get; }

    public CancellationToken Death => _death.Token;

    public IReadOnlyCollection<IFragmentStore> All => [.. _stores.Values.Where(store => !_away.ContainsKey(store.DriveId))];

    public IFragmentStore? Find(Guid driveId) => _away.ContainsKey(driveId) ? null : _stores.GetValueOrDefault(driveId);

    public WatchedStore Store(Guid driveId) => _stores[driveId];

    public void Lose(Guid drive) => _away[drive] = true;

    public void BringBack(Guid drive) => _away.TryRemove(drive, out _);

    /// <summary>The process hears of the newest map.</summary>
    public void SeeMap()
    {
        _map = _pool.Map;
        _extents.UpdateMap(_map);
    }

    public ValueTask CompleteAsync(IReadOnlyList<SlotCompletion> slots, CancellationToken cancellationToken = default)
    {
        RequirePower();
        _pool.SetMap(MapPlanner.Complete(_pool.Map, slots));
        RequirePower();

        // Half the time it hears of its own change later.
        if (_pool.Next(2) == 0)
            SeeMap();
        return default;
    }

    /// <summary>Does something, and waits for its end or that of the power.</summary>
    /// <exception cref="SimulatedCrashException">The power was cut meanwhile. All that the process did has ended.</exception>
    public async Task RunAsync(Func<Task> work)
    {
        Task task = Task.Run(work);
        await Task.WhenAny(task, _pool.Cut).WaitAsync(Patience);
        if (!_pool.IsCut)
        {
            await task;
            return;
        }

        await DieAsync();
        try
        {
            await task.WaitAsync(Patience);
        }
        catch (Exception e) when (e is not TimeoutException)
        {
            // As it would be: nobody is told.
        }

        throw new SimulatedCrashException();
    }

    /// <summary>Everything under way fails, and the files are let go.</summary>
    public async Task DieAsync()
    {
        await _death.CancelAsync();
        foreach (LocalFragmentStore drive in _drives.Drives)
        {
            if (drive.Fail("the power is gone") || drive.Engine.HasFailed)
                await drive.Engine.LetGo.WaitAsync(Patience);
        }

        Repair.Dispose();
        _queue.Dispose();
        _reclaimer.Dispose();
    }

    // ---- What clients do -------------------------------------------------------------------------------------------------------

    /// <summary>A PUT: the bytes, then the version, then the answer.</summary>
    public async Task PutAsync(int lengthBytes)
    {
        var data = new byte[lengthBytes];
        new Random((int)_pool.NextRandom()).NextBytes(data);
        ExtentId id = _extents.Ids.Next();
        string key = $"key-{id}";
        var version = new VersionId(_pool.NextRandom(), _pool.NextRandom() | 1);
        var descriptor = new ExtentDescriptor(id, 0, _pool.Bucket.Value, Encoding.UTF8.GetBytes(key), new UInt128(version.High, version.Low), 1);
        ExtentLayout layout = await _extents.WriteAsync(descriptor, data, Death);
        if (!Scheme.TryFromId(layout.SchemeId, out Scheme scheme))
            throw new InvalidOperationException("The scheme is none.");
        var extent = new TestExtent(key, version, descriptor with { PlacementGroup = layout.PlacementGroup }, scheme, layout.BlockSizeBytes, lengthBytes,
            [.. data.Chunk(layout.BlockSizeBytes).Select(block => TestCluster.Encode(scheme, block))]);
        _pool.Open[id] = (extent, IsDeletion: false);
        var stored = new ObjectVersion { VersionId = version, SizeBytes = lengthBytes, ETag = new ETag(1, 2, 0), LastModifiedUnixMs = 1, Parts = [extent.Part] };
        Assert.Equal(CommitStatus.Committed, (await CommitAsync(new ObjectMutation(key, VersionId.None, stored, [], null))).Status);
        _pool.Live[id] = extent;
        _pool.Open.TryRemove(id, out _);
    }

    /// <summary>A DELETE: the version is gone when it is answered, the bytes some time later.</summary>
    public async Task DeleteAsync(TestExtent extent)
    {
        _pool.Open[extent.Id] = (extent, IsDeletion: true);
        _pool.Live.TryRemove(extent.Id, out _);
        Assert.Equal(CommitStatus.Committed, (await CommitAsync(new ObjectMutation(extent.Key, extent.Version, null, [extent.Version], null))).Status);
        _pool.Deleted[extent.Id] = extent;
        _pool.Open.TryRemove(extent.Id, out _);
    }

    public Task ReclaimAsync() => _reclaimer.ReclaimAsync(Death);

    public async Task CompactAsync()
    {
        foreach (WatchedStore store in _stores.Values.Where(store => !_away.ContainsKey(store.DriveId)).OrderBy(store => store.DriveId))
            await store.Local.CompactAsync(Compaction, Death);
    }

    /// <summary>One look of everything that runs in the background.</summary>
    /// <returns>Whether a pass was run.</returns>
    public async Task<bool> MaintainAsync()
    {
        Task<bool> pass = Repair.RunNextPassAsync(Death);
        Task<bool> queue = Repair.WorkOffQueueAsync(Death);
        await Task.WhenAll(pass, queue, ReclaimAsync());
        return await pass;
    }

    public bool IsAtRest => _pool.IncompleteSlots == 0 && Repair.Status.SweepsPending == 0;

    /// <summary>Whether the queue has something of a live extent. What a write left that the power cut is looked at again until it is an orphan.</summary>
    public async Task<bool> HasRepairsAsync() => (await Metadata.ListRepairsAsync(long.MaxValue, 10_000))
        .Any(entry => _pool.Live.ContainsKey(new ExtentId(new UInt128(entry.Record.ExtentHigh, entry.Record.ExtentLow))));

    // ---- What is to be true ----------------------------------------------------------------------------------------------------

    /// <summary>Reads an extent as a client does.</summary>
    public Task<byte[]> ReadAsync(TestExtent extent) => ReadAsync(extent, 0, extent.LengthBytes);

    /// <summary>Reads a range of an extent as a client does.</summary>
    public async Task<byte[]> ReadAsync(TestExtent extent, int offset, int count)
    {
        await using IExtentReader reader = _extents.OpenRead(new ExtentLayout(extent.Id, extent.Group, extent.Scheme.Id, extent.BlockSizeBytes, extent.LengthBytes), offset, count);
        var bytes = new byte[count];
        for (int done = 0; done < bytes.Length;)
            done += await reader.ReadAsync(bytes.AsMemory(done));
        return bytes;
    }

    public async Task<bool> IsIntactAsync(TestExtent extent, FragmentKey key, Guid drive)
    {
        if (!_stores.TryGetValue(drive, out WatchedStore? store))
            return false;
        byte[] expected = extent.Shards[key.Block][key.Shard];
        var read = new byte[expected.Length];
        try
        {
            await store.Local.ReadAsync(new FragmentAddress(key, extent.Group, extent.Scheme, expected.Length), 0, read);
            return expected.AsSpan().SequenceEqual(read);
        }
        catch (Storage.StorageException)
        {
            return false;
        }
    }

    public async Task<IReadOnlyList<FragmentKey>> ListAsync(Guid drive)
    {
        var keys = new List<FragmentKey>();
        FragmentKey? after = null;
        do
        {
            FragmentPage page = await _stores[drive].Local.ListAsync(null, after, 1000);
            keys.AddRange(page.Entries.Select(entry => entry.Key));
            after = page.Next;
        }
        while (after is not null);
        return keys;
    }

    private async Task<CommitResult> CommitAsync(ObjectMutation mutation) => (await Metadata.CommitAsync(new RangeCommit(_pool.Bucket, 1, _pool.Lease.Epoch, [mutation], (_pool.Time.GetUtcNow() + GarbageGrace).ToUnixTimeMilliseconds())))[0];

    private StoreFault? OnMetadataCall(StoreCall call)
    {
        if (_death.IsCancellationRequested || !_pool.HasPower())
            return new StoreFault { Fail = new SimulatedCrashException() };
        return _pool.HasPower() ? null : new StoreFault { LoseReply = new SimulatedCrashException() };
    }

    private void RequirePower()
    {
        if (_death.IsCancellationRequested || !_pool.HasPower())
            throw new SimulatedCrashException();
    }
}

/// <summary>
/// A drive that watches the order of things: a fragment of a live extent may be deleted only from a drive that the map, as its owner has it durably, names neither as the slot's drive nor as a
/// source, and only once the drive of the slot was told to sync its copy and has said that it did, or had it at the start.
/// </summary>
internal sealed class WatchedStore(SimulatedPool pool, PoolProcess process, LocalFragmentStore local) : IFragmentStore
{
    private readonly ConcurrentDictionary<FragmentTicket, FragmentKey> _written = [];
    private readonly ConcurrentDictionary<FragmentKey, bool> _synced = [];

    public LocalFragmentStore Local => local;

    /// <summary>What recovery has found has survived: it is on the medium.</summary>
    public async Task LearnAsync()
    {
        foreach (FragmentKey key in await process.ListAsync(DriveId))
            _synced[key] = true;
    }

    public Guid DriveId => local.DriveId;

    public bool IsLocal => true;

    public async ValueTask<FragmentTicket> WriteAsync(FragmentWrite fragment, bool sync, CancellationToken cancellationToken = default)
    {
        FragmentTicket ticket = await local.WriteAsync(fragment, sync, cancellationToken);
        if (sync)
            _synced[fragment.Key] = true;
        else
            _written[ticket] = fragment.Key;
        return ticket;
    }

    public async ValueTask SyncAsync(ReadOnlyMemory<FragmentTicket> tickets, CancellationToken cancellationToken = default)
    {
        await local.SyncAsync(tickets, cancellationToken);
        foreach (FragmentTicket ticket in tickets.ToArray())
        {
            if (_written.TryGetValue(ticket, out FragmentKey key))
                _synced[key] = true;
        }
    }

    public async ValueTask DeleteAsync(ReadOnlyMemory<FragmentKey> keys, CancellationToken cancellationToken = default)
    {
        foreach (FragmentKey key in keys.ToArray())
        {
            if (pool.Live.TryGetValue(key.Extent, out TestExtent? extent) && WhyNot(extent, key) is { } reason)
                pool.Violations.Enqueue($"{key} of {extent.Scheme} was deleted from {DriveId}: {reason}");
            _synced.TryRemove(key, out _);
        }

        await local.DeleteAsync(keys, cancellationToken);
    }

    public ValueTask ReadAsync(FragmentAddress address, int offsetBytes, Memory<byte> destination, CancellationToken cancellationToken = default) => local.ReadAsync(address, offsetBytes, destination, cancellationToken);

    public bool TryRead(FragmentAddress address, int offsetBytes, Span<byte> destination) => local.TryRead(address, offsetBytes, destination);

    public ValueTask<FragmentDetails?> StatAsync(FragmentKey key, CancellationToken cancellationToken = default) => local.StatAsync(key, cancellationToken);

    public ValueTask<FragmentPage> ListAsync(IReadOnlySet<int>? groups, FragmentKey? after, int maxEntries, CancellationToken cancellationToken = default) => local.ListAsync(groups, after, maxEntries, cancellationToken);

    public ValueTask<DriveStatistics> GetStatisticsAsync(CancellationToken cancellationToken = default) => local.GetStatisticsAsync(cancellationToken);

    public ValueTask DisposeAsync() => local.DisposeAsync();

    private string? WhyNot(TestExtent extent, FragmentKey key)
    {
        GroupSlot slot = pool.SlotsOf(extent)[key.Shard];
        if (slot.Drive == DriveId)
            return "the map names this drive for it";
        if (slot.Sources.Contains(DriveId))
            return "the map names this drive as a source";
        if (!slot.IsComplete || slot.Drive is not { } home)
            return "its slot is not complete";
        return process.Store(home)._synced.ContainsKey(key) ? null : $"drive {home} has not synced its copy";
    }
}
