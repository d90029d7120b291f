using System.Collections.Concurrent;
using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Repair;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Extents;

/// <summary>What an extent store works with.</summary>
/// <param name="Drives">The drives that can be reached from here; may change at any time.</param>
/// <param name="NextRandom">64 random bits a call, thread-safe.</param>
/// <param name="Repairs">Where missing and damaged fragments are told.</param>
public sealed record ExtentStoreServices(IFragmentStoreDirectory Drives, TimeProvider Time, Func<ulong> NextRandom, IStorageEvents Events, IRepairSink Repairs);

/// <summary>
/// The data plane over the drives of a cluster: extents are cut into blocks, blocks into fragments, fragments go to the drives that the cluster map names.
/// The store knows no drive by itself; it holds no state but the latest map and what it has learnt of the drives' speed.
/// </summary>
public sealed class ExtentStore : IExtentStore
{
    private const int MaxCleanups = 4096;
    private static readonly TimeSpan ClosePatience = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan ShortestLinger = TimeSpan.FromMilliseconds(5);

    // One client whose writes take half a second is to be heard, or what slows him down would not know of it.
    private const int LeastWrites = 10;

    private readonly ConcurrentDictionary<Guid, DriveLane> _lanes = new();
    private readonly ConcurrentDictionary<(string Class, Scheme Asked, int Width), bool> _narrowed = new();
    private readonly Func<Guid, DriveLane> _lane;
    private readonly Lock _mapLock = new();
    private volatile ClusterRoute _route;
    private LocalDrives? _owned;
    private bool _stepped; // the owned drives' writers move by Step only
    private bool _disposed;

    /// <exception cref="StorageOptionsException">A setting is out of range.</exception>
    public ExtentStore(StorageOptions options, ExtentStoreServices services, IClusterMap map)
    {
        options.ValidateExtents();
        Options = options;
        Services = services;
        _lane = id => _lanes.GetOrAdd(id, static (drive, store) => new DriveLane(drive, store.Services.Drives, store.Options, store.Time, store.Events), this);
        _route = new ClusterRoute(map, _lane);
        Ids = new ExtentIdFactory(services.Time, services.NextRandom);
        Buffers = new ShardBuffers(options.ShardSizeBytes);
        WriteBudget = new BufferBudget(options.WriteBufferBytes, services.Time);
        ReadBudget = new BufferBudget(options.ReadBufferBytes, services.Time);
        IdleReaders = new IdleReaders(services.Time);
        SubstituteBudget = new BufferBudget(options.SubstituteBufferBytes, services.Time);
        RepairBudget = new BufferBudget(options.RepairBufferBytes, services.Time);
        Repairer = new FragmentRepairer(this);
        WriteLoad = new ForegroundLoad(services.Time, LeastWrites);
    }

    /// <summary>
    /// Opens the drives that the options name, recovers what a crash left behind, and plans a map over them: a store of one process. Owns the drives. The map is made anew each
    /// time and kept nowhere, so that it is the same only as long as the drives are: who has several drives and wants to lose one keeps a map, and opens the store over it.
    /// </summary>
    /// <param name="options">Settings.</param>
    /// <param name="time">The clock.</param>
    /// <param name="nextRandom">64 random bits a call, thread-safe; ids and volume generations come from it.</param>
    /// <param name="events">Who is told what happens.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <exception cref="StorageOptionsException">A setting is out of range.</exception>
    /// <exception cref="DriveInUseException">No drive can be used; the first is in use by another process.</exception>
    /// <exception cref="DriveIdentityException">No drive can be used, for another reason.</exception>
    public static async Task<ExtentStore> OpenAsync(StorageOptions options, TimeProvider time, Func<ulong> nextRandom, IStorageEvents? events = null, CancellationToken cancellationToken = default)
    {
        events ??= NoStorageEvents.Instance;
        LocalDrives drives = await LocalDrives.OpenAsync(options, time, nextRandom, events, cancellationToken).ConfigureAwait(false);
        return Over(drives, new EngineServices(options, time, nextRandom, events, Threaded: true));
    }

    /// <summary>Opens over given drives. Owns them once it returns.</summary>
    internal static ExtentStore Open(IReadOnlyList<IDrive> drives, EngineServices services) => Over(LocalDrives.Open(drives, services), services);

    public IClusterMap ClusterMap => _route.Map;

    public ExtentIdFactory Ids { get; }

    /// <summary>Rebuilds fragments by this store's map. Thread-safe.</summary>
    public IFragmentRepairer Repairer { get; }

    /// <summary>
    /// Who is asked for groups that the map lacks. Set once, before the store is used. Null for a store that made its map itself: that has the groups of all its schemes from the beginning.
    /// </summary>
    public IMapOwner? MapOwner { get; set; }

    internal StorageOptions Options { get; }

    internal ExtentStoreServices Services { get; }

    internal TimeProvider Time => Services.Time;

    internal IStorageEvents Events => Services.Events;

    internal IRepairSink Repairs => Services.Repairs;

    internal ClusterRoute Route => _route;

    internal ShardBuffers Buffers { get; }

    internal BufferBudget WriteBudget { get; }

    internal BufferBudget ReadBudget { get; }

    internal IdleReaders IdleReaders { get; }

    /// <summary>Bounds what reads take beyond their budget.</summary>
    internal BufferBudget SubstituteBudget { get; }

    internal BufferBudget RepairBudget { get; }

    internal BackgroundWork Background { get; } = new(MaxCleanups);

    /// <summary>How long fragments that make a quorum take to be stored, over all drives. The others are left out, so that one slow drive of many does not become the usual.</summary>
    internal LatencyWindow WriteLatency { get; } = new();

    /// <summary>How long clients wait for their writes once all bytes are there, until they may be answered: what they take to send them says nothing of the drives.</summary>
    public ForegroundLoad WriteLoad { get; }

    /// <summary>How long a write that has its quorum waits for the rest.</summary>
    internal TimeSpan WriteLinger
    {
        get
        {
            TimeSpan usual = WriteLatency.P95 * 2;
            usual = usual > ShortestLinger ? usual : ShortestLinger;
            return usual < Options.WriteLinger ? usual : Options.WriteLinger;
        }
    }

    /// <summary>Takes a map with a higher epoch than the one in use; ignores others. Operations under way end with the map they began with, or with the new one.</summary>
    public void UpdateMap(IClusterMap map)
    {
        lock (_mapLock)
        {
            if (map.Epoch > _route.Map.Epoch)
                _route = new ClusterRoute(map, _lane);
        }
    }

    public IExtentWriter CreateExtent(ExtentDescriptor descriptor, long? expectedLengthBytes = null)
    {
        Require(descriptor);
        return new ExtentWriter(this, descriptor, expectedLengthBytes);
    }

    public ValueTask<ExtentLayout> WriteAsync(ExtentDescriptor descriptor, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken = default)
    {
        Require(descriptor);
        if (bytes.Length <= Math.Min(VolumeFormat.MaxPackedPayloadBytes, Options.BlockSizeBytes))
        {
            (Scheme small, Scheme large, int smallBelow) = SchemesOf(descriptor);
            Scheme scheme = bytes.Length < smallBelow ? small : large;
            if (scheme.IsReplicated)
                return _route.HasGroups(scheme.Width) ? WriteCopiesAsync(descriptor, scheme, bytes, cancellationToken) : WriteFirstAsync(descriptor, scheme == small, bytes, cancellationToken);
        }

        return WriteLargeAsync(descriptor, bytes, cancellationToken);
    }

    public IExtentReader OpenRead(ExtentLayout layout, long offsetBytes, long lengthBytes)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        Scheme scheme = Require(layout);
        ArgumentOutOfRangeException.ThrowIfNegative(offsetBytes);
        ArgumentOutOfRangeException.ThrowIfNegative(lengthBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(lengthBytes, layout.LengthBytes - offsetBytes);
        return new ExtentReader(this, layout, scheme, offsetBytes, lengthBytes);
    }

    public bool TryReadSmall(ExtentLayout layout, Span<byte> destination)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (layout.LengthBytes > VolumeFormat.ChunkBytes)
            return false;
        Scheme scheme = Require(layout);
        if (!scheme.IsReplicated)
            return false;
        destination = destination[..(int)layout.LengthBytes];
        if (_route.TrySlotsOf(layout.PlacementGroup) is not { } slots)
            return false;
        return TryReadAtOnce(slots, new BlockAddress(layout.Id, layout.PlacementGroup, scheme, 0, destination.Length), new ShardRange(0, 0, destination.Length), destination);
    }

    /// <summary>
    /// Reads chunks of a shard that its drive has in memory; where there are copies, of the first whose drive answers promptly, those last that are being filled. False where it would block, or
    /// anything is amiss: the load finds out what, and it is the load that tries drives which did not answer.
    /// </summary>
    internal static bool TryReadAtOnce(RoutedSlot[] slots, BlockAddress block, ShardRange range, Span<byte> destination)
    {
        int copies = block.Scheme.IsReplicated ? block.Scheme.Width : 1;
        for (int i = 0; i < 2 * copies; i++)
        {
            int shard = range.Shard + (i % copies);
            RoutedSlot slot = ClusterRoute.SlotOf(slots, shard);
            if (slot.IsComplete != (i < copies))
                continue;
            foreach (DriveLane lane in slot.Candidates)
            {
                if (!lane.LooksPrompt || lane.Store is not { IsLocal: true } store)
                    continue;
                try
                {
                    return store.TryRead(block.Fragment(shard), range.Offset, destination);
                }
                catch (FragmentMissingException) when (!slot.IsComplete)
                {
                    // As a matter of course: what was moved already, or written since the slot moved, is on another of its drives.
                }
                catch (StorageException)
                {
                    // The load finds the same, looks elsewhere, and tells repair.
                    destination.Clear();
                    return false;
                }
            }
        }

        return false;
    }

    public async ValueTask DeleteAsync(ExtentLayout layout, CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        Scheme scheme = Require(layout);
        RoutedSlot[] slots = (await RouteOfAsync(layout.PlacementGroup, cancellationToken).ConfigureAwait(false)).SlotsOf(layout.PlacementGroup);
        List<Task>? tasks = null;
        for (int shard = 0; shard < scheme.Width; shard++)
        {
            foreach (DriveLane lane in ClusterRoute.SlotOf(slots, shard).Candidates)
            {
                Task task = DeleteAsync(lane, layout, shard, cancellationToken);
                if (!task.IsCompletedSuccessfully)
                    (tasks ??= []).Add(task);
            }
        }

        if (tasks is not null)
            await Task.WhenAll(tasks).ConfigureAwait(false);
    }

    public IReadOnlyList<DriveStatistics> GetStatistics() => [.. Services.Drives.All.OfType<LocalFragmentStore>().OrderBy(drive => drive.Path, StringComparer.Ordinal).Select(drive => drive.Engine.GetStatistics())];

    /// <summary>
    /// Waits up to 2 s for what goes on in the background, then lets go of the drives it owns. Writers and readers of extents are disposed before. What has not ended by then is late fragments of
    /// extents that were acknowledged, which have been recorded for repair, and of such as were not, which the scrub deletes.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        if (_disposed)
            return;
        _disposed = true;
        while (_stepped && Step())
        {
        }

        try
        {
            await Background.WhenIdleAsync().WaitAsync(ClosePatience, Time).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            // A drive hangs. Its buffers are freed when it lets go of them.
        }

        if (_owned is not null)
            await _owned.DisposeAsync().ConfigureAwait(false);
        Buffers.Close();
    }

    /// <summary>
    /// The schemes of a new extent: as configured, narrowed to the drives that take writes, which is said once for each class and width. The map may not have groups for them yet:
    /// <see cref="RequireGroupsAsync"/>.
    /// </summary>
    /// <exception cref="PlacementUnavailableException">The map has no drive that takes writes, or none has been had yet: to narrow to that would be to store less than the pool can.</exception>
    internal (Scheme Small, Scheme Large, int SmallBelowBytes) SchemesOf(ExtentDescriptor descriptor)
    {
        ClassSchemes configured = Options.Schemes.For(descriptor.StorageClass);
        IClusterMap map = _route.Map;
        int width = map.WritableDrives;
        if (width == 0)
            throw new PlacementUnavailableException(map.Epoch == 0 ? "the pool's map is not known yet" : "no drive takes writes");
        return (Narrow(configured.Small), Narrow(configured.Large), configured.SmallBelowBytes);

        Scheme Narrow(Scheme asked)
        {
            Scheme used = asked.Narrow(width);
            if (used == asked)
                return asked;

            // An unknown class is stored as STANDARD, so the names are those of the policy and few.
            string storageClass = Options.Schemes.Classes.ContainsKey(descriptor.StorageClass) ? descriptor.StorageClass : SchemePolicy.Standard;
            if (!_narrowed.ContainsKey((storageClass, asked, width)) && _narrowed.TryAdd((storageClass, asked, width), true))
                Events.SchemeNarrowed(storageClass, asked, used, width);
            return used;
        }
    }

    /// <summary>
    /// Waits until the map has groups for the scheme that a class asks for, narrowed to the drives of that map. They are never taken from a narrower table instead: that would be fewer
    /// shards than there are drives for.
    /// </summary>
    /// <param name="small">Whether for its small parts.</param>
    /// <exception cref="PlacementUnavailableException">They cannot be had now.</exception>
    internal async ValueTask RequireGroupsAsync(ExtentDescriptor descriptor, bool small, CancellationToken cancellationToken)
    {
        ClassSchemes configured = Options.Schemes.For(descriptor.StorageClass);
        Scheme asked = small ? configured.Small : configured.Large;
        if (MapOwner is not { } owner)
            throw new PlacementUnavailableException("nobody owns the map");
        await owner.RequireGroupsAsync(asked, cancellationToken).ConfigureAwait(false);

        // By the time it is asked for again the map may be a newer one; a width that is in a map stays.
        IClusterMap map = _route.Map;
        if (map.WritableDrives == 0)
            throw new PlacementUnavailableException("no drive takes writes");
        if (!map.Widths.Contains(asked.Narrow(map.WritableDrives).Width))
            throw new PlacementUnavailableException($"the map has {map.WritableDrives} drives that take writes, and was to have groups for {asked} on them");
    }

    /// <summary>The map to go by for a group that is in use: where the one at hand does not have it, it is older than the extent, and a newer one is fetched.</summary>
    /// <exception cref="PlacementUnavailableException">There is none.</exception>
    internal ValueTask<ClusterRoute> RouteOfAsync(int group, CancellationToken cancellationToken)
    {
        ClusterRoute route = _route;
        return route.TrySlotsOf(group) is not null ? new ValueTask<ClusterRoute>(route) : new ValueTask<ClusterRoute>(FetchAsync());

        async Task<ClusterRoute> FetchAsync()
        {
            if (MapOwner is { } owner)
                await owner.RefreshAsync(cancellationToken).ConfigureAwait(false);
            ClusterRoute newest = _route;
            return newest.TrySlotsOf(group) is not null ? newest : throw new PlacementUnavailableException($"map {newest.Map.Epoch} does not have group {new PlacementGroupId(group)}");
        }
    }

    /// <summary>The owned drives' engines, in the order of their paths.</summary>
    internal IReadOnlyList<DriveEngine> Engines => [.. _owned!.Drives.Select(drive => drive.Engine)];

    /// <summary>One step of every volume writer of the owned drives; false where none had work.</summary>
    internal bool Step() => _owned!.Step();

    internal int BlockSizeOf(Scheme scheme) => scheme.IsReplicated ? Options.BlockSizeBytes : scheme.DataShards * Options.ShardSizeBytes;

    private static ExtentStore Over(LocalDrives drives, EngineServices services)
    {
        var domain = new FailureDomain("region", "zone", "rack", "host");
        ClusterMap map = MapPlanner.Plan(
            null, [.. drives.Drives.Select(drive => new MappedDrive(drive.DriveId, Math.Max(1, drive.Engine.CapacityBytes >> 30), domain))], services.Options.PlacementGroups, services.Options.Schemes.Schemes);
        var directory = new FragmentStoreDirectory(drives.Drives);
        return new ExtentStore(services.Options, new ExtentStoreServices(directory, services.Time, services.NextRandom, services.Events, NoRepairSink.Instance), map)
        {
            _owned = drives,
            _stepped = !services.Threaded,
        };
    }

    /// <summary>The first extent of its width: the map is to have groups for it first.</summary>
    private async ValueTask<ExtentLayout> WriteFirstAsync(ExtentDescriptor descriptor, bool small, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        await RequireGroupsAsync(descriptor, small, cancellationToken).ConfigureAwait(false);
        return await WriteAsync(descriptor, bytes, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>The copies are made from a buffer of the store's own: a copy that lags may still be on its way when the caller has its memory back.</summary>
    private async ValueTask<ExtentLayout> WriteCopiesAsync(ExtentDescriptor descriptor, Scheme scheme, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        ShardBufferPool pool = Buffers.For(bytes.Length);
        await WriteBudget.TakeAsync(pool.BufferBytes, null, Options.BufferPatience, cancellationToken).ConfigureAwait(false);
        ShardBuffer buffer = pool.Rent(WriteBudget);
        bytes.Span.CopyTo(buffer.Span);
        var commit = new ExtentCommit(this, descriptor, scheme, Options.BlockSizeBytes);
        ulong[] checksums = ChunkChecksums.Compute(buffer.Span[..bytes.Length]);
        commit.Submit(bytes.Length, new ReadOnlySpan<ShardBuffer>(in buffer), new ReadOnlySpan<ulong[]>(in checksums), sync: true);
        try
        {
            await commit.CompleteAsync(cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            commit.Abandon();
            throw;
        }

        return new ExtentLayout(descriptor.Id, commit.PlacementGroup, scheme.Id, Options.BlockSizeBytes, bytes.Length);
    }

    private async ValueTask<ExtentLayout> WriteLargeAsync(ExtentDescriptor descriptor, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        await using IExtentWriter writer = CreateExtent(descriptor, bytes.Length);
        while (!bytes.IsEmpty)
        {
            Memory<byte> room = writer.GetMemory();
            int count = Math.Min(room.Length, bytes.Length);
            bytes[..count].CopyTo(room);
            writer.Advance(count);
            bytes = bytes[count..];
            await writer.FlushIfFullAsync(cancellationToken).ConfigureAwait(false);
        }

        return await writer.CompleteAsync(cancellationToken).ConfigureAwait(false);
    }

    private async Task DeleteAsync(DriveLane lane, ExtentLayout layout, int shard, CancellationToken cancellationToken)
    {
        const int BatchKeys = 1024;
        IFragmentStore store = lane.Store ?? throw new DriveUnavailableException(lane.DriveId, "it cannot be reached from here");
        for (int first = 0; first < layout.BlockCount; first += BatchKeys)
        {
            var keys = new FragmentKey[Math.Min(BatchKeys, layout.BlockCount - first)];
            for (int i = 0; i < keys.Length; i++)
                keys[i] = new FragmentKey(layout.Id, first + i, (ushort)shard);
            try
            {
                ValueTask deleting = store.DeleteAsync(keys, cancellationToken);
                if (!deleting.IsCompletedSuccessfully)
                    await deleting.AsTask().WaitAsync(Options.WriteTimeout, Time, cancellationToken).ConfigureAwait(false);
            }
            catch (TimeoutException e)
            {
                var unavailable = new DriveUnavailableException(lane.DriveId, $"a delete took longer than {Options.WriteTimeout.TotalSeconds} s", e);
                lane.Observe(unavailable);
                throw unavailable;
            }
            catch (StorageException e)
            {
                lane.ObserveDelete(e);
                throw;
            }
        }
    }

    private void Require(ExtentDescriptor descriptor)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (descriptor.KeyUtf8.Length > ExtentDescriptor.MaxKeyBytes)
            throw new ArgumentException($"A key has at most {ExtentDescriptor.MaxKeyBytes} bytes.", nameof(descriptor));
        if (descriptor.PartNumber is < 0 or > ushort.MaxValue)
            throw new ArgumentException("A part number is 0 to 65535.", nameof(descriptor));
    }

    private static Scheme Require(ExtentLayout layout)
    {
        if (!Scheme.TryFromId(layout.SchemeId, out Scheme scheme))
            throw new NotSupportedException($"Scheme {layout.SchemeId} is not known to this build.");
        int shardBytes = layout.BlockSizeBytes / scheme.DataShards;
        if (layout.BlockSizeBytes % scheme.DataShards != 0 || shardBytes < VolumeFormat.ChunkBytes || shardBytes % VolumeFormat.ChunkBytes != 0 || shardBytes > VolumeFormat.MaxBlockBytes)
            throw new ArgumentException($"A block of {layout.BlockSizeBytes} bytes in {scheme} cannot be.", nameof(layout));
        if (new PlacementGroupId(layout.PlacementGroup).Width != scheme.Width)
            throw new ArgumentException($"Group {new PlacementGroupId(layout.PlacementGroup)} is not one of {scheme}.", nameof(layout));
        return scheme;
    }

    /// <summary>The group of an extent is known once its scheme is.</summary>
    internal static ExtentDescriptor Place(ExtentDescriptor descriptor, Scheme scheme, ClusterRoute route)
        => descriptor with { PlacementGroup = route.Map.GroupOf(descriptor.Id, scheme.Width).Value };
}
