using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Repair;

namespace ObjectStore.Maintenance.Repair;

/// <summary>Hands to repair what a drive found damaged by itself. Thread-safe.</summary>
public sealed class FoundDamage(Func<IClusterMap> map, IRepairSink sink)
{
    // A few at a time, since clients' commits wait for the same transaction.
    private const int MaxNotices = 256;

    /// <summary>
    /// Records them durably. Strays too: a slot may come back to the drive before a sweep or the scrub has been there, and what is listed there counts as whole.
    /// </summary>
    public async ValueTask TellAsync(IEnumerable<FragmentEntry> damaged, CancellationToken cancellationToken = default)
    {
        IClusterMap current = map();
        foreach (RepairNotice[] notices in damaged.Select(entry => NoticeOf(current, entry)).OfType<RepairNotice>().Chunk(MaxNotices))
            await sink.RecordAsync(notices, cancellationToken).ConfigureAwait(false);
    }

    private static RepairNotice? NoticeOf(IClusterMap map, FragmentEntry entry)
        => Scheme.TryFromId(entry.SchemeId, out Scheme scheme) && MapLookup.TrySlotsOf(map, entry.PlacementGroup, out IReadOnlyList<GroupSlot> slots) && entry.Key.Shard < slots.Count
            ? new RepairNotice(entry.Key.Extent, entry.PlacementGroup, scheme, entry.Key.Block, 1, default(ShardSet).With(entry.Key.Shard), RepairReason.Scrub)
            : null;
}
