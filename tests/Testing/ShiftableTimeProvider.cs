namespace ObjectStore.Testing;

/// <summary>The system's time, moved forward at will. Timers run in real time, so a runtime that shares the clock goes on working. Thread-safe.</summary>
public sealed class ShiftableTimeProvider : TimeProvider
{
    private long _shiftTicks;

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override DateTimeOffset GetUtcNow() => System.GetUtcNow() + new TimeSpan(Volatile.Read(ref _shiftTicks));

    public override long GetTimestamp() => System.GetElapsedTime(0).Ticks + Volatile.Read(ref _shiftTicks);

    public void Advance(TimeSpan by) => Interlocked.Add(ref _shiftTicks, by.Ticks);
}
