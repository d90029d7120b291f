using Microsoft.Extensions.Hosting;
using ObjectStore.Storage.Repair;

namespace ObjectStore.Maintenance.Throttling;

/// <summary>Settings of <see cref="LoadGovernor"/>.</summary>
public sealed class LoadGovernorOptions
{
    /// <summary>What the background plane may do while clients suffer is halved each time the p99 is above this many times the baseline. 1.5 unless set: it is seen late, and at most a doubling is wanted.</summary>
    public double TolerableSlowdown { get; init; } = 1.5;

    /// <summary>As <see cref="TolerableSlowdown"/>, of writes. 2 unless set: what a disk needs for a sync varies by itself.</summary>
    public double TolerableWriteSlowdown { get; init; } = 2;

    /// <summary>How often the latency is looked at. 250 ms unless set.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromMilliseconds(250);

    /// <summary>Latencies below this are not counted as suffering, whatever the baseline was: at so little a doubling is noise. 0.25 ms unless set.</summary>
    public TimeSpan HarmlessLatency { get; init; } = TimeSpan.FromMilliseconds(0.25);

    /// <exception cref="ArgumentException">A setting makes no sense.</exception>
    public void Validate()
    {
        if (TolerableSlowdown <= 1)
            throw new ArgumentException($"TolerableSlowdown is '{TolerableSlowdown}': use more than 1; 1.5 is the default.");
        if (TolerableWriteSlowdown <= 1)
            throw new ArgumentException($"TolerableWriteSlowdown is '{TolerableWriteSlowdown}': use more than 1; 2 is the default.");
        if (Interval <= TimeSpan.Zero)
            throw new ArgumentException($"The governor's Interval is '{Interval}': use a time above zero; 00:00:00.250 is the default.");
    }
}

/// <summary>
/// How much the background plane may do, from how clients fare: a share between nothing and all that is halved when the p99 of their reads or that of their writes exceeds its baseline by too much, and
/// grows back by a sixteenth of itself at each look, at most by a sixteenth of all a second, and doubles at each look where there are no clients. Work that goes by the share and begins after a
/// pause begins with a hundred-and-twenty-eighth of all, if there are clients; that is caution and says nothing of how they fare. The baseline is learned while nothing runs in the background,
/// follows the p99 down at any time, and up, slowly, where even the least share does not help: then it is the clients who have changed. What a share means is up to its reader. Thread-safe.
/// </summary>
public sealed class LoadGovernor(TimeProvider time, LoadGovernorOptions options, IForegroundLatency? reads = null, IForegroundLatency? writes = null) : BackgroundService
{
    internal const double LeastShare = 1.0 / 512;
    private const double RecoveryPerSecond = 1.0 / 16;
    private const double RecoveryPerLook = 1.0 / 16;
    private const double StartShare = 1.0 / 128;
    private const double MostRestPerWork = 15;
    private static readonly TimeSpan LongestRest = TimeSpan.FromSeconds(1);

    private readonly Lock _lock = new();
    private readonly Signal[] _signals = [new(reads, options.TolerableSlowdown), new(writes, options.TolerableWriteSlowdown)];
    private readonly int _quietLooksWanted = (int)Math.Ceiling(TimeSpan.FromSeconds(ForegroundLoad.WindowSeconds) / options.Interval) + 1;
    private double _tolerated = 1; // what clients have been seen to bear
    private double _begun = 1;     // how far work that began with little has come
    private int _busy;             // what runs, by the share or not
    private int _busyByShare;
    private int _quietLooks;       // looks one after the other at which nothing ran
    private int _idleLooks;        // looks one after the other at which nothing ran by the share
    private bool _justHalved;
    private bool _hasClients;

    /// <summary>1 is all, above 0.</summary>
    public double Share => Math.Min(Volatile.Read(ref _tolerated), Volatile.Read(ref _begun));

    /// <summary>What the p99 of reads is measured against; null until there was any.</summary>
    public TimeSpan? Baseline => BaselineOf(_signals[0]);

    /// <summary>What the p99 of writes is measured against; null until there was any.</summary>
    public TimeSpan? WriteBaseline => BaselineOf(_signals[1]);

    /// <summary>Whether clients suffer at present, or did just now: work that can wait, waits. Work that begins with little is not held back by that.</summary>
    public bool IsHeldBack => Volatile.Read(ref _tolerated) < 1;

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

    /// <summary>
    /// While the result is not disposed, something runs in the background that goes by <see cref="IsHeldBack"/> alone. The latency says nothing about how it would be without.
    /// </summary>
    public IDisposable Busy()
    {
        Interlocked.Increment(ref _busy);
        return new Release(this, byShare: false);
    }

    /// <summary>As <see cref="Busy"/>, for work that does as much as <see cref="Share"/> says: after a pause it begins with little.</summary>
    public IDisposable BusyByShare()
    {
        Interlocked.Increment(ref _busy);
        if (Interlocked.Increment(ref _busyByShare) == 1)
            Begin();
        return new Release(this, byShare: true);
    }

    /// <summary>Looks at the latency once; the loop does so at each interval.</summary>
    public void Observe()
    {
        foreach (Signal signal in _signals)
            signal.Look();
        lock (_lock)
        {
            // The percentile looks back over some seconds, in which something may have run.
            _quietLooks = Volatile.Read(ref _busy) == 0 ? Math.Min(_quietLooks + 1, _quietLooksWanted) : 0;
            _idleLooks = Volatile.Read(ref _busyByShare) == 0 ? Math.Min(_idleLooks + 1, _quietLooksWanted) : 0;
            _hasClients = Array.Exists(_signals, static signal => signal.NowTicks > 0);
            bool justHalved = _justHalved, suffer = false;
            _justHalved = false;
            if (!_hasClients)
            {
                _tolerated = Math.Min(1, _tolerated * 2);
                _begun = Math.Min(1, _begun * 2);
                return;
            }

            foreach (Signal signal in _signals)
            {
                if (signal.BaselineTicks == 0 && signal.NowTicks > 0)
                {
                    signal.BaselineTicks = signal.NowTicks;

                    // Never seen without work beside it: with little of that it follows the latency down to what it is alone.
                    if (Volatile.Read(ref _busyByShare) > 0)
                        _begun = Math.Min(_begun, StartShare);
                }

                if (signal.NowTicks <= options.HarmlessLatency.Ticks || signal.NowTicks <= signal.BaselineTicks * signal.Tolerable || Volatile.Read(ref _busy) == 0)
                    continue;
                suffer = true;
                if (Share <= LeastShare)
                    signal.BaselineTicks += (signal.NowTicks - signal.BaselineTicks) / 1024;
            }

            if (suffer)
            {
                // What was halved shows at the look after the next.
                if (Share > LeastShare && !justHalved)
                    (_tolerated, _justHalved) = (Math.Max(LeastShare, Share / 2), true);
                return;
            }

            _tolerated = Recovered(_tolerated);
            _begun = Recovered(_begun);
            foreach (Signal signal in _signals)
            {
                if (signal.NowTicks > 0 && (_quietLooks == _quietLooksWanted || signal.NowTicks < signal.BaselineTicks))
                    signal.BaselineTicks += (signal.NowTicks - signal.BaselineTicks) / 8;
            }
        }
    }

    private TimeSpan? BaselineOf(Signal signal)
    {
        lock (_lock)
            return signal.BaselineTicks > 0 ? TimeSpan.FromTicks((long)signal.BaselineTicks) : null;
    }

    private double Recovered(double share) => Math.Min(1, share + Math.Min(RecoveryPerSecond * options.Interval.TotalSeconds, share * RecoveryPerLook));

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
            if (_hasClients && _idleLooks == _quietLooksWanted)
                _begun = StartShare;
        }
    }

    private sealed class Release(LoadGovernor governor, bool byShare) : IDisposable
    {
        private LoadGovernor? _governor = governor;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _governor, null) is not { } held)
                return;
            if (byShare)
                Interlocked.Decrement(ref held._busyByShare);
            Interlocked.Decrement(ref held._busy);
        }
    }

    /// <summary>One kind of requests.</summary>
    private sealed class Signal(IForegroundLatency? latency, double tolerable)
    {
        public double Tolerable => tolerable;

        public double BaselineTicks { get; set; }

        /// <summary>The p99 at the last look; 0 where there were too few requests.</summary>
        public long NowTicks { get; private set; }

        public void Look() => NowTicks = latency?.GetP99()?.Ticks ?? 0;
    }
}
