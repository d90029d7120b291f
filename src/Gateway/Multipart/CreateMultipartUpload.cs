using ObjectStore.Gateway.Objects;
using ObjectStore.Grains;
using ObjectStore.Metadata;
using ObjectStore.S3.Checksums;
using ObjectStore.S3.Errors;
using ObjectStore.S3.Xml;

namespace ObjectStore.Gateway.Multipart;

/// <summary>CreateMultipartUpload: begins an upload; its id is the id of the version it will become.</summary>
internal static class CreateMultipartUpload
{
    public static async Task HandleAsync(S3Request request)
    {
        StoredHeaders.RefuseUnsupported(request);
        BucketInfo bucket = await request.RequireBucketAsync();
        if (!RequestChecksum.TryReadMultipart(
            request.Header("x-amz-checksum-algorithm"), request.Header("x-amz-checksum-type"), out ChecksumAlgorithm? algorithm, out ChecksumType? type, out S3Error? error))
        {
            throw new S3Exception(error!);
        }

        UploadInfo upload = new(
            request.Services.NewVersionId(), bucket.Id, request.Key, request.Signature.AccessKey, request.Services.Time.GetUtcNow().ToUnixTimeMilliseconds(),
            StoredHeaders.StorageClass(request), StoredHeaders.Read(request), algorithm?.Name(), type == ChecksumType.Composite);
        if (!await Uploads.Grain(request, upload.UploadId).CreateAsync(upload)) throw new S3Exception(S3Error.NoSuchBucket(bucket.Name));
        if (algorithm is { } chosen)
        {
            request.Http.Response.Headers["x-amz-checksum-algorithm"] = chosen.Name();
            request.Http.Response.Headers["x-amz-checksum-type"] = type == ChecksumType.Composite ? "COMPOSITE" : "FULL_OBJECT";
        }

        await S3Response.XmlAsync(request, output => ResponseXml.InitiateMultipartUpload(output, bucket.Name, request.Key, upload.UploadId.ToString()));
    }
}

/// <summary>What the operations on one upload share.</summary>
internal static class Uploads
{
    public static IMultipartUploadGrain Grain(S3Request request, VersionId uploadId) =>
        request.Services.Grains.GetGrain<IMultipartUploadGrain>(uploadId.ToString());

    /// <summary>The upload the request names; NoSuchUpload when it is gone, or is another bucket's or key's.</summary>
    public static async Task<(BucketInfo Bucket, UploadInfo Upload, IMultipartUploadGrain Grain)> RequireAsync(S3Request request)
    {
        BucketInfo bucket = await request.RequireBucketAsync();
        VersionId uploadId = request.UploadId();
        IMultipartUploadGrain grain = Grain(request, uploadId);
        UploadInfo? upload = await grain.GetAsync();
        if (upload is null || upload.Bucket != bucket.Id || upload.Key != request.Key) throw new S3Exception(S3Error.NoSuchUpload(uploadId.ToString()));
        return (bucket, upload, grain);
    }

    /// <summary>The part number of the query, 1 to 10,000.</summary>
    public static int PartNumber(S3Request request)
    {
        string? text = request.Query.Get("partNumber");
        return int.TryParse(text, System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out int number) && number is >= 1 and <= 10_000
            ? number
            : throw new S3Exception(S3Error.InvalidArgument("Part number must be an integer between 1 and 10000, inclusive", "partNumber", text));
    }

    public static ChecksumAlgorithm? Algorithm(UploadInfo upload) =>
        upload.ChecksumAlgorithm is { } name && ChecksumAlgorithms.TryFromName(name, out ChecksumAlgorithm algorithm) ? algorithm : null;

    /// <summary>Records a part whose bytes are durable. When the upload ended meanwhile the bytes are removed.</summary>
    public static async Task RecordAsync(S3Request request, IMultipartUploadGrain grain, UploadInfo upload, Storage.Extents.ExtentLayout layout, Grains.UploadPart part)
    {
        await StoredBytes.RefuseOverdueAsync(request, layout);
        try
        {
            if (await grain.PutPartAsync(part)) return;
        }
        catch (MetadataStoreFullException)
        {
            // Nothing was recorded, for certain.
            await StoredBytes.DiscardAsync(request, layout);
            throw;
        }

        await StoredBytes.DiscardAsync(request, layout);
        throw new S3Exception(S3Error.NoSuchUpload(upload.UploadId.ToString()));
    }
}
