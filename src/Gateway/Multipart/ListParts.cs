using System.Collections.Immutable;
using ObjectStore.Gateway.Objects;
using ObjectStore.Grains;
using ObjectStore.S3.Checksums;
using ObjectStore.S3.Errors;
using ObjectStore.S3.Xml;

namespace ObjectStore.Gateway.Multipart;

/// <summary>ListParts, by number.</summary>
internal static class ListParts
{
    public static async Task HandleAsync(S3Request request)
    {
        (BucketInfo bucket, UploadInfo upload, IMultipartUploadGrain grain) = await Uploads.RequireAsync(request);
        int maxParts = Math.Min(request.QueryInt32("max-parts", 1000, 0, int.MaxValue), 1000);
        int marker = request.QueryInt32("part-number-marker", 0, 0, int.MaxValue);
        ImmutableArray<Grains.UploadPart> parts = await grain.ListPartsAsync(marker, maxParts + 1)
            ?? throw new S3Exception(S3Error.NoSuchUpload(upload.UploadId.ToString()));
        bool isTruncated = parts.Length > maxParts;
        if (isTruncated) parts = parts[..maxParts];
        PartListing listing = new()
        {
            Bucket = bucket.Name,
            Key = request.Key,
            UploadId = upload.UploadId.ToString(),
            StorageClass = upload.StorageClass,
            PartNumberMarker = marker,
            NextPartNumberMarker = isTruncated && parts.Length > 0 ? parts[^1].Layout.PartNumber : 0,
            MaxParts = maxParts,
            IsTruncated = isTruncated,
            Owner = new S3Owner(upload.Owner, upload.Owner),
            ChecksumAlgorithm = Uploads.Algorithm(upload),
            ChecksumType = upload.ChecksumIsComposite ? ChecksumType.Composite : ChecksumType.FullObject,
        };
        await S3Response.XmlAsync(request, output => ResponseXml.ListParts(output, listing, parts.Select(part => new PartRow(
            part.Layout.PartNumber, Conversions.ToUtc(part.LastModifiedUnixMs), part.Layout.ETag.ToS3(), part.Layout.LengthBytes, part.Layout.Checksum.ToValue()))));
    }
}
