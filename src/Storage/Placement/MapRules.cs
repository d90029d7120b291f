namespace ObjectStore.Storage.Placement;

/// <summary>A group that breaks a rule of placement.</summary>
/// <param name="Domain">The domain or drive that has too many of its shards, or too few because others have too many.</param>
public sealed record MapViolation(PlacementGroupId Group, string Domain, int Shards, int Least, int Most)
{
    public override string ToString() => $"Group {Group} has {Shards} shards in {Domain}; at least {Least} and at most {Most} may be there.";
}

/// <summary>
/// The rules that every cluster map obeys, over the drives that can take slots:
///
/// 1. A slot's drive has weight and is readable, and no other slot of the group has it.
/// 2. Widest domain first: the x shards of a group that are in a domain (the pool, a region, a zone, a rack) are shared evenly by the domains right below it. None has more than L, the least
///    number for which drives suffice: Σ min(L, drives of each domain below) ≥ x. Where every domain has drives enough, L is ⌈x / domains⌉. None has less than L − 1, unless it has no more drives.
/// 3. No more slots are without a drive than there are drives too few.
///
/// Whoever changes a map checks them first, so that no move gathers shards which the topology allows to keep apart.
/// </summary>
public static class MapRules
{
    /// <summary>Whether a drive can take slots.</summary>
    public static bool IsUsable(MappedDrive drive) => drive.Weight > 0 && drive.IsReadable;

    /// <summary>What breaks a rule, at most <paramref name="max"/> findings; empty where nothing does.</summary>
    public static IReadOnlyList<MapViolation> Check(IClusterMap map, int max = 16)
    {
        MappedDrive[] usable = [.. map.Drives.Where(IsUsable)];
        Dictionary<Guid, int> indexes = [];
        foreach (MappedDrive drive in usable)
            indexes.Add(drive.Id, indexes.Count);
        Dictionary<int, DomainTree> trees = map.Widths.ToDictionary(width => width, width => new DomainTree(usable, width));
        List<MapViolation> violations = [];
        foreach (PlacementGroupId group in map.Groups)
        {
            if (violations.Count >= max)
                break;
            violations.AddRange(Check(group, map.SlotsOf(group), trees[group.Width], indexes).Take(max - violations.Count));
        }

        return violations;
    }

    private static IEnumerable<MapViolation> Check(PlacementGroupId group, IReadOnlyList<GroupSlot> slots, DomainTree tree, Dictionary<Guid, int> drives)
    {
        var shards = new int[tree.NodeCount];
        HashSet<Guid> seen = [];
        foreach (GroupSlot slot in slots)
        {
            if (slot.Drive is not { } id)
                continue;
            if (!seen.Add(id))
                yield return new MapViolation(group, $"drive {id}", 2, 0, 1);
            if (!drives.TryGetValue(id, out int drive))
            {
                yield return new MapViolation(group, $"drive {id}, which takes none", 1, 0, 0);
                continue;
            }

            foreach (int node in tree.PathOf(drive))
                shards[node]++;
        }

        if (seen.Count < tree.Slots)
            yield return new MapViolation(group, "no drive", slots.Count - seen.Count, slots.Count - tree.Slots, slots.Count - tree.Slots);
        foreach (int node in tree.Compared)
        {
            int around = shards[tree.ParentOf(node)], least = tree.LeastOf(node, around), most = tree.LimitOf(tree.ParentOf(node), around);
            if (shards[node] < least || shards[node] > most)
                yield return new MapViolation(group, tree.NameOf(node), shards[node], least, most);
        }
    }
}
