namespace ObjectStore.Conformance.Tests.Buckets;

public sealed class GetBucketLocationTests(ServerFixture server) : ConformanceTest(server)
{
    [Fact]
    public async Task GetBucketLocation_InUsEast1_IsEmpty()
    {
        GetBucketLocationResponse response = await S3.GetBucketLocationAsync(Bucket, Cancellation);
        Assert.Equal("", response.Location?.Value ?? "");
    }

    [Fact]
    public async Task GetBucketLocation_OfNoBucket_IsNoSuchBucket() =>
        await RefusesAsync(HttpStatusCode.NotFound, "NoSuchBucket", () => S3.GetBucketLocationAsync(NewBucketName(), Cancellation));
}
