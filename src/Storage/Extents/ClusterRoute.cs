using System.Collections.Concurrent;
using ObjectStore.Storage.Placement;

namespace ObjectStore.Storage.Extents;

/// <summary>A slot of the map with the ways to its drives. Drives that are out, or that the map does not know, are left out.</summary>
/// <param name="Drive">Null where no drive has the slot.</param>
/// <param name="HasAbsent">Whether drives that are out held the slot before and may have what none of the others has.</param>
internal sealed record RoutedSlot(DriveLane? Drive, DriveLane[] Sources, bool IsComplete, bool HasAbsent = false)
{
    /// <summary>Where to look for the shard, in this order: while the slot is being filled, its new drive has the least.</summary>
    public DriveLane[] Candidates { get; } = Drive is null ? Sources : IsComplete ? [Drive, .. Sources] : [.. Sources, Drive];
}

/// <summary>One map, resolved to lanes as its groups are used. Immutable but for that cache; thread-safe.</summary>
internal sealed class ClusterRoute
{
    private static readonly RoutedSlot Nowhere = new(null, [], IsComplete: false);
    private readonly Func<Guid, DriveLane> _lanes;
    private readonly HashSet<Guid> _readable;
    private readonly RoutedSlot[]?[]?[] _groups; // by width, then by index

    public ClusterRoute(IClusterMap map, Func<Guid, DriveLane> lanes)
    {
        Map = map;
        _lanes = lanes;
        _readable = [.. map.Drives.Where(drive => drive.IsReadable).Select(drive => drive.Id)];
        _groups = new RoutedSlot[]?[Scheme.MaxShards + 1][];
        foreach (int width in map.Widths)
            _groups[width] = new RoutedSlot[]?[map.GroupCount];
    }

    public IClusterMap Map { get; }

    /// <summary>Whether the map has groups of a width, 1 to 64.</summary>
    public bool HasGroups(int width) => _groups[width] is not null;

    /// <summary>By shard number.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The map has no such group.</exception>
    public RoutedSlot[] SlotsOf(int group)
        => TrySlotsOf(group) ?? throw new ArgumentOutOfRangeException(nameof(group), new PlacementGroupId(group), "The cluster map has no such placement group.");

    /// <summary>By shard number; null where the map has no such group, since it is older than the extent.</summary>
    public RoutedSlot[]? TrySlotsOf(int group)
    {
        var id = new PlacementGroupId(group);
        if ((uint)id.Width < (uint)_groups.Length && _groups[id.Width] is { } table && (uint)id.Index < (uint)table.Length)
            return Volatile.Read(ref table[id.Index]) ?? Resolve(id, table);
        return null;
    }

    /// <summary>The slot of a shard; one without drives where the map has become narrower than the scheme.</summary>
    public static RoutedSlot SlotOf(RoutedSlot[] slots, int shard) => shard < slots.Length ? slots[shard] : Nowhere;

    /// <summary>The copy to read first: one that is not being filled, where there is one.</summary>
    public static int FirstCopy(RoutedSlot[] slots, int copies)
    {
        for (int shard = 0; shard < copies; shard++)
        {
            if (SlotOf(slots, shard) is { IsComplete: true, Drive: not null })
                return shard;
        }

        return 0;
    }

    private RoutedSlot[] Resolve(PlacementGroupId group, RoutedSlot[]?[] table)
    {
        RoutedSlot[] slots = [.. Map.SlotsOf(group).Select(slot => new RoutedSlot(
            slot.Drive is { } drive && _readable.Contains(drive) ? _lanes(drive) : null,
            [.. slot.Sources.Where(source => _readable.Contains(source) && source != slot.Drive).Select(_lanes)],
            slot.IsComplete,
            HasAbsent: !slot.Absent.IsEmpty || slot.Sources.Any(source => !_readable.Contains(source)) || (slot.Drive is { } own && !_readable.Contains(own))))];
        Volatile.Write(ref table[group.Index], slots);
        return slots;
    }
}
