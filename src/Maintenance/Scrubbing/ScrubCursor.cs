using System.Buffers.Binary;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;

namespace ObjectStore.Maintenance.Scrubbing;

/// <summary>Where the scrub of a drive stands.</summary>
/// <param name="IsDone">Whether the pass has ended; the next begins a period after it began.</param>
/// <param name="After">The last fragment that was looked at; null at the start.</param>
/// <param name="AfterVolume">Once all fragments were: the last sealed volume that was verified.</param>
internal sealed record ScrubCursor(long StartedUnixMs, long FinishedUnixMs, bool IsDone, bool InVolumes, FragmentKey? After, long AfterVolume, long Fragments, long Bytes, long Findings)
{
    private const byte Version = 1;

    // version 1 | flags 1 (1 done, 2 volumes, 4 has a position) | started 8 | finished 8 | extent 16 | block 4 | shard 2 | volume 8 | fragments 8 | bytes 8 | findings 8
    private const int LengthBytes = 72;

    public byte[] Encode()
    {
        var value = new byte[LengthBytes];
        value[0] = Version;
        value[1] = (byte)((IsDone ? 1 : 0) | (InVolumes ? 2 : 0) | (After is null ? 0 : 4));
        BinaryPrimitives.WriteInt64LittleEndian(value.AsSpan(2), StartedUnixMs);
        BinaryPrimitives.WriteInt64LittleEndian(value.AsSpan(10), FinishedUnixMs);
        if (After is { } after)
        {
            after.Extent.WriteTo(value.AsSpan(18));
            BinaryPrimitives.WriteInt32LittleEndian(value.AsSpan(34), after.Block);
            BinaryPrimitives.WriteUInt16LittleEndian(value.AsSpan(38), after.Shard);
        }

        BinaryPrimitives.WriteInt64LittleEndian(value.AsSpan(40), AfterVolume);
        BinaryPrimitives.WriteInt64LittleEndian(value.AsSpan(48), Fragments);
        BinaryPrimitives.WriteInt64LittleEndian(value.AsSpan(56), Bytes);
        BinaryPrimitives.WriteInt64LittleEndian(value.AsSpan(64), Findings);
        return value;
    }

    /// <summary>Null where the value is no cursor that this binary reads: the pass begins anew.</summary>
    public static ScrubCursor? Decode(ReadOnlySpan<byte> value)
    {
        if (value.Length != LengthBytes || value[0] != Version)
            return null;
        FragmentKey? after = (value[1] & 4) == 0
            ? null
            : new FragmentKey(ExtentId.ReadFrom(value[18..]), BinaryPrimitives.ReadInt32LittleEndian(value[34..]), BinaryPrimitives.ReadUInt16LittleEndian(value[38..]));
        return new ScrubCursor(
            BinaryPrimitives.ReadInt64LittleEndian(value[2..]), BinaryPrimitives.ReadInt64LittleEndian(value[10..]), (value[1] & 1) != 0, (value[1] & 2) != 0, after,
            BinaryPrimitives.ReadInt64LittleEndian(value[40..]), BinaryPrimitives.ReadInt64LittleEndian(value[48..]), BinaryPrimitives.ReadInt64LittleEndian(value[56..]),
            BinaryPrimitives.ReadInt64LittleEndian(value[64..]));
    }
}
