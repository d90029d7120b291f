using System.Diagnostics.Metrics;

namespace ObjectStore.EmbeddedRuntime.Diagnostics;

/// <summary>The meter "ObjectStore.Grains.Runtime". Counting a call costs one uncontended interlocked increment.</summary>
internal sealed class RuntimeMeters : IDisposable
{
    public const string MeterName = "ObjectStore.Grains.Runtime";

    private const int Cells = 16;
    private const int CacheLineLongs = 16;

    private readonly Meter _meter = new(MeterName);
    private readonly long[] _calls = new long[Cells * CacheLineLongs];
    private readonly Histogram<double> _turnDuration;
    private long _queued;

    public RuntimeMeters(Func<int> activations)
    {
        _meter.CreateObservableGauge("grains.activations", activations, "{activation}", "Live activations.");
        _meter.CreateObservableCounter("grains.calls", () => Calls, "{call}", "Grain calls made.");
        _meter.CreateObservableGauge("grains.queued", () => Volatile.Read(ref _queued), "{request}", "Requests waiting for a busy activation.");
        _turnDuration = _meter.CreateHistogram<double>("grains.turn.duration", "s", "Time of one turn; one turn in 64 of each activation is measured.");
    }

    public bool TurnDurationEnabled => _turnDuration.Enabled;

    public long Calls
    {
        get
        {
            long sum = 0;
            for (int cell = 0; cell < Cells; cell++)
                sum += Volatile.Read(ref _calls[cell * CacheLineLongs]);
            return sum;
        }
    }

    public void CountCall() => Interlocked.Increment(ref _calls[(Environment.CurrentManagedThreadId & (Cells - 1)) * CacheLineLongs]);

    public void ChangeQueued(int change) => Interlocked.Add(ref _queued, change);

    public void RecordTurn(TimeSpan duration) => _turnDuration.Record(duration.TotalSeconds);

    public void Dispose() => _meter.Dispose();
}
