namespace ObjectStore.Conformance.Tests.Buckets;

public sealed class HeadBucketTests(ServerFixture server) : ConformanceTest(server)
{
    [Fact]
    public async Task HeadBucket_OfABucket_Is200WithItsRegion()
    {
        RawAnswer answer = await Server.Raw.SendAsync(new RawRequest("HEAD", $"/{Bucket}"));
        Assert.Equal(200, answer.Status);
        Assert.NotEmpty(answer.Headers["x-amz-bucket-region"]);
        Assert.Empty(answer.Body);
    }

    [Fact]
    public async Task HeadBucket_OfNoBucket_Is404WithoutABody()
    {
        RawAnswer answer = await Server.Raw.SendAsync(new RawRequest("HEAD", $"/{NewBucketName()}"));
        Assert.Equal(404, answer.Status);
        Assert.Empty(answer.Body);
    }
}
