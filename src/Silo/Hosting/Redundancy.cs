using ObjectStore.Maintenance.Liveness;
using ObjectStore.Maintenance.Repair;
using ObjectStore.Maintenance.Scrubbing;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Placement;

namespace ObjectStore.Silo.Hosting;

/// <summary>How safe the objects are at this moment, for /health and the admin interface. Thread-safe.</summary>
internal sealed class Redundancy(DataPlane plane, RepairService repair, ScrubService scrub, MetadataExtentLiveness liveness)
{
    /// <summary>Shards whose drive has not everything yet, whose drive does not answer, or that have no drive.</summary>
    public (int Incomplete, int Unreachable, int WithoutDrive) CountSlots()
    {
        int incomplete = 0, unreachable = 0, without = 0;
        HashSet<Guid> reachable = [.. plane.Directory.All.Select(drive => drive.DriveId)];
        IClusterMap map = plane.Extents.ClusterMap;
        foreach (PlacementGroupId group in map.Groups)
        {
            foreach (GroupSlot slot in map.SlotsOf(group))
            {
                if (slot.Drive is null) without++;
                else if (!reachable.Contains(slot.Drive.Value)) unreachable++;
                else if (!slot.IsComplete) incomplete++;
            }
        }

        return (incomplete, unreachable, without);
    }

    public long Queued => repair.Status.Queued;

    /// <summary>Whether orphans are kept because there are too many of them.</summary>
    public bool KeepsOrphans => liveness.IsBraked;

    public bool IsScrubbing => scrub.IsHurried;

    /// <summary>The schemes that new objects get, in one line.</summary>
    public string Describe()
    {
        ClassSchemes standard = plane.Schemes.For(SchemePolicy.Standard);
        int drives = Math.Max(1, plane.Extents.ClusterMap.WritableDrives);
        Scheme small = standard.Small.Narrow(drives), large = standard.Large.Narrow(drives);
        string used = small == large ? large.ToString() : $"{small} under {standard.SmallBelowBytes >> 10} KiB, else {large}";
        return small == standard.Small && large == standard.Large ? used : $"{used} (for want of drives; asked for: {standard.Small} and {standard.Large})";
    }
}
