namespace ObjectStore.Conformance.Tests.Listing;

public sealed class ListObjectsTests(ServerFixture server) : ConformanceTest(server)
{
    [Fact]
    public async Task ListObjects_ShowsKeySizeETagOwner()
    {
        byte[] body = RandomBytes(77);
        await PutAsync("key", body);
        ListObjectsResponse response = await S3.ListObjectsAsync(Bucket, Cancellation);
        S3Object entry = Assert.Single(response.S3Objects);
        Assert.Equal(("key", 77, ETagOf(body), "STANDARD"), (entry.Key, entry.Size, entry.ETag, entry.StorageClass.Value));
        Assert.NotEmpty(entry.Owner.Id);
        Assert.False(response.IsTruncated);
    }

    [Fact]
    public async Task ListObjects_PagesByMarker()
    {
        string[] keys = [.. Enumerable.Range(0, 25).Select(i => $"k{i:d3}")];
        await Task.WhenAll(keys.Select(key => PutAsync(key)));
        List<string> seen = [];
        string? marker = null;
        ListObjectsResponse response;
        do
        {
            response = await S3.ListObjectsAsync(new ListObjectsRequest { BucketName = Bucket, MaxKeys = 10, Marker = marker }, Cancellation);
            seen.AddRange(response.S3Objects.Select(entry => entry.Key));
            marker = response.S3Objects[^1].Key;
        }
        while (response.IsTruncated == true);
        Assert.Equal(keys, seen);
    }

    [Fact]
    public async Task ListObjects_WithDelimiter_PagesByNextMarker()
    {
        foreach (string key in new[] { "a/1", "a/2", "b", "c/1", "c/2", "d" }) await PutAsync(key);
        List<string> seen = [];
        string? marker = null;
        ListObjectsResponse response;
        do
        {
            response = await S3.ListObjectsAsync(new ListObjectsRequest { BucketName = Bucket, Delimiter = "/", MaxKeys = 1, Marker = marker }, Cancellation);
            seen.AddRange((response.S3Objects ?? []).Select(entry => entry.Key));
            seen.AddRange(response.CommonPrefixes ?? []);
            marker = response.NextMarker;
        }
        while (response.IsTruncated == true);
        Assert.Equal(["a/", "b", "c/", "d"], seen);
    }
}
