using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Repair;

namespace ObjectStore.Maintenance.Repair;

/// <summary>Hands to repair what a drive found damaged by itself. Thread-safe.</summary>
public sealed class FoundDamage(Func<IClusterMap> map, IRepairSink sink)
{
    /// <summary>Records, durably, those that the map names the drive for. What it does not is a stray, which the scrub and the sweeps deal with.</summary>
    public async ValueTask TellAsync(Guid drive, IReadOnlyList<FragmentEntry> damaged, CancellationToken cancellationToken = default)
    {
        IClusterMap current = map();
        var notices = new List<RepairNotice>();
        foreach (FragmentEntry entry in damaged)
        {
            if (Scheme.TryFromId(entry.SchemeId, out Scheme scheme) && MapLookup.TrySlotsOf(current, entry.PlacementGroup, out IReadOnlyList<GroupSlot> slots)
                && entry.Key.Shard < slots.Count && slots[entry.Key.Shard].Drive == drive)
                notices.Add(new RepairNotice(entry.Key.Extent, entry.PlacementGroup, scheme, entry.Key.Block, 1, default(ShardSet).With(entry.Key.Shard), RepairReason.Scrub));
        }

        if (notices.Count > 0)
            await sink.RecordAsync(notices, cancellationToken).ConfigureAwait(false);
    }
}
