using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Index;

/// <summary>
/// Keys and places as the index database stores them: small, since an index of small fragments is a large part of what they cost. See docs/formats/drive.md.
/// </summary>
internal static class IndexCodec
{
    public const int MaxKeyBytes = 16 + 5 + 5;
    public const int MaxPlaceBytes = 6 * 10;

    /// <summary>Extent, block and shard such that byte order is key order; block and shard of up to 240 take a byte each.</summary>
    public static int EncodeKey(FragmentKey key, Span<byte> destination)
    {
        key.Extent.WriteTo(destination);
        int at = 16;
        at += WriteOrdered(destination[at..], (uint)key.Block);
        return at + WriteOrdered(destination[at..], key.Shard);
    }

    /// <exception cref="IndexDamagedException">Not a key.</exception>
    public static FragmentKey DecodeKey(ReadOnlySpan<byte> source)
    {
        if (source.Length < 18)
            throw new IndexDamagedException("A key of the index is too short.");
        int at = 16;
        uint block = ReadOrdered(source, ref at);
        uint shard = ReadOrdered(source, ref at);
        if (at != source.Length || block > int.MaxValue || shard > ushort.MaxValue)
            throw new IndexDamagedException("A key of the index is not one.");
        return new FragmentKey(ExtentId.ReadFrom(source), (int)block, (ushort)shard);
    }

    public static int EncodePlace(in FragmentLocation location, Span<byte> destination)
    {
        int at = Varint.Write(destination, (ulong)location.VolumeId);
        at += Varint.Write(destination[at..], (ulong)location.Offset / VolumeFormat.RecordAlignmentBytes);
        at += Varint.Write(destination[at..], (ulong)location.PayloadOffset);
        at += Varint.Write(destination[at..], (ulong)location.PayloadBytes);
        at += Varint.Write(destination[at..], (uint)location.PlacementGroup);
        return at + Varint.Write(destination[at..], location.SchemeId);
    }

    /// <summary>Whether there can be such a place is the reader's to judge.</summary>
    /// <exception cref="IndexDamagedException">Not a place.</exception>
    public static FragmentLocation DecodePlace(ReadOnlySpan<byte> source)
    {
        int at = 0;
        if (Varint.TryRead(source, ref at, out ulong volume) && Varint.TryRead(source, ref at, out ulong offset) && Varint.TryRead(source, ref at, out ulong payloadOffset)
            && Varint.TryRead(source, ref at, out ulong payloadBytes) && Varint.TryRead(source, ref at, out ulong group) && Varint.TryRead(source, ref at, out ulong scheme)
            && at == source.Length && volume <= long.MaxValue && offset <= long.MaxValue / VolumeFormat.RecordAlignmentBytes
            && payloadOffset <= int.MaxValue && payloadBytes <= int.MaxValue && group <= int.MaxValue && scheme <= ushort.MaxValue)
            return new FragmentLocation((long)volume, (long)offset * VolumeFormat.RecordAlignmentBytes, (int)payloadOffset, (int)payloadBytes, (int)group, (ushort)scheme);
        throw new IndexDamagedException("A place in the index is not one.");
    }

    // 0 to 240 in one byte, to 2287 in two, to 67823 in three, else the length and the bytes: the order of the bytes is that of the numbers.
    private static int WriteOrdered(Span<byte> destination, uint value)
    {
        switch (value)
        {
            case <= 240:
                destination[0] = (byte)value;
                return 1;
            case <= 2287:
                destination[0] = (byte)(241 + ((value - 240) >> 8));
                destination[1] = (byte)(value - 240);
                return 2;
            case <= 67823:
                destination[0] = 249;
                System.Buffers.Binary.BinaryPrimitives.WriteUInt16BigEndian(destination[1..], (ushort)(value - 2288));
                return 3;
            default:
                destination[0] = 251;
                System.Buffers.Binary.BinaryPrimitives.WriteUInt32BigEndian(destination[1..], value);
                return 5;
        }
    }

    private static uint ReadOrdered(ReadOnlySpan<byte> source, ref int at)
    {
        if (at < source.Length)
        {
            byte first = source[at++];
            int more = first switch { <= 240 => 0, <= 248 => 1, 249 => 2, 251 => 4, _ => int.MaxValue };
            if (more <= source.Length - at)
            {
                ReadOnlySpan<byte> bytes = source.Slice(at, more);
                at += more;
                return more switch
                {
                    0 => first,
                    1 => 240u + ((uint)(first - 241) << 8) + bytes[0],
                    2 => 2288u + System.Buffers.Binary.BinaryPrimitives.ReadUInt16BigEndian(bytes),
                    _ => System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(bytes),
                };
            }
        }

        throw new IndexDamagedException("A key of the index ends early.");
    }
}
