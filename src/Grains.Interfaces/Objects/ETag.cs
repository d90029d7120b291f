using System.Globalization;
using Orleans;

namespace ObjectStore.Grains;

/// <summary>
/// An entity tag without its quotes: the MD5 of the bytes, or for a multipart object the MD5 of the parts' MD5s and the number
/// of parts (<c>-N</c>), as S3 clients compute it to check their uploads.
/// </summary>
/// <param name="High">The first eight bytes of the MD5, big-endian.</param>
/// <param name="Low">The last eight bytes of the MD5, big-endian.</param>
/// <param name="PartCount">0 for a plain object, else the number of parts, 1 to 10,000.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.ETag")]
public readonly record struct ETag([property: Id(0)] ulong High, [property: Id(1)] ulong Low, [property: Id(2)] int PartCount)
{
    /// <summary>From the 16 bytes of an MD5.</summary>
    public static ETag FromMd5(ReadOnlySpan<byte> md5, int partCount = 0) => new(
        System.Buffers.Binary.BinaryPrimitives.ReadUInt64BigEndian(md5),
        System.Buffers.Binary.BinaryPrimitives.ReadUInt64BigEndian(md5[8..]),
        partCount);

    /// <summary>Writes the 16 bytes of the MD5.</summary>
    public void CopyMd5To(Span<byte> destination)
    {
        System.Buffers.Binary.BinaryPrimitives.WriteUInt64BigEndian(destination, High);
        System.Buffers.Binary.BinaryPrimitives.WriteUInt64BigEndian(destination[8..], Low);
    }

    /// <summary>32 hexadecimal digits, and <c>-N</c> for a multipart object. No quotes.</summary>
    public override string ToString() => PartCount == 0
        ? string.Create(CultureInfo.InvariantCulture, $"{High:x16}{Low:x16}")
        : string.Create(CultureInfo.InvariantCulture, $"{High:x16}{Low:x16}-{PartCount}");
}
