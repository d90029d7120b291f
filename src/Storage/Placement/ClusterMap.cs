using System.Buffers.Binary;
using System.Collections.Immutable;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Storage.Placement;

public readonly record struct PlacementGroupId(int Value)
{
    public override string ToString() => Value.ToString(System.Globalization.CultureInfo.InvariantCulture);
}

/// <summary>Where a drive stands, widest first. Two fragments of a block never share a drive; wider domains are shared as little as possible.</summary>
public sealed record FailureDomain(string Zone, string Rack, string Host);

/// <param name="Weight">Relative share of placement groups, usually the capacity in GiB; 0 drains the drive.</param>
public sealed record MappedDrive(Guid Id, double Weight, FailureDomain Domain);

/// <summary>Which drives hold the shards of a placement group. Immutable: a change of topology is a new map with a higher epoch.</summary>
public interface IClusterMap
{
    long Epoch { get; }

    IReadOnlyList<MappedDrive> Drives { get; }

    int GroupCount { get; }

    /// <summary>The group of a new extent: a hash of its id, even over all groups.</summary>
    PlacementGroupId GroupOf(ExtentId id);

    /// <summary>The drive of each shard, by shard number.</summary>
    IReadOnlyList<Guid> DrivesOf(PlacementGroupId group);
}

/// <summary>
/// A map in which every group's shards go to the drives that win a weighted rendezvous (highest −weight / ln(hash) first). A drive that
/// joins takes its share of groups from all the others and moves no other group.
/// </summary>
public sealed class ClusterMap : IClusterMap
{
    private readonly ImmutableArray<ImmutableArray<Guid>> _groups;

    private ClusterMap(long epoch, ImmutableArray<MappedDrive> drives, ImmutableArray<ImmutableArray<Guid>> groups)
    {
        Epoch = epoch;
        Drives = drives;
        _groups = groups;
    }

    public long Epoch { get; }

    public IReadOnlyList<MappedDrive> Drives { get; }

    public int GroupCount => _groups.Length;

    public static ClusterMap Create(long epoch, IEnumerable<MappedDrive> drives, int groupCount, int shardsPerGroup = 1)
    {
        ImmutableArray<MappedDrive> members = [.. drives.OrderBy(drive => drive.Id)];
        ArgumentOutOfRangeException.ThrowIfLessThan(groupCount, 1);
        if (members.Count(drive => drive.Weight > 0) < shardsPerGroup)
            throw new ArgumentException($"{shardsPerGroup} shards need as many drives of positive weight.", nameof(drives));
        var groups = ImmutableArray.CreateBuilder<ImmutableArray<Guid>>(groupCount);
        for (int group = 0; group < groupCount; group++)
        {
            int number = group;
            groups.Add([.. members.Where(drive => drive.Weight > 0).OrderByDescending(drive => Score(number, drive)).Take(shardsPerGroup).Select(drive => drive.Id)]);
        }

        return new ClusterMap(epoch, members, groups.MoveToImmutable());
    }

    public PlacementGroupId GroupOf(ExtentId id) => new((int)(Mix((ulong)id.Value ^ Mix((ulong)(id.Value >> 64))) % (ulong)_groups.Length));

    public IReadOnlyList<Guid> DrivesOf(PlacementGroupId group)
    {
        if ((uint)group.Value >= (uint)_groups.Length)
            throw new ArgumentOutOfRangeException(nameof(group), group.Value, $"The map has {_groups.Length} placement groups.");
        return _groups[group.Value];
    }

    private static double Score(int group, MappedDrive drive)
    {
        Span<byte> id = stackalloc byte[16];
        drive.Id.TryWriteBytes(id);
        ulong hash = Mix(Mix((ulong)group + 0x9E3779B97F4A7C15) ^ BinaryPrimitives.ReadUInt64LittleEndian(id));
        hash = Mix(hash ^ BinaryPrimitives.ReadUInt64LittleEndian(id[8..]));
        double unit = ((hash >> 11) + 0.5) / (1UL << 53);
        return -drive.Weight / Math.Log(unit);
    }

    /// <summary>The finaliser of SplitMix64.</summary>
    private static ulong Mix(ulong value)
    {
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
        return value ^ (value >> 31);
    }
}
