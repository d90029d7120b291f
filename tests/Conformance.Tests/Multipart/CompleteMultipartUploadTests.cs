namespace ObjectStore.Conformance.Tests.Multipart;

public sealed class CompleteMultipartUploadTests(ServerFixture server) : ConformanceTest(server)
{
    [Fact]
    public async Task CompleteUpload_JoinsItsPartsInOrder()
    {
        byte[] first = RandomBytes(MinPartBytes, 1);
        byte[] second = RandomBytes(MinPartBytes + 1, 2);
        byte[] third = RandomBytes(100, 3);
        string uploadId = await CreateUploadAsync("key", request =>
        {
            request.ContentType = "text/x";
            request.Metadata["a"] = "b";
        });

        // Uploaded out of order, and with a gap in the numbers.
        UploadPartResponse three = await UploadPartAsync("key", uploadId, 7, third);
        UploadPartResponse one = await UploadPartAsync("key", uploadId, 1, first);
        UploadPartResponse two = await UploadPartAsync("key", uploadId, 3, second);
        Assert.Empty(await ListKeysAsync());
        CompleteMultipartUploadResponse response = await CompleteAsync(
            "key", uploadId, new PartETag(1, one.ETag), new PartETag(3, two.ETag), new PartETag(7, three.ETag));
        byte[] whole = [.. first, .. second, .. third];
        Assert.Equal(whole, await GetBytesAsync("key"));
        Assert.EndsWith("-3\"", response.ETag, StringComparison.Ordinal);
        GetObjectMetadataResponse head = await S3.GetObjectMetadataAsync(Bucket, "key", Cancellation);
        Assert.Equal((response.ETag, whole.Length, "text/x", "b"), (head.ETag, head.ContentLength, head.Headers.ContentType, head.Metadata["a"]));
        byte[] acrossParts = await GetBytesAsync(new GetObjectRequest { BucketName = Bucket, Key = "key", ByteRange = new ByteRange(MinPartBytes - 10, MinPartBytes + 9) });
        Assert.Equal(whole[(MinPartBytes - 10)..(MinPartBytes + 10)], acrossParts);
    }

    [Fact]
    public async Task CompleteUpload_ETagIsTheMd5OfThePartsMd5s()
    {
        byte[] first = RandomBytes(MinPartBytes, 1);
        byte[] second = RandomBytes(5, 2);
        string uploadId = await CreateUploadAsync("key");
        UploadPartResponse one = await UploadPartAsync("key", uploadId, 1, first);
        UploadPartResponse two = await UploadPartAsync("key", uploadId, 2, second);
        CompleteMultipartUploadResponse response = await CompleteAsync("key", uploadId, new PartETag(1, one.ETag), new PartETag(2, two.ETag));
        byte[] digests = [.. System.Security.Cryptography.MD5.HashData(first), .. System.Security.Cryptography.MD5.HashData(second)];
        Assert.Equal($"\"{Convert.ToHexStringLower(System.Security.Cryptography.MD5.HashData(digests))}-2\"", response.ETag);
    }

    [Fact]
    public async Task CompleteUpload_WithSomeOfItsParts_LeavesTheOthersOut()
    {
        string uploadId = await CreateUploadAsync("key");
        UploadPartResponse one = await UploadPartAsync("key", uploadId, 1, [1]);
        await UploadPartAsync("key", uploadId, 2, [2]);
        await CompleteAsync("key", uploadId, new PartETag(1, one.ETag));
        Assert.Equal([1], await GetBytesAsync("key"));
    }

    [Fact]
    public async Task CompleteUpload_AfterAPartWasReplaced_HasTheNewOne()
    {
        string uploadId = await CreateUploadAsync("key");
        UploadPartResponse old = await UploadPartAsync("key", uploadId, 1, [1]);
        UploadPartResponse replaced = await UploadPartAsync("key", uploadId, 1, [2, 2]);
        await RefusesAsync(HttpStatusCode.BadRequest, "InvalidPart", () => CompleteAsync("key", uploadId, new PartETag(1, old.ETag)));
        await CompleteAsync("key", uploadId, new PartETag(1, replaced.ETag));
        Assert.Equal([2, 2], await GetBytesAsync("key"));
    }

    [Fact]
    public async Task CompleteUpload_WithASmallPartThatIsNotTheLast_IsEntityTooSmall()
    {
        string uploadId = await CreateUploadAsync("key");
        UploadPartResponse one = await UploadPartAsync("key", uploadId, 1, [1]);
        UploadPartResponse two = await UploadPartAsync("key", uploadId, 2, [2]);
        await RefusesAsync(HttpStatusCode.BadRequest, "EntityTooSmall", () => CompleteAsync("key", uploadId, new PartETag(1, one.ETag), new PartETag(2, two.ETag)));
        Assert.Empty(await ListKeysAsync());
    }

    [Fact]
    public async Task CompleteUpload_WithAMissingPart_IsInvalidPart()
    {
        string uploadId = await CreateUploadAsync("key");
        UploadPartResponse one = await UploadPartAsync("key", uploadId, 1, [1]);
        await RefusesAsync(HttpStatusCode.BadRequest, "InvalidPart", () => CompleteAsync("key", uploadId, new PartETag(2, one.ETag)));
    }

    [Fact]
    public async Task CompleteUpload_ReplacesAnObjectAtOnce()
    {
        await PutAsync("key", [9]);
        string uploadId = await CreateUploadAsync("key");
        UploadPartResponse one = await UploadPartAsync("key", uploadId, 1, [1]);
        Assert.Equal([9], await GetBytesAsync("key"));
        await CompleteAsync("key", uploadId, new PartETag(1, one.ETag));
        Assert.Equal([1], await GetBytesAsync("key"));
        await RefusesAsync(HttpStatusCode.NotFound, "NoSuchUpload", () => UploadPartAsync("key", uploadId, 2, [2]));
    }

    [Fact]
    public async Task CompleteUpload_IfNoneMatchStar_OverAnObject_IsPreconditionFailed()
    {
        await PutAsync("key", [9]);
        string uploadId = await CreateUploadAsync("key");
        UploadPartResponse one = await UploadPartAsync("key", uploadId, 1, [1]);
        await RefusesAsync(HttpStatusCode.PreconditionFailed, "PreconditionFailed", () => S3.CompleteMultipartUploadAsync(
            new CompleteMultipartUploadRequest { BucketName = Bucket, Key = "key", UploadId = uploadId, PartETags = [new PartETag(1, one.ETag)], IfNoneMatch = "*" }, Cancellation));
        Assert.Equal([9], await GetBytesAsync("key"));
    }

    [Fact]
    public async Task CompleteUpload_WithChecksums_StoresTheChecksumOfTheWhole()
    {
        byte[] first = RandomBytes(MinPartBytes, 1);
        byte[] second = RandomBytes(77, 2);
        string uploadId = await CreateUploadAsync("key", request =>
        {
            request.ChecksumAlgorithm = Amazon.S3.ChecksumAlgorithm.CRC32;
            request.ChecksumType = Amazon.S3.ChecksumType.FULL_OBJECT;
        });
        UploadPartResponse one = await UploadPartAsync("key", uploadId, 1, first, request => request.ChecksumAlgorithm = Amazon.S3.ChecksumAlgorithm.CRC32);
        UploadPartResponse two = await UploadPartAsync("key", uploadId, 2, second, request => request.ChecksumAlgorithm = Amazon.S3.ChecksumAlgorithm.CRC32);
        CompleteMultipartUploadResponse response = await CompleteAsync("key", uploadId, new PartETag(one), new PartETag(two));
        string expected = ObjectStore.S3.Checksums.IncrementalChecksum.Compute(ObjectStore.S3.Checksums.ChecksumAlgorithm.Crc32, [.. first, .. second]).ToString();
        Assert.Equal(expected, response.ChecksumCRC32);
    }
}
