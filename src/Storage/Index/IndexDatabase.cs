using System.Collections.Concurrent;
using Microsoft.Win32.SafeHandles;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Volumes;
using SQLitePCL;

namespace ObjectStore.Storage.Index;

public enum VolumeState
{
    Active = 0,
    Sealed = 1,
    Poisoned = 2,

    /// <summary>Fully garbage; its file is being deleted. A crash leaves this state and the start after it finishes the job.</summary>
    Deleting = 3,
}

/// <summary>What the index knows of one volume, as of the transaction that stored it.</summary>
/// <param name="CompleteBelow">Every record below this offset has been applied to the index, and was synced before it was.</param>
/// <param name="Checksum">CRC-64 of the file below CompleteBelow.</param>
internal sealed record VolumeRow(
    long Id, ulong Generation, VolumeState State, long CompleteBelow, ulong Checksum, long LiveBytes, long LiveFragments, long RecordBytes);

/// <summary>An older copy of a fragment, at a place of its own, that a newer one has replaced.</summary>
/// <param name="Added">False: it is no longer there, since a tombstone names it.</param>
internal readonly record struct SupersededChange(FragmentKey Key, long VolumeId, long Offset, bool Added);

internal sealed class IndexDamagedException(string message) : StorageException(message);

/// <summary>The drive does not give back what is in the database: no reason to rebuild one that serves, but to rebuild one that is being opened, or its drive would never be.</summary>
internal sealed class IndexUnreadableException(string message) : IOException(message);

/// <summary>
/// The SQLite file of a drive's index. A cache of the volumes: in WAL mode with synchronous=NORMAL a power cut may undo the last transactions but leaves a
/// consistent older state, whose checkpoints then make recovery replay more. The log is copied into the database, synced before and after, once it is long enough; where one of these syncs fails the
/// index counts as damaged, since part of the log may be lost without a trace.
/// </summary>
internal sealed class IndexDatabase : IDisposable
{
    private const int SchemaVersion = 2;
    private const string RebuildSuffix = "-rebuild";
    private const int IncrementalVacuum = 2;
    private const int MinFreeShare = 16;
    private const int NoCheckpointOnClose = 1006; // SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE
    private const int CorruptFileSystem = raw.SQLITE_IOERR | (33 << 8); // SQLITE_IOERR_CORRUPTFS: EIO in a read, which some calls give as SQLITE_CORRUPT

    /// <summary>Keeps the index of the write-ahead log in memory instead of a mapped file, where a drive that fails would end the process with a SIGBUS. One process has the database anyhow.</summary>
    private static readonly string? Vfs = OperatingSystem.IsWindows() ? null : "unix-excl";
    private readonly string? _path;
    private readonly Guid _driveId;
    private readonly sqlite3 _writer;
    private readonly SafeFileHandle? _file; // for IsThere; closed after the last connection
    private readonly (ulong Device, ulong Inode)? _shown; // by the path when it was opened
    private readonly ConcurrentBag<Reader> _readers = [];
    private readonly WalLength? _log; // null in memory
    private readonly sqlite3_stmt _upsert;
    private readonly sqlite3_stmt _delete;
    private readonly sqlite3_stmt _upsertVolume;
    private readonly sqlite3_stmt _addSuperseded;
    private readonly sqlite3_stmt _dropSuperseded;
    private readonly byte[] _key = new byte[IndexCodec.MaxKeyBytes];
    private readonly byte[] _place = new byte[IndexCodec.MaxPlaceBytes];
    private readonly Lock _memoryLock = new();
    private bool _distrusted; // a change failed with damage, or a sync failed
    private bool _disposed;

    /// <summary>Called after each look-up. What it throws is what the look-up throws. For tests.</summary>
    internal Action? AfterRead { get; set; }

    /// <summary>Takes the place of each checkpoint: SQLite's extended result code. For tests.</summary>
    internal Func<int>? Checkpointing { get; set; }

    /// <summary>How long the log becomes before it is copied into the database.</summary>
    internal int CheckpointPages { get; set; } = 4000;

    static IndexDatabase()
    {
        Batteries_V2.Init();
        Sqlite.SqliteSleep.Install();
    }

    private IndexDatabase(string? path, Guid driveId, sqlite3 writer, SafeFileHandle? file)
    {
        _path = path;
        _driveId = driveId;
        _writer = writer;
        _file = file;
        _shown = path is not null && OperatingSystem.IsLinux() ? Posix.TryIdentify(path) : null;
        _log = path is null ? null : new WalLength(writer);
        _upsert = Prepare(writer, "INSERT OR REPLACE INTO fragment (key, place) VALUES (?1, ?2)");
        _delete = Prepare(writer, "DELETE FROM fragment WHERE key = ?1");
        _addSuperseded = Prepare(writer, "INSERT OR IGNORE INTO superseded (volume, key, offset) VALUES (?1, ?2, ?3)");
        _dropSuperseded = Prepare(writer, "DELETE FROM superseded WHERE volume = ?1 AND key = ?2 AND offset = ?3");
        _upsertVolume = Prepare(writer, "INSERT OR REPLACE INTO volume (id, generation, state, complete_below, checksum, live_bytes, live_fragments, record_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
    }

    /// <summary>Opens or makes the database.</summary>
    /// <param name="created">Whether it was not there.</param>
    /// <exception cref="IndexDamagedException">It is not an index of this drive, or is damaged: delete it and rebuild.</exception>
    /// <exception cref="IndexUnreadableException">As before.</exception>
    /// <exception cref="IOException">It cannot be opened, which says nothing of what is in it: the process may have too many files open.</exception>
    public static IndexDatabase Open(string? path, Guid driveId, out bool created)
    {
        if (path is not null && File.Exists(path + RebuildSuffix))
            throw new IndexDamagedException($"The index '{path}' has missed changes after a fault.");
        created = path is null || !File.Exists(path) || new FileInfo(path).Length == 0;
        if (created && path is not null)
        {
            // Of a database that is gone: its log must not be taken for that of the new one.
            File.Delete(path + "-wal");
            File.Delete(path + "-shm");
        }

        SafeFileHandle? file = null;
        int result = raw.sqlite3_open_v2(path ?? ":memory:", out sqlite3 connection, raw.SQLITE_OPEN_READWRITE | raw.SQLITE_OPEN_CREATE | raw.SQLITE_OPEN_NOMUTEX, path is null ? null : Vfs);
        try
        {
            if (result != raw.SQLITE_OK)
                throw Failure(connection, result, isOpening: true);
            if (created)
                Execute(connection, "PRAGMA auto_vacuum=INCREMENTAL"); // before anything is in the file, or it has no effect
            Execute(connection, "PRAGMA journal_mode=WAL");
            Execute(connection, "PRAGMA synchronous=NORMAL");
            Execute(connection, "PRAGMA cache_size=-8192");
            Execute(connection, "PRAGMA wal_autocheckpoint=0");
            if (created)
            {
                Execute(connection, "BEGIN");
                Execute(connection, "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID");
                Execute(connection, "CREATE TABLE fragment (key BLOB PRIMARY KEY, place BLOB NOT NULL) WITHOUT ROWID");
                Execute(connection, "CREATE TABLE superseded (volume INTEGER NOT NULL, key BLOB NOT NULL, offset INTEGER NOT NULL, PRIMARY KEY (volume, key, offset)) WITHOUT ROWID");
                Execute(connection, "CREATE TABLE volume (id INTEGER PRIMARY KEY, generation INTEGER NOT NULL, state INTEGER NOT NULL, complete_below INTEGER NOT NULL, checksum INTEGER NOT NULL, live_bytes INTEGER NOT NULL, live_fragments INTEGER NOT NULL, record_bytes INTEGER NOT NULL)");
                Execute(connection, "CREATE TABLE tombstone_target (volume INTEGER NOT NULL, target INTEGER NOT NULL, entries INTEGER NOT NULL, PRIMARY KEY (volume, target)) WITHOUT ROWID");
                Execute(connection, $"INSERT INTO meta VALUES ('schema', {SchemaVersion}), ('drive', '{driveId:D}')");
                Execute(connection, "COMMIT");
            }

            CheckOwner(connection, path, driveId);
            file = path is null ? null : File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            return new IndexDatabase(path, driveId, connection, file);
        }
        catch
        {
            connection.Dispose();
            file?.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Whether the path still shows this database, and that begins as one does: an open one goes on from its cache for long after the file has been damaged. Nothing is opened for it, since the
    /// close would drop the locks by which SQLite keeps other processes out.
    /// </summary>
    public bool IsThere()
    {
        if (_file is null)
            return true;
        if (OperatingSystem.IsLinux() ? Posix.TryIdentify(_path!) != _shown : !File.Exists(_path))
            return false;
        Span<byte> magic = stackalloc byte[16];
        return RandomAccess.Read(_file, magic, 0) == magic.Length && magic.SequenceEqual("SQLite format 3\0"u8);
    }

    /// <summary>
    /// What the index says of its volumes, read without making or changing a file. Where no process has the database open, and it has no log, it can be read as <paramref name="immutable"/>,
    /// for which SQLite takes no lock and makes no file beside it.
    /// </summary>
    /// <exception cref="IndexDamagedException">It is not an index of this drive, or is damaged.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static List<VolumeRow> PeekVolumes(string path, Guid driveId, bool immutable)
    {
        string uri = new Uri(Path.GetFullPath(path)).AbsoluteUri + (immutable ? "?mode=ro&immutable=1" : "?mode=ro");
        int result = raw.sqlite3_open_v2(uri, out sqlite3 connection, raw.SQLITE_OPEN_READONLY | raw.SQLITE_OPEN_URI | raw.SQLITE_OPEN_NOMUTEX, null);
        using (connection)
        {
            if (result != raw.SQLITE_OK)
                throw Failure(connection, result, isOpening: true);
            Sqlite.SqliteSleep.SetBusyLimit(connection.DangerousGetHandle(), TimeSpan.FromSeconds(2));
            CheckOwner(connection, path, driveId);
            return ReadVolumes(connection);
        }
    }

    /// <summary>Removes a database that is to be rebuilt.</summary>
    public static void Delete(string? path)
    {
        if (path is null)
            return;
        File.Delete(path);
        File.Delete(path + "-wal");
        File.Delete(path + "-shm");
        if (!File.Exists(path + RebuildSuffix))
            return;

        // Last, and after a sync, since a power cut may keep names in any order: while the mark is there the next start deletes again.
        DirectorySync.Sync(Path.GetDirectoryName(path)!);
        File.Delete(path + RebuildSuffix);
    }

    /// <summary>Makes the next <see cref="Open"/> find the database damaged, in a file beside it, since the database itself may not be writable.</summary>
    public static void MarkForRebuild(string? path)
    {
        if (path is null)
            return;
        using (SafeFileHandle file = File.OpenHandle(path + RebuildSuffix, FileMode.OpenOrCreate, FileAccess.Write))
            RandomAccess.FlushToDisk(file);
        DirectorySync.Sync(Path.GetDirectoryName(path)!);
    }

    /// <summary>Thread-safe.</summary>
    public bool TryGet(FragmentKey key, out FragmentLocation location)
    {
        using Lease lease = Rent();
        bool found = lease.Reader.TryGet(key, out location);
        AfterRead?.Invoke();
        return found;
    }

    /// <summary>Where older copies of the fragment are in a volume. Thread-safe.</summary>
    public List<long> ReadSuperseded(long volumeId, FragmentKey key)
    {
        using Lease lease = Rent();
        return lease.Reader.ReadSuperseded(volumeId, key);
    }

    /// <summary>
    /// Reads rows behind <paramref name="after"/> in key order until <paramref name="visit"/> returns false or <paramref name="maxRows"/> have been read; true where the end was reached.
    /// Thread-safe; one consistent state of the database.
    /// </summary>
    public bool ReadRows(FragmentKey? after, int maxRows, Func<FragmentKey, FragmentLocation, bool> visit)
    {
        using Lease lease = Rent();
        return lease.Reader.ReadRows(after, maxRows, visit);
    }

    /// <summary>The highest key; null where there is none.</summary>
    public FragmentKey? ReadLastKey()
    {
        using sqlite3_stmt select = Prepare(_writer, "SELECT max(key) FROM fragment");
        return Step(_writer, select) == raw.SQLITE_ROW && raw.sqlite3_column_type(select, 0) != raw.SQLITE_NULL ? IndexCodec.DecodeKey(raw.sqlite3_column_blob(select, 0)) : null;
    }

    /// <summary>The highest id of a volume that has been dropped, which is not used again; 0 where none has.</summary>
    public long ReadLastDroppedVolume()
    {
        using sqlite3_stmt select = Prepare(_writer, "SELECT value FROM meta WHERE name = 'last_dropped_volume'");
        return Step(_writer, select) == raw.SQLITE_ROW ? raw.sqlite3_column_int64(select, 0) : 0;
    }

    /// <summary>Every older copy. For recovery.</summary>
    public IEnumerable<TombstoneEntry> ReadAllSuperseded()
    {
        using sqlite3_stmt select = Prepare(_writer, "SELECT volume, key, offset FROM superseded");
        while (Step(_writer, select) == raw.SQLITE_ROW)
            yield return new TombstoneEntry(IndexCodec.DecodeKey(raw.sqlite3_column_blob(select, 1)), raw.sqlite3_column_int64(select, 0), raw.sqlite3_column_int64(select, 2));
    }

    /// <summary>How many older copies each volume has.</summary>
    public Dictionary<long, long> CountSuperseded()
    {
        var counts = new Dictionary<long, long>();
        using sqlite3_stmt select = Prepare(_writer, "SELECT volume, count(*) FROM superseded GROUP BY volume");
        while (Step(_writer, select) == raw.SQLITE_ROW)
            counts[raw.sqlite3_column_int64(select, 0)] = raw.sqlite3_column_int64(select, 1);
        return counts;
    }

    public List<VolumeRow> ReadVolumes() => ReadVolumes(_writer);

    private static List<VolumeRow> ReadVolumes(sqlite3 connection)
    {
        var rows = new List<VolumeRow>();
        using sqlite3_stmt select = Prepare(connection, "SELECT id, generation, state, complete_below, checksum, live_bytes, live_fragments, record_bytes FROM volume ORDER BY id");
        while (Step(connection, select) == raw.SQLITE_ROW)
        {
            rows.Add(new VolumeRow(
                raw.sqlite3_column_int64(select, 0), (ulong)raw.sqlite3_column_int64(select, 1), (VolumeState)raw.sqlite3_column_int(select, 2),
                raw.sqlite3_column_int64(select, 3), (ulong)raw.sqlite3_column_int64(select, 4), raw.sqlite3_column_int64(select, 5),
                raw.sqlite3_column_int64(select, 6), raw.sqlite3_column_int64(select, 7)));
        }

        return rows;
    }

    public Dictionary<(long Volume, long Target), long> ReadTombstoneTargets()
    {
        var targets = new Dictionary<(long, long), long>();
        using sqlite3_stmt select = Prepare(_writer, "SELECT volume, target, entries FROM tombstone_target");
        while (Step(_writer, select) == raw.SQLITE_ROW)
            targets[(raw.sqlite3_column_int64(select, 0), raw.sqlite3_column_int64(select, 1))] = raw.sqlite3_column_int64(select, 2);
        return targets;
    }

    /// <summary>One transaction: all of it or nothing, but where the checkpoint that follows it fails, then all. One caller at a time.</summary>
    /// <param name="durable">Synced before this returns, for the steps that must not be undone by a power cut.</param>
    /// <exception cref="IndexDamagedException">Damaged, or a sync has failed, after which nothing says what of the index is on the medium.</exception>
    /// <exception cref="IOException">It could not be written; the same may be tried again.</exception>
    public void Apply(
        IEnumerable<KeyValuePair<FragmentKey, FragmentLocation?>> changes,
        IEnumerable<VolumeRow> volumes,
        IEnumerable<KeyValuePair<(long Volume, long Target), long>> tombstoneTargets,
        IEnumerable<long> droppedVolumes,
        bool durable,
        IEnumerable<SupersededChange>? superseded = null)
    {
        if (_path is not null)
        {
            Change(() => ApplyLocked(changes, volumes, tombstoneTargets, droppedVolumes, durable, superseded ?? []));
            return;
        }

        // Its one connection serves the readers too.
        lock (_memoryLock)
            ApplyLocked(changes, volumes, tombstoneTargets, droppedVolumes, durable, superseded ?? []);
    }

    private void ApplyLocked(
        IEnumerable<KeyValuePair<FragmentKey, FragmentLocation?>> changes,
        IEnumerable<VolumeRow> volumes,
        IEnumerable<KeyValuePair<(long Volume, long Target), long>> tombstoneTargets,
        IEnumerable<long> droppedVolumes,
        bool durable,
        IEnumerable<SupersededChange> superseded)
    {
        if (durable)
            Execute(_writer, "PRAGMA synchronous=FULL");
        Execute(_writer, "BEGIN IMMEDIATE");
        try
        {
            foreach ((FragmentKey key, FragmentLocation? location) in changes)
            {
                sqlite3_stmt statement = location is null ? _delete : _upsert;
                Check(_writer, raw.sqlite3_bind_blob(statement, 1, _key.AsSpan(0, IndexCodec.EncodeKey(key, _key))));
                if (location is { } place)
                    Check(_writer, raw.sqlite3_bind_blob(statement, 2, _place.AsSpan(0, IndexCodec.EncodePlace(place, _place))));
                Run(statement);
            }

            foreach (SupersededChange change in superseded)
            {
                sqlite3_stmt statement = change.Added ? _addSuperseded : _dropSuperseded;
                raw.sqlite3_bind_int64(statement, 1, change.VolumeId);
                Check(_writer, raw.sqlite3_bind_blob(statement, 2, _key.AsSpan(0, IndexCodec.EncodeKey(change.Key, _key))));
                raw.sqlite3_bind_int64(statement, 3, change.Offset);
                Run(statement);
            }

            foreach (VolumeRow row in volumes)
            {
                raw.sqlite3_bind_int64(_upsertVolume, 1, row.Id);
                raw.sqlite3_bind_int64(_upsertVolume, 2, (long)row.Generation);
                raw.sqlite3_bind_int(_upsertVolume, 3, (int)row.State);
                raw.sqlite3_bind_int64(_upsertVolume, 4, row.CompleteBelow);
                raw.sqlite3_bind_int64(_upsertVolume, 5, (long)row.Checksum);
                raw.sqlite3_bind_int64(_upsertVolume, 6, row.LiveBytes);
                raw.sqlite3_bind_int64(_upsertVolume, 7, row.LiveFragments);
                raw.sqlite3_bind_int64(_upsertVolume, 8, row.RecordBytes);
                Run(_upsertVolume);
            }

            foreach (((long volume, long target), long entries) in tombstoneTargets)
                Execute(_writer, $"INSERT OR REPLACE INTO tombstone_target VALUES ({volume}, {target}, {entries})");
            foreach (long volume in droppedVolumes)
            {
                Execute(_writer, $"DELETE FROM volume WHERE id = {volume}");
                Execute(_writer, $"INSERT INTO meta VALUES ('last_dropped_volume', {volume}) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)");
                Execute(_writer, $"DELETE FROM superseded WHERE volume = {volume}");
                Execute(_writer, $"DELETE FROM tombstone_target WHERE volume = {volume} OR target = {volume}");
            }

            Execute(_writer, "COMMIT");
        }
        catch
        {
            if (raw.sqlite3_get_autocommit(_writer) == 0)
                raw.sqlite3_exec(_writer, "ROLLBACK");
            throw;
        }
        finally
        {
            if (durable)
                Execute(_writer, "PRAGMA synchronous=NORMAL");
        }
    }

    /// <summary>Makes a change, and the checkpoint that is due after it.</summary>
    private void Change(Action change)
    {
        try
        {
            change();
            if (_log!.Pages >= CheckpointPages)
                Checkpoint(raw.SQLITE_CHECKPOINT_PASSIVE);
        }
        catch (IndexDamagedException)
        {
            _distrusted = true;
            throw;
        }
    }

    /// <summary>Where readers are in the way, or there is no room, the log stays: the next commit tries again.</summary>
    private void Checkpoint(int mode)
    {
        int result = Checkpointing?.Invoke() ?? raw.sqlite3_wal_checkpoint_v2(_writer, "main", mode, out _, out _);
        if ((result & 0xFF) is not (raw.SQLITE_OK or raw.SQLITE_BUSY or raw.SQLITE_LOCKED or raw.SQLITE_FULL))
            throw Failure(_writer, result);
    }

    /// <summary>
    /// Cuts free pages off the file, where they are more than a sixteenth of it; the file itself is cut at the next checkpoint. By one transaction. Not to be called while another thread is in <see cref="Apply"/>.
    /// </summary>
    /// <param name="maxPages">How many at most.</param>
    /// <returns>Whether there are more. An index made before this was possible keeps its free pages, to use them again.</returns>
    public bool Shrink(int maxPages)
    {
        if (_path is null || QueryNumber("PRAGMA auto_vacuum") != IncrementalVacuum)
            return false;
        long free = QueryNumber("PRAGMA freelist_count");
        if (free * MinFreeShare <= QueryNumber("PRAGMA page_count"))
            return false;
        Change(() => Execute(_writer, $"PRAGMA incremental_vacuum({maxPages})"));
        return free > maxPages;
    }

    private long QueryNumber(string sql)
    {
        using sqlite3_stmt statement = Prepare(_writer, sql);
        return Step(_writer, statement) == raw.SQLITE_ROW ? raw.sqlite3_column_int64(statement, 0) : 0;
    }

    /// <summary>
    /// Copies the log into the database first, as SQLite would on its own, but a sync that fails is not forgotten: the next start makes the index anew. Where one has failed before, the log is left as
    /// it is, and what could not be marked then is marked now.
    /// </summary>
    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        while (_readers.TryTake(out Reader? reader))
            reader.Dispose();
        if (_path is not null)
            Settle();
        _upsert.Dispose();
        _delete.Dispose();
        _upsertVolume.Dispose();
        _addSuperseded.Dispose();
        _dropSuperseded.Dispose();
        _writer.Dispose();
        _log?.Dispose();
        _file?.Dispose();
    }

    private void Settle()
    {
        try
        {
            if (!_distrusted)
                Checkpoint(raw.SQLITE_CHECKPOINT_TRUNCATE);
        }
        catch (IndexDamagedException)
        {
            _distrusted = true;
        }
        catch (IOException)
        {
            // The log was synced and stays.
        }

        if (!_distrusted)
            return;
        _ = raw.sqlite3_db_config(_writer, NoCheckpointOnClose, 1, out _);
        try
        {
            if (IsThere()) // by now the path may show another drive's
                MarkForRebuild(_path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A drive that takes nothing at all any more: the database and what is in its log are as consistent as before.
        }
    }

    /// <summary>A reader for one use. An in-memory database has one connection, which the lease locks.</summary>
    private Lease Rent()
    {
        if (_path is null)
            _memoryLock.Enter();
        try
        {
            return new Lease(this, GetReader());
        }
        catch
        {
            if (_path is null)
                _memoryLock.Exit();
            throw;
        }
    }

    private Reader GetReader()
    {
        if (_readers.TryTake(out Reader? reader))
            return reader;
        if (_path is null)
        {
            return new Reader(_writer, owned: false);
        }

        int result = raw.sqlite3_open_v2(_path, out sqlite3 connection, raw.SQLITE_OPEN_READONLY | raw.SQLITE_OPEN_NOMUTEX, Vfs);
        try
        {
            Check(connection, result);
            Execute(connection, "PRAGMA cache_size=-4096");
            Execute(connection, "PRAGMA mmap_size=0"); // a bad sector under a mapping is a SIGBUS, which ends the process; a failed read is an error code

            // The path may show another drive by now, where two have been exchanged under way.
            if (!IsOf(connection, _driveId))
                throw new IOException($"'{_path}' is the index of another drive.");
            return new Reader(connection, owned: true);
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    private void Run(sqlite3_stmt statement)
    {
        int result = raw.sqlite3_step(statement);
        raw.sqlite3_reset(statement);
        if (result != raw.SQLITE_DONE)
            throw Failure(_writer, result);
    }

    private static void CheckOwner(sqlite3 connection, string? path, Guid driveId)
    {
        if (!IsOf(connection, driveId))
            throw new IndexDamagedException($"The index '{path}' is of another format or another drive.");
    }

    private static bool IsOf(sqlite3 connection, Guid driveId)
    {
        using sqlite3_stmt meta = Prepare(connection, "SELECT (SELECT value FROM meta WHERE name = 'schema'), (SELECT value FROM meta WHERE name = 'drive')");
        return Step(connection, meta) == raw.SQLITE_ROW && raw.sqlite3_column_int(meta, 0) == SchemaVersion && raw.sqlite3_column_text(meta, 1).utf8_to_string() == driveId.ToString("D");
    }

    private static sqlite3_stmt Prepare(sqlite3 connection, string sql)
    {
        Check(connection, raw.sqlite3_prepare_v2(connection, sql, out sqlite3_stmt statement));
        return statement;
    }

    private static int Step(sqlite3 connection, sqlite3_stmt statement)
    {
        int result = raw.sqlite3_step(statement);
        return result is raw.SQLITE_ROW or raw.SQLITE_DONE ? result : throw Failure(connection, result);
    }

    private static void Execute(sqlite3 connection, string sql)
    {
        using sqlite3_stmt statement = Prepare(connection, sql);
        while (Step(connection, statement) == raw.SQLITE_ROW)
        {
        }
    }

    private static void Check(sqlite3 connection, int result)
    {
        if (result != raw.SQLITE_OK)
            throw Failure(connection, result);
    }

    private static Exception Failure(sqlite3 connection, int result, bool isOpening = false)
    {
        int extended = raw.sqlite3_extended_errcode(connection);
        return Failure((extended & 0xFF) == (result & 0xFF) ? extended : result, raw.sqlite3_errmsg(connection).utf8_to_string(), isOpening);
    }

    /// <param name="extended">SQLite's extended result code.</param>
    /// <param name="reason">SQLite's message.</param>
    /// <param name="isOpening">Nothing but the first page has been asked for: an error that names none of its content is of the process or of the path.</param>
    internal static Exception Failure(int extended, string reason, bool isOpening)
    {
        string message = $"SQLite {extended}: {reason}";
        return (extended & 0xFF) switch
        {
            raw.SQLITE_CORRUPT or raw.SQLITE_NOTADB => new IndexDamagedException(message),
            raw.SQLITE_ERROR or raw.SQLITE_SCHEMA when !isOpening => new IndexDamagedException(message),
            raw.SQLITE_IOERR when extended is CorruptFileSystem or raw.SQLITE_IOERR_FSYNC or raw.SQLITE_IOERR_DIR_FSYNC => new IndexDamagedException(message),
            raw.SQLITE_IOERR when extended == raw.SQLITE_IOERR_READ => new IndexUnreadableException(message),
            _ => new IOException(message),
        };
    }

    private readonly ref struct Lease(IndexDatabase database, Reader reader)
    {
        public Reader Reader => reader;

        public void Dispose()
        {
            database._readers.Add(reader);
            if (database._path is null)
                database._memoryLock.Exit();
        }
    }

    private sealed class Reader(sqlite3 connection, bool owned) : IDisposable
    {
        private readonly sqlite3_stmt _select = Prepare(connection, "SELECT place FROM fragment WHERE key = ?1");
        private sqlite3_stmt? _range;
        private sqlite3_stmt? _superseded;

        public bool TryGet(FragmentKey key, out FragmentLocation location)
        {
            Span<byte> bytes = stackalloc byte[IndexCodec.MaxKeyBytes];
            raw.sqlite3_bind_blob(_select, 1, bytes[..IndexCodec.EncodeKey(key, bytes)]);
            try
            {
                bool found = Step(connection, _select) == raw.SQLITE_ROW;
                location = found ? IndexCodec.DecodePlace(raw.sqlite3_column_blob(_select, 0)) : default;
                return found;
            }
            finally
            {
                raw.sqlite3_reset(_select);
            }
        }

        public List<long> ReadSuperseded(long volumeId, FragmentKey key)
        {
            _superseded ??= Prepare(connection, "SELECT offset FROM superseded WHERE volume = ?1 AND key = ?2");
            Span<byte> bytes = stackalloc byte[IndexCodec.MaxKeyBytes];
            raw.sqlite3_bind_int64(_superseded, 1, volumeId);
            raw.sqlite3_bind_blob(_superseded, 2, bytes[..IndexCodec.EncodeKey(key, bytes)]);
            try
            {
                var offsets = new List<long>();
                while (Step(connection, _superseded) == raw.SQLITE_ROW)
                    offsets.Add(raw.sqlite3_column_int64(_superseded, 0));
                return offsets;
            }
            finally
            {
                raw.sqlite3_reset(_superseded);
            }
        }

        public bool ReadRows(FragmentKey? after, int maxRows, Func<FragmentKey, FragmentLocation, bool> visit)
        {
            _range ??= Prepare(connection, "SELECT key, place FROM fragment WHERE key > ?1 ORDER BY key");
            Span<byte> bytes = stackalloc byte[IndexCodec.MaxKeyBytes];
            bytes[0] = 0; // below every key
            raw.sqlite3_bind_blob(_range, 1, bytes[..(after is { } key ? IndexCodec.EncodeKey(key, bytes) : 1)]);
            try
            {
                for (int rows = 0; rows < maxRows; rows++)
                {
                    if (Step(connection, _range) != raw.SQLITE_ROW)
                        return true;
                    if (!visit(IndexCodec.DecodeKey(raw.sqlite3_column_blob(_range, 0)), IndexCodec.DecodePlace(raw.sqlite3_column_blob(_range, 1))))
                        return false;
                }

                return false;
            }
            finally
            {
                raw.sqlite3_reset(_range);
            }
        }

        public void Dispose()
        {
            _select.Dispose();
            _range?.Dispose();
            _superseded?.Dispose();
            if (owned)
                connection.Dispose();
        }
    }
}
