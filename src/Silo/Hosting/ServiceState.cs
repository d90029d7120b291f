namespace ObjectStore.Silo.Hosting;

/// <summary>Whether the process serves. Thread-safe.</summary>
internal sealed class ServiceState
{
    private const int Starting = 0, Serving = 1, Stopping = 2;

    private int _phase = Starting;

    public bool IsReady => Volatile.Read(ref _phase) == Serving;

    /// <summary>The start has ended. Does nothing once the stop has begun, which may be before that.</summary>
    public void Serve() => Interlocked.CompareExchange(ref _phase, Serving, Starting);

    /// <summary>The stop has begun. There is no way back.</summary>
    public void Stop() => Volatile.Write(ref _phase, Stopping);
}
