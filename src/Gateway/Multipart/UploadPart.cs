using Microsoft.AspNetCore.Http;
using ObjectStore.Gateway.Objects;
using ObjectStore.Grains;
using ObjectStore.S3.Checksums;
using ObjectStore.S3.Errors;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Gateway.Multipart;

/// <summary>UploadPart: the part's bytes become durable, then the part is recorded.</summary>
internal static class UploadPart
{
    public static async Task HandleAsync(S3Request request)
    {
        int number = Uploads.PartNumber(request);
        StoredHeaders.RefuseUnsupported(request);
        (BucketInfo bucket, UploadInfo upload, IMultipartUploadGrain grain) = await Uploads.RequireAsync(request);
        ChecksumAlgorithm? expected = Uploads.Algorithm(upload);
        using BodyReceiver receiver = new(request, expected);
        if (expected is { } chosen && receiver.Algorithm != chosen)
        {
            throw new S3Exception(S3Error.InvalidRequest($"Checksum Type mismatch occurred, expected checksum Type: {chosen.Name().ToLowerInvariant()}, actual checksum Type: {receiver.Algorithm?.Name().ToLowerInvariant()}"));
        }

        ExtentDescriptor descriptor = Conversions.Describe(request.Services.Extents, bucket.Id, request.Key, upload.UploadId, number, upload.StorageClass);
        (ReceivedBody body, ExtentLayout layout) = await receiver.StoreAsync(descriptor);
        PartLayout part = layout.ToPart(number, body.ETag, body.Checksum.ToStored());
        await Uploads.RecordAsync(request, grain, upload, layout, new Grains.UploadPart(part, request.Services.Time.GetUtcNow().ToUnixTimeMilliseconds()));
        HttpResponse response = request.Http.Response;
        response.Headers.ETag = body.ETag.ToS3().ToQuotedString();
        if (body.Checksum is { } sum) response.Headers[sum.Algorithm.HeaderName()] = sum.ToString();
        await S3Response.Empty(request);
    }
}
