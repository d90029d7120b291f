namespace ObjectStore.Maintenance.Throttling;

/// <summary>Holds a flow of bytes to a rate: what was used is paid for afterwards, by waiting. Thread-safe; those who wait do so in the order they came.</summary>
internal sealed class ByteRate(TimeProvider time)
{
    // What may be used at once after a pause. Short, so that a rate holds over every second.
    private static readonly TimeSpan Burst = TimeSpan.FromMilliseconds(100);

    private readonly Lock _lock = new();
    private long _paidUntil = long.MinValue;

    /// <summary>Bytes a second; null is no limit. Taken at the next payment.</summary>
    public double? BytesPerSecond { get; set; }

    /// <summary>Completes when so many bytes fit the rate.</summary>
    public ValueTask PayAsync(long bytes, CancellationToken cancellationToken)
    {
        if (BytesPerSecond is not { } rate || bytes <= 0)
            return default;
        TimeSpan wait;
        lock (_lock)
        {
            long now = time.GetTimestamp();
            long burst = (long)(Burst.TotalSeconds * time.TimestampFrequency);
            _paidUntil = Math.Max(_paidUntil, now - burst) + (long)(bytes / rate * time.TimestampFrequency);
            wait = _paidUntil <= now ? TimeSpan.Zero : time.GetElapsedTime(now, _paidUntil);
        }

        return wait <= TimeSpan.Zero ? default : new ValueTask(Task.Delay(wait, time, cancellationToken));
    }
}
