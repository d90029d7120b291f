namespace ObjectStore.Storage.Extents;

/// <summary>Counts what goes on after its request was answered, so that closing can wait for it, and bounds how much cleaning up there is at once. Thread-safe.</summary>
internal sealed class BackgroundWork(int maxStarted)
{
    private readonly Lock _lock = new();
    private TaskCompletionSource? _idle;
    private int _active;
    private int _started;

    public int Active => Volatile.Read(ref _active);

    public void Enter() => Interlocked.Increment(ref _active);

    public void Exit()
    {
        if (Interlocked.Decrement(ref _active) > 0 || Volatile.Read(ref _idle) is null)
            return;
        TaskCompletionSource? idle = null;
        lock (_lock)
        {
            if (_active == 0)
                (idle, _idle) = (_idle, null);
        }

        idle?.TrySetResult();
    }

    /// <summary>Starts something that handles its own errors; false where too much has been started already.</summary>
    public bool TryStart(Func<Task> work)
    {
        if (Interlocked.Increment(ref _started) > maxStarted)
        {
            Interlocked.Decrement(ref _started);
            return false;
        }

        Enter();
        _ = RunAsync(work);
        return true;
    }

    /// <summary>Completes when nothing goes on. What is started afterwards is not waited for.</summary>
    public Task WhenIdleAsync()
    {
        lock (_lock)
        {
            _idle ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            Task task = _idle.Task;

            // The waiter has to be seen by an Exit that this does not see.
            Interlocked.MemoryBarrier();
            if (Volatile.Read(ref _active) == 0)
            {
                _idle.TrySetResult();
                _idle = null;
            }

            return task;
        }
    }

    private async Task RunAsync(Func<Task> work)
    {
        try
        {
            await work().ConfigureAwait(false);
        }
        finally
        {
            Interlocked.Decrement(ref _started);
            Exit();
        }
    }
}
