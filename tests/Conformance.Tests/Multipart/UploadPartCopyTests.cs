namespace ObjectStore.Conformance.Tests.Multipart;

public sealed class UploadPartCopyTests(ServerFixture server) : ConformanceTest(server)
{
    [Fact]
    public async Task UploadPartCopy_OfAWholeAndOfARange_JoinsThem()
    {
        byte[] source = RandomBytes(MinPartBytes + 1000);
        await PutAsync("source", source);
        string uploadId = await CreateUploadAsync("key");
        CopyPartResponse one = await S3.CopyPartAsync(Request(uploadId, 1), Cancellation);
        CopyPartRequest range = Request(uploadId, 2);
        range.FirstByte = 10;
        range.LastByte = 19;
        CopyPartResponse two = await S3.CopyPartAsync(range, Cancellation);
        Assert.Equal(ETagOf(source[10..20]), two.ETag);
        await CompleteAsync("key", uploadId, new PartETag(1, one.ETag), new PartETag(2, two.ETag));
        byte[] expected = [.. source, .. source[10..20]];
        Assert.Equal(expected, await GetBytesAsync("key"));
    }

    [Fact]
    public async Task UploadPartCopy_OfARangePastTheEnd_IsRefused()
    {
        await PutAsync("source", [1, 2, 3]);
        string uploadId = await CreateUploadAsync("key");
        RawAnswer answer = await Server.Raw.SendAsync(new RawRequest("PUT", $"/{Bucket}/key", $"partNumber=1&uploadId={Uri.EscapeDataString(uploadId)}")
        {
            Body = [],
            Headers = [("x-amz-copy-source", $"/{Bucket}/source"), ("x-amz-copy-source-range", "bytes=0-3")],
        });
        Assert.Equal((416, "InvalidRange"), (answer.Status, answer.Code));
    }

    private CopyPartRequest Request(string uploadId, int partNumber) => new()
    {
        SourceBucket = Bucket,
        SourceKey = "source",
        DestinationBucket = Bucket,
        DestinationKey = "key",
        UploadId = uploadId,
        PartNumber = partNumber,
    };
}
