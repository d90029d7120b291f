namespace ObjectStore.Conformance.Tests.Multipart;

public sealed class AbortMultipartUploadTests(ServerFixture server) : ConformanceTest(server)
{
    [Fact]
    public async Task AbortUpload_RemovesTheUploadAndStoresNothing()
    {
        string uploadId = await CreateUploadAsync("key");
        await UploadPartAsync("key", uploadId, 1, [1]);
        AbortMultipartUploadResponse response = await S3.AbortMultipartUploadAsync(Bucket, "key", uploadId, Cancellation);
        Assert.Equal(HttpStatusCode.NoContent, response.HttpStatusCode);
        await RefusesAsync(HttpStatusCode.NotFound, "NoSuchUpload", () => S3.ListPartsAsync(Bucket, "key", uploadId, Cancellation));
        await RefusesAsync(HttpStatusCode.NotFound, "NoSuchUpload", () => UploadPartAsync("key", uploadId, 1, [1]));
        Assert.Empty(await ListKeysAsync());
    }

    [Fact]
    public async Task AbortUpload_OfAnUnknownUpload_IsNoSuchUpload() => await RefusesAsync(
        HttpStatusCode.NotFound, "NoSuchUpload", () => S3.AbortMultipartUploadAsync(Bucket, "key", "unknown", Cancellation));

    [Fact]
    public async Task AbortUpload_LeavesTheObjectThatIsThere()
    {
        await PutAsync("key", [9]);
        string uploadId = await CreateUploadAsync("key");
        await UploadPartAsync("key", uploadId, 1, [1]);
        await S3.AbortMultipartUploadAsync(Bucket, "key", uploadId, Cancellation);
        Assert.Equal([9], await GetBytesAsync("key"));
    }
}
