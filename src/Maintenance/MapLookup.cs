using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Placement;

namespace ObjectStore.Maintenance;

internal static class MapLookup
{
    /// <summary>The slots of a group as a record names it; false where the map has no such group.</summary>
    public static bool TrySlotsOf(IClusterMap map, int group, out IReadOnlyList<GroupSlot> slots)
    {
        var id = new PlacementGroupId(group);
        bool known = map.Widths.Contains(id.Width) && id.Index < map.GroupCount;
        slots = known ? map.SlotsOf(id) : [];
        return known;
    }

    /// <summary>Whether a group that the map does not have may be in a newer one: groups of a width come into the map when it is first used.</summary>
    public static bool MayComeToHave(IClusterMap map, int group)
        => new PlacementGroupId(group) is { Width: >= 1 and <= Scheme.MaxShards } id && id.Index < map.GroupCount && !map.Widths.Contains(id.Width);
}
