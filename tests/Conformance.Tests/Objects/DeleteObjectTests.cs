namespace ObjectStore.Conformance.Tests.Objects;

public sealed class DeleteObjectTests(ServerFixture server) : ConformanceTest(server)
{
    [Fact]
    public async Task DeleteObject_RemovesIt()
    {
        await PutAsync("key");
        Assert.Equal(HttpStatusCode.NoContent, (await S3.DeleteObjectAsync(Bucket, "key", Cancellation)).HttpStatusCode);
        await RefusesAsync(HttpStatusCode.NotFound, "NoSuchKey", () => S3.GetObjectAsync(Bucket, "key", Cancellation));
        Assert.Empty(await ListKeysAsync());
    }

    [Fact]
    public async Task DeleteObject_OfNoObject_SucceedsToo() =>
        Assert.Equal(HttpStatusCode.NoContent, (await S3.DeleteObjectAsync(Bucket, "never", Cancellation)).HttpStatusCode);

    [Fact]
    public async Task DeleteObject_OfNoBucket_IsNoSuchBucket() =>
        await RefusesAsync(HttpStatusCode.NotFound, "NoSuchBucket", () => S3.DeleteObjectAsync(NewBucketName(), "key", Cancellation));

    [Fact]
    public async Task DeleteObject_LeavesItsNeighbours()
    {
        foreach (string key in new[] { "a", "a/", "a/b", "aa" }) await PutAsync(key);
        await S3.DeleteObjectAsync(Bucket, "a/", Cancellation);
        Assert.Equal(["a", "a/b", "aa"], await ListKeysAsync());
    }
}
