using System.Buffers.Binary;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;

namespace ObjectStore.Maintenance.Repair;

/// <summary>Where a pass stands, as it is kept in the metadata store.</summary>
/// <param name="StartedUnixMs">When the pass began, before any restart.</param>
/// <param name="After">Everything up to here was dealt with; null at the start.</param>
/// <param name="Undone">Groups in which something could not be dealt with.</param>
/// <param name="Listed">About how many fragments were listed up to here, of all drives.</param>
internal sealed record PassCursor(long StartedUnixMs, FragmentKey? After, IReadOnlyCollection<int> Undone, long Listed = 0)
{
    private const byte Version = 2;

    // Without the number of those listed.
    private const byte FirstVersion = 1;

    // version 1 | flags 1 (1: has a position) | started 8 | extent 16 | block 4 | shard 2 | number 4 | groups 4 each | listed 8; little-endian but the extent's id
    private const int FixedBytes = 36;

    public byte[] Encode()
    {
        var value = new byte[FixedBytes + (4 * Undone.Count) + 8];
        value[0] = Version;
        value[1] = (byte)(After is null ? 0 : 1);
        BinaryPrimitives.WriteInt64LittleEndian(value.AsSpan(2), StartedUnixMs);
        if (After is { } after)
        {
            after.Extent.WriteTo(value.AsSpan(10));
            BinaryPrimitives.WriteInt32LittleEndian(value.AsSpan(26), after.Block);
            BinaryPrimitives.WriteUInt16LittleEndian(value.AsSpan(30), after.Shard);
        }

        BinaryPrimitives.WriteInt32LittleEndian(value.AsSpan(32), Undone.Count);
        int at = FixedBytes;
        foreach (int group in Undone)
        {
            BinaryPrimitives.WriteInt32LittleEndian(value.AsSpan(at), group);
            at += 4;
        }

        BinaryPrimitives.WriteInt64LittleEndian(value.AsSpan(at), Listed);
        return value;
    }

    /// <summary>Null where the value is no cursor that this binary reads: the pass begins anew, which costs time and nothing else.</summary>
    public static PassCursor? Decode(ReadOnlySpan<byte> value)
    {
        if (value.Length < FixedBytes || value[0] is not (FirstVersion or Version))
            return null;
        int listedBytes = value[0] == FirstVersion ? 0 : 8;
        if (value.Length != FixedBytes + (4L * BinaryPrimitives.ReadInt32LittleEndian(value[32..])) + listedBytes)
            return null;
        FragmentKey? after = (value[1] & 1) == 0
            ? null
            : new FragmentKey(ExtentId.ReadFrom(value[10..]), BinaryPrimitives.ReadInt32LittleEndian(value[26..]), BinaryPrimitives.ReadUInt16LittleEndian(value[30..]));
        var undone = new int[(value.Length - FixedBytes - listedBytes) / 4];
        for (int i = 0; i < undone.Length; i++)
            undone[i] = BinaryPrimitives.ReadInt32LittleEndian(value[(FixedBytes + 4 * i)..]);
        long listed = listedBytes == 0 ? 0 : Math.Max(0, BinaryPrimitives.ReadInt64LittleEndian(value[^listedBytes..]));
        return new PassCursor(BinaryPrimitives.ReadInt64LittleEndian(value[2..]), after, undone, listed);
    }

    /// <summary>The greatest key before every fragment of a block.</summary>
    public static FragmentKey Before(ExtentId extent, int block)
    {
        if (block > 0)
            return new FragmentKey(extent, block - 1, ushort.MaxValue);
        return extent.Value == 0 ? default : new FragmentKey(new ExtentId(extent.Value - 1), int.MaxValue, ushort.MaxValue);
    }

    /// <summary>The greatest key of a block.</summary>
    public static FragmentKey Behind(ExtentId extent, int block) => new(extent, block, ushort.MaxValue);
}
