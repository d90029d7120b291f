namespace ObjectStore.Maintenance.Repair;

/// <summary>The least of the values of the last while: of this interval and the one before it. Thread-safe.</summary>
internal sealed class RecentLeast(TimeProvider time, TimeSpan interval)
{
    private readonly Lock _lock = new();
    private readonly long _start = time.GetTimestamp();
    private long _interval;
    private int? _current;
    private int? _before;

    /// <summary>Null where there was none.</summary>
    public int? Value
    {
        get
        {
            lock (_lock)
            {
                Turn();
                return Least(_current, _before);
            }
        }
    }

    public void Add(int value)
    {
        lock (_lock)
        {
            Turn();
            _current = Least(_current, value);
        }
    }

    private void Turn()
    {
        long now = time.GetElapsedTime(_start).Ticks / interval.Ticks;
        if (now == _interval)
            return;
        (_before, _current) = (now == _interval + 1 ? _current : null, null);
        _interval = now;
    }

    private static int? Least(int? one, int? other) => one is null || other < one ? other ?? one : one;
}
