namespace ObjectStore.Conformance.Tests.Multipart;

public sealed class ListPartsTests(ServerFixture server) : ConformanceTest(server)
{
    [Fact]
    public async Task ListParts_ShowsNumberSizeETag_AndPages()
    {
        string uploadId = await CreateUploadAsync("key");
        for (int number = 1; number <= 5; number++) await UploadPartAsync("key", uploadId, number, RandomBytes(number * 10, number));
        List<PartDetail> parts = [];
        ListPartsRequest request = new() { BucketName = Bucket, Key = "key", UploadId = uploadId, MaxParts = 2 };
        ListPartsResponse response;
        do
        {
            response = await S3.ListPartsAsync(request, Cancellation);
            Assert.True(response.Parts.Count <= 2);
            parts.AddRange(response.Parts);
            request.PartNumberMarker = response.NextPartNumberMarker?.ToString(System.Globalization.CultureInfo.InvariantCulture);
        }
        while (response.IsTruncated == true);
        Assert.Equal([1, 2, 3, 4, 5], parts.Select(part => part.PartNumber!.Value));
        Assert.All(parts, part => Assert.Equal((part.PartNumber * 10, ETagOf(RandomBytes(part.PartNumber!.Value * 10, part.PartNumber.Value))), ((int?)part.Size, part.ETag)));
    }

    [Fact]
    public async Task ListParts_OfAnotherKey_IsNoSuchUpload()
    {
        string uploadId = await CreateUploadAsync("key");
        await RefusesAsync(HttpStatusCode.NotFound, "NoSuchUpload", () => S3.ListPartsAsync(Bucket, "other", uploadId, Cancellation));
    }
}
