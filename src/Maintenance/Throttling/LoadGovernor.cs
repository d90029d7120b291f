using Microsoft.Extensions.Hosting;
using ObjectStore.Storage.Repair;

namespace ObjectStore.Maintenance.Throttling;

/// <summary>Settings of <see cref="LoadGovernor"/>.</summary>
public sealed class LoadGovernorOptions
{
    /// <summary>The share of its workers that the background plane keeps while clients suffer is halved each time the p99 is above this many times the baseline. 2 unless set.</summary>
    public double TolerableSlowdown { get; init; } = 2;

    /// <summary>How often the latency is looked at. 1 s unless set.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Latencies below this are not counted as suffering, whatever the baseline was: at so little a doubling is noise. 2 ms unless set.</summary>
    public TimeSpan HarmlessLatency { get; init; } = TimeSpan.FromMilliseconds(2);

    /// <exception cref="ArgumentException">A setting makes no sense.</exception>
    public void Validate()
    {
        if (TolerableSlowdown <= 1)
            throw new ArgumentException($"TolerableSlowdown is '{TolerableSlowdown}': use more than 1; 2 is the default.");
        if (Interval <= TimeSpan.Zero)
            throw new ArgumentException($"The governor's Interval is '{Interval}': use a time above zero; 00:00:01 is the default.");
    }
}

/// <summary>
/// How much the background plane may do, from how clients fare: a share between nothing and all that is halved when the p99 of their requests exceeds twice its baseline, and
/// grows back by a sixteenth a second. The baseline is learned while nothing runs in the background, and follows the p99 down at any time. What a share means is up to its reader;
/// none goes below one worker. Thread-safe.
/// </summary>
public sealed class LoadGovernor(TimeProvider time, LoadGovernorOptions options, IForegroundLatency? latency = null) : BackgroundService
{
    internal const double Recovery = 1.0 / 16;
    private const double LeastShare = 1.0 / 64;
    private const int QuietLooks = ForegroundLoad.WindowSeconds + 1;

    private readonly Lock _lock = new();
    private double _share = 1;
    private double _baselineTicks;
    private int _busy;
    private int _quietLooks;

    /// <summary>1 is all, above 0.</summary>
    public double Share => Volatile.Read(ref _share);

    /// <summary>What the p99 is measured against; null until there was any.</summary>
    public TimeSpan? Baseline
    {
        get
        {
            lock (_lock)
                return _baselineTicks > 0 ? TimeSpan.FromTicks((long)_baselineTicks) : null;
        }
    }

    /// <summary>Whether clients suffer at present: work that can wait, waits.</summary>
    public bool IsHeldBack => Share < 1;

    /// <summary>How many of so many workers may run: at least one.</summary>
    public int Workers(int most) => Math.Max(1, (int)(most * Share));

    /// <summary>While the result is not disposed, something runs in the background, and the latency says nothing about how it would be without.</summary>
    public IDisposable Busy()
    {
        Interlocked.Increment(ref _busy);
        return new Release(this);
    }

    /// <summary>Looks at the latency once; the loop does so at each interval.</summary>
    public void Observe()
    {
        TimeSpan? p99 = latency?.GetP99();
        lock (_lock)
        {
            // The percentile looks back over some seconds, in which something may have run.
            _quietLooks = Volatile.Read(ref _busy) == 0 ? Math.Min(_quietLooks + 1, QuietLooks) : 0;
            if (p99 is not { } now)
            {
                _share = Math.Min(1, _share + Recovery);
                return;
            }

            if (_baselineTicks == 0)
                _baselineTicks = now.Ticks;
            if (now > options.HarmlessLatency && now.Ticks > _baselineTicks * options.TolerableSlowdown && Volatile.Read(ref _busy) > 0)
            {
                _share = Math.Max(LeastShare, _share / 2);
                return;
            }

            _share = Math.Min(1, _share + Recovery);
            if (_quietLooks == QuietLooks || now.Ticks < _baselineTicks)
                _baselineTicks += (now.Ticks - _baselineTicks) / 8;
        }
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using PeriodicTimer timer = new(options.Interval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken).ConfigureAwait(false))
                Observe();
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // Stopping.
        }
    }

    private sealed class Release(LoadGovernor governor) : IDisposable
    {
        private LoadGovernor? _governor = governor;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _governor, null) is { } held)
                Interlocked.Decrement(ref held._busy);
        }
    }
}
