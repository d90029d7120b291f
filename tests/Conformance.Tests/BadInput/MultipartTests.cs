namespace ObjectStore.Conformance.Tests.BadInput;

public sealed class MultipartTests(ServerFixture server) : BadInputTest(server)
{
    [Theory]
    [InlineData("0")]
    [InlineData("10001")]
    [InlineData("-1")]
    [InlineData("abc")]
    public async Task APartNumberOutOfRange_IsInvalidArgument(string number)
    {
        string uploadId = Uri.EscapeDataString(await CreateUploadAsync("key"));
        await RefusedAsync(400, "InvalidArgument", new RawRequest("PUT", $"/{Bucket}/key", $"partNumber={number}&uploadId={uploadId}") { Body = [1] });
        RawAnswer parts = await Server.Raw.SendAsync(new RawRequest("GET", $"/{Bucket}/key", $"uploadId={uploadId}"));
        Assert.DoesNotContain("<Part>", parts.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AnUnknownUploadId_IsNoSuchUpload()
    {
        await RefusedAsync(404, "NoSuchUpload", new RawRequest("PUT", $"/{Bucket}/key", "partNumber=1&uploadId=unknown") { Body = [1] });
        await RefusedAsync(404, "NoSuchUpload", new RawRequest("POST", $"/{Bucket}/key", "uploadId=unknown") { Body = Complete((1, ETagOf([1]))) });
        await RefusedAsync(404, "NoSuchUpload", new RawRequest("GET", $"/{Bucket}/key", "uploadId=unknown"));
    }

    [Fact]
    public async Task PartsOutOfOrder_AreInvalidPartOrder()
    {
        string uploadId = await CreateUploadAsync("key");
        string one = (await UploadPartAsync("key", uploadId, 1, [1])).ETag;
        string two = (await UploadPartAsync("key", uploadId, 2, [2])).ETag;
        string query = $"uploadId={Uri.EscapeDataString(uploadId)}";
        await RefusedAsync(400, "InvalidPartOrder", new RawRequest("POST", $"/{Bucket}/key", query) { Body = Complete((2, two), (1, one)) });
        await RefusedAsync(400, "InvalidPartOrder", new RawRequest("POST", $"/{Bucket}/key", query) { Body = Complete((1, one), (1, one)) });
    }

    [Theory]
    [InlineData("")]
    [InlineData("<CompleteMultipartUpload></CompleteMultipartUpload>")]
    [InlineData("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>")]
    [InlineData("<CompleteMultipartUpload><Part>")]
    public async Task AMalformedPartList_IsRefused(string xml)
    {
        string uploadId = await CreateUploadAsync("key");
        await UploadPartAsync("key", uploadId, 1, [1]);
        RawAnswer answer = await Server.Raw.SendAsync(
            new RawRequest("POST", $"/{Bucket}/key", $"uploadId={Uri.EscapeDataString(uploadId)}") { Body = Encoding.UTF8.GetBytes(xml) });
        Assert.Equal(400, answer.Status);
        Assert.Contains(answer.Code, xml.Length == 0 ? ["InvalidRequest", "MalformedXML"] : new[] { "MalformedXML" });
        await NothingStoredAsync();
    }

    [Fact]
    public async Task APartWithABadChecksum_IsBadDigestAndNotListed()
    {
        string uploadId = Uri.EscapeDataString(await CreateUploadAsync("key"));
        string wrong = ObjectStore.S3.Checksums.IncrementalChecksum.Compute(ObjectStore.S3.Checksums.ChecksumAlgorithm.Crc32, [9]).ToString();
        await RefusedAsync(400, "BadDigest", new RawRequest("PUT", $"/{Bucket}/key", $"partNumber=1&uploadId={uploadId}") { Body = [1], Headers = [("x-amz-checksum-crc32", wrong)] });
        RawAnswer parts = await Server.Raw.SendAsync(new RawRequest("GET", $"/{Bucket}/key", $"uploadId={uploadId}"));
        Assert.DoesNotContain("<Part>", parts.Text, StringComparison.Ordinal);
    }

    [Fact]
    public Task APartNumberWithoutAnUploadId_StoresNothing() =>
        RefusedAsync(400, "InvalidArgument", new RawRequest("PUT", $"/{Bucket}/key", "partNumber=1") { Body = [1] });

    private static byte[] Complete(params (int Number, string ETag)[] parts) => Encoding.UTF8.GetBytes(
        $"<CompleteMultipartUpload>{string.Concat(parts.Select(part => $"<Part><PartNumber>{part.Number}</PartNumber><ETag>{part.ETag}</ETag></Part>"))}</CompleteMultipartUpload>");
}
