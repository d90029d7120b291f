using System.Diagnostics;

namespace ObjectStore.Silo.Hosting;

/// <summary>
/// The time that a stop may take in all, from the signal to the end of the process. Its steps follow one another and each has a share of it:
///
/// 1. Requests in flight end: `--drain-timeout`. What is left then is cut off.
/// 2. Background work and grains, in the reverse of the order in which they were started: <see cref="ServicesLimit"/> together, and what the requests have left of theirs.
/// 3. What writes have left to do in the background, for a little; then the drives, all at the same time: all that is left, <see cref="DrivesLimit"/> at least.
/// 4. The metadata, which nobody uses any more.
///
/// A drive that hangs is given up during the first step (<see cref="Storage.Drives.DriveSupervisor.BeginStop"/>), so that it holds up none of them; the drives that are well are closed in order.
/// Should a step not keep to its share all the same, the process is ended at the limit with an error that names the step. That costs nothing that was acknowledged: it is no more than a crash, and the
/// next start recovers from it.
///
/// Thread-safe.
/// </summary>
internal sealed class StopClock(TimeSpan drainTimeout, TimeProvider time, ILogger logger) : IDisposable
{
    /// <summary>For background work and grains.</summary>
    public static readonly TimeSpan ServicesLimit = TimeSpan.FromSeconds(4);

    /// <summary>For what writes have left to do: the extent store waits no longer, and its connections to storage nodes are cut.</summary>
    private static readonly TimeSpan BackgroundLimit = TimeSpan.FromSeconds(2);

    /// <summary>The least that is left for the drives.</summary>
    public static readonly TimeSpan DrivesLimit = TimeSpan.FromSeconds(8);

    private static readonly TimeSpan MetadataLimit = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan WorthTelling = TimeSpan.FromSeconds(2);

    private readonly Lock _lock = new();
    private ITimer? _end;
    private long _began;
    private long _stepBegan;
    private string? _step;

    /// <summary>From the signal to the end of the process: 15 s more than the drain timeout.</summary>
    public TimeSpan Limit { get; } = drainTimeout + ServicesLimit + BackgroundLimit + DrivesLimit + MetadataLimit;

    public TimeSpan DrainTimeout => drainTimeout;

    /// <summary>What the host may take for the first two steps.</summary>
    public TimeSpan HostLimit => drainTimeout + ServicesLimit;

    /// <summary>How long the drives may take to close, as of now; all of their share where no stop has begun, as in a start that failed.</summary>
    public TimeSpan LeftForDrives
    {
        get
        {
            lock (_lock)
            {
                TimeSpan left = _step is null ? DrivesLimit : Limit - MetadataLimit - time.GetElapsedTime(_began);
                return left > DrivesLimit ? left : DrivesLimit;
            }
        }
    }

    /// <summary>Ends the process; replaced by tests.</summary>
    public Action<string> EndProcess { get; init; } = static message =>
    {
        Console.Error.WriteLine(message);
        Environment.Exit(1);
    };

    /// <summary>The signal has come. Called once.</summary>
    public void Begin()
    {
        lock (_lock)
        {
            _began = _stepBegan = time.GetTimestamp();
            _step = "requests in flight";
            _end = time.CreateTimer(_ => End(), null, Limit, Timeout.InfiniteTimeSpan);
        }
    }

    /// <summary>The step before has ended, and another one begins. Does nothing where no stop has begun.</summary>
    public void Enter(string step)
    {
        lock (_lock)
        {
            if (_step is null) return;
            TellStep();
            (_step, _stepBegan) = (step, time.GetTimestamp());
        }
    }

    /// <summary>All has ended in time.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _end?.Dispose();
            if (_step is null) return;
            TellStep();
            if (time.GetElapsedTime(_began) is var took && took >= WorthTelling) logger.LogInformation("Stopped within {Seconds:0.0} s", took.TotalSeconds);
        }
    }

    private void TellStep()
    {
        if (time.GetElapsedTime(_stepBegan) is var took && took >= WorthTelling) logger.LogInformation("Stopping: {Step} took {Seconds:0.0} s", _step, took.TotalSeconds);
    }

    private void End()
    {
        string? step;
        lock (_lock) step = _step;
        EndProcess($"objectstore: the stop has not ended within {Limit.TotalSeconds:0.#} s and is cut short, at: {step}. Nothing that was acknowledged is lost; the next start recovers the rest");
    }
}
