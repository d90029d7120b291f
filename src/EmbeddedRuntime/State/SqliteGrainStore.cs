// Grain state and reminders in one SQLite file; its format is described in README.md beside this project.
//
// One thread owns the connection. It takes every operation that is waiting, runs them in one transaction, commits with synchronous=FULL
// in WAL mode, and completes them after the commit: concurrent writers share a sync, and nobody is told of a write that is not on disk.
// A failure before the commit rolls back and fails the operations of that transaction. A failure of the commit leaves it unknown what is on
// disk, so it poisons the store: every later operation fails with the same cause until the process restarts and recovers the log.

using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using ObjectStore.EmbeddedRuntime.Reminders;
using SQLitePCL;

namespace ObjectStore.EmbeddedRuntime.State;

/// <summary>Keeps grain state and reminders in a SQLite file, durable at the completion of each task.</summary>
public sealed class SqliteGrainStore : IGrainStateStore, IReminderStore, IDisposable
{
    private const int MaxBatch = 512;

    // "OGRS": says whose file it is, where SQLite's own tools look for it.
    private const int ApplicationId = 0x4F475253;
    private const int SchemaVersion = 1;

    private const string Schema = """
        CREATE TABLE grain_state (
            grain_type TEXT NOT NULL,
            state_name TEXT NOT NULL,
            grain_key  TEXT NOT NULL,
            etag       INTEGER NOT NULL,
            payload    BLOB NOT NULL,
            PRIMARY KEY (grain_type, state_name, grain_key));
        CREATE TABLE reminder (
            grain_type   TEXT NOT NULL,
            grain_key    TEXT NOT NULL,
            name         TEXT NOT NULL,
            start_ticks  INTEGER NOT NULL,
            period_ticks INTEGER NOT NULL,
            etag         INTEGER NOT NULL,
            PRIMARY KEY (grain_type, grain_key, name));
        CREATE TABLE etag_sequence (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER NOT NULL);
        INSERT INTO etag_sequence VALUES (1, 0);
        """;

    private readonly BlockingCollection<Operation> _operations = new(boundedCapacity: 100_000);
    private readonly sqlite3 _connection;
    private readonly Thread _thread;
    private readonly Dictionary<string, sqlite3_stmt> _statements = [];
    private Exception? _poison;
    private long _lastETag;
    private long _committedETag;
    private int _disposed;

    private SqliteGrainStore(sqlite3 connection)
    {
        _connection = connection;
        _lastETag = _committedETag = ScalarOf("SELECT last FROM etag_sequence");
        _thread = new Thread(RunOperations) { IsBackground = true, Name = "grain store" };
        _thread.Start();
    }

    /// <summary>Opens the file, creating it where there is none.</summary>
    /// <exception cref="IOException">It cannot be opened.</exception>
    /// <exception cref="InvalidDataException">It is another application's, or of a newer version.</exception>
    public static SqliteGrainStore Open(string path)
    {
        Batteries_V2.Init();
        ObjectStore.Sqlite.SqliteSleep.Install();
        int result = raw.sqlite3_open_v2(path, out sqlite3 connection, raw.SQLITE_OPEN_READWRITE | raw.SQLITE_OPEN_CREATE | raw.SQLITE_OPEN_NOMUTEX, null);
        if (result != raw.SQLITE_OK)
        {
            string reason = connection is null ? "" : raw.sqlite3_errmsg(connection).utf8_to_string();
            connection?.Dispose();
            throw new IOException($"Cannot open the grain store {path}: SQLite error {result} {reason}.");
        }

        try
        {
            Execute(connection, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=5000; PRAGMA locking_mode=NORMAL;");
            CreateSchema(connection, path);
            SettleLog(connection);
            return new SqliteGrainStore(connection);
        }
        catch (Exception e)
        {
            connection.Dispose();
            if (e is IOException) throw new IOException($"Cannot open the grain store {path}: {e.Message}", e);
            throw;
        }
    }

    public async ValueTask<GrainStateRecord?> ReadAsync(GrainStateKey key, CancellationToken cancellationToken) =>
        await Enqueue(
            store =>
            {
                sqlite3_stmt statement = store.Prepare("SELECT etag, payload FROM grain_state WHERE grain_type = ?1 AND state_name = ?2 AND grain_key = ?3");
                BindKey(statement, key);
                return store.StepRow(statement)
                    ? new GrainStateRecord(raw.sqlite3_column_blob(statement, 1).ToArray(), Format(raw.sqlite3_column_int64(statement, 0)))
                    : (GrainStateRecord?)null;
            },
            cancellationToken);

    public async ValueTask<GrainStateResult> WriteAsync(GrainStateKey key, ReadOnlyMemory<byte> payload, string? expectedETag, CancellationToken cancellationToken) =>
        await Enqueue(
            store =>
            {
                string? stored = store.StoredETag(key);
                if (stored != expectedETag)
                    return new GrainStateResult(false, stored);
                long etag = ++store._lastETag;
                sqlite3_stmt statement = store.Prepare(
                    "INSERT INTO grain_state (grain_type, state_name, grain_key, etag, payload) VALUES (?1, ?2, ?3, ?4, ?5) "
                    + "ON CONFLICT (grain_type, state_name, grain_key) DO UPDATE SET etag = excluded.etag, payload = excluded.payload");
                BindKey(statement, key);
                raw.sqlite3_bind_int64(statement, 4, etag);
                BindBlob(statement, 5, payload.Span);
                store.StepDone(statement);
                return new GrainStateResult(true, Format(etag));
            },
            cancellationToken);

    public async ValueTask<GrainStateResult> ClearAsync(GrainStateKey key, string? expectedETag, CancellationToken cancellationToken) =>
        await Enqueue(
            store =>
            {
                string? stored = store.StoredETag(key);
                if (stored != expectedETag)
                    return new GrainStateResult(false, stored);
                sqlite3_stmt statement = store.Prepare("DELETE FROM grain_state WHERE grain_type = ?1 AND state_name = ?2 AND grain_key = ?3");
                BindKey(statement, key);
                store.StepDone(statement);
                return new GrainStateResult(true, null);
            },
            cancellationToken);

    public async ValueTask<IReadOnlyList<ReminderRecord>> ReadAllAsync(CancellationToken cancellationToken) =>
        await Enqueue(
            store =>
            {
                List<ReminderRecord> records = [];
                sqlite3_stmt statement = store.Prepare("SELECT grain_type, grain_key, name, start_ticks, period_ticks, etag FROM reminder ORDER BY 1, 2, 3");
                while (store.StepRow(statement))
                {
                    records.Add(new ReminderRecord(
                        Text(statement, 0),
                        Text(statement, 1),
                        Text(statement, 2),
                        new DateTime(raw.sqlite3_column_int64(statement, 3), DateTimeKind.Utc),
                        TimeSpan.FromTicks(raw.sqlite3_column_int64(statement, 4)),
                        Format(raw.sqlite3_column_int64(statement, 5))));
                }

                return records;
            },
            cancellationToken);

    public async ValueTask<ReminderRecord> UpsertAsync(ReminderRecord record, CancellationToken cancellationToken) =>
        await Enqueue(
            store =>
            {
                long etag = ++store._lastETag;
                sqlite3_stmt statement = store.Prepare(
                    "INSERT INTO reminder (grain_type, grain_key, name, start_ticks, period_ticks, etag) VALUES (?1, ?2, ?3, ?4, ?5, ?6) "
                    + "ON CONFLICT (grain_type, grain_key, name) DO UPDATE SET start_ticks = excluded.start_ticks, period_ticks = excluded.period_ticks, etag = excluded.etag");
                BindText(statement, 1, record.GrainType);
                BindText(statement, 2, record.GrainKey);
                BindText(statement, 3, record.Name);
                raw.sqlite3_bind_int64(statement, 4, record.StartAt.Ticks);
                raw.sqlite3_bind_int64(statement, 5, record.Period.Ticks);
                raw.sqlite3_bind_int64(statement, 6, etag);
                store.StepDone(statement);
                return record with { ETag = Format(etag) };
            },
            cancellationToken);

    public async ValueTask<bool> RemoveAsync(ReminderRecord record, CancellationToken cancellationToken) =>
        await Enqueue(
            store =>
            {
                if (!long.TryParse(record.ETag, NumberStyles.None, CultureInfo.InvariantCulture, out long etag))
                    return false;
                sqlite3_stmt statement = store.Prepare("DELETE FROM reminder WHERE grain_type = ?1 AND grain_key = ?2 AND name = ?3 AND etag = ?4");
                BindText(statement, 1, record.GrainType);
                BindText(statement, 2, record.GrainKey);
                BindText(statement, 3, record.Name);
                raw.sqlite3_bind_int64(statement, 4, etag);
                store.StepDone(statement);
                return raw.sqlite3_changes(store._connection) > 0;
            },
            cancellationToken);

    /// <summary>Completes the operations that were asked for, then closes the file.</summary>
    public void Dispose()
    {
        // The container disposes it once for each service it stands for.
        if (Interlocked.Exchange(ref _disposed, 1) == 1)
            return;
        _operations.CompleteAdding();
        _thread.Join();
        foreach (sqlite3_stmt statement in _statements.Values)
            statement.Dispose();
        _connection.Dispose();
        _operations.Dispose();
    }

    private static void CreateSchema(sqlite3 connection, string path)
    {
        Execute(connection, "BEGIN IMMEDIATE");
        long application = ScalarOf(connection, "PRAGMA application_id");
        long version = ScalarOf(connection, "PRAGMA user_version");
        long tables = ScalarOf(connection, "SELECT count(*) FROM sqlite_master");
        if (tables > 0 && application != ApplicationId)
            throw new InvalidDataException($"{path} is not a grain store: its application id is {application:X8}.");
        if (version > SchemaVersion)
            throw new InvalidDataException($"The grain store {path} has schema version {version}; this program knows versions up to {SchemaVersion}. Run a newer one.");
        if (tables == 0)
            Execute(connection, Schema + $"PRAGMA application_id={ApplicationId}; PRAGMA user_version={SchemaVersion};");
        Execute(connection, "COMMIT");
    }

    /// <summary>
    /// Copies what the process before left in the log into the database, synced, so that the log begins anew: what could not be synced then may be in the page cache only, where the kernel takes
    /// it for clean, and commits behind it would be lost with it at a power cut. Without room for it the store opens all the same.
    /// </summary>
    private static void SettleLog(sqlite3 connection)
    {
        int result = raw.sqlite3_wal_checkpoint_v2(connection, "main", raw.SQLITE_CHECKPOINT_RESTART, out _, out _);
        if (result is not (raw.SQLITE_OK or raw.SQLITE_BUSY or raw.SQLITE_FULL))
            throw Failure(connection, result);
    }

    private static void Execute(sqlite3 connection, string sql)
    {
        int result = raw.sqlite3_exec(connection, sql);
        if (result != raw.SQLITE_OK)
            throw Failure(connection, result);
    }

    private static long ScalarOf(sqlite3 connection, string sql)
    {
        int result = raw.sqlite3_prepare_v2(connection, sql, out sqlite3_stmt statement);
        if (result != raw.SQLITE_OK)
            throw Failure(connection, result);
        using (statement)
        {
            return raw.sqlite3_step(statement) == raw.SQLITE_ROW ? raw.sqlite3_column_int64(statement, 0) : 0;
        }
    }

    private static IOException Failure(sqlite3 connection, int result) =>
        new($"The grain store failed: SQLite error {result} {raw.sqlite3_errmsg(connection).utf8_to_string()}.");

    private static string Format(long etag) => etag.ToString(CultureInfo.InvariantCulture);

    private static void BindKey(sqlite3_stmt statement, GrainStateKey key)
    {
        BindText(statement, 1, key.GrainType);
        BindText(statement, 2, key.StateName);
        BindText(statement, 3, key.GrainKey);
    }

    private static void BindText(sqlite3_stmt statement, int index, string value) => raw.sqlite3_bind_text(statement, index, Encoding.UTF8.GetBytes(value).AsSpan());

    private static void BindBlob(sqlite3_stmt statement, int index, ReadOnlySpan<byte> value)
    {
        // An empty span has no address, and SQLite takes that for NULL.
        if (value.IsEmpty)
            raw.sqlite3_bind_zeroblob(statement, index, 0);
        else
            raw.sqlite3_bind_blob(statement, index, value);
    }

    // By length, not up to a NUL: a key may hold one.
    private static string Text(sqlite3_stmt statement, int column) => Encoding.UTF8.GetString(raw.sqlite3_column_blob(statement, column));

    private long ScalarOf(string sql) => ScalarOf(_connection, sql);

    private string? StoredETag(GrainStateKey key)
    {
        sqlite3_stmt statement = Prepare("SELECT etag FROM grain_state WHERE grain_type = ?1 AND state_name = ?2 AND grain_key = ?3");
        BindKey(statement, key);
        return StepRow(statement) ? Format(raw.sqlite3_column_int64(statement, 0)) : null;
    }

    private sqlite3_stmt Prepare(string sql)
    {
        if (!_statements.TryGetValue(sql, out sqlite3_stmt? statement))
        {
            int result = raw.sqlite3_prepare_v2(_connection, sql, out statement);
            if (result != raw.SQLITE_OK)
                throw Failure(_connection, result);
            _statements[sql] = statement;
        }

        raw.sqlite3_reset(statement);
        return statement;
    }

    private bool StepRow(sqlite3_stmt statement)
    {
        int result = raw.sqlite3_step(statement);
        return result switch
        {
            raw.SQLITE_ROW => true,
            raw.SQLITE_DONE => false,
            _ => throw Failure(_connection, result),
        };
    }

    private void StepDone(sqlite3_stmt statement)
    {
        int result = raw.sqlite3_step(statement);
        if (result != raw.SQLITE_DONE)
            throw Failure(_connection, result);
        raw.sqlite3_reset(statement);
    }

    private Task<T> Enqueue<T>(Func<SqliteGrainStore, T> run, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        Operation<T> operation = new(run);
        try
        {
            _operations.Add(operation, cancellationToken);
        }
        catch (InvalidOperationException)
        {
            throw new ObjectDisposedException(nameof(SqliteGrainStore));
        }

        return cancellationToken.CanBeCanceled ? operation.Task.WaitAsync(cancellationToken) : operation.Task;
    }

    private void RunOperations()
    {
        List<Operation> batch = new(MaxBatch);
        while (_operations.TryTake(out Operation? first, Timeout.Infinite))
        {
            batch.Clear();
            batch.Add(first);
            while (batch.Count < MaxBatch && _operations.TryTake(out Operation? next))
                batch.Add(next);
            if (_poison is { } poison)
                Fail(batch, poison);
            else
                RunBatch(batch);
        }
    }

    private void RunBatch(List<Operation> batch)
    {
        bool committing = false;
        try
        {
            Execute(_connection, "BEGIN IMMEDIATE");
            foreach (Operation operation in batch)
                operation.Run(this);
            if (_lastETag != _committedETag)
                Execute(_connection, $"UPDATE etag_sequence SET last = {Format(_lastETag)}");
            // A read that is still open would keep the log from being checkpointed.
            foreach (sqlite3_stmt statement in _statements.Values)
                raw.sqlite3_reset(statement);
            committing = true;
            Execute(_connection, "COMMIT");
            _committedETag = _lastETag;
        }
        catch (Exception exception)
        {
            if (committing)
                _poison = new IOException("The grain store stopped: a commit failed, so what is on disk is unknown. Restart the process.", exception);
            foreach (sqlite3_stmt statement in _statements.Values)
                raw.sqlite3_reset(statement);
            raw.sqlite3_exec(_connection, "ROLLBACK");
            // ETags of the failed transaction are not given out again.
            Fail(batch, _poison ?? exception);
            return;
        }

        foreach (Operation operation in batch)
            operation.Complete();
    }

    private static void Fail(List<Operation> batch, Exception exception)
    {
        foreach (Operation operation in batch)
            operation.Fail(exception);
    }

    private abstract class Operation
    {
        public abstract void Run(SqliteGrainStore store);

        public abstract void Complete();

        public abstract void Fail(Exception exception);
    }

    private sealed class Operation<T>(Func<SqliteGrainStore, T> run) : Operation
    {
        private readonly TaskCompletionSource<T> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private T _result = default!;

        public Task<T> Task => _completion.Task;

        public override void Run(SqliteGrainStore store) => _result = run(store);

        public override void Complete() => _completion.TrySetResult(_result);

        public override void Fail(Exception exception) => _completion.TrySetException(exception);
    }
}
