using System.Buffers.Binary;
using System.Collections.Immutable;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Storage.Placement;

public readonly record struct PlacementGroupId(int Value)
{
    public override string ToString() => Value.ToString(System.Globalization.CultureInfo.InvariantCulture);
}

/// <summary>Where a drive stands, widest first. Two fragments of a block never share a drive; wider domains are shared as little as possible.</summary>
public sealed record FailureDomain(string Region, string Zone, string Rack, string Host);

/// <param name="Weight">Relative share of placement groups, usually the capacity in GiB; 0 takes none: the drive is draining or out.</param>
/// <param name="IsReadable">Whether fragments may still be read from it; false once the drive is out.</param>
public sealed record MappedDrive(Guid Id, double Weight, FailureDomain Domain, bool IsReadable = true);

/// <summary>One shard's place in a group. The number of the shard is the number of the slot.</summary>
/// <param name="Drive">Where the shard is written and first looked for; null where no drive can take it.</param>
/// <param name="Sources">Drives that held the slot before, newest first, and are still readable; empty once all has been moved.</param>
/// <param name="IsComplete">Whether <paramref name="Drive"/> is known to have everything; false while repair or rebalance fills it.</param>
public sealed record GroupSlot(Guid? Drive, ImmutableArray<Guid> Sources, bool IsComplete);

/// <summary>
/// Which drives hold the shards of a placement group. Immutable: a change is a new map with a higher epoch. A scheme of n shards uses the first n slots, so every prefix of a
/// group's slots is spread over failure domains as well as it can be.
/// </summary>
public interface IClusterMap
{
    long Epoch { get; }

    /// <summary>By id.</summary>
    IReadOnlyList<MappedDrive> Drives { get; }

    int GroupCount { get; }

    /// <summary>Slots of each group: the widest scheme that can be written.</summary>
    int Width { get; }

    /// <summary>The group of a new extent: a hash of its id, even over all groups.</summary>
    PlacementGroupId GroupOf(ExtentId id);

    /// <summary>By shard number.</summary>
    IReadOnlyList<GroupSlot> SlotsOf(PlacementGroupId group);
}

/// <summary>A map as a table. <see cref="MapPlanner"/> makes and changes them.</summary>
public sealed class ClusterMap : IClusterMap
{
    private readonly ImmutableArray<ImmutableArray<GroupSlot>> _groups;

    public ClusterMap(long epoch, IEnumerable<MappedDrive> drives, ImmutableArray<ImmutableArray<GroupSlot>> groups)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(groups.Length, 1, nameof(groups));
        Epoch = epoch;
        Drives = [.. drives.OrderBy(drive => drive.Id)];
        _groups = groups;
        Width = groups[0].Length;
        if (groups.Any(group => group.Length != Width))
            throw new ArgumentException("The groups of a map have equally many slots.", nameof(groups));
    }

    public long Epoch { get; }

    public IReadOnlyList<MappedDrive> Drives { get; }

    public int GroupCount => _groups.Length;

    public int Width { get; }

    public PlacementGroupId GroupOf(ExtentId id) => new((int)(Mix((ulong)id.Value ^ Mix((ulong)(id.Value >> 64))) % (ulong)_groups.Length));

    public IReadOnlyList<GroupSlot> SlotsOf(PlacementGroupId group)
    {
        if ((uint)group.Value >= (uint)_groups.Length)
            throw new ArgumentOutOfRangeException(nameof(group), group.Value, $"The map has {_groups.Length} placement groups.");
        return _groups[group.Value];
    }

    /// <summary>The finaliser of SplitMix64.</summary>
    internal static ulong Mix(ulong value)
    {
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
        return value ^ (value >> 31);
    }
}
