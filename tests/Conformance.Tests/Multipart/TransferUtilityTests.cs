using Amazon.S3.Transfer;

namespace ObjectStore.Conformance.Tests.Multipart;

public sealed class TransferUtilityTests(ServerFixture server) : ConformanceTest(server)
{
    [Fact]
    public async Task TransferUtility_UploadsInParts_ReadsBackTheSame()
    {
        byte[] body = RandomBytes(3 * MinPartBytes + 12_345);
        using TransferUtility transfer = new(S3);
        await transfer.UploadAsync(
            new TransferUtilityUploadRequest { BucketName = Bucket, Key = "key", InputStream = new MemoryStream(body), PartSize = MinPartBytes }, Cancellation);
        Assert.Equal(body, await GetBytesAsync("key"));
    }
}
