using Microsoft.Extensions.Logging.Abstractions;
using ObjectStore.Silo.Hosting;

namespace ObjectStore.Silo.Tests.Hosting;

/// <summary>The time that a stop has, over a clock that moves when it is told to.</summary>
public sealed class StopClockTests
{
    private readonly Clock _time = new();
    private readonly List<string> _ended = [];

    [Fact]
    public void Limit_IsTheDrainTimeoutAndFifteenSeconds()
    {
        using StopClock stop = New(TimeSpan.FromSeconds(10));
        Assert.Equal(TimeSpan.FromSeconds(25), stop.Limit);
        Assert.Equal(TimeSpan.FromSeconds(14), stop.HostLimit);
    }

    [Fact]
    public void Stop_ThatTakesTooLong_IsEndedAtTheLimit_WithTheNameOfTheStep()
    {
        using StopClock stop = New(TimeSpan.FromSeconds(10));
        stop.Begin();
        stop.Enter("the drives");
        _time.Advance(stop.Limit - TimeSpan.FromTicks(1));
        Assert.Empty(_ended);
        _time.Advance(TimeSpan.FromTicks(1));
        Assert.Contains("the drives", Assert.Single(_ended), StringComparison.Ordinal);
    }

    [Fact]
    public void Stop_ThatEndsInTime_IsNotEnded()
    {
        StopClock stop = New(TimeSpan.FromSeconds(10));
        stop.Begin();
        stop.Dispose();
        _time.Advance(TimeSpan.FromDays(1));
        Assert.Empty(_ended);
    }

    [Fact]
    public void LeftForDrives_IsWhatTheOthersLeft_AndItsShareAtLeast()
    {
        using StopClock stop = New(TimeSpan.FromSeconds(10));
        Assert.Equal(StopClock.DrivesLimit, stop.LeftForDrives);
        _time.Advance(TimeSpan.FromHours(1));
        stop.Begin();
        _time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(TimeSpan.FromSeconds(23), stop.LeftForDrives);
        _time.Advance(TimeSpan.FromSeconds(18));
        Assert.Equal(StopClock.DrivesLimit, stop.LeftForDrives);
    }

    private StopClock New(TimeSpan drainTimeout) => new(drainTimeout, _time, NullLogger.Instance) { EndProcess = _ended.Add };

    /// <summary>One timer that fires once is all that is used.</summary>
    private sealed class Clock : TimeProvider
    {
        private long _ticks;
        private (Action Fire, long Due)? _timer;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => _ticks;

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            Assert.Null(_timer);
            _timer = (() => callback(state), _ticks + dueTime.Ticks);
            return new Timer(this);
        }

        public void Advance(TimeSpan by)
        {
            _ticks += by.Ticks;
            if (_timer is not { } timer || timer.Due > _ticks) return;
            _timer = null;
            timer.Fire();
        }

        private sealed class Timer(Clock clock) : ITimer
        {
            public bool Change(TimeSpan dueTime, TimeSpan period) => throw new NotSupportedException();

            public void Dispose() => clock._timer = null;

            public ValueTask DisposeAsync()
            {
                Dispose();
                return default;
            }
        }
    }
}
