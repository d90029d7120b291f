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
        HashSet<Guid> reachable = FindReachable();
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

    /// <summary>Drives of the pool that are in and answer, are in and do not answer, and are out.</summary>
    public (int In, int Unreachable, int Out) CountDrives()
    {
        HashSet<Guid> reachable = FindReachable();
        ILookup<bool, MappedDrive> drives = plane.Extents.ClusterMap.Drives.ToLookup(drive => drive.IsReadable);
        int answering = drives[true].Count(drive => reachable.Contains(drive.Id));
        return (answering, drives[true].Count() - answering, drives[false].Count());
    }

    /// <summary>For each width in use: how many shards each host has, descending, of the placement group that has the most in one. Shards without a drive are in none.</summary>
    public IEnumerable<(int Width, int[] ShardsPerHost)> FindSpreads()
    {
        IClusterMap map = plane.Extents.ClusterMap;
        Dictionary<Guid, FailureDomain> hosts = map.Drives.ToDictionary(drive => drive.Id, drive => drive.Domain);
        return map.Groups.Select(map.SlotsOf).GroupBy(slots => slots.Count).OrderBy(groups => groups.Key).Select(groups => (groups.Key, groups
            .Select(slots => slots.Where(slot => slot.Drive is { } drive && hosts.ContainsKey(drive)).GroupBy(slot => hosts[slot.Drive!.Value]).Select(host => host.Count()).OrderDescending().ToArray())
            .Aggregate(static (worst, other) => other.AsSpan().SequenceCompareTo(worst) > 0 ? other : worst)));
    }

    private HashSet<Guid> FindReachable() => [.. plane.Directory.All.Where(drive => drive.IsReachable).Select(drive => drive.DriveId)];

    public long Queued => repair.Status.Queued;

    /// <summary>Whether orphans are kept because there are too many of them.</summary>
    public bool KeepsOrphans => liveness.IsBraked;

    public bool IsScrubbing => scrub.IsHurried;

    /// <summary>The schemes that new objects get, in one line: those of STANDARD, and of the other classes the ones that are narrower than asked for.</summary>
    public string Describe()
    {
        int drives = Math.Max(1, plane.Extents.ClusterMap.WritableDrives);
        IEnumerable<string> others = plane.Schemes.Classes.Where(each => each.Key != SchemePolicy.Standard && IsNarrowed(each.Value, drives))
            .OrderBy(each => each.Key, StringComparer.Ordinal).Select(each => $"{each.Key}: {Describe(each.Value, drives)}");
        IEnumerable<string> parts = others.Prepend(Describe(plane.Schemes.For(SchemePolicy.Standard), drives));
        return string.Join("; ", OlderWidths is [_, ..] older ? parts.Append($"older objects may have {string.Join(" or ", older)} fragments of a block") : parts);
    }

    /// <summary>
    /// Widths that something was written in and that no class asks for or gets now, ascending: of objects written while there were fewer drives, or with other schemes. They keep it until they are
    /// written again; whether any of them are left is not known.
    /// </summary>
    public int[] OlderWidths
    {
        get
        {
            IClusterMap map = plane.Extents.ClusterMap;
            int drives = Math.Max(1, map.WritableDrives);
            HashSet<int> current = [.. plane.Schemes.Schemes.SelectMany(scheme => new[] { scheme.Width, scheme.Narrow(drives).Width })];
            return [.. map.Widths.Where(width => !current.Contains(width))];
        }
    }

    private static bool IsNarrowed(ClassSchemes schemes, int drives) => schemes.Small.Narrow(drives) != schemes.Small || schemes.Large.Narrow(drives) != schemes.Large;

    private static string Describe(ClassSchemes schemes, int drives)
    {
        Scheme small = schemes.Small.Narrow(drives), large = schemes.Large.Narrow(drives);
        string used = small == large ? large.ToString() : $"{small} under {schemes.SmallBelowBytes >> 10} KiB, else {large}";
        return IsNarrowed(schemes, drives) ? $"{used} (for want of drives; asked for: {schemes.Small} and {schemes.Large})" : used;
    }
}
