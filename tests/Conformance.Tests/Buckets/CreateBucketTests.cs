namespace ObjectStore.Conformance.Tests.Buckets;

public sealed class CreateBucketTests(ServerFixture server) : ConformanceTest(server)
{
    [Fact]
    public async Task CreateBucket_AnswersItsLocation()
    {
        string name = NewBucketName();
        RawAnswer answer = await Server.Raw.SendAsync(new RawRequest("PUT", $"/{name}") { Body = [] });
        Assert.Equal((200, $"/{name}"), (answer.Status, answer.Headers["Location"]));
    }

    [Fact]
    public async Task CreateBucket_Again_IsAlreadyOwnedByYou() =>
        await RefusesAsync(HttpStatusCode.Conflict, "BucketAlreadyOwnedByYou", () => S3.PutBucketAsync(Bucket, Cancellation));

    [Fact]
    public async Task CreateBucket_Again_KeepsItsObjects()
    {
        await PutAsync("key");
        await Assert.ThrowsAnyAsync<AmazonS3Exception>(() => S3.PutBucketAsync(Bucket, Cancellation));
        Assert.Equal(["key"], await ListKeysAsync());
    }

    [Fact]
    public async Task CreateBucket_ConcurrentlyBySeveral_OneCreatesIt()
    {
        string name = NewBucketName();
        int[] statuses = await Task.WhenAll(Enumerable.Range(0, 8).Select(async _ => (await Server.Raw.SendAsync(new RawRequest("PUT", $"/{name}") { Body = [] })).Status));
        Assert.Single(statuses, 200);
        Assert.Equal(7, statuses.Count(status => status == 409));
    }
}
