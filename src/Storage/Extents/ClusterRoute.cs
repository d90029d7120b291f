using System.Collections.Concurrent;
using ObjectStore.Storage.Placement;

namespace ObjectStore.Storage.Extents;

/// <summary>A slot of the map with the ways to its drives. Drives that are out, or that the map does not know, are left out.</summary>
/// <param name="Drive">Null where no drive has the slot.</param>
internal sealed record RoutedSlot(DriveLane? Drive, DriveLane[] Sources, bool IsComplete)
{
    /// <summary>Where to look for the shard, in this order.</summary>
    public DriveLane[] Candidates { get; } = Drive is null ? Sources : [Drive, .. Sources];
}

/// <summary>One map, resolved to lanes as its groups are used. Immutable but for that cache; thread-safe.</summary>
internal sealed class ClusterRoute
{
    private static readonly RoutedSlot Nowhere = new(null, [], IsComplete: false);
    private readonly Func<Guid, DriveLane> _lanes;
    private readonly HashSet<Guid> _readable;
    private readonly RoutedSlot[]?[] _groups;

    public ClusterRoute(IClusterMap map, Func<Guid, DriveLane> lanes)
    {
        Map = map;
        _lanes = lanes;
        _readable = [.. map.Drives.Where(drive => drive.IsReadable).Select(drive => drive.Id)];
        _groups = new RoutedSlot[map.GroupCount][];
    }

    public IClusterMap Map { get; }

    /// <summary>By shard number; as many as the map has.</summary>
    public RoutedSlot[] SlotsOf(int group)
    {
        if ((uint)group < (uint)_groups.Length && Volatile.Read(ref _groups[group]) is { } slots)
            return slots;
        return Resolve(group);
    }

    /// <summary>The slot of a shard; one without drives where the map has become narrower than the scheme.</summary>
    public static RoutedSlot SlotOf(RoutedSlot[] slots, int shard) => shard < slots.Length ? slots[shard] : Nowhere;

    /// <summary>How many shards a block of this group can have: up to the last slot with a drive.</summary>
    public int WidthOf(int group)
    {
        RoutedSlot[] slots = SlotsOf(group);
        int width = slots.Length;
        while (width > 1 && slots[width - 1].Drive is null)
            width--;
        return width;
    }

    private RoutedSlot[] Resolve(int group)
    {
        RoutedSlot[] slots = [.. Map.SlotsOf(new PlacementGroupId(group)).Select(slot => new RoutedSlot(
            slot.Drive is { } drive && _readable.Contains(drive) ? _lanes(drive) : null,
            [.. slot.Sources.Where(source => _readable.Contains(source) && source != slot.Drive).Select(_lanes)],
            slot.IsComplete))];
        Volatile.Write(ref _groups[group], slots);
        return slots;
    }
}
