namespace ObjectStore.Conformance.Tests.Multipart;

public sealed class ListMultipartUploadsTests(ServerFixture server) : ConformanceTest(server)
{
    [Fact]
    public async Task ListUploads_ShowsOpenOnes_AndPages()
    {
        List<(string Key, string UploadId)> created = [];
        foreach (string key in new[] { "a", "a", "b/1", "b/2", "c" }) created.Add((key, await CreateUploadAsync(key)));
        List<(string, string)> seen = [];
        ListMultipartUploadsRequest request = new() { BucketName = Bucket, MaxUploads = 2 };
        ListMultipartUploadsResponse response;
        do
        {
            response = await S3.ListMultipartUploadsAsync(request, Cancellation);
            seen.AddRange(response.MultipartUploads.Select(upload => (upload.Key, upload.UploadId)));
            request.KeyMarker = response.NextKeyMarker;
            request.UploadIdMarker = response.NextUploadIdMarker;
        }
        while (response.IsTruncated == true);
        Assert.Equal(["a", "a", "b/1", "b/2", "c"], seen.Select(upload => upload.Item1));
        Assert.Equal(created.ToHashSet(), seen.ToHashSet());
    }

    [Fact]
    public async Task ListUploads_WithPrefixAndDelimiter_RollsUp()
    {
        foreach (string key in new[] { "a/1", "a/2", "b" }) await CreateUploadAsync(key);
        ListMultipartUploadsResponse response = await S3.ListMultipartUploadsAsync(new ListMultipartUploadsRequest { BucketName = Bucket, Delimiter = "/" }, Cancellation);
        Assert.Equal(["b"], response.MultipartUploads.Select(upload => upload.Key));
        Assert.Equal(["a/"], response.CommonPrefixes);
    }

    [Fact]
    public async Task ListUploads_AfterCompleteAndAbort_IsEmpty()
    {
        string completed = await CreateUploadAsync("a");
        UploadPartResponse part = await UploadPartAsync("a", completed, 1, [1]);
        await CompleteAsync("a", completed, new PartETag(1, part.ETag));
        await S3.AbortMultipartUploadAsync(Bucket, "b", await CreateUploadAsync("b"), Cancellation);
        ListMultipartUploadsResponse response = await S3.ListMultipartUploadsAsync(new ListMultipartUploadsRequest { BucketName = Bucket }, Cancellation);
        Assert.Empty(response.MultipartUploads ?? []);
    }
}
