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
}
