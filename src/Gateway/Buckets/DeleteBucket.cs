using Microsoft.AspNetCore.Http;
using ObjectStore.Grains;
using ObjectStore.S3.Errors;
using ObjectStore.S3.Routing;

namespace ObjectStore.Gateway.Buckets;

/// <summary>DeleteBucket: an empty bucket is gone afterwards, durably.</summary>
internal static class DeleteBucket
{
    public static async Task HandleAsync(S3Request request)
    {
        if (!BucketName.IsValid(request.Bucket)) throw new S3Exception(S3Error.InvalidBucketName(request.Bucket));
        DeleteBucketStatus status = await request.Services.Grains.GetGrain<IBucketGrain>(request.Bucket).DeleteAsync();
        switch (status)
        {
            case DeleteBucketStatus.Deleted:
                await S3Response.Empty(request, StatusCodes.Status204NoContent);
                return;
            case DeleteBucketStatus.NotEmpty:
                throw new S3Exception(new S3Error(S3ErrorCode.BucketNotEmpty).WithDetail("BucketName", request.Bucket));
            default:
                throw new S3Exception(S3Error.NoSuchBucket(request.Bucket));
        }
    }
}
