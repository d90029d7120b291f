namespace ObjectStore.Storage.Extents;

/// <summary>The 95th percentile of the last 128 durations. Thread-safe; a sample that is lost to a race costs nothing.</summary>
internal sealed class LatencyWindow
{
    private const int Samples = 128;
    private const int RefreshEvery = 16;
    private readonly long[] _ring = new long[Samples];
    private uint _next;
    private long _p95Ticks;

    /// <summary>Zero until 16 durations have been seen.</summary>
    public TimeSpan P95 => new(Volatile.Read(ref _p95Ticks));

    public void Add(TimeSpan duration)
    {
        uint number = Interlocked.Increment(ref _next) - 1;
        Volatile.Write(ref _ring[number % Samples], duration.Ticks);
        if (number % RefreshEvery == RefreshEvery - 1)
            Refresh((int)Math.Min(number + 1, Samples));
    }

    private void Refresh(int count)
    {
        Span<long> sorted = stackalloc long[Samples];
        sorted = sorted[..count];
        _ring.AsSpan(0, count).CopyTo(sorted);
        sorted.Sort();
        Volatile.Write(ref _p95Ticks, sorted[(count * 95 - 1) / 100]);
    }
}
