using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Tests.Simulation;

/// <summary>
/// What a start after a power cut reads at most, where the index is as the cut found it. It reads active volumes from their checkpoints on, and behind those there is:
///
/// 1. what was synced and applied since the last flush of the index, less than <see cref="StorageOptions.IndexFlushBytes"/>, and less than <see cref="StorageOptions.IndexFlushEntries"/> fragments: the sync that
/// reaches either flushes. Tombstones that take nothing away count by their bytes only;
/// 2. what was written and not applied yet, since nobody had asked for a sync;
/// 3. the one write that the cut came into, no larger than what is left of a volume.
///
/// It does not grow with what the drive holds.
/// </summary>
internal sealed record RecoveryBound(long Bytes, long Fragments)
{
    /// <summary>Taken before the cut.</summary>
    public static RecoveryBound Of(StorageOptions options, DriveEngine engine)
    {
        Volume[] volumes = [.. engine.Index.Volumes.Values];
        long unapplied = volumes.Sum(volume => volume.AppendOffset - volume.CompleteBelow), pending = volumes.Sum(volume => volume.Pending.Count);
        long largestWrite = Math.Min(options.VolumeSizeBytes, engine.Drive.CapacityBytes);
        return new RecoveryBound(options.IndexFlushBytes + unapplied + largestWrite, options.IndexFlushEntries - 1 + pending + MostInAWrite);
    }

    /// <summary>Fragments of one write: the simulations have no more under way at once, three operations of up to five each.</summary>
    private const int MostInAWrite = 15;

    public void AssertHolds(RecoveryReport report)
    {
        if (report.RebuiltIndex)
            return;
        Assert.True(report.ReplayedBytes <= Bytes, $"recovery replayed {report.ReplayedBytes} bytes, at most {Bytes}");
        Assert.True(report.Fragments <= Fragments, $"recovery replayed {report.Fragments} fragments, at most {Fragments}");
    }
}
