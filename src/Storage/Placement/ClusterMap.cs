using System.Collections.Immutable;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Storage.Placement;

/// <summary>
/// A placement group: a number of slots, one for each shard of a scheme of that width, and its index among the groups of that width. Schemes of different width do not share
/// groups, so that a group has no more slots than it needs and drives are left to take the place of one that is lost.
/// </summary>
/// <param name="Value">Width × 65,536 + index, as metadata and records keep it.</param>
public readonly record struct PlacementGroupId(int Value)
{
    public const int MaxIndex = 0xFFFF;

    public PlacementGroupId(int width, int index)
        : this((width << 16) | index)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(width, Scheme.MaxShards);
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(index, MaxIndex);
    }

    /// <summary>Slots of the group.</summary>
    public int Width => Value >> 16;

    public int Index => Value & MaxIndex;

    public override string ToString() => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{Width}.{Index}");
}

/// <summary>Where a drive stands, widest first. Two fragments of a block never share a drive; wider domains are shared as little as possible.</summary>
public sealed record FailureDomain(string Region, string Zone, string Rack, string Host);

/// <param name="Weight">Relative share of placement groups, usually the capacity in GiB; 0 takes none: the drive is draining or out.</param>
/// <param name="IsReadable">Whether fragments may still be read from it; false once the drive is out.</param>
public sealed record MappedDrive(Guid Id, double Weight, FailureDomain Domain, bool IsReadable = true);

/// <summary>One shard's place in a group. The number of the shard is the number of the slot.</summary>
/// <param name="Drive">Where the shard is written, and first looked for once it is complete; null where no drive can take it.</param>
/// <param name="Sources">Drives that held the slot before, newest first, and are still readable; empty once all has been moved.</param>
/// <param name="IsComplete">Whether <paramref name="Drive"/> is known to have everything; false while repair or rebalance fills it.</param>
public sealed record GroupSlot(Guid? Drive, ImmutableArray<Guid> Sources, bool IsComplete)
{
    /// <summary>
    /// The epoch of the map that gave an incomplete slot its drive; 0 once it is complete. Who fills the slot says which map it worked from, so that a slot that has moved away and
    /// back meanwhile is not taken for filled.
    /// </summary>
    public long Since { get; init; }

    /// <summary>
    /// Drives that held the slot before and are out, newest first. They are sources again when they come back: a drive that was given up too soon, with all of a rack, may have the only
    /// fragments there are.
    /// </summary>
    public ImmutableArray<Guid> Absent { get; init; } = [];

    public bool Equals(GroupSlot? other)
        => other is not null && Drive == other.Drive && IsComplete == other.IsComplete && Since == other.Since
            && Sources.AsSpan().SequenceEqual(other.Sources.AsSpan()) && Absent.AsSpan().SequenceEqual(other.Absent.AsSpan());

    public override int GetHashCode() => HashCode.Combine(Drive, Sources.Length, IsComplete, Since);
}

/// <summary>Which drives hold the shards of a placement group. Immutable: a change is a new map with a higher epoch.</summary>
public interface IClusterMap
{
    long Epoch { get; }

    /// <summary>By id.</summary>
    IReadOnlyList<MappedDrive> Drives { get; }

    /// <summary>Drives that take new fragments. Schemes are narrowed to this.</summary>
    int WritableDrives { get; }

    /// <summary>Groups of each width.</summary>
    int GroupCount { get; }

    /// <summary>
    /// The widths there are groups for, ascending: those of the schemes that something has been written in, so none in a new pool. Once in the map a width stays, as there may be extents of it.
    /// </summary>
    IReadOnlyList<int> Widths { get; }

    /// <summary>Every group, by value.</summary>
    IEnumerable<PlacementGroupId> Groups { get; }

    /// <summary>The group of a new extent: a hash of its id, even over all groups of the scheme's width.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The map has no groups of this width.</exception>
    PlacementGroupId GroupOf(ExtentId id, int width);

    /// <summary>By shard number.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The map has no such group.</exception>
    IReadOnlyList<GroupSlot> SlotsOf(PlacementGroupId group);
}

/// <summary>A map as tables, one for each width. <see cref="MapPlanner"/> makes and changes them.</summary>
public sealed class ClusterMap : IClusterMap
{
    private readonly ImmutableArray<ImmutableArray<GroupSlot>>[] _tables; // by width

    /// <param name="tables">For each width, that many slots for each of its groups; all widths have equally many groups.</param>
    /// <param name="groupCount">How many groups each width has or will have; may be left out where there are tables.</param>
    public ClusterMap(long epoch, IEnumerable<MappedDrive> drives, IReadOnlyDictionary<int, ImmutableArray<ImmutableArray<GroupSlot>>> tables, int? groupCount = null)
    {
        Epoch = epoch;
        Drives = [.. drives.OrderBy(drive => drive.Id)];
        WritableDrives = Drives.Count(MapRules.IsUsable);
        Widths = [.. tables.Keys.Order()];
        if (Widths.Count > 0 && (Widths[0] < 1 || Widths[^1] > Scheme.MaxShards))
            throw new ArgumentException("A map has groups of a width of 1 to 64.", nameof(tables));
        GroupCount = groupCount ?? tables.Values.FirstOrDefault([]).Length;
        if (GroupCount is < 1 or > PlacementGroupId.MaxIndex + 1 || tables.Any(table => table.Value.Length != GroupCount || table.Value.Any(group => group.Length != table.Key)))
            throw new ArgumentException("Every width has equally many groups, 1 to 65,536, of as many slots.", nameof(tables));
        _tables = new ImmutableArray<ImmutableArray<GroupSlot>>[Scheme.MaxShards + 1];
        foreach ((int width, ImmutableArray<ImmutableArray<GroupSlot>> table) in tables)
            _tables[width] = table;
    }

    /// <summary>The map of a pool that has not been heard of: epoch 0, no drives, and no groups, so that nothing is taken for being in one of them, or for lost.</summary>
    public static ClusterMap Unknown { get; } = new(0, [], new Dictionary<int, ImmutableArray<ImmutableArray<GroupSlot>>>(), groupCount: 1);

    public long Epoch { get; }

    public IReadOnlyList<MappedDrive> Drives { get; }

    public int WritableDrives { get; }

    public int GroupCount { get; }

    public IReadOnlyList<int> Widths { get; }

    public IEnumerable<PlacementGroupId> Groups => Widths.SelectMany(width => Enumerable.Range(0, GroupCount).Select(index => new PlacementGroupId(width, index)));

    public PlacementGroupId GroupOf(ExtentId id, int width)
    {
        _ = Table(width);
        return new PlacementGroupId(width, (int)(Mix((ulong)id.Value ^ Mix((ulong)(id.Value >> 64))) % (ulong)GroupCount));
    }

    public IReadOnlyList<GroupSlot> SlotsOf(PlacementGroupId group)
    {
        ImmutableArray<ImmutableArray<GroupSlot>> table = Table(group.Width);
        if (group.Index >= table.Length)
            throw new ArgumentOutOfRangeException(nameof(group), group, $"The map has {GroupCount} placement groups of each width.");
        return table[group.Index];
    }

    /// <summary>The finaliser of SplitMix64.</summary>
    internal static ulong Mix(ulong value)
    {
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
        return value ^ (value >> 31);
    }

    private ImmutableArray<ImmutableArray<GroupSlot>> Table(int width)
    {
        if ((uint)width >= (uint)_tables.Length || _tables[width].IsDefault)
            throw new ArgumentOutOfRangeException(nameof(width), width, $"The map has groups of the widths {string.Join(", ", Widths)}.");
        return _tables[width];
    }
}
