// The one writer of the database.
//
// A thread of its own takes every change that waits, runs them all in one transaction, commits it, which syncs the write-ahead log once
// (synchronous=FULL), and then tells the callers. While it syncs, the next changes gather; so the more callers, the fewer syncs each costs.
//
// Failure model. A change that throws while it runs undoes the whole transaction; the changes are then run again one by one, so that only
// the one at fault fails. SQLITE_FULL rolls back and fails its batch; later ones may succeed. A failed COMMIT or any other I/O error leaves
// unknown what is on the disk: a sync that failed once may say "done" the next time with the pages lost. So all of the batch fail,
// and every later change is refused until the store is opened again and SQLite has recovered the log. Reads go on.
//
// Checkpoints. The log is copied into the database by a second thread with a connection of its own (PASSIVE: it waits for nobody and nobody waits for it).
// What was appended meanwhile is left over, so under steady load the log would never start anew; the writer copies that small rest itself, between two
// transactions, which lets the log begin again at its head. That bounds it, and a log that is reused in place syncs faster than one that grows.

using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace ObjectStore.Metadata.Sqlite;

/// <summary>Runs changes in shared transactions on its own thread.</summary>
internal sealed class GroupCommitter : IDisposable
{
    // How much a batch may hold: a batch that is too long makes its first callers wait for its last.
    private const int MaxBatch = 2048;

    private readonly SqliteConnection _connection;
    private readonly SqliteConnection _checkpointConnection;
    private readonly SqliteMetadataOptions _options;
    private readonly MetadataMetrics _metrics;
    private readonly WriterSession _session;
    private readonly SqliteStatement _begin;
    private readonly SqliteStatement _commit;
    private readonly SemaphoreSlim _slots;
    private readonly Lock _gate = new();
    private readonly AutoResetEvent _wake = new(false);
    private readonly AutoResetEvent _checkpointWake = new(false);
    private readonly Thread _writer;
    private readonly Thread _checkpointer;
    private readonly long _pageSizeBytes;
    private readonly WalState _wal = new();
    private GCHandle _walHandle;
    private List<WriteOperation> _pending = [];
    private List<WriteOperation> _batch = [];
    private bool _stopping;
    private volatile bool _checkpointerStopping;
    private volatile bool _restartDue;
    private volatile MetadataStoreException? _poison;

    internal GroupCommitter(SqliteConnection connection, SqliteConnection checkpointConnection, SqliteMetadataOptions options)
    {
        _connection = connection;
        _checkpointConnection = checkpointConnection;
        _options = options;
        _slots = new SemaphoreSlim(options.QueueCapacity);
        _metrics = new MetadataMetrics(() => WalBytes, () => _options.QueueCapacity - _slots.CurrentCount);
        _pageSizeBytes = connection.QueryInt64("PRAGMA page_size") ?? options.PageSizeBytes;
        _session = new WriterSession(connection);
        _begin = connection.Prepare("BEGIN IMMEDIATE");
        _commit = connection.Prepare("COMMIT");
        _walHandle = GCHandle.Alloc(_wal);
        unsafe
        {
            SqliteNative.WalHook(connection.Handle, &OnWalCommit, (void*)GCHandle.ToIntPtr(_walHandle));
        }

        _writer = new Thread(RunWriter) { IsBackground = true, Name = "metadata writer" };
        _checkpointer = new Thread(RunCheckpointer) { IsBackground = true, Name = "metadata checkpoint" };
        _writer.Start();
        _checkpointer.Start();
    }

    /// <summary>What the write-ahead log holds, in bytes, as of the last commit.</summary>
    internal long WalBytes => Volatile.Read(ref _wal.Pages) * _pageSizeBytes;

    /// <summary>Queues a change; the task ends when it is on the disk. A cancelled caller stops waiting, the change goes on.</summary>
    internal async ValueTask<T> SubmitAsync<T>(string name, Func<WriterSession, T> apply, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        using Activity? activity = MetadataMetrics.Activities.StartActivity(name);
        if (!_slots.Wait(0, CancellationToken.None))
        {
            await _slots.WaitAsync(cancellationToken).ConfigureAwait(false);
        }

        var operation = new WriteOperation<T>(apply);
        bool first;
        lock (_gate)
        {
            if (_stopping || _poison is not null)
            {
                _slots.Release();
                ObjectDisposedException.ThrowIf(_stopping, this);
                throw Refusal();
            }

            _pending.Add(operation);
            first = _pending.Count == 1;
        }

        if (first)
        {
            _wake.Set();
        }

        return cancellationToken.CanBeCanceled
            ? await operation.Task.WaitAsync(cancellationToken).ConfigureAwait(false)
            : await operation.Task.ConfigureAwait(false);
    }

    /// <summary>Commits what is queued, then ends both threads. Does not close the connections.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_stopping)
            {
                return;
            }

            _stopping = true;
        }

        _wake.Set();
        _writer.Join();
        _checkpointerStopping = true;
        _checkpointWake.Set();
        _checkpointer.Join();
        unsafe
        {
            SqliteNative.WalHook(_connection.Handle, null, null);
        }

        _walHandle.Free();
        _metrics.Dispose();
    }

    private void RunWriter()
    {
        while (TakeBatch())
        {
            if (_poison is not null)
            {
                FailBatch(Refusal());
            }
            else
            {
                CommitBatch();
            }

            _slots.Release(_batch.Count);
            _batch.Clear();
            CheckpointIfDue();
        }
    }

    private bool TakeBatch()
    {
        while (true)
        {
            lock (_gate)
            {
                if (_pending.Count > MaxBatch)
                {
                    _batch.AddRange(_pending.GetRange(0, MaxBatch));
                    _pending.RemoveRange(0, MaxBatch);
                    return true;
                }

                if (_pending.Count > 0)
                {
                    (_pending, _batch) = (_batch, _pending);
                    return true;
                }

                if (_stopping)
                {
                    return false;
                }
            }

            _wake.WaitOne();
        }
    }

    private void CommitBatch()
    {
        long began = Stopwatch.GetTimestamp();
        if (!TryRunAll(out bool settled))
        {
            if (!settled)
            {
                CommitOneByOne();
            }

            return;
        }

        if (TryCommit())
        {
            _metrics.Committed(_batch.Count, Stopwatch.GetElapsedTime(began));
            foreach (WriteOperation operation in _batch)
            {
                operation.Complete();
            }
        }
    }

    /// <summary>Runs the batch in one transaction, up to its commit. False when it was rolled back; settled when its callers know already.</summary>
    private bool TryRunAll(out bool settled)
    {
        settled = true;
        try
        {
            _begin.Run();
            foreach (WriteOperation operation in _batch)
            {
                operation.Run(_session);
            }

            return true;
        }
        catch (SqliteException fault)
        {
            Abandon(fault);
            return false;
        }
        catch (Exception fault) when (fault is not OutOfMemoryException)
        {
            if (TryRollback())
            {
                settled = false;
            }

            return false;
        }
    }

    private void CommitOneByOne()
    {
        WriteOperation[] operations = [.. _batch];
        foreach (WriteOperation operation in operations)
        {
            if (_poison is not null)
            {
                operation.Fail(Refusal());
                continue;
            }

            _batch.Clear();
            _batch.Add(operation);
            try
            {
                _begin.Run();
                operation.Run(_session);
            }
            catch (SqliteException fault)
            {
                Abandon(fault);
                continue;
            }
            catch (Exception fault) when (fault is not OutOfMemoryException)
            {
                if (TryRollback())
                {
                    operation.Fail(fault);
                }

                continue;
            }

            if (TryCommit())
            {
                operation.Complete();
            }
        }

        _batch.Clear();
        _batch.AddRange(operations);
    }

    private bool TryCommit()
    {
        try
        {
            if (_options.CommitFault?.Invoke() is int code)
            {
                throw new SqliteException(code, "injected");
            }

            _commit.Run();
            return true;
        }
        catch (SqliteException fault) when (fault.Code == SqliteNative.Full)
        {
            // The commit's last frame did not get into the log, so no recovery can find this transaction: it is as if it never was.
            Abandon(fault);
            return false;
        }
        catch (SqliteException fault)
        {
            Poison(fault);
            return false;
        }
    }

    /// <summary>Rolls back, tells the batch, and poisons the store if the fault says more than that this transaction did not fit.</summary>
    private void Abandon(SqliteException fault)
    {
        if (fault.IsFatalToWriter)
        {
            Poison(fault);
        }
        else if (TryRollback())
        {
            _metrics.Failed();
            FailBatch(fault.ToStoreException());
        }
    }

    private bool TryRollback()
    {
        try
        {
            _connection.RollbackIfOpen();
            return true;
        }
        catch (SqliteException fault)
        {
            Poison(fault);
            return false;
        }
    }

    private void Poison(SqliteException fault)
    {
        lock (_gate)
        {
            _poison ??= fault.ToStoreException();
        }

        _metrics.Failed();
        FailBatch(fault.ToStoreException());
        try
        {
            _connection.RollbackIfOpen();
        }
        catch (SqliteException)
        {
            // The writer is out of use already.
        }
    }

    private void FailBatch(Exception fault)
    {
        foreach (WriteOperation operation in _batch)
        {
            operation.Fail(fault);
        }
    }

    private MetadataStoreException Refusal() =>
        new("The metadata store refuses writes since one failed to reach the disk: check the drive and restart the process.", _poison);

    private void CheckpointIfDue()
    {
        long bytes = WalBytes;
        if (bytes < _options.CheckpointBytes || _poison is not null)
        {
            return;
        }

        // Twice the limit: the checkpointer does not keep up (a slow drive, or a long read holds it back), and the callers have to wait for it.
        if (_restartDue || bytes >= 2 * _options.CheckpointBytes)
        {
            _restartDue = false;
            Checkpoint(_connection, SqliteNative.CheckpointRestart);
        }
        else
        {
            _checkpointWake.Set();
        }
    }

    private void RunCheckpointer()
    {
        while (true)
        {
            _checkpointWake.WaitOne();
            if (_checkpointerStopping)
            {
                return;
            }

            if (!_restartDue && _poison is null)
            {
                Checkpoint(_checkpointConnection, SqliteNative.CheckpointPassive);
                _restartDue = true;
            }
        }
    }

    private unsafe void Checkpoint(SqliteConnection connection, int mode)
    {
        long began = Stopwatch.GetTimestamp();
        int code = SqliteNative.WalCheckpoint(connection.Handle, null, mode, null, null);

        // Busy is a checkpoint that was not finished: the log grows on and the next commit tries again. A failed sync here loses nothing by itself, as
        // the log still holds all; but it is the same drive, and SQLite would believe the next sync.
        if (code is not SqliteNative.Ok && (code & 0xFF) is not (SqliteNative.Busy or SqliteNative.Full))
        {
            lock (_gate)
            {
                _poison ??= connection.Fault(code).ToStoreException();
            }
        }

        _metrics.Checkpointed(Stopwatch.GetElapsedTime(began));
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static unsafe int OnWalCommit(void* state, nint database, byte* schema, int pages)
    {
        Volatile.Write(ref ((WalState)GCHandle.FromIntPtr((nint)state).Target!).Pages, pages);
        return SqliteNative.Ok;
    }

    private sealed class WalState
    {
        internal long Pages;
    }
}
