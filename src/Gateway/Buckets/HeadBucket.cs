using ObjectStore.Grains;

namespace ObjectStore.Gateway.Buckets;

/// <summary>HeadBucket: whether the bucket exists, and its region.</summary>
internal static class HeadBucket
{
    public static async Task HandleAsync(S3Request request)
    {
        BucketInfo bucket = await request.RequireBucketAsync();
        request.Http.Response.Headers["x-amz-bucket-region"] = bucket.Region;
        await S3Response.Empty(request);
    }
}
