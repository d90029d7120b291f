namespace ObjectStore.Grains;

/// <summary>For how long this process has stood still. Silence in that time says nothing of who was silent.</summary>
public interface IProcessPulse
{
    /// <summary>How much of the time since a timestamp of the process's <see cref="TimeProvider"/> it stood still. Thread-safe.</summary>
    TimeSpan StoodStillSince(long timestamp);
}

/// <summary>For a process of which nobody watches whether it stands still, such as a test's.</summary>
public sealed class SteadyPulse : IProcessPulse
{
    /// <inheritdoc/>
    public TimeSpan StoodStillSince(long timestamp) => TimeSpan.Zero;
}

/// <summary>
/// Notices that the process stood still, by a beat that comes late: it was stopped by a signal, its machine was paused, or it had no processor for as long. Thread-safe.
/// </summary>
public sealed class ProcessPulse : IProcessPulse, IDisposable
{
    /// <summary>A pause beyond this is a standstill. Less than the grace of a storage node, so that no node is down by it.</summary>
    public static readonly TimeSpan Gap = TimeSpan.FromSeconds(10);

    private const int MaxRemembered = 256; // of more the oldest are forgotten, and count as silence
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    private readonly TimeProvider _time;
    private readonly Lock _lock = new();
    private readonly Queue<(long From, long To)> _gaps = new();
    private readonly ITimer _timer;
    private long _beatAt;

    public ProcessPulse(TimeProvider time)
    {
        (_time, _beatAt) = (time, time.GetTimestamp());
        _timer = time.CreateTimer(static pulse => ((ProcessPulse)pulse!).Beat(), this, Interval, Interval);
    }

    /// <inheritdoc/>
    public TimeSpan StoodStillSince(long timestamp)
    {
        // Whoever asks first after a standstill, before the timer maybe, is told of it.
        Beat();
        TimeSpan sum = TimeSpan.Zero;
        lock (_lock)
        {
            foreach ((long from, long to) in _gaps)
            {
                if (to > timestamp)
                    sum += _time.GetElapsedTime(Math.Max(from, timestamp), to);
            }
        }

        return sum;
    }

    public void Dispose() => _timer.Dispose();

    private void Beat()
    {
        lock (_lock)
        {
            long now = _time.GetTimestamp();
            if (_time.GetElapsedTime(_beatAt, now) > Gap)
            {
                if (_gaps.Count == MaxRemembered)
                    _gaps.Dequeue();
                _gaps.Enqueue((_beatAt, now));
            }

            _beatAt = now;
        }
    }
}
