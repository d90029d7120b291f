using System.Collections.Immutable;
using System.Text;
using ObjectStore.Grains;
using ObjectStore.S3.Errors;
using ObjectStore.S3.Routing;
using ObjectStore.S3.Xml;
using Protocol = ObjectStore.S3.Headers;

namespace ObjectStore.Gateway.Objects;

/// <summary>DeleteObjects: up to 1,000 keys, each its own deletion with its own outcome, side by side so that they share commits.</summary>
internal static class DeleteObjects
{
    public static async Task HandleAsync(S3Request request)
    {
        BucketInfo bucket = await request.RequireBucketAsync();
        if (request.Header("content-md5") is null && !request.Http.Request.Headers.Keys.Any(IsChecksum))
        {
            throw new S3Exception(S3Error.InvalidRequest("Missing required header for this request: Content-MD5 OR x-amz-checksum-*"));
        }

        DeleteRequest body = RequestXml.Delete(await XmlBody.ReadAsync(request, RequestXml.MaxBodyBytes));
        DeleteOutcome[] outcomes = await Task.WhenAll(body.Entries.Select(entry => DeleteOneAsync(request, bucket, entry)));
        await S3Response.XmlAsync(request, output => ResponseXml.DeleteResult(output, outcomes, body.Quiet));
    }

    private static bool IsChecksum(string header) =>
        header.StartsWith("x-amz-checksum-", StringComparison.OrdinalIgnoreCase) || header.Equals("x-amz-trailer", StringComparison.OrdinalIgnoreCase);

    private static async Task<DeleteOutcome> DeleteOneAsync(S3Request request, BucketInfo bucket, DeleteEntry entry)
    {
        try
        {
            if (Encoding.UTF8.GetByteCount(entry.Key) > S3Address.MaxKeyBytes) return new DeleteOutcome(entry.Key, Error: new S3Error(S3ErrorCode.KeyTooLongError));
            if (entry.VersionId is not (null or "" or "null")) return new DeleteOutcome(entry.Key, entry.VersionId, Error: S3Error.NoSuchVersion(entry.Key, entry.VersionId));
            DeleteResult result = await request.ObjectGrain(bucket.Id, entry.Key).DeleteAsync(new DeleteCommand(Condition(entry.ETag)));
            return new DeleteOutcome(entry.Key, entry.VersionId, Error: DeleteObject.ToError(result.Status, bucket, entry.Key));
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            return new DeleteOutcome(entry.Key, entry.VersionId, Error: Faults.ToS3Error(e));
        }
    }

    private static WriteCondition? Condition(string? etag)
    {
        if (etag is null) return null;
        if (etag.Trim() == "*") return new WriteCondition(false, [], true);
        return new WriteCondition(false, ImmutableArray.Create(Protocol.ETag.TryParse(etag, out Protocol.ETag tag) ? tag.ToGrains() : new ETag(0, 0, -1)), false);
    }
}
