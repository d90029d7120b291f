using System.Buffers.Binary;

namespace ObjectStore.Metadata.Records;

/// <summary>128-bit ids as 16 bytes, big-endian, so that byte order is the order of the ids.</summary>
internal static class Ids
{
    internal static void Write(Span<byte> destination, ulong high, ulong low)
    {
        BinaryPrimitives.WriteUInt64BigEndian(destination, high);
        BinaryPrimitives.WriteUInt64BigEndian(destination[8..], low);
    }

    internal static (ulong High, ulong Low) Read(ReadOnlySpan<byte> source) =>
        (BinaryPrimitives.ReadUInt64BigEndian(source), BinaryPrimitives.ReadUInt64BigEndian(source[8..]));
}
