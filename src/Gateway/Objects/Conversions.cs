using System.Text;
using ObjectStore.Grains;
using ObjectStore.S3.Checksums;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Gateway.Objects;

/// <summary>Between the words of the three planes: the metadata plane's records, the data plane's layouts, the protocol's values.</summary>
internal static class Conversions
{
    public static ExtentDescriptor Describe(IExtentStore extents, BucketId bucket, string key, VersionId version, int partNumber, string storageClass)
    {
        ExtentId id = extents.Ids.Next();
        return new ExtentDescriptor(id, PlacementGroup: 0, bucket.Value, Encoding.UTF8.GetBytes(key), new UInt128(version.High, version.Low), partNumber)
        {
            StorageClass = storageClass,
        };
    }

    public static PartLayout ToPart(this ExtentLayout layout, int partNumber, ETag etag, ObjectChecksum? checksum) => new(
        partNumber, layout.LengthBytes, layout.PlacementGroup, (ulong)(layout.Id.Value >> 64), (ulong)layout.Id.Value, layout.SchemeId, layout.BlockSizeBytes, etag, checksum);

    public static ExtentLayout ToExtent(this PartLayout part) => new(
        new ExtentId(new UInt128(part.ExtentHigh, part.ExtentLow)), part.PlacementGroup, part.Scheme, part.BlockSizeBytes, part.LengthBytes);

    public static S3.Headers.ETag ToS3(this ETag etag)
    {
        Span<byte> md5 = stackalloc byte[16];
        etag.CopyMd5To(md5);
        return new S3.Headers.ETag(md5, etag.PartCount);
    }

    public static ETag ToGrains(this S3.Headers.ETag etag)
    {
        Span<byte> md5 = stackalloc byte[16];
        etag.CopyTo(md5);
        return ETag.FromMd5(md5, etag.PartCount);
    }

    public static ObjectChecksum? ToStored(this ChecksumValue? checksum) =>
        checksum is { } value ? new ObjectChecksum(value.Algorithm.Name(), value.PartCount > 0, value.ToString()) : null;

    public static ChecksumValue? ToValue(this ObjectChecksum? checksum) =>
        checksum is not null
        && ChecksumAlgorithms.TryFromName(checksum.Algorithm, out ChecksumAlgorithm algorithm)
        && ChecksumValue.TryParse(algorithm, checksum.Value, allowComposite: true, out ChecksumValue value) ? value : null;

    public static ChecksumType? TypeOf(this ObjectChecksum? checksum) =>
        checksum is null ? null : checksum.IsComposite ? ChecksumType.Composite : ChecksumType.FullObject;

    public static DateTime ToUtc(long unixMs) => DateTimeOffset.FromUnixTimeMilliseconds(unixMs).UtcDateTime;
}
