namespace ObjectStore.Conformance.Tests.Buckets;

public sealed class ListBucketsTests(ServerFixture server) : ConformanceTest(server)
{
    [Fact]
    public async Task ListBuckets_ShowsABucketWithItsCreationDate()
    {
        ListBucketsResponse response = await S3.ListBucketsAsync(Cancellation);
        S3Bucket bucket = Assert.Single(response.Buckets, bucket => bucket.BucketName == Bucket);
        Assert.InRange(bucket.CreationDate!.Value.ToUniversalTime(), DateTime.UtcNow.AddMinutes(-5), DateTime.UtcNow.AddSeconds(5));
        Assert.NotEmpty(response.Owner.Id);
    }

    [Fact]
    public async Task ListBuckets_IsSortedByName()
    {
        await S3.PutBucketAsync(NewBucketName(), Cancellation);
        List<string> names = [.. (await S3.ListBucketsAsync(Cancellation)).Buckets.Select(bucket => bucket.BucketName)];
        Assert.Equal(names.Order(StringComparer.Ordinal), names);
    }

    [Fact]
    public async Task ListBuckets_WithPrefix_ShowsOnlyThose()
    {
        ListBucketsResponse response = await S3.ListBucketsAsync(new ListBucketsRequest { Prefix = Bucket }, Cancellation);
        Assert.Equal([Bucket], response.Buckets.Select(bucket => bucket.BucketName));
    }
}
