using System.Diagnostics.Metrics;

namespace ObjectStore.Storage;

/// <summary>The instruments of the meter "ObjectStore.Storage".</summary>
internal static class StorageMetrics
{
    public const string MeterName = "ObjectStore.Storage";
    private static readonly Meter Meter = new(MeterName);

    public static readonly Counter<long> BytesWritten = Meter.CreateCounter<long>("objectstore.storage.written", "By", "Bytes appended to volumes, headers and padding included.");
    public static readonly Counter<long> BytesRead = Meter.CreateCounter<long>("objectstore.storage.read", "By", "Verified payload bytes read.");
    public static readonly Counter<long> FragmentsWritten = Meter.CreateCounter<long>("objectstore.storage.fragments.written", "{fragment}");
    public static readonly Counter<long> FragmentsDeleted = Meter.CreateCounter<long>("objectstore.storage.fragments.deleted", "{fragment}");
    public static readonly Counter<long> FragmentsCorrupt = Meter.CreateCounter<long>("objectstore.storage.fragments.corrupt", "{fragment}");
    public static readonly Counter<long> VolumesPoisoned = Meter.CreateCounter<long>("objectstore.storage.volumes.poisoned", "{volume}");
    public static readonly Histogram<double> SyncDuration = Meter.CreateHistogram<double>("objectstore.storage.sync.duration", "s");
    public static readonly Histogram<int> BatchFragments = Meter.CreateHistogram<int>("objectstore.storage.batch.fragments", "{fragment}", "Fragments that shared one write.");
    public static readonly Histogram<long> QueuedBytes = Meter.CreateHistogram<long>("objectstore.storage.queue", "By", "Bytes waiting for a writer when a request joins.");
    public static readonly Counter<long> CompactedBytes = Meter.CreateCounter<long>("objectstore.storage.compaction.moved", "By", "Records that compaction has copied.");
    public static readonly Counter<long> CompactionFreedBytes = Meter.CreateCounter<long>("objectstore.storage.compaction.freed", "By", "Volume files deleted by compaction.");
    public static readonly Counter<long> VerifiedBytes = Meter.CreateCounter<long>("objectstore.storage.verified", "By", "Bytes of volumes read to verify them.");
    public static readonly Histogram<double> RecoveryDuration = Meter.CreateHistogram<double>("objectstore.storage.recovery.duration", "s");
    public static readonly Counter<long> DrivesFailed = Meter.CreateCounter<long>("objectstore.storage.drives.failed", "{drive}", "Drives taken out of use while the process runs.");
    public static readonly Counter<long> DrivesReopened = Meter.CreateCounter<long>("objectstore.storage.drives.reopened", "{drive}");
    public static readonly Histogram<double> ProbeDuration = Meter.CreateHistogram<double>("objectstore.storage.drives.probe.duration", "s");
    public static readonly Counter<long> BlocksReconstructed = Meter.CreateCounter<long>("objectstore.storage.blocks.reconstructed", "{block}", "Blocks rebuilt for readers from other shards.");
    public static readonly Counter<long> ReadsHedged = Meter.CreateCounter<long>("objectstore.storage.reads.hedged", "{read}", "Reads of further shards because one was slow.");
    public static readonly Counter<long> ReadsGivenUp = Meter.CreateCounter<long>("objectstore.storage.reads.given_up", "{read}", "Readers with slow clients whose loaded bytes were given up for others.");
    public static readonly Counter<long> WritesDegraded = Meter.CreateCounter<long>("objectstore.storage.writes.degraded", "{extent}", "Extents acknowledged without all fragments.");
    public static readonly Counter<long> DrivesSkipped = Meter.CreateCounter<long>("objectstore.storage.writes.skipped", "{fragment}", "Fragments not sent because their drive hangs, does not answer or has too much waiting.");
    public static readonly Counter<long> CleanupsDropped = Meter.CreateCounter<long>("objectstore.storage.cleanups.dropped", "{extent}", "Abandoned extents left to the collection of orphans.");
    public static readonly Counter<long> FragmentsRebuilt = Meter.CreateCounter<long>("objectstore.storage.fragments.rebuilt", "{fragment}", "Fragments written by repair.");
    public static readonly Counter<long> BytesRebuilt = Meter.CreateCounter<long>("objectstore.storage.rebuilt", "By", "Payload bytes written by repair.");
}
