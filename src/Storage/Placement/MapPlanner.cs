using System.Buffers.Binary;
using System.Collections.Immutable;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Storage.Placement;

/// <summary>Makes the first map of a pool, and the next one when drives come, go, drain or are taken out.</summary>
public static class MapPlanner
{
    /// <summary>The map that follows <paramref name="previous"/>, or a first one where that is null.</summary>
    /// <param name="schemes">What is to be written; narrowed to the drives of positive weight, they say which widths have groups, beside those of the previous map.</param>
    public static ClusterMap Plan(ClusterMap? previous, IReadOnlyList<MappedDrive> drives, int groupCount, IEnumerable<Scheme> schemes)
    {
        int writable = drives.Count(drive => drive.Weight > 0);
        var tables = new Dictionary<int, ImmutableArray<ImmutableArray<GroupSlot>>>();
        foreach (int width in schemes.Select(scheme => scheme.Narrow(writable).Width).Distinct())
        {
            var groups = ImmutableArray.CreateBuilder<ImmutableArray<GroupSlot>>(groupCount);
            for (int group = 0; group < groupCount; group++)
            {
                int number = group;
                groups.Add([.. drives.Where(drive => drive.Weight > 0).OrderByDescending(drive => Score(number, drive)).Take(width).Select(drive => new GroupSlot(drive.Id, [], IsComplete: true))]);
            }

            tables[width] = groups.MoveToImmutable();
        }

        return new ClusterMap((previous?.Epoch ?? 0) + 1, drives, tables);
    }

    private static double Score(int group, MappedDrive drive)
    {
        Span<byte> id = stackalloc byte[16];
        drive.Id.TryWriteBytes(id);
        ulong hash = ClusterMap.Mix(ClusterMap.Mix((ulong)group + 0x9E3779B97F4A7C15) ^ BinaryPrimitives.ReadUInt64LittleEndian(id));
        hash = ClusterMap.Mix(hash ^ BinaryPrimitives.ReadUInt64LittleEndian(id[8..]));
        double unit = ((hash >> 11) + 0.5) / (1UL << 53);
        return -drive.Weight / Math.Log(unit);
    }
}
