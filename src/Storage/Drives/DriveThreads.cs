using System.Buffers;
using ObjectStore.Storage.Buffers;

namespace ObjectStore.Storage.Drives;

/// <summary>
/// The threads on which one drive's blocking operations run. A drive that hangs keeps these and no others: on the thread pool, which grows by a thread or two a second, a handful
/// of hung reads would stop the whole process. Threads are made as they are needed and end when idle. Thread-safe.
/// </summary>
internal sealed class DriveThreads(bool threaded, TimeProvider time)
{
    private const int MaxThreads = 32;
    private const int MaxQueued = 16 * 1024; // each is a request that holds its own memory; this only bounds the list
    private static readonly TimeSpan IdleLimit = TimeSpan.FromSeconds(10);

    [ThreadStatic]
    private static DriveOperation? _current;

    private readonly object _gate = new();
    private readonly Queue<DriveOperation> _queue = new();
    private readonly HashSet<DriveOperation> _running = [];
    private int _threads;
    private int _idle;
    private bool _closed;
    private Func<Exception>? _failure;

    /// <summary>For how long the operation that was begun first has been running.</summary>
    public TimeSpan BusyFor
    {
        get
        {
            lock (_gate)
                return _running.Count == 0 ? TimeSpan.Zero : time.GetElapsedTime(_running.Min(operation => operation.Started));
        }
    }

    public Task<T> RunAsync<T>(Func<T> work, params AlignedBuffer[] buffers)
    {
        // Pinned, so that a caller who is told of the failure and disposes of them leaves them to the thread that hangs.
        var operation = new DriveFunction<T>(work, Array.ConvertAll(buffers, buffer => buffer.Pin()));
        try
        {
            Queue(operation);
        }
        catch
        {
            operation.Discard();
            throw;
        }

        return operation.Completion.Task;
    }

    /// <summary>What runs on this thread is at work: what has come back from the drive since it began is no sign of a drive that hangs.</summary>
    public static void NoteProgress() => _current?.Begin();

    /// <summary>
    /// Fills the memory. Cancelled, it ends at once where it has not begun, and nothing touches the memory any more; one that has begun ends by itself. Should the drive be given up meanwhile, the kernel may go on writing: into memory that stays pinned where its owner looks at pins, else into memory of this class's.
    /// </summary>
    public Task ReadAsync(Memory<byte> destination, Action<Memory<byte>> read, CancellationToken cancellationToken)
    {
        var operation = new DriveRead(destination, read);
        operation.CancelBy(cancellationToken);
        Queue(operation);
        return operation.Completion.Task;
    }

    /// <summary>What waits or runs fails now, and whatever comes later. Does not block.</summary>
    public void Fail(Func<Exception> failure)
    {
        DriveOperation[] running, waiting;
        lock (_gate)
        {
            _failure = failure;
            _closed = true;
            running = [.. _running];
            waiting = [.. _queue];
            _queue.Clear();
            Monitor.PulseAll(_gate);
        }

        foreach (DriveOperation operation in waiting)
            operation.Discard();
        foreach (DriveOperation operation in (DriveOperation[])[.. running, .. waiting])
            operation.Fail(failure());
    }

    /// <summary>Takes nothing more, ends what waits with <see cref="ObjectDisposedException"/>, and waits for what runs.</summary>
    public void Close()
    {
        DriveOperation[] waiting;
        lock (_gate)
        {
            _closed = true;
            waiting = [.. _queue];
            _queue.Clear();
            Monitor.PulseAll(_gate);
        }

        foreach (DriveOperation operation in waiting)
        {
            operation.Discard();
            operation.Fail(new ObjectDisposedException(nameof(DriveThreads), "The drive is being closed."));
        }

        lock (_gate)
        {
            while (_threads > 0)
                Monitor.Wait(_gate);
        }
    }

    private void Queue(DriveOperation operation)
    {
        if (!threaded)
        {
            operation.Run();
            return;
        }

        lock (_gate)
        {
            if (_failure is not null)
                throw _failure();
            ObjectDisposedException.ThrowIf(_closed, this);
            if (_queue.Count >= MaxQueued)
                throw new IOException($"{MaxQueued} operations wait for the drive.");
            _queue.Enqueue(operation);
            if (_idle >= _queue.Count)
            {
                Monitor.Pulse(_gate);
                return;
            }

            if (_threads == MaxThreads)
                return;
            _threads++;
        }

        new Thread(Run) { IsBackground = true, Name = "drive operations" }.Start();
    }

    private void Run()
    {
        DriveOperation? operation = null;
        while (true)
        {
            lock (_gate)
            {
                if (operation is not null)
                    _running.Remove(operation);
                while (_queue.Count == 0)
                {
                    _idle++;
                    bool woken = !_closed && Monitor.Wait(_gate, IdleLimit);
                    _idle--;
                    if (_queue.Count > 0 || woken && !_closed)
                        continue;
                    _threads--;
                    Monitor.PulseAll(_gate);
                    return;
                }

                operation = _queue.Dequeue();
                operation.Time = time;
                operation.Begin();
                _running.Add(operation);
            }

            _current = operation;
            operation.Run();
            _current = null;
        }
    }
}

/// <summary>Something that blocks on a drive. Completes once: by itself, or because the drive is given up.</summary>
internal abstract class DriveOperation
{
    private int _ended;
    private long _started;

    public TimeProvider Time { private get; set; } = TimeProvider.System;

    /// <summary>When it began, or last had something from the drive. Timestamp.</summary>
    public long Started => Volatile.Read(ref _started);

    public void Begin() => Volatile.Write(ref _started, Time.GetTimestamp());

    /// <summary>Runs on a thread of the drive; does not throw.</summary>
    public abstract void Run();

    /// <summary>In place of <see cref="Run"/>.</summary>
    public virtual void Discard()
    {
    }

    public void Fail(Exception exception)
    {
        if (TryEnd())
            SetException(exception);
    }

    /// <summary>True for the one who completes the operation.</summary>
    protected bool TryEnd() => Interlocked.Exchange(ref _ended, 1) == 0;

    protected bool HasEnded => Volatile.Read(ref _ended) != 0;

    protected abstract void SetException(Exception exception);
}

internal sealed class DriveFunction<T>(Func<T> work, MemoryHandle[] pins) : DriveOperation
{
    public TaskCompletionSource<T> Completion { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public override void Run()
    {
        try
        {
            T result = work();
            if (TryEnd())
                Completion.SetResult(result);
        }
        catch (Exception e)
        {
            Fail(e);
        }
        finally
        {
            Discard();
        }
    }

    public override void Discard()
    {
        foreach (MemoryHandle pin in pins)
            pin.Dispose();
    }

    protected override void SetException(Exception exception) => Completion.SetException(exception);
}

internal sealed class DriveRead(Memory<byte> destination, Action<Memory<byte>> read) : DriveOperation
{
    private int _claimed; // by the thread that reads, or by the caller who no longer wants it
    private CancellationTokenRegistration _cancellation;

    public TaskCompletionSource Completion { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Before it is queued.</summary>
    public void CancelBy(CancellationToken cancellationToken)
    {
        if (cancellationToken.CanBeCanceled)
            _cancellation = cancellationToken.UnsafeRegister(static (operation, token) => ((DriveRead)operation!).Cancel(token), this);
    }

    public override void Run()
    {
        if (Interlocked.Exchange(ref _claimed, 1) != 0)
            return;
        _cancellation.Dispose();

        // The pin first: whoever gives the operation up from now on leaves the memory to it.
        bool mayBeAbandoned = AlignedBuffer.MayBeAbandoned(destination);
        using MemoryHandle pin = mayBeAbandoned ? destination.Pin() : default;
        if (HasEnded)
            return;
        byte[]? scratch = mayBeAbandoned ? null : ArrayPool<byte>.Shared.Rent(destination.Length);
        try
        {
            read(scratch?.AsMemory(0, destination.Length) ?? destination);
            if (!TryEnd())
                return;
            scratch?.AsSpan(0, destination.Length).CopyTo(destination.Span);
            Completion.SetResult();
        }
        catch (Exception e)
        {
            Fail(e);
        }
        finally
        {
            if (scratch is not null)
                ArrayPool<byte>.Shared.Return(scratch);
        }
    }

    private void Cancel(CancellationToken cancellationToken)
    {
        if (Interlocked.Exchange(ref _claimed, 1) == 0 && TryEnd())
            Completion.SetCanceled(cancellationToken);
    }

    protected override void SetException(Exception exception) => Completion.SetException(exception);
}
