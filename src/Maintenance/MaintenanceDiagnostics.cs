using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace ObjectStore.Maintenance;

/// <summary>The meter and the activity source "ObjectStore.Maintenance". Every pass is an activity; without a listener nothing is made.</summary>
internal static class MaintenanceDiagnostics
{
    public const string Name = "ObjectStore.Maintenance";

    public static readonly ActivitySource Activities = new(Name);
    private static readonly Meter Meter = new(Name);

    public static readonly Counter<long> Reclaimed = Meter.CreateCounter<long>("objectstore.reclamation.extents", "{extent}", "Extents deleted as garbage.");
    public static readonly Counter<long> ReclaimedBytes = Meter.CreateCounter<long>("objectstore.reclamation.bytes", "By", "Object bytes of the extents deleted as garbage.");
    public static readonly Counter<long> ReclaimFailures = Meter.CreateCounter<long>("objectstore.reclamation.failures", "{failure}", "Extents that could not be deleted, and rounds that ended with an error.");

    public static readonly Counter<long> NoticesDropped = Meter.CreateCounter<long>("objectstore.repair.notices.dropped", "{notice}", "Damage that reads found and that was not queued, since too much waited.");
    public static readonly Counter<long> NoticesRecorded = Meter.CreateCounter<long>("objectstore.repair.notices", "{notice}", "Damage that was queued, by reason.");
    public static readonly Counter<long> BlocksExamined = Meter.CreateCounter<long>("objectstore.repair.blocks.examined", "{block}", "Blocks that a pass or the queue has looked at.");
    public static readonly Counter<long> FragmentsRebuilt = Meter.CreateCounter<long>("objectstore.repair.fragments.rebuilt", "{fragment}", "Fragments rebuilt or moved to the drive that should have them.");
    public static readonly Counter<long> BytesRebuilt = Meter.CreateCounter<long>("objectstore.repair.bytes.rebuilt", "By", "Payload bytes of the fragments rebuilt or moved.");
    public static readonly Counter<long> BytesRead = Meter.CreateCounter<long>("objectstore.repair.bytes.read", "By", "Payload bytes read to rebuild or move others.");
    public static readonly Counter<long> RepairFailures = Meter.CreateCounter<long>("objectstore.repair.failures", "{block}", "Blocks that could not be made whole now.");
    public static readonly Counter<long> SlotsCompleted = Meter.CreateCounter<long>("objectstore.repair.slots.completed", "{slot}", "Slots of placement groups found to have everything.");
    public static readonly Counter<long> PassesFinished = Meter.CreateCounter<long>("objectstore.repair.passes", "{pass}", "Passes over placement groups that ran to their end, by kind.");
    public static readonly Counter<long> LoopFailures = Meter.CreateCounter<long>("objectstore.maintenance.failures", "{failure}", "Rounds of a background loop that ended with an error, by loop.");

    public static readonly Counter<long> ScrubbedBytes = Meter.CreateCounter<long>("objectstore.scrub.bytes", "By", "Payload bytes re-read and verified.");
    public static readonly Counter<long> ScrubbedFragments = Meter.CreateCounter<long>("objectstore.scrub.fragments", "{fragment}", "Fragments re-read and verified.");
    public static readonly Counter<long> ScrubFindings = Meter.CreateCounter<long>("objectstore.scrub.findings", "{fragment}", "Fragments and volumes found missing or damaged by the scrub, by kind.");
    public static readonly Counter<long> ScrubPasses = Meter.CreateCounter<long>("objectstore.scrub.passes", "{pass}", "Passes over a whole drive.");
    public static readonly Counter<long> OrphansDeleted = Meter.CreateCounter<long>("objectstore.orphans.fragments.deleted", "{fragment}", "Fragments deleted because nothing has named their extent for the grace period.");
    public static readonly Counter<long> StraysDeleted = Meter.CreateCounter<long>("objectstore.strays.fragments.deleted", "{fragment}", "Fragments deleted from drives that the cluster map does not name for them.");
    public static readonly Counter<long> StraysMovedHome = Meter.CreateCounter<long>("objectstore.strays.fragments.moved", "{fragment}", "Fragments copied from such a drive to the one that should have had them.");

    public static readonly Counter<long> CompactionRuns = Meter.CreateCounter<long>("objectstore.compaction.runs", "{run}", "Compactions of a drive.");
    public static readonly Counter<long> CompactedBytes = Meter.CreateCounter<long>("objectstore.compaction.freed", "By", "Bytes given back to the file system by compaction.");

    /// <summary>A counter of seconds.</summary>
    public static void ObserveSeconds(string name, string description, Func<double> value) => Meter.CreateObservableCounter(name, value, "s", description);

    public static void ObserveGauge(string name, string unit, string description, Func<long> value) => Meter.CreateObservableGauge(name, value, unit, description);

    /// <summary>A gauge that has no value now and then.</summary>
    public static void ObserveWhereKnown(string name, string unit, string description, Func<double?> value) => Meter.CreateObservableGauge(
        name, () => value() is { } known ? [new Measurement<double>(known)] : Array.Empty<Measurement<double>>(), unit, description);
}
