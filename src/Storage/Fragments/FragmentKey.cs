using System.Buffers.Binary;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Storage.Fragments;

/// <summary>Names a fragment: one shard of one block of one extent. The same key always has the same bytes.</summary>
public readonly record struct FragmentKey(ExtentId Extent, int Block, ushort Shard) : IComparable<FragmentKey>
{
    internal const int SizeBytes = 22;

    public int CompareTo(FragmentKey other)
    {
        int order = Extent.CompareTo(other.Extent);
        if (order == 0)
            order = Block.CompareTo(other.Block);
        return order != 0 ? order : Shard.CompareTo(other.Shard);
    }

    /// <summary>Big-endian, so that byte order is the order of keys.</summary>
    internal void WriteTo(Span<byte> destination)
    {
        Extent.WriteTo(destination);
        BinaryPrimitives.WriteInt32BigEndian(destination[16..], Block);
        BinaryPrimitives.WriteUInt16BigEndian(destination[20..], Shard);
    }

    internal static FragmentKey ReadFrom(ReadOnlySpan<byte> source)
        => new(ExtentId.ReadFrom(source), BinaryPrimitives.ReadInt32BigEndian(source[16..]), BinaryPrimitives.ReadUInt16BigEndian(source[20..]));

    public override int GetHashCode() => HashCode.Combine((ulong)Extent.Value, Block, Shard);

    public override string ToString() => $"{Extent}/{Block}/{Shard}";
}
