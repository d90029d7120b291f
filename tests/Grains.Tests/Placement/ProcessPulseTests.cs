namespace ObjectStore.Grains.Tests;

/// <summary>Whether the process stood still.</summary>
public sealed class ProcessPulseTests
{
    private readonly LateTime _time = new();

    [Fact]
    public void Process_WhoseBeatsComeInTime_HasAlwaysBeenAwake()
    {
        using ProcessPulse pulse = new(_time);
        for (int i = 0; i < 100; i++)
            _time.Run(TimeSpan.FromSeconds(1));
        Assert.Equal(TimeSpan.Zero, pulse.StoodStillSince(0));
        _time.StandStill(ProcessPulse.Gap - TimeSpan.FromSeconds(1));
        Assert.Equal(TimeSpan.Zero, pulse.StoodStillSince(0));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Process_ThatStoodStill_SaysForHowLong_AlsoBeforeItsFirstBeatAfterwards(bool askedFirst)
    {
        using ProcessPulse pulse = new(_time);
        _time.Run(TimeSpan.FromSeconds(1));
        long before = _time.GetTimestamp();
        _time.StandStill(TimeSpan.FromMinutes(11));
        if (askedFirst)
            Assert.Equal(TimeSpan.FromMinutes(11), pulse.StoodStillSince(before));
        _time.Run(TimeSpan.Zero);
        for (int i = 0; i < 30; i++)
            _time.Run(TimeSpan.FromSeconds(1));
        long between = _time.GetTimestamp();
        _time.StandStill(TimeSpan.FromSeconds(20));
        Assert.Equal(TimeSpan.FromSeconds(20), pulse.StoodStillSince(between));
        Assert.Equal(TimeSpan.FromSeconds(680), pulse.StoodStillSince(0));
        Assert.Equal(TimeSpan.FromSeconds(20 + 60), pulse.StoodStillSince(before + TimeSpan.FromMinutes(10).Ticks));
        Assert.Equal(TimeSpan.Zero, pulse.StoodStillSince(_time.GetTimestamp()));
    }

    /// <summary>A clock whose timer comes late after a standstill, as that of a process that was stopped does.</summary>
    private sealed class LateTime : TimeProvider
    {
        private long _ticks;
        private Action? _beat;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => _ticks;

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            _beat = () => callback(state);
            return System.CreateTimer(static _ => { }, null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        }

        public void Run(TimeSpan time)
        {
            StandStill(time);
            _beat!();
        }

        public void StandStill(TimeSpan time) => _ticks += time.Ticks;
    }
}
