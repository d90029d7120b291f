using Microsoft.AspNetCore.Http;
using ObjectStore.Grains;
using ObjectStore.S3.Errors;

namespace ObjectStore.Gateway.Objects;

/// <summary>DeleteObject: afterwards there is no object of the key, durably; that there was none is success too.</summary>
internal static class DeleteObject
{
    public static async Task HandleAsync(S3Request request)
    {
        request.RefuseUnknownVersion();
        BucketInfo bucket = await request.RequireBucketAsync();
        DeleteResult result = await request.ObjectGrain(bucket.Id, request.Key).DeleteAsync(new DeleteCommand(StoredHeaders.Condition(request)));
        if (ToError(result.Status, bucket, request.Key) is { } error) throw new S3Exception(error);
        await S3Response.Empty(request, StatusCodes.Status204NoContent);
    }

    public static S3Error? ToError(DeleteStatus status, BucketInfo bucket, string key) => status switch
    {
        DeleteStatus.Deleted => null,
        DeleteStatus.PreconditionFailed => S3Error.PreconditionFailed("If-Match"),
        DeleteStatus.NoSuchKey => S3Error.NoSuchKey(key),
        DeleteStatus.NoSuchBucket => S3Error.NoSuchBucket(bucket.Name),
        _ => new S3Error(S3ErrorCode.InternalError),
    };
}
