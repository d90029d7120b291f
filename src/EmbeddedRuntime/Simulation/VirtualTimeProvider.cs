namespace ObjectStore.EmbeddedRuntime.Simulation;

/// <summary>
/// A clock that moves only when told to. Timers fire on the thread that advances it, in the order of their due times and, among equal
/// ones, in the order they were set. Safe for concurrent use.
/// </summary>
public sealed class VirtualTimeProvider : TimeProvider
{
    /// <summary>Where a new clock stands.</summary>
    public static readonly DateTimeOffset Epoch = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    private readonly Lock _lock = new();
    private readonly PriorityQueue<(VirtualTimer Timer, long Setting), (long Due, long Sequence)> _timers = new();
    private long _nowTicks;
    private long _sequence;

    public VirtualTimeProvider(DateTimeOffset? start = null) => Start = start ?? Epoch;

    public DateTimeOffset Start { get; }

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override TimeZoneInfo LocalTimeZone => TimeZoneInfo.Utc;

    public override DateTimeOffset GetUtcNow() => Start + TimeSpan.FromTicks(Volatile.Read(ref _nowTicks));

    public override long GetTimestamp() => Volatile.Read(ref _nowTicks);

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        ArgumentNullException.ThrowIfNull(callback);
        VirtualTimer timer = new(this, callback, state);
        timer.Change(dueTime, period);
        return timer;
    }

    /// <summary>Moves the clock, firing what falls due on the way at its own time.</summary>
    public void Advance(TimeSpan time)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(time, TimeSpan.Zero);
        long target = Volatile.Read(ref _nowTicks) + time.Ticks;
        while (FireNext(target))
        {
        }

        Volatile.Write(ref _nowTicks, Math.Max(target, _nowTicks));
    }

    /// <summary>Moves the clock to the next timer and fires it.</summary>
    /// <returns>False where no timer is set.</returns>
    public bool AdvanceToNextTimer() => FireNext(long.MaxValue);

    private bool FireNext(long limitTicks)
    {
        VirtualTimer timer;
        lock (_lock)
        {
            while (true)
            {
                if (!_timers.TryPeek(out (VirtualTimer Timer, long Setting) next, out (long Due, long Sequence) order) || order.Due > limitTicks)
                    return false;
                _timers.Dequeue();
                if (next.Timer.Setting != next.Setting)
                    continue;
                timer = next.Timer;
                Volatile.Write(ref _nowTicks, Math.Max(_nowTicks, order.Due));
                timer.Setting = 0;
                if (timer.PeriodTicks > 0)
                    Set(timer, timer.PeriodTicks);
                break;
            }
        }

        timer.Callback(timer.State);
        return true;
    }

    // Under the lock. A timer's setting that is not the queue's was changed or disposed since.
    private void Set(VirtualTimer timer, long delayTicks)
    {
        timer.Setting = ++_sequence;
        _timers.Enqueue((timer, timer.Setting), (_nowTicks + delayTicks, timer.Setting));
    }

    private sealed class VirtualTimer(VirtualTimeProvider clock, TimerCallback callback, object? state) : ITimer
    {
        public TimerCallback Callback { get; } = callback;

        public object? State { get; } = state;

        public long Setting { get; set; }

        public long PeriodTicks { get; private set; }

        private bool Disposed { get; set; }

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            lock (clock._lock)
            {
                if (Disposed)
                    return false;
                PeriodTicks = period.Ticks;
                Setting = 0;
                if (dueTime != Timeout.InfiniteTimeSpan)
                    clock.Set(this, Math.Max(0, dueTime.Ticks));
                return true;
            }
        }

        public void Dispose()
        {
            lock (clock._lock)
            {
                Disposed = true;
                Setting = 0;
            }
        }

        public ValueTask DisposeAsync()
        {
            Dispose();
            return default;
        }
    }
}
