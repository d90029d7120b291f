namespace ObjectStore.Maintenance;

/// <summary>A loop's wait for something to do: for a time at most, or until it is signalled. A signal that comes while nobody waits ends the next wait at once. One loop waits.</summary>
internal sealed class Wakeup(TimeProvider time)
{
    private readonly Lock _lock = new();
    private TaskCompletionSource _signal = New();

    public void Signal()
    {
        lock (_lock)
            _signal.TrySetResult();
    }

    public async Task WaitAsync(TimeSpan atMost, CancellationToken cancellationToken)
    {
        Task signal;
        lock (_lock)
            signal = _signal.Task;
        try
        {
            await signal.WaitAsync(atMost, time, cancellationToken).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            return;
        }

        lock (_lock)
            _signal = New();
    }

    private static TaskCompletionSource New() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
