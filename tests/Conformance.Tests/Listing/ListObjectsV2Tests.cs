namespace ObjectStore.Conformance.Tests.Listing;

public sealed class ListObjectsV2Tests(ServerFixture server) : ConformanceTest(server)
{
    [Fact]
    public async Task ListObjectsV2_OfAnEmptyBucket_IsEmpty()
    {
        ListObjectsV2Response response = await S3.ListObjectsV2Async(new ListObjectsV2Request { BucketName = Bucket }, Cancellation);
        Assert.Empty(response.S3Objects ?? []);
        Assert.Equal((0, false), (response.KeyCount, response.IsTruncated));
    }

    [Fact]
    public async Task ListObjectsV2_OfNoBucket_IsNoSuchBucket() => await RefusesAsync(
        HttpStatusCode.NotFound, "NoSuchBucket", () => S3.ListObjectsV2Async(new ListObjectsV2Request { BucketName = NewBucketName() }, Cancellation));

    [Fact]
    public async Task ListObjectsV2_SortsByUtf8Bytes()
    {
        // U+FF61 sorts before U+1F600 in UTF-8, and behind it in UTF-16.
        string[] keys = ["A", "Z", "a", "a b", "a!", "a-", "a/", "a/b", "a0", "ab", "é", "\uFF61", "\U0001F600"];
        foreach (string key in keys) await PutAsync(key);
        Assert.Equal(keys.OrderBy(Encoding.UTF8.GetBytes, ByteOrder), await ListKeysAsync());
    }

    [Fact]
    public async Task ListObjectsV2_WithPrefixAndDelimiter_RollsUp()
    {
        foreach (string key in new[] { "a", "p/1", "p/2", "p/q/1", "p/q/2", "p/r/1", "p2" }) await PutAsync(key);
        ListObjectsV2Response root = await ListAsync(request => request.Delimiter = "/");
        Assert.Equal(["a", "p2"], root.S3Objects.Select(entry => entry.Key));
        Assert.Equal(["p/"], root.CommonPrefixes);
        Assert.Equal(3, root.KeyCount);
        ListObjectsV2Response folder = await ListAsync(request =>
        {
            request.Prefix = "p/";
            request.Delimiter = "/";
        });
        Assert.Equal(["p/1", "p/2"], folder.S3Objects.Select(entry => entry.Key));
        Assert.Equal(["p/q/", "p/r/"], folder.CommonPrefixes);
    }

    [Fact]
    public async Task ListObjectsV2_WithADelimiterOfSeveralCharacters_RollsUp()
    {
        foreach (string key in new[] { "a--b", "a--c", "a-d" }) await PutAsync(key);
        ListObjectsV2Response response = await ListAsync(request => request.Delimiter = "--");
        Assert.Equal(["a--"], response.CommonPrefixes);
        Assert.Equal(["a-d"], response.S3Objects.Select(entry => entry.Key));
    }

    [Fact]
    public async Task ListObjectsV2_StartAfter_BeginsBehindIt()
    {
        foreach (string key in new[] { "a", "b", "c" }) await PutAsync(key);
        ListObjectsV2Response response = await ListAsync(request => request.StartAfter = "a");
        Assert.Equal(["b", "c"], response.S3Objects.Select(entry => entry.Key));
        Assert.Equal("a", response.StartAfter);
    }

    [Fact]
    public async Task ListObjectsV2_WithEncodingTypeUrl_EncodesNames()
    {
        await PutAsync("a b/ü+&");
        RawAnswer answer = await Server.Raw.SendAsync(new RawRequest("GET", $"/{Bucket}", "delimiter=%2F&encoding-type=url&list-type=2"));
        Assert.Contains("<EncodingType>url</EncodingType>", answer.Text, StringComparison.Ordinal);
        Assert.Contains("<Prefix>a+b/</Prefix>", answer.Text.Replace("%20", "+", StringComparison.Ordinal), StringComparison.Ordinal);
    }

    [Fact]
    public async Task ListObjectsV2_FetchOwner_ShowsIt()
    {
        await PutAsync("key");
        Assert.Null((await ListAsync(_ => { })).S3Objects[0].Owner);
        Assert.NotEmpty((await ListAsync(request => request.FetchOwner = true)).S3Objects[0].Owner.Id);
    }

    [Fact]
    public async Task ListObjectsV2_MaxKeysZero_IsEmptyAndComplete()
    {
        await PutAsync("key");
        ListObjectsV2Response response = await ListAsync(request => request.MaxKeys = 0);
        Assert.Equal((0, false), (response.KeyCount, response.IsTruncated));
    }

    [Fact]
    public async Task ListObjectsV2_WithAnUnknownToken_IsInvalidArgument() =>
        await RefusesAsync(HttpStatusCode.BadRequest, "InvalidArgument", () => ListAsync(request => request.ContinuationToken = "not-a-token"));

    [Theory]
    [InlineData("max-keys=-1")]
    [InlineData("max-keys=abc")]
    [InlineData("encoding-type=gzip")]
    public async Task ListObjectsV2_WithABadParameter_IsInvalidArgument(string parameter)
    {
        string query = string.Join('&', new[] { "list-type=2", parameter }.Order(StringComparer.Ordinal));
        RawAnswer answer = await Server.Raw.SendAsync(new RawRequest("GET", $"/{Bucket}", query));
        Assert.Equal((400, "InvalidArgument"), (answer.Status, answer.Code));
    }

    [Fact]
    public async Task ListObjectsV2_OfMoreThan1000Keys_PagesThroughAllOnce()
    {
        string[] keys = [.. Enumerable.Range(0, 1100).Select(i => $"{i % 4}/{i:d5}").Order(StringComparer.Ordinal)];
        await Parallel.ForEachAsync(keys, new ParallelOptions { MaxDegreeOfParallelism = 32, CancellationToken = Cancellation }, async (key, _) => await PutAsync(key, ""));
        foreach (int pageSize in new[] { 1000, 137 })
        {
            List<string> seen = [];
            await foreach (ListObjectsV2Response page in PagesAsync(new ListObjectsV2Request { BucketName = Bucket, MaxKeys = pageSize }))
            {
                Assert.True(page.KeyCount == pageSize || page.IsTruncated != true);
                seen.AddRange(page.S3Objects.Select(entry => entry.Key));
            }

            Assert.Equal(keys, seen);
        }

        // Even when more are asked for, a page has 1,000.
        Assert.Equal(1000, (await ListAsync(request => request.MaxKeys = 5000)).KeyCount);

        List<string> prefixes = [];
        await foreach (ListObjectsV2Response page in PagesAsync(new ListObjectsV2Request { BucketName = Bucket, MaxKeys = 1, Delimiter = "/" }))
        {
            prefixes.AddRange(page.CommonPrefixes);
        }

        Assert.Equal(["0/", "1/", "2/", "3/"], prefixes);
    }

    private static readonly Comparer<byte[]> ByteOrder = Comparer<byte[]>.Create((left, right) => left.AsSpan().SequenceCompareTo(right));

    private Task<ListObjectsV2Response> ListAsync(Action<ListObjectsV2Request> configure)
    {
        ListObjectsV2Request request = new() { BucketName = Bucket };
        configure(request);
        return S3.ListObjectsV2Async(request, Cancellation);
    }

    private async IAsyncEnumerable<ListObjectsV2Response> PagesAsync(ListObjectsV2Request request)
    {
        ListObjectsV2Response response;
        do
        {
            response = await S3.ListObjectsV2Async(request, Cancellation);
            request.ContinuationToken = response.NextContinuationToken;
            yield return response;
        }
        while (response.IsTruncated == true);
    }
}
