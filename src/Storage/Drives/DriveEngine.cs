using System.Collections.Concurrent;
using System.Diagnostics;
using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Compaction;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Index;
using ObjectStore.Storage.Recovery;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Drives;

/// <summary>What the engines of a store share.</summary>
internal sealed record EngineServices(StorageOptions Options, TimeProvider Time, Func<ulong> NextRandom, IStorageEvents Events, bool Threaded)
{
    /// <summary>Drives of this process, over which the default number of writers is spread.</summary>
    public int DriveCount { get; init; } = 1;

    /// <summary>Called for each volume that recovery opens and each record that it finds.</summary>
    public Action OnRecoveryStep { get; init; } = () => { };
}

/// <summary>One drive at work: its volumes, its index, its writers, and the thread that keeps the index up with the log.</summary>
internal sealed partial class DriveEngine : IVolumeSource, IDisposable
{
    private const int MaxDeleteRounds = 3;
    private const int VolumesPerUnopened = 16;
    private const long SmallestVolumeBytes = 64L << 20;
    private const long SmallestDeleteVolumeBytes = 1L << 20;

    private readonly IDrive _drive;
    private readonly EngineServices _services;
    private readonly DriveIdentity _identity;
    private readonly DriveIndex _index;
    private readonly ConcurrentQueue<Volume> _open = new();
    private readonly Lock _create = new();
    private readonly AutoResetEvent _work = new(false);
    private readonly Thread? _indexThread;
    private VolumeWriter[] _writers = [];
    private long _lastVolumeId;
    private volatile bool _full;
    private volatile bool _closing;
    private volatile bool _closed;
    private int _released;

    private DriveEngine(IDrive drive, DriveIdentity identity, DriveIndex index, EngineServices services)
    {
        _drive = drive;
        _identity = identity;
        _index = index;
        _services = services;
        index.BeforeDelete = RequireFileOf;
        if (services.Threaded)
        {
            _indexThread = new Thread(RunIndex) { IsBackground = true, Name = "index writer" };
            index.WorkDue = () => _work.Set();
        }

        Threads = new DriveThreads(services.Threaded, services.Time);
    }

    public Guid DriveId => _identity.DriveId;

    public long CapacityBytes => _drive.CapacityBytes;

    public DriveIndex Index => _index;

    public string Path => _drive.Path;

    public Guid ClusterId => _identity.ClusterId;

    /// <summary>Whether writers and index have threads of their own; otherwise a simulation steps them, and nothing may be put on other threads.</summary>
    public bool Threaded => _services.Threaded;

    public IReadOnlyList<VolumeWriter> Writers => _writers;

    public static DriveEngine Open(IDrive drive, DriveIdentity identity, EngineServices services)
    {
        long began = Stopwatch.GetTimestamp();
        bool rebuilt = false;
        DriveEngine engine;
        try
        {
            IndexDatabase database = IndexDatabase.Open(drive.IndexPath, identity.DriveId, out bool created);
            rebuilt = created && drive.ListVolumes().Count > 0;
            if (rebuilt)
                services.Events.IndexRebuildStarted(identity.DriveId, "There is no index.");
            engine = Build(database);
        }
        catch (Exception e) when (e is IndexDamagedException or IndexUnreadableException)
        {
            services.Events.IndexRebuildStarted(identity.DriveId, e.Message);
            engine = Build(Recreate(drive, identity));
            rebuilt = true;
        }

        try
        {
            engine.Recover(began, rebuilt);
        }
        catch (Exception e) when (e is IndexDamagedException or IndexUnreadableException && !rebuilt)
        {
            engine.GiveBack();
            services.Events.IndexRebuildStarted(identity.DriveId, e.Message);
            engine = Build(Recreate(drive, identity));
            try
            {
                engine.Recover(began, rebuiltIndex: true);
            }
            catch
            {
                engine.GiveBack();
                throw;
            }
        }
        catch
        {
            engine.GiveBack();
            throw;
        }

        engine.Start();
        return engine;

        // What the index reads of its database as it is made may be damaged as well.
        DriveEngine Build(IndexDatabase database)
        {
            DriveIndex index;
            try
            {
                index = new DriveIndex(drive, identity.DriveId, services.Options, services.Events, database);
            }
            catch
            {
                database.Dispose();
                throw;
            }

            return new DriveEngine(drive, identity, index, services);
        }
    }

    /// <summary>The writer with the least to do; the first of equals, so that small writes that are few share one sync.</summary>
    public VolumeWriter PickWriter()
    {
        VolumeWriter best = _writers[0];
        for (int i = 1; i < _writers.Length; i++)
        {
            if (_writers[i].Budget.TakenBytes + (256 << 10) < best.Budget.TakenBytes)
                best = _writers[i];
        }

        return best;
    }

    /// <summary>The writer of an extent whose blocks come without a sync of their own: always the same, so that one sync covers them all, unless its queue is much the longer one.</summary>
    public VolumeWriter PickWriter(ExtentId extent)
    {
        if (_writers.Length == 1)
            return _writers[0];
        VolumeWriter own = _writers[(int)(Placement.ClusterMap.Mix((ulong)extent.Value) % (ulong)_writers.Length)];
        VolumeWriter least = PickWriter();
        return own.Budget.TakenBytes > least.Budget.TakenBytes + (8 << 20) ? least : own;
    }

    public ValueTask<WriteTicket> SubmitAsync(VolumeWriter writer, WriteRequest request, CancellationToken cancellationToken)
    {
        ValueTask admitted;
        try
        {
            admitted = writer.Budget.TakeAsync(request.CostBytes, cancellationToken);
        }
        catch
        {
            request.Unpin();
            throw;
        }

        StorageMetrics.QueuedBytes.Record(writer.Budget.TakenBytes);
        if (!admitted.IsCompletedSuccessfully)
            return AwaitAdmission(admitted);
        Enqueue();
        return request.AsTask();

        void Enqueue()
        {
            try
            {
                writer.Enqueue(request);
            }
            catch
            {
                writer.Budget.Release(request.CostBytes);
                request.Unpin();
                throw;
            }
        }

        async ValueTask<WriteTicket> AwaitAdmission(ValueTask wait)
        {
            try
            {
                await wait.ConfigureAwait(false);
            }
            catch
            {
                request.Unpin();
                throw;
            }

            Enqueue();
            return await request.AsTask().ConfigureAwait(false);
        }
    }

    public WriteRequest NewFragment(in FragmentWrite fragment, bool needsSync) => WriteRequest.Fragment(_services.Threaded, fragment, needsSync);

    public WriteRequest NewCopy(in FragmentWrite fragment, long createdUnixMilliseconds, (long VolumeId, long Offset) source)
        => WriteRequest.Fragment(_services.Threaded, fragment, needsSync: false, createdUnixMilliseconds, source);

    public WriteRequest NewSeal(Volume volume) => WriteRequest.Seal(_services.Threaded, volume);

    public WriteRequest NewSync() => WriteRequest.Sync(_services.Threaded);

    public WriteRequest NewTombstone(TombstoneEntry[] entries, bool needsSync)
    {
        byte[] payload = TombstoneEntry.Encode(entries);
        return WriteRequest.Tombstone(_services.Threaded, entries, payload, Integrity.ChunkChecksums.Compute(payload), needsSync);
    }

    /// <summary>Deletes fragments, durably, every copy of them that is here, also such as have been queued or written without a sync before this call; false where there was none.</summary>
    public async ValueTask<bool> DeleteAsync(IEnumerable<FragmentKey> keys, CancellationToken cancellationToken)
    {
        await SettleWritesAsync(cancellationToken).ConfigureAwait(false);
        VolumeWriter writer = PickWriter();
        bool any = false;
        foreach (FragmentKey[] part in keys.Chunk(TombstoneEntry.MaxPerRecord / 2))
        {
            List<TombstoneEntry> entries = await FindCopiesAsync(part).ConfigureAwait(false);
            if (entries.Count == 0)
                continue;
            any = true;
            FragmentKey[] deleted = [.. entries.Select(entry => entry.Key).Distinct()];
            StorageMetrics.FragmentsDeleted.Add(deleted.Length);

            // Again where compaction has moved a fragment between the look-up and the tombstone; it moves none twice so soon. Where the index could not be read it may still have the
            // fragment; it is rebuilt from the tombstones, which are synced.
            for (int round = 0; round < MaxDeleteRounds && entries.Count > 0; round++)
            {
                foreach (TombstoneEntry[] record in entries.Chunk(TombstoneEntry.MaxPerRecord))
                    await SubmitAsync(writer, NewTombstone(record, needsSync: true), cancellationToken).ConfigureAwait(false);
                if (_index.IsRebuildDue)
                    break;
                entries = await FindCopiesAsync(deleted).ConfigureAwait(false);
            }
        }

        return any;
    }

    /// <summary>
    /// Brings what was queued or written without a sync before this call into the index, which takes records only once they are synced: a delete that did not see them would find nothing, and
    /// the next sync would bring them to life. Costs nothing where nothing is pending.
    /// </summary>
    private async ValueTask SettleWritesAsync(CancellationToken cancellationToken)
    {
        List<Task>? syncs = null;
        foreach (VolumeWriter writer in _writers)
        {
            if (writer.HasUnsynced)
                (syncs ??= []).Add(SettleAsync(writer));
        }

        if (syncs is not null)
            await Task.WhenAll(syncs).ConfigureAwait(false);

        async Task SettleAsync(VolumeWriter writer)
        {
            try
            {
                await SubmitAsync(writer, NewSync(), cancellationToken).ConfigureAwait(false);
            }
            catch (VolumePoisonedException)
            {
                // What was pending is lost to its writers. It may be on the medium all the same; the index remembers it as older copies, which a delete names too.
            }
        }
    }

    /// <summary>On a thread of the drive, since the index's database has to be asked.</summary>
    private Task<List<TombstoneEntry>> FindCopiesAsync(FragmentKey[] keys) => Threads.RunAsync(() =>
    {
        var copies = new List<TombstoneEntry>();
        foreach (FragmentKey key in keys)
            _index.AddCopies(key, copies);
        return copies;
    });

    /// <summary>Deletes what this drive has of the extent's first shards; false where it has nothing.</summary>
    public ValueTask<bool> DeleteAsync(ExtentLayout layout, CancellationToken cancellationToken)
        => DeleteAsync(Enumerable.Range(0, layout.BlockCount).Select(block => new FragmentKey(layout.Id, block, 0)), cancellationToken);

    public bool TryLocate(FragmentKey key, out FragmentLocation location, out Volume volume)
    {
        for (int tries = 0; _index.TryGet(key, out location); tries++)
        {
            if (_index.Volumes.TryGetValue(location.VolumeId, out Volume? found))
            {
                volume = found;
                return true;
            }

            // The volume has been deleted since the location was cached, and the fragment may have moved before; or its file is lost.
            _index.Forget(key);
            if (tries == 3 || _index.Unreadable.ContainsKey(location.VolumeId))
                break;
        }

        if (_index.Unreadable.TryGetValue(location.VolumeId, out string? reason))
            throw Corrupt(key, location, reason, isCounted: false);
        volume = null!;
        return false;
    }

    /// <summary>Throws where the drive as a whole does not answer: what it cannot read then says nothing of single fragments.</summary>
    public void RequireAnswer(IOException cause)
    {
        if (Posix.IsOfWholeDevice(cause))
            throw Unavailable(cause);
        try
        {
            if (_drive.ReadIdentity() is not null)
                return;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Unavailable(e);
        }

        throw Unavailable(cause);
    }

    public DriveUnavailableException Unavailable(Exception cause)
    {
        Errors.CountIoError();
        return new DriveUnavailableException(DriveId, cause.Message, cause);
    }

    /// <summary>What a caller of the data plane is told of a failure that is not one of the contract's own.</summary>
    public StorageException Translate(Exception cause)
        => cause is NoSpaceException ? new DriveFullException(DriveId, 0, HeadroomBytes) : Unavailable(cause);

    /// <param name="key">The fragment.</param>
    /// <param name="location">Where it was.</param>
    /// <param name="reason">For people.</param>
    /// <param name="inner">What the drive said.</param>
    /// <param name="isCounted">Whether it says something of how the drive fares now: of a volume that was found gone at the start it does not, however many fragments were in it.</param>
    public FragmentCorruptException Corrupt(FragmentKey key, FragmentLocation location, string reason, Exception? inner = null, bool isCounted = true)
    {
        StorageMetrics.FragmentsCorrupt.Add(1);
        if (isCounted)
            Errors.CountCorruptFragment(location.VolumeId, location.Offset);
        _services.Events.FragmentCorrupt(DriveId, location.VolumeId, location.Offset, key.Extent, key.Block, key.Shard, reason);
        return new FragmentCorruptException(key.Extent, key.Block, key.Shard, DriveId, location.VolumeId, location.Offset, reason, inner);
    }

    /// <summary>Tombstones of the volume cannot be read; where in it is not known.</summary>
    public void TombstonesLost(Volume volume) => _services.Events.VolumeCorrupt(DriveId, volume.Id, VolumeFormat.LogStart, volume.DurableEnd - VolumeFormat.LogStart);

    public Volume TakeVolume(int minimumBytes, SpaceUse use)
    {
        long needed = VolumeFormat.AlignToPage(minimumBytes) + VolumeFormat.LogStart + VolumeFormat.TailBytes;
        for (int tries = _open.Count; tries > 0 && _open.TryDequeue(out Volume? open); tries--)
        {
            if (open.AppendOffset + needed <= open.Header.CapacityBytes)
                return open;
            _open.Enqueue(open);
        }

        lock (_create)
            return CreateVolume(needed, use);
    }

    public bool TryTakeOpen(Volume volume)
    {
        for (int tries = _open.Count; tries > 0 && _open.TryDequeue(out Volume? open); tries--)
        {
            if (open == volume)
                return true;
            _open.Enqueue(open);
        }

        return false;
    }

    public TimeProvider Time => _services.Time;

    public ulong NextRandom() => _services.NextRandom();

    public IReadOnlyList<VolumeInfo> ListVolumes()
        => [.. _index.Volumes.Values.OrderBy(volume => volume.Id).Select(volume =>
        {
            (long live, long fragments, long useful) = _index.Useful(volume);
            return new VolumeInfo(volume.Id, volume.State, volume.DurableEnd - VolumeFormat.LogStart, live, fragments, useful, volume.File.LengthBytes);
        })];

    /// <summary>The writer that compaction uses: the last, since small writes that are few go to the first.</summary>
    public VolumeWriter CompactionWriter => _writers[^1];

    public DriveStatistics GetStatistics()
    {
        (long live, long garbage, long fragments) = _index.Totals();
        ICollection<Volume> volumes = _index.Volumes.Values;
        int poisoned = volumes.Count(volume => volume.State == VolumeState.Poisoned);
        (long capacity, long free) = (0, 0);
        bool available = true;
        try
        {
            (capacity, free) = (_drive.CapacityBytes, _drive.FreeBytes);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            available = false; // the folder is gone, or the drive is
        }

        DriveState state = _failure is not null ? DriveState.Unavailable : _closed ? DriveState.Closed : !available ? DriveState.Unavailable : _full ? DriveState.Full : poisoned > 0 ? DriveState.Degraded : DriveState.Healthy;
        return new DriveStatistics(
            DriveId, _drive.Path, state, capacity, free, live, garbage, fragments, volumes.Count,
            volumes.Count(volume => volume.State == VolumeState.Sealed), poisoned, _writers.Sum(writer => writer.Budget.TakenBytes))
        {
            LogBytes = volumes.Sum(volume => volume.DurableEnd),
        };
    }

    /// <summary>One step of every writer, in order; false where none had work. For the simulation.</summary>
    public bool Step()
    {
        bool worked = false;
        foreach (VolumeWriter writer in _writers)
            worked |= writer.RunOnce();
        return worked;
    }

    /// <summary>Brings the index up to the log and deletes volumes that hold only garbage.</summary>
    public void Maintain(bool durable = false)
    {
        try
        {
            if (_index.TryFlush(durable))
                _index.ReclaimVolumes();
        }
        catch (Exception e) when (e is IOException or StorageException or UnauthorizedAccessException)
        {
            _services.Events.IndexWriteFailed(DriveId, e);
        }
    }

    /// <summary>Finishes what waits. Of a drive that was given up there is nothing to finish: its threads and files are let go in the background.</summary>
    public void Dispose()
    {
        lock (_disposal)
        {
            if (_closed || _failure is not null)
                return;
            _index.BeginClose();
            Threads.Close();
            foreach (VolumeWriter writer in _writers)
                writer.BeginClose();
            foreach (VolumeWriter writer in _writers)
                writer.Close();
            _closing = true;
            _work.Set();
            _indexThread?.Join();
            if (_failure is not null)
                return;

            // Garbage is not looked at: of that there may be much, it is as safe as anything, and the next start deletes it.
            _index.TryFlush(durable: true);
            Release();
        }
    }

    /// <summary>Lets go of everything without finishing anything, as a crash would. For the simulation.</summary>
    internal void Abandon() => Release();

    private void Release()
    {
        if (Interlocked.Exchange(ref _released, 1) != 0)
            return;
        _closed = true;
        foreach (VolumeWriter writer in _writers)
            writer.Dispose();
        _index.Dispose();
        DisposeVolumes();
        _drive.Dispose(); // but not _work, which whoever gives the drive up at this moment may be about to set
    }

    /// <summary>Of an engine that did not come up. The drive stays the caller's.</summary>
    private void GiveBack()
    {
        DisposeVolumes();
        _index.Dispose();
    }

    private void DisposeVolumes()
    {
        foreach (Volume volume in _index.Volumes.Values)
            volume.Dispose();
    }

    private static IndexDatabase Recreate(IDrive drive, DriveIdentity identity)
    {
        IndexDatabase.Delete(drive.IndexPath);
        return IndexDatabase.Open(drive.IndexPath, identity.DriveId, out _);
    }

    private void Start()
    {
        int writers = _services.Options.WritersPerDrive != 0 ? _services.Options.WritersPerDrive : Math.Clamp(Environment.ProcessorCount / _services.DriveCount, 1, 4);
        _writers = [.. Enumerable.Range(0, writers).Select(number => new VolumeWriter(this, _index, _services.Options, _services.Events, _services.Time, _services.Threaded, number))];
        if (!_services.Threaded)
            _index.WorkDue = () => Maintain();
        _indexThread?.Start();
        _ = SettleDeadCopiesAsync(CancellationToken.None);
    }

    /// <summary>
    /// Writes tombstones for copies that compaction made of fragments which were deleted meanwhile. Until they are synced no volume is reclaimed, since what keeps such a copy down
    /// till then is the tombstone of the place it was copied from. Does not throw: what could not be written is tried again.
    /// </summary>
    public async Task SettleDeadCopiesAsync(CancellationToken cancellationToken)
    {
        try
        {
            foreach (TombstoneEntry[] part in _index.DeadCopies().Chunk(TombstoneEntry.MaxPerRecord))
                await SubmitAsync(PickWriter(), NewTombstone(part, needsSync: true), cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is StorageException or IOException or UnauthorizedAccessException or OperationCanceledException or ObjectDisposedException)
        {
            // They stay on the list, and reclaiming waits for them; a poisoned volume or a full drive has been reported where it happened.
        }
    }

    private void RunIndex()
    {
        while (!_closing)
        {
            _work.WaitOne(_services.Options.IndexFlushInterval);
            if (!_closing)
                Maintain();
        }
    }

    private long HeadroomBytes => _services.Options.HeadroomBytes ?? Math.Max(256L << 20, _drive.CapacityBytes / 100);

    private Volume CreateVolume(long needed, SpaceUse use)
    {
        long size = _services.Options.VolumeSizeBytes;
        long free = _drive.FreeBytes;
        long available = free - (use == SpaceUse.Compaction ? HeadroomBytes / 2 : HeadroomBytes);
        if (available < size)
        {
            // Smaller volumes while the drive fills up; none once the headroom would be touched.
            size = available & ~(VolumeFormat.PageBytes - 1L);
            if (size < Math.Max(needed, use == SpaceUse.Compaction ? 0 : Math.Min(SmallestVolumeBytes, _services.Options.VolumeSizeBytes)))
            {
                size = use == SpaceUse.Delete ? Math.Max(needed, Math.Min(SmallestDeleteVolumeBytes, _services.Options.VolumeSizeBytes)) : 0;
                if (size == 0 || size > free)
                    throw RefuseFull(free);
            }
        }

        RequireIdentity();
        long id = ++_lastVolumeId; // taken whatever happens: a file may stay behind where the creation fails
        IVolumeFile file;
        try
        {
            file = _drive.CreateVolume(id, size);
        }
        catch (NoSpaceException)
        {
            throw RefuseFull(free);
        }

        var header = new VolumeHeader(_identity.ClusterId, _identity.DriveId, id, _services.NextRandom(), size, _services.Time.GetUtcNow().ToUnixTimeMilliseconds());
        var volume = new Volume(header, file);
        try
        {
            using var pages = new AlignedBuffer(VolumeFormat.LogStart);
            header.Encode(pages.GetSpan());
            header.Encode(pages.GetSpan()[VolumeFormat.PageBytes..]);
            unsafe
            {
                file.Write(0, [new VolumeSegment((nint)pages.Address, VolumeFormat.LogStart)], throughCache: false);
            }

            file.Sync();
            volume.AppendChecksum = volume.CompleteChecksum = Integrity.Crc64Nvme.Compute(pages.GetSpan());
        }
        catch (Exception e)
        {
            file.Dispose();
            if (e is IOException)
                TryDelete(id);
            throw;
        }

        if (_services.Options.DirectIo && OperatingSystem.IsLinux() && !file.DirectIo)
            _services.Events.DirectIoUnavailable(DriveId, _drive.Path);
        _index.Volumes[id] = volume;
        _index.MarkDirty(volume);
        if (_full && use == SpaceUse.Write)
        {
            _full = false;
            _services.Events.DriveHasSpaceAgain(DriveId, free);
        }

        return volume;
    }

    private void TryDelete(long id)
    {
        try
        {
            RequireIdentity();
            _drive.DeleteVolume(id);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The next start finds a volume that was never finished and removes it.
        }
    }

    private DriveFullException RefuseFull(long free)
    {
        if (!_full)
        {
            _full = true;
            _services.Events.DriveFull(DriveId, free, HeadroomBytes);
        }

        return new DriveFullException(DriveId, free, HeadroomBytes);
    }

    private void Recover(long began, bool rebuiltIndex)
    {
        using Activity? activity = StorageActivities.StartRecovery(DriveId, _drive.Path);
        using var window = new AlignedBuffer(4 << 20);
        using var page = new AlignedBuffer(VolumeFormat.PageBytes);
        IndexDatabase database = _index.Database;
        Dictionary<long, VolumeRow> rows = database.ReadVolumes().ToDictionary(row => row.Id);
        HashSet<long> files = [.. _drive.ListVolumes()];
        _lastVolumeId = files.Concat(rows.Keys).Append(database.ReadLastDroppedVolume()).Max();

        foreach (VolumeRow row in rows.Values.Where(row => row.State == VolumeState.Deleting).ToList())
        {
            // A later volume may have taken the id, where the index is older than the volumes.
            switch (files.Contains(row.Id) ? IsGeneration(row, window) : false)
            {
                case true:
                    _drive.DeleteVolume(row.Id);
                    files.Remove(row.Id);
                    break;
                case null:
                    _services.Events.VolumeCorrupt(DriveId, row.Id, 0, VolumeFormat.LogStart);

                    // Which it is shows when it can be opened again; until then the row keeps it from coming back to life.
                    _index.Unreadable[row.Id] = $"volume {row.Id} cannot be read";
                    files.Remove(row.Id);
                    rows.Remove(row.Id);
                    continue;
            }

            _index.DropVolume(row.Id);
            rows.Remove(row.Id);
        }

        var tombstones = new List<(Volume, PendingRecord)>();
        var ends = new List<(Volume, long, ulong)>();
        long records = 0, fragments = 0, bytes = 0, corruptRegions = 0, tornBytes = 0;
        var tails = new List<Volume>();
        var notOpened = new List<(long Id, IOException Error)>();
        foreach (long id in files.Order())
        {
            _services.OnRecoveryStep();
            if (!TryOpenVolume(id, rows.GetValueOrDefault(id), window, notOpened, out Volume? volume))
            {
                corruptRegions++;
                continue;
            }

            if (volume is null)
                continue;
            _index.Volumes[id] = volume;
            if (volume.State == VolumeState.Active)
                tails.Add(volume);
        }

        // One of many is damage. More of them, or one where there is no other, are the drive's: it is set aside, and what it has is made again elsewhere.
        if (notOpened.Count > 0)
        {
            RequireIdentity();
            if (_index.Volumes.Count == 0 || notOpened.Count > Math.Max(1, _index.Volumes.Count / VolumesPerUnopened))
                throw new IOException($"{notOpened.Count} of its {_index.Volumes.Count + notOpened.Count} volumes cannot be opened, the first of them {notOpened[0].Id}: {notOpened[0].Error.Message}", notOpened[0].Error);
            foreach ((long id, _) in notOpened)
                _services.Events.VolumeCorrupt(DriveId, id, 0, rows.GetValueOrDefault(id)?.CompleteBelow ?? 0);

            // Once for all of them: it is one finding, and the drive serves.
            Errors.CountIoError();
        }

        foreach (Volume volume in tails)
        {
            var scanner = new VolumeScanner(volume.File, volume.Header, window, triesPerPage: VolumeScanner.RecoveryTries);
            long start = volume.CompleteBelow;

            // What was written and never synced is made durable before it is read, for the index takes in what is read. Where that fails the drive is not opened: the kernel takes what it could
            // not write for clean, and only once it has let go of it, as it does for the scan, does a read say what is on the medium.
            volume.File.Sync();
            volume.File.BeginScan(start);
            ScanResult result = scanner.Scan(start, (record, header, intact) =>
            {
                _services.OnRecoveryStep();
                if (!intact)
                {
                    corruptRegions++;
                    _services.Events.VolumeCorrupt(DriveId, volume.Id, header.Offset, header.RecordBytes);
                }

                fragments += header.IsFragment ? 1 : 0;
                if (header.IsFragment)
                    _index.Recover(volume, record, intact);
                else if (header.Kind == RecordKind.Tombstone)
                    tombstones.Add((volume, record));

                // An id that a record of the log still names is not given to a new volume.
                _lastVolumeId = Math.Max(_lastVolumeId, Math.Max(header.SourceVolumeId, record.Tombstones is { Length: > 0 } entries ? entries.Max(entry => entry.VolumeId) : 0));
            });
            foreach (VolumeRange region in result.CorruptRegions)
            {
                corruptRegions++;
                _services.Events.VolumeCorrupt(DriveId, volume.Id, region.Start, region.End - region.Start);
            }

            foreach (VolumeRange region in result.Voids)
            {
                tornBytes += region.End - region.Start;
                _services.Events.TornRangeVoided(DriveId, volume.Id, region.Start, region.End - region.Start);
            }

            records += result.Records;
            bytes += result.EndOffset - start;
            tornBytes += result.TornBytes;
            volume.AppendOffset = result.EndOffset;
            volume.AppendChecksum = scanner.Checksum(volume.CompleteChecksum, start, result.EndOffset);
            volume.DurableEnd = result.EndOffset;
            volume.File.EndScan();
            FinishTail(volume, result, page);
            ends.Add((volume, volume.AppendOffset, volume.AppendChecksum));
        }

        _index.FinishRecovery(tombstones, ends, _services.OnRecoveryStep);
        foreach (VolumeRow row in rows.Values.Where(row => !files.Contains(row.Id)))
        {
            if (row.LiveFragments == 0 || !IsNamed(row.Id))
            {
                _index.DropVolume(row.Id);
                continue;
            }

            _index.Unreadable[row.Id] = $"the file of volume {row.Id} is gone";
            _services.Events.VolumeMissing(DriveId, row.Id, row.LiveFragments);
        }

        _index.ReclaimVolumes();
        activity?.SetTag("objectstore.records", records).SetTag("objectstore.bytes", bytes).SetTag("objectstore.rebuilt", rebuiltIndex);
        TimeSpan duration = Stopwatch.GetElapsedTime(began);
        StorageMetrics.RecoveryDuration.Record(duration.TotalSeconds);
        _services.Events.RecoveryFinished(DriveId, new RecoveryReport(_index.Volumes.Count, records, bytes, corruptRegions, tornBytes, rebuiltIndex, duration)
        {
            Fragments = fragments,
            Tombstones = tombstones.Count,
        });
    }

    /// <summary>Whether the index still has fragments in a volume, which it does not count where the file is gone.</summary>
    private bool IsNamed(long volumeId)
    {
        FragmentKey? after = null;
        do
        {
            _services.OnRecoveryStep();
            (List<(FragmentKey, FragmentLocation)> page, after) = _index.ListVolume(volumeId, after);
            if (page.Count > 0)
                return true;
        }
        while (after is not null);
        return false;
    }

    /// <summary>
    /// Opens a file. No volume without an error: its creation never finished, nothing was ever acknowledged from it, and it has been removed.
    /// False: it holds something, but its header cannot be made out, or the file system cannot open it; it is left alone.
    /// </summary>
    private bool TryOpenVolume(long id, VolumeRow? row, AlignedBuffer window, List<(long, IOException)> notOpened, out Volume? volume)
    {
        volume = null;
        IVolumeFile file;
        try
        {
            file = _drive.OpenVolume(id);
        }
        catch (IOException e) when (Posix.IsOfFile(e))
        {
            // The others are none the worse for it.
            notOpened.Add((id, e));
            _index.Unreadable[id] = $"volume {id} cannot be opened: {e.Message}";
            return false;
        }

        Span<byte> first = window.GetSpan()[..VolumeFormat.LogStart];
        bool decoded = TryReadHeader(file, id, first, out VolumeHeader header, out _);
        foreach (int page in (ReadOnlySpan<int>)[0, VolumeFormat.PageBytes])
        {
            if (VolumeHeader.OtherFormat(first[page..]) is not { } format)
                continue;
            file.Dispose();
            if (format > VolumeHeader.FormatVersion)
            {
                // Left as it is for the build that wrote it: neither deleted nor appended to, and its id stays taken.
                _index.Unreadable[id] = $"volume {id} is of the newer format {format}; this build knows up to {VolumeHeader.FormatVersion}";
                _services.Events.VolumeOfNewerFormat(DriveId, id, format, VolumeHeader.FormatVersion);
                return false;
            }

            throw new DriveIdentityException(_drive.Path, $"volume {id} is of format {format}; this build reads and writes format {VolumeHeader.FormatVersion}.");
        }

        if (!decoded)
        {
            if (row is null)
            {
                if (file.NextData(VolumeFormat.LogStart) >= file.LengthBytes || IsZeroAfterHeader(file, window))
                {
                    file.Dispose();
                    RequireIdentity();
                    _drive.DeleteVolume(id);
                    return true;
                }

                // Without a generation no record can be told from stale bytes. The file is left for a human.
                _index.Unreadable[id] = $"the header of volume {id} is damaged";
                _services.Events.VolumeCorrupt(DriveId, id, 0, file.LengthBytes);
                file.Dispose();
                return false;
            }

            _services.Events.VolumeCorrupt(DriveId, id, 0, VolumeFormat.LogStart);
            header = new VolumeHeader(_identity.ClusterId, _identity.DriveId, id, row.Generation, file.LengthBytes, 0);
        }

        volume = new Volume(header, file) { HasDamagedHeader = !decoded };
        if (row is not null && row.Generation == header.Generation)
        {
            volume.State = row.State;
            volume.CompleteBelow = volume.DurableEnd = volume.AppendOffset = row.CompleteBelow;
            volume.CompleteChecksum = row.Checksum;
            volume.LiveBytes = row.LiveBytes;
            volume.LiveFragments = row.LiveFragments;
            volume.RecordBytes = row.RecordBytes;
            if (file.LengthBytes < row.CompleteBelow)
            {
                // Cut short by something else: what lies behind the end is corrupt, and nothing is appended.
                _services.Events.VolumeCorrupt(DriveId, id, file.LengthBytes, row.CompleteBelow - file.LengthBytes);
                volume.State = row.State == VolumeState.Active ? VolumeState.Poisoned : row.State;
            }
        }
        else
        {
            volume.CompleteChecksum = decoded ? Integrity.Crc64Nvme.Compute(first) : 0;
        }

        return true;
    }

    /// <summary>Null where the file cannot be opened, or its header not be read.</summary>
    private bool? IsGeneration(VolumeRow row, AlignedBuffer pages)
    {
        IVolumeFile file;
        try
        {
            file = _drive.OpenVolume(row.Id);
        }
        catch (IOException e) when (Posix.IsOfFile(e))
        {
            return null;
        }

        try
        {
            return TryReadHeader(file, row.Id, pages.GetSpan()[..VolumeFormat.LogStart], out VolumeHeader header, out bool isReadable) ? header.Generation == row.Generation : isReadable ? false : null;
        }
        finally
        {
            file.Dispose();
        }
    }

    /// <summary>The header of the volume, from either of its copies. Fills <paramref name="pages"/> with both, zeros for what cannot be read.</summary>
    private bool TryReadHeader(IVolumeFile file, long id, Span<byte> pages, out VolumeHeader header, out bool isReadable)
    {
        isReadable = true;
        header = null!;
        bool found = false;
        pages.Clear();
        for (int at = 0; at < VolumeFormat.LogStart; at += VolumeFormat.PageBytes)
        {
            Span<byte> page = pages.Slice(at, VolumeFormat.PageBytes);
            try
            {
                if (file.Read(at, page, default, ReadCaching.Fill) == page.Length && !found
                    && VolumeHeader.TryDecode(page, out VolumeHeader read) && read.VolumeId == id && read.DriveId == _identity.DriveId)
                    (header, found) = (read, true);
            }
            catch (IOException e) when (!Posix.IsOfWholeDevice(e))
            {
                // The other copy is there for this.
                isReadable = false;
            }
        }

        return found;
    }

    private static bool IsZeroAfterHeader(IVolumeFile file, AlignedBuffer window)
    {
        for (long at = VolumeFormat.LogStart; at < file.LengthBytes; at += window.LengthBytes)
        {
            int read;
            try
            {
                read = file.Read(at, window.GetSpan(), default, ReadCaching.Fill);
            }
            catch (IOException e) when (!Posix.IsOfWholeDevice(e))
            {
                return false; // there may be something
            }

            if (window.GetSpan()[..read].IndexOfAnyExcept((byte)0) >= 0)
                return false;
        }

        return true;
    }

    /// <summary>
    /// Settles a volume that was open and has been synced. A clean end is appended to further; an unclean one is sealed, so that no torn byte is ever among records, and so is one whose
    /// header is damaged.
    /// </summary>
    private void FinishTail(Volume volume, ScanResult result, AlignedBuffer page)
    {
        try
        {
            if (result.Sealed)
            {
                volume.State = VolumeState.Sealed;
                return;
            }

            if (result.TornBytes > 0)
                _services.Events.TornTailDropped(DriveId, volume.Id, result.EndOffset, result.TornBytes);
            if (result.TornBytes == 0 && result.CorruptRegions.Count == 0 && result.Voids.Count == 0 && !volume.HasDamagedHeader && volume.AppendOffset + (8 * VolumeFormat.PageBytes) <= volume.Header.CapacityBytes
                && volume.File.LengthBytes >= volume.Header.CapacityBytes)
            {
                _open.Enqueue(volume);
                return;
            }

            VolumeWriter.WriteFooter(volume, page, _services.Time, [.. result.Voids.Take(VolumeFormat.MaxVoidRecords * VolumeRange.MaxPerRecord)]);
            volume.State = VolumeState.Sealed;
        }
        catch (IOException e)
        {
            volume.State = VolumeState.Poisoned;
            StorageMetrics.VolumesPoisoned.Add(1);
            _index.Errors.CountPoisonedVolume();
            _services.Events.VolumePoisoned(DriveId, volume.Id, e);
        }
    }
}
