namespace ObjectStore.Conformance.Tests.Buckets;

public sealed class DeleteBucketTests(ServerFixture server) : ConformanceTest(server)
{
    [Fact]
    public async Task DeleteBucket_Empty_IsGone()
    {
        DeleteBucketResponse response = await S3.DeleteBucketAsync(Bucket, Cancellation);
        Assert.Equal(HttpStatusCode.NoContent, response.HttpStatusCode);
        await RefusesAsync(HttpStatusCode.NotFound, "NoSuchBucket", () => S3.ListObjectsV2Async(new ListObjectsV2Request { BucketName = Bucket }, Cancellation));
    }

    [Fact]
    public async Task DeleteBucket_WithAnObject_IsNotEmpty()
    {
        await PutAsync("key");
        await RefusesAsync(HttpStatusCode.Conflict, "BucketNotEmpty", () => S3.DeleteBucketAsync(Bucket, Cancellation));
        Assert.Equal(["key"], await ListKeysAsync());
    }

    [Fact]
    public async Task DeleteBucket_OnceItsObjectsAreDeleted_Works()
    {
        await PutAsync("key");
        await S3.DeleteObjectAsync(Bucket, "key", Cancellation);
        await S3.DeleteBucketAsync(Bucket, Cancellation);
    }

    [Fact]
    public async Task DeleteBucket_ThenCreateAgain_IsEmpty()
    {
        await PutAsync("key");
        await S3.DeleteObjectAsync(Bucket, "key", Cancellation);
        await S3.DeleteBucketAsync(Bucket, Cancellation);
        await S3.PutBucketAsync(Bucket, Cancellation);
        Assert.Empty(await ListKeysAsync());
    }

    [Fact]
    public async Task DeleteBucket_OfNoBucket_IsNoSuchBucket() =>
        await RefusesAsync(HttpStatusCode.NotFound, "NoSuchBucket", () => S3.DeleteBucketAsync(NewBucketName(), Cancellation));
}
