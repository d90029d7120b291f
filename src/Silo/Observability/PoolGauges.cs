using System.Diagnostics.Metrics;
using ObjectStore.Silo.Hosting;

namespace ObjectStore.Silo.Observability;

/// <summary>Drives and placement slots of the pool by their states, as metrics of a node with all roles: also of drives that no process has.</summary>
internal sealed class PoolGauges : IDisposable
{
    private readonly Meter _meter = new("ObjectStore.Silo");

    public PoolGauges(Redundancy redundancy)
    {
        _meter.CreateObservableGauge<int>(
            "objectstore.pool.drives",
            () =>
            {
                (int answering, int unreachable, int gone) = redundancy.CountDrives();
                return [Measure(answering, "in"), Measure(unreachable, "unreachable"), Measure(gone, "out")];
            },
            "{drive}",
            "Drives of the cluster map that are in and answer, are in and do not answer, and are out.");
        _meter.CreateObservableGauge<int>(
            "objectstore.pool.slots",
            () =>
            {
                (int incomplete, int unreachable, int withoutDrive) = redundancy.CountSlots();
                return [Measure(incomplete, "incomplete"), Measure(unreachable, "unreachable"), Measure(withoutDrive, "without_drive")];
            },
            "{slot}",
            "Places of placement groups that are still being filled, whose drive does not answer, and for which there are too few drives.");
    }

    public void Dispose() => _meter.Dispose();

    private static Measurement<int> Measure(int value, string state) => new(value, new KeyValuePair<string, object?>("state", state));
}
