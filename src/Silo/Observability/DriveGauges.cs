using System.Diagnostics.Metrics;
using ObjectStore.Storage.Drives;

namespace ObjectStore.Silo.Observability;

/// <summary>Size and free space of each drive of this process, as of its last probe, as metrics. A drive whose size is not known has none.</summary>
internal sealed class DriveGauges : IDisposable
{
    private readonly Meter _meter = new("ObjectStore.Silo");

    public DriveGauges(Func<IReadOnlyList<DriveHealth>> health)
    {
        _meter.CreateObservableGauge("objectstore.drive.capacity", () => Measure(health, drive => drive.CapacityBytes), "By", "Size of the file system a drive is on.");
        _meter.CreateObservableGauge("objectstore.drive.free", () => Measure(health, drive => drive.FreeBytes), "By", "Free space of the file system a drive is on.");
    }

    public void Dispose() => _meter.Dispose();

    private static IEnumerable<Measurement<long>> Measure(Func<IReadOnlyList<DriveHealth>> health, Func<DriveStatistics, long> value)
    {
        foreach (DriveHealth drive in health())
        {
            if (drive is { State: not DriveHealthState.Failed, Statistics: { } statistics })
                yield return new Measurement<long>(value(statistics), new KeyValuePair<string, object?>("drive", statistics.DriveId.ToString("N")));
        }
    }
}
