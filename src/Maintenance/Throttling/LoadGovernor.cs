using Microsoft.Extensions.Hosting;
using ObjectStore.Storage.Repair;

namespace ObjectStore.Maintenance.Throttling;

/// <summary>Settings of <see cref="LoadGovernor"/>.</summary>
public sealed class LoadGovernorOptions
{
    /// <summary>What the background plane may do while clients suffer is halved each time the p99 is above this many times the baseline. 1.5 unless set: it is seen late, and at most a doubling is wanted.</summary>
    public double TolerableSlowdown { get; init; } = 1.5;

    /// <summary>How often the latency is looked at. 250 ms unless set.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromMilliseconds(250);

    /// <summary>Latencies below this are not counted as suffering, whatever the baseline was: at so little a doubling is noise. 0.5 ms unless set.</summary>
    public TimeSpan HarmlessLatency { get; init; } = TimeSpan.FromMilliseconds(0.5);

    /// <exception cref="ArgumentException">A setting makes no sense.</exception>
    public void Validate()
    {
        if (TolerableSlowdown <= 1)
            throw new ArgumentException($"TolerableSlowdown is '{TolerableSlowdown}': use more than 1; 1.5 is the default.");
        if (Interval <= TimeSpan.Zero)
            throw new ArgumentException($"The governor's Interval is '{Interval}': use a time above zero; 00:00:00.250 is the default.");
    }
}

/// <summary>
/// How much the background plane may do, from how clients fare: a share between nothing and all that is halved when the p99 of their requests exceeds its baseline by too much, and
/// grows back by a sixteenth a second, at once where there are no clients. What begins after a pause begins with a thirty-second, if there are clients. The baseline is learned while nothing runs in the background, follows the p99 down at any
/// time, and up, slowly, where even the least share does not help: then it is the clients who have changed. What a share means is up to its reader. Thread-safe.
/// </summary>
public sealed class LoadGovernor(TimeProvider time, LoadGovernorOptions options, IForegroundLatency? latency = null) : BackgroundService
{
    internal const double LeastShare = 1.0 / 128;
    private const double RecoveryPerSecond = 1.0 / 16;
    private const double StartShare = 1.0 / 32;
    private const double MostRestPerWork = 15;
    private static readonly TimeSpan LongestRest = TimeSpan.FromSeconds(1);

    private readonly Lock _lock = new();
    private readonly int _quietLooksWanted = (int)Math.Ceiling(TimeSpan.FromSeconds(ForegroundLoad.WindowSeconds) / options.Interval) + 1;
    private double _share = 1;
    private double _baselineTicks;
    private int _busy;
    private int _quietLooks;
    private bool _justHalved;
    private bool _hasClients;

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

    /// <summary>How long the one worker that is left rests after a piece of work, where its share is less than one worker's; at most a second, and at most fifteen times the work.</summary>
    public TimeSpan RestAfter(TimeSpan work, int most)
    {
        double workers = most * Share;
        if (workers >= 1)
            return TimeSpan.Zero;
        TimeSpan rest = work * Math.Min((1 / workers) - 1, MostRestPerWork);
        return rest < LongestRest ? rest : LongestRest;
    }

    /// <summary>While the result is not disposed, something runs in the background, and the latency says nothing about how it would be without.</summary>
    public IDisposable Busy()
    {
        if (Interlocked.Increment(ref _busy) == 1)
            Begin();
        return new Release(this);
    }

    /// <summary>Looks at the latency once; the loop does so at each interval.</summary>
    public void Observe()
    {
        TimeSpan? p99 = latency?.GetP99();
        lock (_lock)
        {
            // The percentile looks back over some seconds, in which something may have run.
            _quietLooks = Volatile.Read(ref _busy) == 0 ? Math.Min(_quietLooks + 1, _quietLooksWanted) : 0;
            _hasClients = p99 is not null;
            bool justHalved = _justHalved;
            _justHalved = false;
            if (p99 is not { } now)
            {
                _share = Math.Min(1, _share * 2);
                return;
            }

            if (_baselineTicks == 0)
                _baselineTicks = now.Ticks;
            if (now > options.HarmlessLatency && now.Ticks > _baselineTicks * options.TolerableSlowdown && Volatile.Read(ref _busy) > 0)
            {
                if (_share <= LeastShare)
                    _baselineTicks += (now.Ticks - _baselineTicks) / 64;

                // What was halved shows at the look after the next.
                else if (!justHalved)
                    (_share, _justHalved) = (Math.Max(LeastShare, _share / 2), true);
                return;
            }

            _share = Math.Min(1, _share + (RecoveryPerSecond * options.Interval.TotalSeconds));
            if (_quietLooks == _quietLooksWanted || now.Ticks < _baselineTicks)
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

    private void Begin()
    {
        lock (_lock)
        {
            if (_hasClients && _quietLooks == _quietLooksWanted)
                _share = Math.Min(_share, StartShare);
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
