using System.Collections.Concurrent;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Index;

/// <summary>
/// Fragment → place, of one drive: a table in memory over a SQLite file. The table takes only synced records, together with the offset up to which its
/// volume is now complete; a flush writes both in one transaction. So what the database holds is always a consistent cut of the log, and recovery replays from
/// the offsets it finds there.
/// </summary>
internal sealed class DriveIndex : IDisposable
{
    private readonly IDrive _drive;
    private readonly Guid _driveId;
    private readonly IStorageEvents _events;
    private readonly IndexDatabase _database;
    private readonly LocationCache _cache;
    private readonly int _flushEntries;
    private readonly long _flushBytes;
    private readonly Lock _state = new();
    private readonly Lock _flush = new();
    private readonly object _room = new();
    private readonly Dictionary<(long Volume, long Target), long> _tombstoneTargets;
    private readonly HashSet<(long Volume, long Target)> _dirtyTargets = [];
    private volatile ConcurrentDictionary<FragmentKey, FragmentLocation?> _current = new();
    private volatile FlushBatch? _flushing;
    private long _entries;
    private long _bytesSinceFlush;
    private long _removals; // counts what has been struck out, so that a reader knows that what it puts into the cache may be out of date
    private long _failures; // guarded by _room
    private Exception? _lastFailure;
    private Exception? _lookupFailure; // guarded by _state: not yet reported
    private volatile bool _rebuildDue;
    private volatile bool _rebuildMarked;

    public DriveIndex(IDrive drive, Guid driveId, StorageOptions options, IStorageEvents events, IndexDatabase database)
    {
        _drive = drive;
        _driveId = driveId;
        _events = events;
        _database = database;
        _flushEntries = options.IndexFlushEntries;
        _flushBytes = options.IndexFlushBytes;
        _cache = new LocationCache(options.LocationCacheEntries);
        _tombstoneTargets = database.ReadTombstoneTargets();
    }

    public ConcurrentDictionary<long, Volume> Volumes { get; } = new();

    public IndexDatabase Database => _database;

    /// <summary>Raised, on the thread that applied the record, when a flush is due or a volume may have become deletable.</summary>
    public Action WorkDue { get; set; } = () => { };

    public bool FlushDue => Volatile.Read(ref _entries) >= _flushEntries || Volatile.Read(ref _bytesSinceFlush) >= _flushBytes;

    public bool TryGet(FragmentKey key, out FragmentLocation location)
    {
        long removals = Volatile.Read(ref _removals);

        // From newest to oldest. A flush moves entries only downwards and drops its table last, so none is missed on the way.
        if (_current.TryGetValue(key, out FragmentLocation? entry) || (_flushing?.Changes.TryGetValue(key, out entry) ?? false))
        {
            location = entry.GetValueOrDefault();
            return entry is not null;
        }

        if (!_cache.TryGet(key, out location))
        {
            if (!_database.TryGet(key, out location))
                return false;
            _cache.Add(key, location);
        }

        // Struck out meanwhile, perhaps this very key: the cache must not bring it back. (A hit moves an old entry to the young ones, which is an addition too.)
        if (Volatile.Read(ref _removals) != removals)
            _cache.Remove(key);
        return true;
    }

    /// <summary>What is true now, past the cache. For accounting; the caller holds the state lock.</summary>
    private bool TryGetExact(FragmentKey key, out FragmentLocation location)
    {
        if (_current.TryGetValue(key, out FragmentLocation? entry) || (_flushing?.Changes.TryGetValue(key, out entry) ?? false))
        {
            location = entry.GetValueOrDefault();
            return entry is not null;
        }

        return _database.TryGet(key, out location);
    }

    public void Forget(FragmentKey key) => _cache.Remove(key);

    /// <summary>
    /// Blocks the writer while the table is at its bound and the database is behind. Returns why the database cannot be written, if that is so: a write that
    /// cannot be indexed in bounded memory must not be acknowledged.
    /// </summary>
    public Exception? WaitForRoom()
    {
        if (HasRoom())
            return null;
        long failures;
        lock (_room)
            failures = _failures;
        WorkDue();
        lock (_room)
        {
            while (!HasRoom())
            {
                if (_failures != failures)
                    return _lastFailure;
                Monitor.Wait(_room);
            }

            return null;
        }
    }

    private bool HasRoom() => Volatile.Read(ref _entries) < 4L * _flushEntries;

    /// <summary>Takes in what has just been synced: all of the volume's records below <paramref name="durableEnd"/>.</summary>
    public void Apply(Volume volume, List<PendingRecord> records, long durableEnd, ulong checksum, long sequence)
    {
        bool emptied = false;
        Exception? failure;
        lock (_state)
        {
            foreach (PendingRecord record in records)
                emptied |= record.Tombstones is null ? ApplyFragment(volume, record) : ApplyTombstones(volume, record, recovering: false);
            _bytesSinceFlush += durableEnd - volume.CompleteBelow;
            volume.CompleteBelow = durableEnd;
            volume.CompleteChecksum = checksum;
            volume.CompleteSequence = sequence;
            volume.Dirty = true;
            volume.DurableEnd = durableEnd;
            (failure, _lookupFailure) = (_lookupFailure, null);
        }

        if (failure is not null)
            ReportFault(failure);
        if (emptied || FlushDue)
            WorkDue();
    }

    /// <summary>Takes in a fragment that recovery read from a volume; <see cref="FinishRecovery"/> makes it count.</summary>
    public void Recover(Volume volume, PendingRecord record)
    {
        bool full;
        lock (_state)
        {
            ApplyFragment(volume, record);
            full = _entries >= _flushEntries;
        }

        // No volume is dirty yet, so this stores fragments without a checkpoint: a crash now replays them again.
        if (full)
            Flush(durable: false);
    }

    public void FinishRecovery(List<(Volume Volume, PendingRecord Record)> tombstones, IEnumerable<(Volume Volume, long End, ulong Checksum, long Sequence)> ends)
    {
        lock (_state)
        {
            foreach ((Volume volume, PendingRecord record) in tombstones)
                ApplyTombstones(volume, record, recovering: true);
            foreach ((Volume volume, long end, ulong checksum, long sequence) in ends)
            {
                volume.CompleteBelow = end;
                volume.CompleteChecksum = checksum;
                volume.CompleteSequence = sequence;
                volume.DurableEnd = end;
                volume.Dirty = true;
            }
        }

        Flush(durable: false);
    }

    /// <summary>Strikes out a volume whose file is gone and that held nothing alive. For recovery.</summary>
    public void DropVolume(long volumeId)
    {
        lock (_flush)
        {
            lock (_state)
            {
                foreach ((long Volume, long Target) key in _tombstoneTargets.Keys.Where(key => key.Volume == volumeId || key.Target == volumeId).ToList())
                    _tombstoneTargets.Remove(key);
            }

            _database.Apply([], [], [], [volumeId], durable: true);
        }
    }

    public void MarkDirty(Volume volume)
    {
        lock (_state)
            volume.Dirty = true;
    }

    /// <summary>Writes the table and the checkpoints to the database. On failure nothing is lost: the same batch is tried again next time.</summary>
    public bool TryFlush(bool durable)
    {
        try
        {
            Flush(durable);
            return true;
        }
        catch (Exception e) when (e is IOException or StorageException)
        {
            if (e is IndexDamagedException)
                _rebuildDue = true;
            lock (_room)
            {
                _lastFailure = e;
                _failures++;
                Monitor.PulseAll(_room);
            }

            if (_rebuildDue)
                TryMarkForRebuild();
            _events.IndexWriteFailed(_driveId, e);
            return false;
        }
    }

    public void Flush(bool durable)
    {
        lock (_flush)
        {
            // A checkpoint says that all below it has been applied. That is not so any more: the next start must not believe it.
            if (_rebuildDue && !TryMarkForRebuild())
                throw new IOException("The index has missed changes and cannot be marked for a rebuild.");
            if (_flushing is not null)
                Write(_flushing, durable);
            FlushBatch batch;
            lock (_state)
            {
                var rows = new List<VolumeRow>();
                foreach (Volume volume in Volumes.Values)
                {
                    if (!volume.Dirty)
                        continue;
                    volume.Dirty = false;
                    rows.Add(RowOf(volume, volume.State));
                }

                if (_current.IsEmpty && rows.Count == 0 && _dirtyTargets.Count == 0)
                    return;
                batch = new FlushBatch(_current, rows, [.. _dirtyTargets.Where(_tombstoneTargets.ContainsKey).Select(key => KeyValuePair.Create(key, _tombstoneTargets[key]))]);
                _dirtyTargets.Clear();
                _flushing = batch;
                _current = new ConcurrentDictionary<FragmentKey, FragmentLocation?>();
                Volatile.Write(ref _entries, 0);
                _bytesSinceFlush = 0;
            }

            lock (_room)
                Monitor.PulseAll(_room);
            Write(batch, durable);
        }
    }

    /// <summary>
    /// Deletes the files of volumes that are sealed and hold nothing but garbage. A volume whose tombstones still keep down fragments of
    /// another volume is kept: without it a rebuilt index would bring them back.
    /// </summary>
    public void ReclaimVolumes()
    {
        lock (_flush)
        {
            while (FindReclaimable() is { } volume)
            {
                Flush(durable: false);

                // In this order: a crash before the first step changes nothing, after it the start finishes the deletion.
                _database.Apply([], [RowOf(volume, VolumeState.Deleting)], [], [], durable: true);
                volume.State = VolumeState.Deleting;
                _drive.DeleteVolume(volume.Id);
                lock (_state)
                {
                    Volumes.TryRemove(volume.Id, out _);
                    foreach ((long Volume, long Target) key in _tombstoneTargets.Keys.Where(key => key.Volume == volume.Id || key.Target == volume.Id).ToList())
                    {
                        _tombstoneTargets.Remove(key);
                        _dirtyTargets.Remove(key);
                    }
                }

                _database.Apply([], [], [], [volume.Id], durable: true);
                long freed = volume.File.LengthBytes;
                volume.Dispose();
                _events.VolumeDeleted(_driveId, volume.Id, freed);
            }
        }
    }

    public (long LiveBytes, long GarbageBytes, long LiveFragments) Totals()
    {
        lock (_state)
        {
            long live = 0, garbage = 0, fragments = 0;
            foreach (Volume volume in Volumes.Values)
            {
                live += volume.LiveBytes;
                garbage += volume.RecordBytes - volume.LiveBytes;
                fragments += volume.LiveFragments;
            }

            return (live, garbage, fragments);
        }
    }

    public void Dispose()
    {
        _database.Dispose();
    }

    private static VolumeRow RowOf(Volume volume, VolumeState state)
        => new(volume.Id, volume.Header.Generation, state, volume.CompleteBelow, volume.CompleteChecksum, volume.CompleteSequence, volume.LiveBytes, volume.LiveFragments, volume.RecordBytes);

    private Volume? FindReclaimable()
    {
        lock (_state)
        {
            foreach (Volume volume in Volumes.Values)
            {
                if (volume.State is VolumeState.Sealed or VolumeState.Poisoned && volume.LiveFragments == 0
                    && !_tombstoneTargets.Keys.Any(key => key.Volume == volume.Id && key.Target != volume.Id && Volumes.ContainsKey(key.Target)))
                    return volume;
            }

            return null;
        }
    }

    private bool ApplyFragment(Volume volume, PendingRecord record)
    {
        _current[record.Key] = record.Location;
        _entries++;
        volume.LiveBytes += record.RecordBytes;
        volume.LiveFragments++;
        volume.RecordBytes += record.RecordBytes;
        return false;
    }

    /// <summary>
    /// The records are synced, whatever the index makes of them. Where it cannot say what a tombstone takes away, the entry stays, so that nothing alive is
    /// counted as gone, and the index is rebuilt at the next start; in recovery that happens at once.
    /// </summary>
    private bool ApplyTombstones(Volume volume, PendingRecord record, bool recovering)
    {
        bool emptied = false;
        volume.RecordBytes += record.RecordBytes;
        foreach (TombstoneEntry entry in record.Tombstones!)
        {
            FragmentLocation location;
            try
            {
                // Deleted before, or never acknowledged: nothing to take away, and nothing to count twice.
                if (!TryGetExact(entry.Key, out location) || location.VolumeId != entry.VolumeId || location.Offset != entry.Offset)
                    continue;
            }
            catch (Exception e) when (!recovering && (e is IOException or IndexDamagedException))
            {
                _lookupFailure = e;
                _rebuildDue = true;
                CountTarget(volume, entry);
                continue;
            }

            _current[entry.Key] = null;
            _entries++;
            Interlocked.Increment(ref _removals);
            _cache.Remove(entry.Key);
            if (Volumes.TryGetValue(entry.VolumeId, out Volume? target))
            {
                target.LiveBytes -= location.RecordBytes;
                target.LiveFragments--;
                target.Dirty = true;
                emptied |= target.LiveFragments == 0;
            }

            CountTarget(volume, entry);
        }

        return emptied;
    }

    private void CountTarget(Volume volume, TombstoneEntry entry)
    {
        if (entry.VolumeId == volume.Id)
            return;
        (long, long) pair = (volume.Id, entry.VolumeId);
        _tombstoneTargets[pair] = _tombstoneTargets.GetValueOrDefault(pair) + 1;
        _dirtyTargets.Add(pair);
    }

    private void Write(FlushBatch batch, bool durable)
    {
        _database.Apply(batch.Changes, batch.Rows, batch.TombstoneTargets, [], durable);
        foreach ((FragmentKey key, FragmentLocation? location) in batch.Changes)
        {
            if (location is { } place)
                _cache.Add(key, place);
            else
                _cache.Remove(key);
        }

        _flushing = null;
    }

    private void ReportFault(Exception cause)
    {
        TryMarkForRebuild();
        _events.IndexWriteFailed(_driveId, cause);
    }

    private bool TryMarkForRebuild()
    {
        if (_rebuildMarked)
            return true;
        try
        {
            IndexDatabase.MarkForRebuild(_drive.IndexPath);
            _rebuildMarked = true;
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private sealed record FlushBatch(ConcurrentDictionary<FragmentKey, FragmentLocation?> Changes, List<VolumeRow> Rows, List<KeyValuePair<(long, long), long>> TombstoneTargets);
}

/// <summary>
/// A bounded cache in two generations: hits in the old one move to the young one, and when the young one is full the old one is dropped.
/// Lock-free reads; close to least-recently-used at a fraction of its cost.
/// </summary>
internal sealed class LocationCache(int maxEntries)
{
    private readonly Lock _turn = new();
    private volatile ConcurrentDictionary<FragmentKey, FragmentLocation> _young = new();
    private volatile ConcurrentDictionary<FragmentKey, FragmentLocation> _old = new();
    private int _youngCount;

    public bool TryGet(FragmentKey key, out FragmentLocation location)
    {
        if (_young.TryGetValue(key, out location))
            return true;
        if (!_old.TryGetValue(key, out location))
            return false;
        Add(key, location);
        return true;
    }

    public void Add(FragmentKey key, FragmentLocation location)
    {
        if (!_young.TryAdd(key, location) || Interlocked.Increment(ref _youngCount) < maxEntries / 2)
            return;
        lock (_turn)
        {
            if (Volatile.Read(ref _youngCount) < maxEntries / 2)
                return;
            _old = _young;
            _young = new ConcurrentDictionary<FragmentKey, FragmentLocation>();
            Volatile.Write(ref _youngCount, 0);
        }
    }

    public void Remove(FragmentKey key)
    {
        _young.TryRemove(key, out _);
        _old.TryRemove(key, out _);
    }
}
