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
    private const int MaxRowsPerPage = 64 * 1024;
    private const int MaxVolumeEntriesPerPage = 256; // each may have to be read from a drive that is slow because it is damaged
    private const int TombstoneBytes = 26; // an entry, about
    private const int ShrinkPages = 256; // by one operation of the drive: that each page must be read and written at another place of a slow drive is no reason to take it for hung

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
    private readonly Dictionary<long, long> _supersededCounts; // by volume; guarded by _state, as are the next ones
    private readonly HashSet<TombstoneEntry> _dead = []; // copies of fragments that were deleted before the copy was synced
    private Dictionary<FragmentKey, List<SupersededChange>> _superseded = []; // since the last flush, in order
    private readonly ConcurrentDictionary<(long VolumeId, ulong Generation), long> _poisoned = new();
    private readonly ConcurrentDictionary<long, ulong> _reclaimed = new(); // volumes deleted since the drive was opened, with their generations; 16 bytes for each that was once full
    private FragmentKey? _lastStoredKey; // no key above it is in the database
    private RecoveryState? _recovery = new();
    private volatile ConcurrentDictionary<FragmentKey, FragmentLocation?> _current = new();
    private volatile FlushBatch? _flushing;
    private long _entries;
    private long _bytesSinceFlush;
    private long _removals; // counts what has been struck out, so that a reader knows that what it puts into the cache may be out of date
    private long _failures; // guarded by _room
    private Exception? _lastFailure;
    private volatile Exception? _abandoned;
    private Exception? _lookupFailure; // guarded by _state: not yet reported
    private volatile bool _closing;
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
        _supersededCounts = database.CountSuperseded();
        _lastStoredKey = database.ReadLastKey();
    }

    public ConcurrentDictionary<long, Volume> Volumes { get; } = new();

    /// <summary>Volumes whose files are there but were left alone, with the reason: what the index or a tombstone says of them still holds.</summary>
    public ConcurrentDictionary<long, string> Unreadable { get; } = new();

    public DriveErrors Errors { get; } = new();

    /// <summary>Whether the volume's file is there, so that a tombstone for what is in it is still needed.</summary>
    public bool Holds(long volumeId) => Volumes.ContainsKey(volumeId) || Unreadable.ContainsKey(volumeId);

    /// <summary>Whether the database is damaged or has missed changes, so that only another start of the drive helps.</summary>
    public bool IsRebuildDue => _rebuildDue;

    public IndexDatabase Database => _database;

    /// <summary>Raised, on the thread that applied the record, when a flush is due or a volume may have become deletable.</summary>
    public Action WorkDue { get; set; } = () => { };

    /// <summary>Called right before a volume's file is deleted. Where it throws, the file stays.</summary>
    public Action<Volume> BeforeDelete { get; set; } = _ => { };

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

    /// <summary>
    /// As <see cref="TryGet"/> from memory alone, so that a caller's thread never waits for the drive. Null where the database would have to be asked.
    /// </summary>
    public bool? TryGetInMemory(FragmentKey key, out FragmentLocation location)
    {
        long removals = Volatile.Read(ref _removals);
        if (_current.TryGetValue(key, out FragmentLocation? entry) || (_flushing?.Changes.TryGetValue(key, out entry) ?? false))
        {
            location = entry.GetValueOrDefault();
            return entry is not null;
        }

        if (_cache.TryGet(key, out location))
        {
            if (Volatile.Read(ref _removals) != removals)
                _cache.Remove(key);
            return true;
        }

        if (!_state.TryEnter())
            return null;
        try
        {
            // Again, since what was looked for above may have moved down meanwhile.
            return _current.ContainsKey(key) || (_flushing?.Changes.ContainsKey(key) ?? false) || (_lastStoredKey is { } last && key.CompareTo(last) <= 0) ? null : false;
        }
        finally
        {
            _state.Exit();
        }
    }

    /// <summary>What is true now, past the cache. For accounting; the caller holds the state lock.</summary>
    private bool TryGetExact(FragmentKey key, out FragmentLocation location)
    {
        if (_current.TryGetValue(key, out FragmentLocation? entry) || (_flushing?.Changes.TryGetValue(key, out entry) ?? false))
        {
            location = entry.GetValueOrDefault();
            return entry is not null;
        }

        // New fragments have new extent ids, which ascend: for most of them the question need not go to the database.
        if (_lastStoredKey is not { } last || key.CompareTo(last) > 0)
        {
            location = default;
            return false;
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
        if (_abandoned is { } reason)
            return reason;
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
                if (_abandoned is not null)
                    return _abandoned;
                if (_failures != failures)
                    return _lastFailure;
                Monitor.Wait(_room);
            }

            return null;
        }
    }

    /// <summary>The drive is given up: no writer waits for the database any more.</summary>
    public void Abandon(Exception reason)
    {
        _abandoned = reason;
        lock (_room)
            Monitor.PulseAll(_room);
    }

    /// <summary>No more garbage is deleted: whoever closes the drive does not wait for what the next start may do as well.</summary>
    public void BeginClose() => _closing = true;

    private bool HasRoom() => Volatile.Read(ref _entries) < 4L * _flushEntries;

    /// <summary>Takes in what has just been synced: all of the volume's records below <paramref name="durableEnd"/>.</summary>
    public void Apply(Volume volume, List<PendingRecord> records, long durableEnd, ulong checksum)
    {
        bool emptied = false;
        Exception? failure;
        lock (_state)
        {
            foreach (PendingRecord record in records)
                emptied |= record.Tombstones is null ? ApplyFragment(volume, record) : ApplyTombstones(volume, record);
            _bytesSinceFlush += durableEnd - volume.CompleteBelow;
            volume.CompleteBelow = durableEnd;
            volume.CompleteChecksum = checksum;
            volume.Dirty = true;
            volume.DurableEnd = durableEnd;
            (failure, _lookupFailure) = (_lookupFailure, null);
        }

        if (failure is not null)
            ReportFault(failure);
        if (emptied || FlushDue)
            WorkDue();
    }

    /// <summary>
    /// Takes in a fragment that recovery read from a volume; <see cref="FinishRecovery"/> makes it count. Volumes are read in no order of time, so which of several copies
    /// of one fragment stays is settled only there, when every tombstone is known.
    /// </summary>
    public void Recover(Volume volume, PendingRecord record, bool intact)
    {
        bool full;
        lock (_state)
        {
            volume.RecordBytes += record.RecordBytes;
            bool found = TryGetExact(record.Key, out FragmentLocation known);
            if (found ? !known.IsSamePlaceAs(record.Location) : record.Source is { } source && Volumes.ContainsKey(source.VolumeId))
            {
                _recovery!.Copies.Add((volume, record, intact));
            }
            else
            {
                // At the same place: a start that ended early has stored it, without the checkpoint that would count it.
                Count(volume, record.Location, 1);
                Put(record.Key, record.Location);
            }

            full = _entries >= _flushEntries;
        }

        // No volume is dirty yet, so this stores fragments without a checkpoint: a crash now replays them again.
        if (full)
            Flush(durable: false);
    }

    /// <param name="tombstones">In the order of their volumes.</param>
    /// <param name="ends">How far each volume that was read is complete now.</param>
    /// <param name="onStep">Called as it goes on: each look-up may be a read of a slow drive, and there may be many.</param>
    public void FinishRecovery(List<(Volume Volume, PendingRecord Record)> tombstones, IEnumerable<(Volume Volume, long End, ulong Checksum)> ends, Action onStep)
    {
        lock (_state)
        {
            RecoveryState recovery = _recovery!;
            Dictionary<FragmentKey, List<(Volume Volume, PendingRecord Record, bool Intact)>> copies = recovery.Copies.GroupBy(copy => copy.Record.Key).ToDictionary(group => group.Key, group => group.ToList());
            foreach ((Volume volume, PendingRecord record) in tombstones)
            {
                onStep();
                ApplyTombstones(volume, record);
                foreach (TombstoneEntry entry in record.Tombstones!)
                {
                    if (!copies.TryGetValue(entry.Key, out List<(Volume Volume, PendingRecord Record, bool Intact)>? of))
                        continue;
                    of.RemoveAll(copy => copy.Record.Location.VolumeId == entry.VolumeId && copy.Record.Location.Offset == entry.Offset);
                    foreach ((_, PendingRecord copy, _) in of.Where(copy => copy.Record.Source == (entry.VolumeId, entry.Offset)))
                        Supersede(copy.Key, copy.Location);
                    of.RemoveAll(copy => copy.Record.Source == (entry.VolumeId, entry.Offset));
                }
            }

            foreach ((FragmentKey key, List<(Volume Volume, PendingRecord Record, bool Intact)> of) in copies)
            {
                onStep();

                // The last one read is the newest where all are in one volume. The same key has the same bytes: any intact one will do.
                foreach ((Volume volume, PendingRecord record, bool intact) in of)
                {
                    if (!TryGetExact(key, out FragmentLocation known))
                    {
                        // The index was complete where this one was copied from, and does not have it: it had been deleted.
                        if (record.Source is { } source && Volumes.TryGetValue(source.VolumeId, out Volume? from) && source.Offset < from.CompleteBelow)
                        {
                            Supersede(key, record.Location);
                            continue;
                        }

                        Count(volume, record.Location, 1);
                        Put(key, record.Location);
                    }
                    else if (intact)
                    {
                        Replace(volume, key, known, record.Location);
                    }
                    else
                    {
                        Supersede(key, record.Location);
                    }
                }
            }

            _recovery = null;
            foreach ((Volume volume, long end, ulong checksum) in ends)
            {
                volume.CompleteBelow = end;
                volume.CompleteChecksum = checksum;
                volume.DurableEnd = end;
                volume.Dirty = true;
            }
        }

        Flush(durable: false);
        lock (_state)
        {
            if (_supersededCounts.Count > 0)
                _dead.UnionWith(_database.ReadAllSuperseded().Where(copy => !TryGetExact(copy.Key, out _)));
        }
    }

    /// <summary>Copies that no tombstone names yet although their fragments have been deleted.</summary>
    public TombstoneEntry[] DeadCopies()
    {
        lock (_state)
            return [.. _dead];
    }

    /// <summary>Whether a place is the valid one of its fragment now.</summary>
    public bool IsLive(FragmentKey key, long volumeId, long offset)
    {
        lock (_state)
            return TryGetExact(key, out FragmentLocation location) && location.VolumeId == volumeId && location.Offset == offset;
    }

    /// <summary>Bytes of a volume that are worth keeping: live records, and tombstones that still keep down fragments of other volumes.</summary>
    public (long LiveBytes, long LiveFragments, long UsefulBytes) Useful(Volume volume)
    {
        lock (_state)
        {
            long tombstones = volume.TombstonesCarried ? 0 : _tombstoneTargets.Where(pair => pair.Key.Volume == volume.Id && Holds(pair.Key.Target)).Sum(pair => pair.Value);
            return (volume.LiveBytes, volume.LiveFragments, volume.LiveBytes + (tombstones * TombstoneBytes));
        }
    }

    /// <summary>Whether these are all the entries that the volume's tombstones have for other volumes that still exist.</summary>
    /// <param name="volume">One that takes no more.</param>
    /// <param name="entries">How many there are for each volume.</param>
    public bool HasNoMoreTombstones(Volume volume, IReadOnlyDictionary<long, long> entries)
    {
        lock (_state)
            return _tombstoneTargets.All(pair => pair.Key.Volume != volume.Id || !Holds(pair.Key.Target) || entries.GetValueOrDefault(pair.Key.Target) >= pair.Value);
    }

    /// <summary>
    /// Fragments whose place is in the volume, in key order behind <paramref name="after"/>, and where to go on; null at the end. All pages together read the whole index; each is short, so that
    /// it can be an operation of its own on the drive. May find none and still not be at the end.
    /// </summary>
    public (List<(FragmentKey Key, FragmentLocation Location)> Fragments, FragmentKey? Next) ListVolume(long volumeId, FragmentKey? after)
    {
        FragmentPage page = List(location => location.VolumeId == volumeId, after, MaxVolumeEntriesPerPage);
        var found = new List<(FragmentKey, FragmentLocation)>(page.Entries.Count);
        foreach (FragmentEntry entry in page.Entries)
        {
            if (TryGet(entry.Key, out FragmentLocation location) && location.VolumeId == volumeId)
                found.Add((entry.Key, location));
        }

        return (found, page.Next);
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
            lock (_state)
                ForgetSuperseded(volumeId);
        }
    }

    /// <summary>
    /// The volume failed a write or a sync: it takes nothing more, and what was not synced is lost, also when the volume itself is gone. Lost to its writer, that is; it may be on the
    /// medium, and an index rebuilt later would find it there. So it is remembered like an older copy.
    /// </summary>
    public void Poison(Volume volume, List<PendingRecord> unsynced)
    {
        Errors.CountPoisonedVolume();
        _poisoned[(volume.Id, volume.Header.Generation)] = volume.DurableEnd;
        lock (_state)
        {
            foreach (PendingRecord record in unsynced)
            {
                if (record.Tombstones is not null)
                    continue;
                Supersede(record.Key, record.Location);
                try
                {
                    if (record.Source is not null && !TryGetExact(record.Key, out _))
                        _dead.Add(new TombstoneEntry(record.Key, record.Location.VolumeId, record.Location.Offset));
                }
                catch (Exception e) when (e is IOException or IndexDamagedException)
                {
                    _lookupFailure = e; // reported with the next sync; the next start looks again
                    _rebuildDue = true;
                }
            }

            volume.State = VolumeState.Poisoned;
            volume.Dirty = true;
        }
    }

    public void MarkDirty(Volume volume)
    {
        lock (_state)
            volume.Dirty = true;
    }

    /// <summary>Whether bytes below an offset of a volume are lost, because it was poisoned before they were synced.</summary>
    public bool IsLost(long volumeId, ulong generation, long endOffset) => _poisoned.TryGetValue((volumeId, generation), out long durableEnd) && endOffset > durableEnd;

    /// <summary>Whether a volume was deleted, as garbage, since the drive was opened.</summary>
    public bool WasReclaimed(long volumeId, ulong generation) => _reclaimed.TryGetValue(volumeId, out ulong known) && known == generation;

    /// <summary>
    /// Fragments in key order behind <paramref name="after"/>, those of <paramref name="groups"/> (null: all). Whatever was applied when this was called and is not deleted meanwhile is
    /// among them. May return fewer than asked for, even none, and still have a next key, so that one call stays short. What is in <see cref="Unreadable"/> volumes is left out: whoever compares
    /// listings finds that it is missing, and has it made again.
    /// </summary>
    public FragmentPage List(IReadOnlySet<int>? groups, FragmentKey? after, int maxEntries)
    {
        if (Unreadable.IsEmpty)
            return List(groups is null ? null : location => groups.Contains(location.PlacementGroup), after, maxEntries);
        return List(location => (groups is null || groups.Contains(location.PlacementGroup)) && !Unreadable.ContainsKey(location.VolumeId), after, maxEntries);
    }

    private FragmentPage List(Func<FragmentLocation, bool>? filter, FragmentKey? after, int maxEntries)
    {
        // The tables first, from newest to oldest, then the database: entries move only that way.
        ConcurrentDictionary<FragmentKey, FragmentLocation?> current = _current;
        ConcurrentDictionary<FragmentKey, FragmentLocation?>? flushing = _flushing?.Changes;
        if (flushing == current)
            flushing = null;
        var overlay = new Dictionary<FragmentKey, FragmentLocation?>();
        foreach (ConcurrentDictionary<FragmentKey, FragmentLocation?>? table in (ReadOnlySpan<ConcurrentDictionary<FragmentKey, FragmentLocation?>?>)[flushing, current])
        {
            foreach ((FragmentKey key, FragmentLocation? place) in table ?? [])
            {
                if (after is not { } first || key.CompareTo(first) > 0)
                    overlay[key] = place;
            }
        }

        var entries = new List<FragmentEntry>();
        FragmentKey? last = null;
        bool end = _database.ReadRows(after, MaxRowsPerPage, (key, location) =>
        {
            last = key;
            if (!overlay.ContainsKey(key) && (filter?.Invoke(location) ?? true))
                entries.Add(new FragmentEntry(key, location.PlacementGroup, location.SchemeId, location.PayloadBytes));
            return entries.Count <= maxEntries;
        });
        foreach ((FragmentKey key, FragmentLocation? place) in overlay)
        {
            if (place is { } location && (end || key.CompareTo(last!.Value) <= 0) && (filter?.Invoke(location) ?? true))
                entries.Add(new FragmentEntry(key, location.PlacementGroup, location.SchemeId, location.PayloadBytes));
        }

        entries.Sort((left, right) => left.Key.CompareTo(right.Key));
        if (entries.Count > maxEntries)
        {
            entries.RemoveRange(maxEntries, entries.Count - maxEntries);
            return new FragmentPage(entries, entries[^1].Key);
        }

        return new FragmentPage(entries, end ? null : last);
    }

    /// <summary>Every copy of the fragment that is known, the valid one and older ones: what a tombstone has to name.</summary>
    public void AddCopies(FragmentKey key, List<TombstoneEntry> copies)
    {
        // In one hold of the lock, past the cache: what is true at one moment, so that no copy is between the two when it is looked for.
        lock (_state)
        {
            if (TryGetExact(key, out FragmentLocation location))
                copies.Add(new TombstoneEntry(key, location.VolumeId, location.Offset));
            foreach (long volume in _supersededCounts.Keys)
            {
                foreach (long offset in SupersededIn(volume, key))
                    copies.Add(new TombstoneEntry(key, volume, offset));
            }
        }
    }

    /// <summary>A look-up found the database damaged: the next start rebuilds it.</summary>
    public void RequireRebuild(Exception cause)
    {
        _rebuildDue = true;
        ReportFault(cause);
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

            Errors.CountIoError();
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

                if (_current.IsEmpty && rows.Count == 0 && _dirtyTargets.Count == 0 && _superseded.Count == 0)
                    return;
                foreach ((FragmentKey key, FragmentLocation? location) in _current)
                {
                    if (location is not null && (_lastStoredKey is not { } last || key.CompareTo(last) > 0))
                        _lastStoredKey = key;
                }

                batch = new FlushBatch(_current, rows, _superseded, [.. _dirtyTargets.Where(_tombstoneTargets.ContainsKey).Select(key => KeyValuePair.Create(key, _tombstoneTargets[key]))]);
                _dirtyTargets.Clear();
                _superseded = [];
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
    /// <exception cref="IndexDamagedException">The index cannot be relied on any more: it is marked for a rebuild.</exception>
    /// <exception cref="IOException">It could not be written, or a file not be deleted.</exception>
    public void ReclaimVolumes()
    {
        lock (_flush)
        {
            try
            {
                while (!_closing && FindReclaimable() is { } volume)
                    Reclaim(volume);
            }
            catch (IndexDamagedException e)
            {
                RequireRebuild(e);
                throw;
            }
        }
    }

    private void Reclaim(Volume volume)
    {
        Flush(durable: false);

        // In this order: a crash before the first step changes nothing, after it the start finishes the deletion.
        _database.Apply([], [RowOf(volume, VolumeState.Deleting)], [], [], durable: true);
        BeforeDelete(volume);
        volume.State = VolumeState.Deleting;
        _reclaimed[volume.Id] = volume.Header.Generation;
        _drive.DeleteVolume(volume.Id);
        long freed = volume.File.LengthBytes;
        try
        {
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
            lock (_state)
                ForgetSuperseded(volume.Id);
        }
        finally
        {
            volume.Dispose();
        }

        _events.VolumeDeleted(_driveId, volume.Id, freed);
    }

    /// <summary>
    /// Gives some of the room that the database no longer needs back to the file system: what was remembered of the old places of moved fragments, above all. Returns whether there is more. A failure is
    /// reported, and not the caller's: nothing depends on it.
    /// </summary>
    public bool ShrinkDatabase()
    {
        try
        {
            lock (_flush)
                return !_closing && !_rebuildDue && _abandoned is null && _database.Shrink(ShrinkPages);
        }
        catch (IndexDamagedException e)
        {
            RequireRebuild(e);
        }
        catch (IOException e)
        {
            Errors.CountIoError();
            _events.IndexWriteFailed(_driveId, e);
        }

        return false;
    }

    /// <summary>
    /// Keeps a volume from being reclaimed while compaction has copies of its fragments on their way: until those are settled, what is known of the volume's own records
    /// decides whether they count. False where it is gone already.
    /// </summary>
    public bool TryPin(Volume volume)
    {
        lock (_flush)
        {
            lock (_state)
            {
                volume.IsPinned = Volumes.ContainsKey(volume.Id);
                return volume.IsPinned;
            }
        }
    }

    public void Unpin(Volume volume)
    {
        lock (_state)
            volume.IsPinned = false;
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
        => new(volume.Id, volume.Header.Generation, state, volume.CompleteBelow, volume.CompleteChecksum, volume.LiveBytes, volume.LiveFragments, volume.RecordBytes);

    private Volume? FindReclaimable()
    {
        lock (_state)
        {
            // It may have missed what keeps a volume.
            if (_rebuildDue)
                return null;
            foreach (Volume volume in Volumes.Values)
            {
                if (_dead.Count == 0 && !volume.IsPinned && volume.State is VolumeState.Sealed or VolumeState.Poisoned && volume.LiveFragments == 0
                    && (volume.TombstonesCarried || !_tombstoneTargets.Keys.Any(key => key.Volume == volume.Id && key.Target != volume.Id && Holds(key.Target))))
                    return volume;
            }

            return null;
        }
    }

    private bool ApplyFragment(Volume volume, PendingRecord record)
    {
        volume.RecordBytes += record.RecordBytes;
        try
        {
            bool found = TryGetExact(record.Key, out FragmentLocation known);
            if (record.Source is { } source && (!found || known.VolumeId != source.VolumeId || known.Offset != source.Offset))
            {
                // Deleted or written again since compaction looked: the copy is not wanted.
                Supersede(record.Key, record.Location);
                if (!found)
                    _dead.Add(new TombstoneEntry(record.Key, record.Location.VolumeId, record.Location.Offset));
                return false;
            }

            if (found)
                return Replace(volume, record.Key, known, record.Location);
        }
        catch (Exception e) when (e is IOException or IndexDamagedException)
        {
            // The record is synced: it counts. Whether it replaces another one, the next start finds out.
            _lookupFailure = e;
            _rebuildDue = true;
            if (record.Source is not null)
                return false;
        }

        Count(volume, record.Location, 1);
        Put(record.Key, record.Location);
        return false;
    }

    private bool Replace(Volume volume, FragmentKey key, in FragmentLocation known, in FragmentLocation location)
    {
        Count(volume, location, 1);
        Put(key, location);
        Interlocked.Increment(ref _removals);
        _cache.Remove(key);
        Supersede(key, known);
        return CountAt(known, -1);
    }

    private void Put(FragmentKey key, in FragmentLocation location)
    {
        _current[key] = location;
        _entries++;
    }

    /// <summary>Remembers an older copy for as long as its volume exists: a tombstone must name it too, or an index rebuilt later would bring it back.</summary>
    private void Supersede(FragmentKey key, in FragmentLocation location)
    {
        Note(new SupersededChange(key, location.VolumeId, location.Offset, Added: true));
        _supersededCounts[location.VolumeId] = _supersededCounts.GetValueOrDefault(location.VolumeId) + 1;
        _entries++;
    }

    private HashSet<long> SupersededIn(long volumeId, FragmentKey key)
    {
        HashSet<long> offsets = [.. _database.ReadSuperseded(volumeId, key)];
        foreach (Dictionary<FragmentKey, List<SupersededChange>>? changes in (ReadOnlySpan<Dictionary<FragmentKey, List<SupersededChange>>?>)[_flushing?.Superseded, _superseded])
        {
            foreach (SupersededChange change in changes?.GetValueOrDefault(key) ?? [])
            {
                if (change.VolumeId == volumeId)
                    _ = change.Added ? offsets.Add(change.Offset) : offsets.Remove(change.Offset);
            }
        }

        return offsets;
    }

    private bool TryDropSuperseded(in TombstoneEntry entry)
    {
        if (!_supersededCounts.TryGetValue(entry.VolumeId, out long count) || !SupersededIn(entry.VolumeId, entry.Key).Contains(entry.Offset))
            return false;
        Note(new SupersededChange(entry.Key, entry.VolumeId, entry.Offset, Added: false));
        _entries++;
        if (count == 1)
            _supersededCounts.Remove(entry.VolumeId);
        else
            _supersededCounts[entry.VolumeId] = count - 1;
        return true;
    }

    private void ForgetSuperseded(long volumeId)
    {
        _supersededCounts.Remove(volumeId);
        foreach (List<SupersededChange> changes in _superseded.Values)
            changes.RemoveAll(change => change.VolumeId == volumeId);
    }

    private void Note(SupersededChange change)
    {
        if (!_superseded.TryGetValue(change.Key, out List<SupersededChange>? changes))
            _superseded.Add(change.Key, changes = []);
        changes.Add(change);
    }

    private bool CountAt(in FragmentLocation location, int change)
        => Volumes.TryGetValue(location.VolumeId, out Volume? volume) && Count(volume, location, change);

    /// <summary>True where this leaves the volume without a live fragment.</summary>
    private static bool Count(Volume volume, in FragmentLocation location, int change)
    {
        volume.LiveBytes += change * location.RecordBytes;
        volume.LiveFragments += change;
        if (change < 0)
            volume.Dirty = true;
        return volume.LiveFragments == 0;
    }

    /// <summary>
    /// The records are synced, whatever the index makes of them. Where it cannot say what a tombstone takes away, the entry stays, so that nothing alive is
    /// counted as gone, and the index is rebuilt at the next start; in recovery that happens at once.
    /// </summary>
    private bool ApplyTombstones(Volume volume, PendingRecord record)
    {
        bool emptied = false;
        volume.RecordBytes += record.RecordBytes;
        foreach (TombstoneEntry entry in record.Tombstones!)
        {
            _dead.Remove(entry);
            CountTarget(volume, entry);
            try
            {
                // Deleted before, or never acknowledged: nothing to take away, and nothing to count twice.
                if (!TryGetExact(entry.Key, out FragmentLocation location) || location.VolumeId != entry.VolumeId || location.Offset != entry.Offset)
                {
                    TryDropSuperseded(entry);
                    continue;
                }

                _current[entry.Key] = null;
                _entries++;
                Interlocked.Increment(ref _removals);
                _cache.Remove(entry.Key);
                emptied |= CountAt(location, -1);
            }
            catch (Exception e) when (_recovery is null && (e is IOException or IndexDamagedException))
            {
                _lookupFailure = e;
                _rebuildDue = true;
            }
        }

        return emptied;
    }

    private void CountTarget(Volume volume, TombstoneEntry entry)
    {
        if (entry.VolumeId == volume.Id || !Holds(entry.VolumeId))
            return;
        (long, long) pair = (volume.Id, entry.VolumeId);
        _tombstoneTargets[pair] = _tombstoneTargets.GetValueOrDefault(pair) + 1;
        _dirtyTargets.Add(pair);
    }

    private void Write(FlushBatch batch, bool durable)
    {
        // In key order: neighbours go to the same page of the database, and pages fill up.
        _database.Apply(batch.Changes.OrderBy(change => change.Key), batch.Rows, batch.TombstoneTargets, [], durable, batch.Superseded.Values.SelectMany(changes => changes));
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

    /// <summary>What recovery knows until all volumes have been read.</summary>
    private sealed class RecoveryState
    {
        /// <summary>Further copies of fragments that have a place already.</summary>
        public List<(Volume Volume, PendingRecord Record, bool Intact)> Copies { get; } = [];
    }

    private sealed record FlushBatch(
        ConcurrentDictionary<FragmentKey, FragmentLocation?> Changes, List<VolumeRow> Rows, Dictionary<FragmentKey, List<SupersededChange>> Superseded, List<KeyValuePair<(long, long), long>> TombstoneTargets);
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
        if (_young.TryAdd(key, location)) // never over one that has come since
            CountYoung();
        return true;
    }

    /// <summary>In place of what the cache has of the key.</summary>
    public void Add(FragmentKey key, FragmentLocation location)
    {
        if (_young.TryAdd(key, location))
            CountYoung();
        else
            _young[key] = location;
    }

    public void Remove(FragmentKey key)
    {
        _young.TryRemove(key, out _);
        _old.TryRemove(key, out _);
    }

    private void CountYoung()
    {
        if (Interlocked.Increment(ref _youngCount) < maxEntries / 2)
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
}
