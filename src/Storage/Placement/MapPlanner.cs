using System.Collections.Immutable;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Storage.Placement;

/// <summary>Says that all of a slot is on its drive.</summary>
/// <param name="Drive">The drive that was filled.</param>
/// <param name="Epoch">Of the map that the filling went by from its beginning.</param>
public readonly record struct SlotCompletion(PlacementGroupId Group, int Slot, Guid Drive, long Epoch);

/// <summary>
/// Makes the first map of a pool, and the next one when drives come, go, drain or are taken out. Pure: equal input gives an equal map.
///
/// Every map it makes obeys <see cref="MapRules"/>. Of what these leave open, drives get slots of every width in proportion to their weight, and a change moves little more than the slots
/// it must.
/// </summary>
public static class MapPlanner
{
    /// <summary>Placement groups of each width of a new pool: of 100 equal drives each has 30 slots even of width 3, so that a slot more or less is 3 %.</summary>
    public const int DefaultGroupCount = 1024;

    // How far from its share a drive may be before slots move for balance alone. Without it every change would set off many moves of one slot.
    private const double Tolerance = 0.03;

    /// <summary>
    /// The map that follows <paramref name="previous"/>, or a first one where that is null; <paramref name="previous"/> itself where there is nothing to change.
    ///
    /// A slot that moves is incomplete until <see cref="Complete"/> says otherwise, and so long keeps the drives that had it: as sources while they are readable, as absent while they are
    /// out. A width once in the map stays, since extents of that width may exist: with too few drives for it one slot or more of each group has none. So a width is asked for only when
    /// something is about to be written in it. The groups of a new width are complete, as nothing can have been written to them before they were in a map.
    /// </summary>
    /// <param name="drives">All drives of the pool. Those without weight, or that cannot be read, get no slots. A drive that is not among them any more is neither target nor source.</param>
    /// <param name="groupCount">Placement groups of each width of a first map; afterwards the number stays as it is.</param>
    /// <param name="schemes">What is about to be written; narrowed to the drives that can take slots, they say which widths have groups, beside those of the previous map. May be empty.</param>
    /// <exception cref="ArgumentException">A drive is named twice, its weight is not a number of zero or more, or a first map has no drive to write to.</exception>
    public static ClusterMap Plan(ClusterMap? previous, IReadOnlyList<MappedDrive> drives, int groupCount, IEnumerable<Scheme> schemes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(groupCount, 1);
        Dictionary<Guid, MappedDrive> byId = [];
        foreach (MappedDrive drive in drives)
        {
            if (!byId.TryAdd(drive.Id, drive) || !(drive.Weight >= 0) || double.IsInfinity(drive.Weight))
                throw new ArgumentException($"Drive {drive.Id} is named twice, or has the weight {drive.Weight}.", nameof(drives));
        }

        MappedDrive[] usable = [.. drives.Where(MapRules.IsUsable).OrderBy(drive => drive.Id)];
        IEnumerable<int> asked = usable.Length == 0 ? [] : schemes.Select(scheme => scheme.Narrow(usable.Length).Width);
        int[] widths = [.. asked.Union(previous?.Widths ?? []).Order()];
        if (previous is null && usable.Length == 0)
            throw new ArgumentException("A pool begins with a drive that can take slots.", nameof(drives));
        long epoch = (previous?.Epoch ?? 0) + 1;
        bool isChanged = previous is null || !widths.SequenceEqual(previous.Widths) || !byId.Values.OrderBy(drive => drive.Id).SequenceEqual(previous.Drives);
        var tables = new Dictionary<int, ImmutableArray<ImmutableArray<GroupSlot>>>();
        foreach (int width in widths)
        {
            ClusterMap? before = previous is not null && previous.Widths.Contains(width) ? previous : null;
            var groups = ImmutableArray.CreateBuilder<ImmutableArray<GroupSlot>>(previous?.GroupCount ?? groupCount);
            int[] table = Assign(before, usable, groups.Capacity, width);
            for (int group = 0; group < groups.Capacity; group++)
            {
                var slots = ImmutableArray.CreateBuilder<GroupSlot>(width);
                IReadOnlyList<GroupSlot>? old = before?.SlotsOf(new PlacementGroupId(width, group));
                for (int number = 0; number < width; number++)
                {
                    Guid? drive = table[(group * width) + number] is not SlotTable.Empty and int index ? usable[index].Id : null;
                    slots.Add(old is null ? new GroupSlot(drive, [], IsComplete: true) : Follow(old[number], drive, byId, epoch));
                    isChanged |= old is not null && !ReferenceEquals(old[number], slots[number]);
                }

                groups.Add(slots.MoveToImmutable());
            }

            tables[width] = groups.MoveToImmutable();
        }

        return isChanged ? new ClusterMap(epoch, drives, tables, previous?.GroupCount ?? groupCount) : previous!;
    }

    /// <summary>
    /// Marks slots as complete and drops their sources. A completion is passed over where the slot has another drive by now, or had one at any time since the map that the filling went by.
    /// The map itself comes back where none is left.
    /// </summary>
    public static ClusterMap Complete(ClusterMap map, IEnumerable<SlotCompletion> completions)
    {
        var changed = new Dictionary<PlacementGroupId, ImmutableArray<GroupSlot>>();
        foreach (SlotCompletion completion in completions)
        {
            if (!map.Widths.Contains(completion.Group.Width) || completion.Group.Index >= map.GroupCount || (uint)completion.Slot >= (uint)completion.Group.Width)
                continue;
            if (!changed.TryGetValue(completion.Group, out ImmutableArray<GroupSlot> slots))
                slots = [.. map.SlotsOf(completion.Group)];
            GroupSlot slot = slots[completion.Slot];
            if (slot.IsComplete || slot.Drive != completion.Drive || slot.Since > completion.Epoch || completion.Epoch > map.Epoch)
                continue;
            changed[completion.Group] = slots.SetItem(completion.Slot, new GroupSlot(slot.Drive, [], IsComplete: true));
        }

        if (changed.Count == 0)
            return map;
        return new ClusterMap(map.Epoch + 1, map.Drives, map.Widths.ToDictionary(width => width, width => Enumerable.Range(0, map.GroupCount)
            .Select(index => new PlacementGroupId(width, index))
            .Select(group => changed.TryGetValue(group, out ImmutableArray<GroupSlot> slots) ? slots : [.. map.SlotsOf(group)])
            .ToImmutableArray()));
    }

    /// <summary>
    /// The map with the groups of widths that another map of the pool has and it lacks; the map itself where there are none. A map follows from one that has them, so they are missing only
    /// where the pool went back to an older state; and there may be extents in them. What the slots name is for <see cref="Plan"/> to bring in line with the drives of now.
    /// </summary>
    public static ClusterMap WithGroupsOf(ClusterMap map, ClusterMap other)
    {
        int[] missing = other.GroupCount == map.GroupCount ? [.. other.Widths.Except(map.Widths)] : [];
        if (missing.Length == 0)
            return map;
        return new ClusterMap(map.Epoch + 1, map.Drives, map.Widths.Concat(missing).ToDictionary(width => width, width => Enumerable.Range(0, map.GroupCount)
            .Select(index => (missing.Contains(width) ? other : map).SlotsOf(new PlacementGroupId(width, index)).ToImmutableArray())
            .ToImmutableArray()));
    }

    private static int[] Assign(ClusterMap? previous, MappedDrive[] usable, int groups, int width)
    {
        Dictionary<Guid, int> indexes = [];
        foreach (MappedDrive drive in usable)
            indexes.Add(drive.Id, indexes.Count);
        var table = new int[groups * width];
        Array.Fill(table, SlotTable.Empty);
        var sources = new int[groups * width][];
        Array.Fill(sources, []);
        for (int group = 0; previous is not null && group < groups; group++)
        {
            IReadOnlyList<GroupSlot> slots = previous.SlotsOf(new PlacementGroupId(width, group));
            for (int number = 0; number < width; number++)
            {
                if (slots[number].Drive is { } drive && indexes.TryGetValue(drive, out int index))
                    table[(group * width) + number] = index;
                if (!slots[number].IsComplete)
                    sources[(group * width) + number] = [.. slots[number].Sources.Reverse().Concat(slots[number].Absent.Reverse()).Where(indexes.ContainsKey).Select(source => indexes[source])];
            }
        }

        new SlotTable(usable, table, sources, groups, width, previous is null ? 0 : Tolerance).Plan();
        return table;
    }

    /// <summary>A slot in the next map; the same instance where it stays as it is.</summary>
    private static GroupSlot Follow(GroupSlot before, Guid? drive, Dictionary<Guid, MappedDrive> drives, long epoch)
    {
        if (before.Drive == drive && before.Sources.IsEmpty && before.Absent.IsEmpty)
            return before;
        IEnumerable<Guid> held = before.Drive is { } last && last != drive ? [last, .. before.Sources, .. before.Absent] : before.Sources.Concat(before.Absent);
        Guid[] known = [.. held.Where(source => source != drive && drives.ContainsKey(source)).Distinct()];
        var slot = new GroupSlot(drive, [.. known.Where(source => drives[source].IsReadable)], IsComplete: false)
        {
            Since = before.Drive == drive ? before.Since : epoch,
            Absent = [.. known.Where(source => !drives[source].IsReadable)],
        };
        return slot == before ? before : slot;
    }
}
