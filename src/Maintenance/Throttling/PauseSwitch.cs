namespace ObjectStore.Maintenance.Throttling;

/// <summary>Holds loops between two steps while it is off. Thread-safe.</summary>
internal sealed class PauseSwitch
{
    private volatile TaskCompletionSource? _resumed;

    public bool IsPaused => _resumed is not null;

    public void Pause() => Interlocked.CompareExchange(ref _resumed, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously), null);

    public void Resume() => Interlocked.Exchange(ref _resumed, null)?.TrySetResult();

    /// <summary>Completes while it is on.</summary>
    public Task WaitAsync(CancellationToken cancellationToken) => _resumed is { } resumed ? resumed.Task.WaitAsync(cancellationToken) : Task.CompletedTask;
}
