using System.Collections.Immutable;
using Microsoft.AspNetCore.Http;
using ObjectStore.Grains;
using ObjectStore.S3.Checksums;
using ObjectStore.S3.Errors;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Gateway.Objects;

/// <summary>PutObject: the bytes become durable, then the version that names them is committed, then the answer goes out.</summary>
internal static class PutObject
{
    public static async Task HandleAsync(S3Request request)
    {
        StoredHeaders.RefuseUnsupported(request);
        request.RefuseUnknownVersion();
        BucketInfo bucket = await request.RequireBucketAsync();
        ObjectHeaders headers = StoredHeaders.Read(request);
        string storageClass = StoredHeaders.StorageClass(request);
        WriteCondition? condition = StoredHeaders.Condition(request);
        using BodyReceiver receiver = new(request);

        VersionId version = request.Services.NewVersionId();
        ExtentDescriptor descriptor = Conversions.Describe(request.Services.Extents, bucket.Id, request.Key, version, 1, storageClass);
        (ReceivedBody body, ExtentLayout layout) = await receiver.StoreAsync(descriptor);
        ObjectChecksum? checksum = body.Checksum.ToStored();
        PutCommand command = new(
            new ObjectVersion
            {
                VersionId = version,
                SizeBytes = body.LengthBytes,
                ETag = body.ETag,
                LastModifiedUnixMs = request.Services.Time.GetUtcNow().ToUnixTimeMilliseconds(),
                StorageClass = storageClass,
                Headers = headers,
                Parts = ImmutableArray.Create(layout.ToPart(1, body.ETag, null)),
                Checksum = checksum,
            },
            condition,
            null);
        await CommitAsync(request, bucket, request.Key, command, layout);

        HttpResponse response = request.Http.Response;
        response.Headers.ETag = body.ETag.ToS3().ToQuotedString();
        if (body.Checksum is { } sum)
        {
            response.Headers[sum.Algorithm.HeaderName()] = sum.ToString();
            response.Headers["x-amz-checksum-type"] = "FULL_OBJECT";
        }

        await S3Response.Empty(request);
    }

    /// <summary>
    /// Commits a version whose bytes are durable. A refusal removes the bytes; a fault leaves them, since the commit may have happened: what it left
    /// behind is an orphan at worst, and never a version without its bytes.
    /// </summary>
    public static async Task CommitAsync(S3Request request, BucketInfo bucket, string key, PutCommand command, ExtentLayout stored)
    {
        await StoredBytes.RefuseOverdueAsync(request, stored);
        PutResult result = await request.ObjectGrain(bucket.Id, key).PutAsync(command);
        if (result.Status == PutStatus.Committed) return;
        await StoredBytes.DiscardAsync(request, stored);
        throw new S3Exception(result.Status switch
        {
            PutStatus.PreconditionFailed => S3Error.PreconditionFailed(command.Condition!.IfAbsent ? "If-None-Match" : "If-Match"),
            PutStatus.NoSuchKey => S3Error.NoSuchKey(key),
            PutStatus.NoSuchBucket => S3Error.NoSuchBucket(bucket.Name),
            PutStatus.NoSuchUpload => S3Error.NoSuchUpload(command.CompletesUpload!.Value.ToString()),
            PutStatus.StoreFull => new S3Error(S3ErrorCode.InsufficientStorage),
            PutStatus.Busy => new S3Error(S3ErrorCode.SlowDown),
            _ => new S3Error(S3ErrorCode.InternalError),
        });
    }
}
