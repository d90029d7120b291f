using ObjectStore.Gateway.Objects;
using ObjectStore.Grains;
using ObjectStore.S3.Conditions;
using ObjectStore.S3.Errors;
using ObjectStore.S3.Xml;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Gateway.Multipart;

/// <summary>UploadPartCopy: a part whose bytes are a range of an object that is there.</summary>
internal static class UploadPartCopy
{
    public static async Task HandleAsync(S3Request request)
    {
        int number = Uploads.PartNumber(request);
        StoredHeaders.RefuseUnsupported(request);
        (BucketInfo bucket, UploadInfo upload, IMultipartUploadGrain grain) = await Uploads.RequireAsync(request);
        (_, ObjectVersion source, _) = await CopySources.ResolveAsync(request);
        HttpRange range = new(0, source.SizeBytes);
        if (request.Header("x-amz-copy-source-range") is { } text && !HttpRange.TryResolveCopySource(text, source.SizeBytes, out range, out S3Error? error))
        {
            throw new S3Exception(error!);
        }

        if (range.Length > BodyReceiver.MaxBytes) throw new S3Exception(S3ErrorCode.EntityTooLarge);
        ExtentDescriptor descriptor = Conversions.Describe(request.Services.Extents, bucket.Id, request.Key, upload.UploadId, number, upload.StorageClass);
        (ReceivedBody body, ExtentLayout layout) = await CopySources.StoreAsync(request, source, range.Offset, range.Length, descriptor, Uploads.Algorithm(upload));
        long now = request.Services.Time.GetUtcNow().ToUnixTimeMilliseconds();
        await Uploads.RecordAsync(request, grain, upload, layout, new Grains.UploadPart(layout.ToPart(number, body.ETag, body.Checksum.ToStored()), now));
        await S3Response.XmlAsync(request, output => ResponseXml.CopyPart(output, Conversions.ToUtc(now), body.ETag.ToS3(), body.Checksum));
    }
}
