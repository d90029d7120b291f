namespace ObjectStore.Conformance.Tests.Objects;

public sealed class GetObjectTests(ServerFixture server) : ConformanceTest(server)
{
    private const int Size = 1_000_000;

    [Fact]
    public async Task GetObject_OfNoObject_IsNoSuchKey() =>
        await RefusesAsync(HttpStatusCode.NotFound, "NoSuchKey", () => S3.GetObjectAsync(Bucket, "key", Cancellation));

    [Fact]
    public async Task GetObject_OfNoBucket_IsNoSuchBucket() =>
        await RefusesAsync(HttpStatusCode.NotFound, "NoSuchBucket", () => S3.GetObjectAsync(NewBucketName(), "key", Cancellation));

    [Fact]
    public async Task GetObject_HasLengthETagDateAndAcceptRanges()
    {
        byte[] body = RandomBytes(100);
        await PutAsync("key", body);
        using GetObjectResponse response = await S3.GetObjectAsync(Bucket, "key", Cancellation);
        Assert.Equal((100, ETagOf(body), "bytes"), (response.ContentLength, response.ETag, response.AcceptRanges));
        Assert.InRange(response.LastModified!.Value.ToUniversalTime(), DateTime.UtcNow.AddMinutes(-5), DateTime.UtcNow.AddSeconds(5));
    }

    [Theory]
    [InlineData("bytes=0-0", 0, 1)]
    [InlineData("bytes=0-99", 0, 100)]
    [InlineData("bytes=65530-65545", 65530, 16)]
    [InlineData("bytes=999999-", 999_999, 1)]
    [InlineData("bytes=500000-", 500_000, 500_000)]
    [InlineData("bytes=999990-2000000", 999_990, 10)]
    [InlineData("bytes=-1", 999_999, 1)]
    [InlineData("bytes=-2000000", 0, Size)]
    public async Task GetObject_WithRange_ReturnsThoseBytes(string range, int offset, int length)
    {
        byte[] body = RandomBytes(Size);
        await PutAsync("key", body);
        RawAnswer answer = await Server.Raw.SendAsync(new RawRequest("GET", $"/{Bucket}/key") { Headers = [("Range", range)] });
        Assert.Equal((206, $"bytes {offset}-{offset + length - 1}/{Size}"), (answer.Status, answer.Headers["Content-Range"]));
        Assert.Equal(body[offset..(offset + length)], answer.Body);
    }

    [Theory]
    [InlineData("bytes=5-2")]
    [InlineData("bytes=a-b")]
    [InlineData("bytes=0-1,3-4")]
    [InlineData("items=0-1")]
    public async Task GetObject_WithARangeThatS3Ignores_ReturnsTheWhole(string range)
    {
        await PutAsync("key", [1, 2, 3, 4, 5, 6]);
        RawAnswer answer = await Server.Raw.SendAsync(new RawRequest("GET", $"/{Bucket}/key") { Headers = [("Range", range)] });
        Assert.Equal(200, answer.Status);
        Assert.Equal(6, answer.Body.Length);
    }

    [Fact]
    public async Task GetObject_IfMatch_AnswersOnlyTheNamedEntity()
    {
        string etag = (await PutAsync("key", [1])).ETag;
        Assert.Equal([1], await GetBytesAsync(new GetObjectRequest { BucketName = Bucket, Key = "key", EtagToMatch = etag }));
        await RefusesAsync(
            HttpStatusCode.PreconditionFailed, "PreconditionFailed",
            () => S3.GetObjectAsync(new GetObjectRequest { BucketName = Bucket, Key = "key", EtagToMatch = ETagOf([2]) }, Cancellation));
    }

    [Fact]
    public async Task GetObject_IfNoneMatch_OfTheSameEntity_Is304WithItsETag()
    {
        string etag = (await PutAsync("key", [1])).ETag;
        RawAnswer answer = await Server.Raw.SendAsync(new RawRequest("GET", $"/{Bucket}/key") { Headers = [("If-None-Match", etag)] });
        Assert.Equal((304, etag, 0), (answer.Status, answer.Headers["ETag"], answer.Body.Length));
        Assert.Equal(200, (await Server.Raw.SendAsync(new RawRequest("GET", $"/{Bucket}/key") { Headers = [("If-None-Match", ETagOf([9]))] })).Status);
    }

    [Theory]
    [InlineData("If-Modified-Since", 1, 304)]
    [InlineData("If-Modified-Since", -1, 200)]
    [InlineData("If-Unmodified-Since", 1, 200)]
    [InlineData("If-Unmodified-Since", -1, 412)]
    public async Task GetObject_WithADateCondition_ComparesLastModified(string header, int hours, int status)
    {
        await PutAsync("key");

        // S3 ignores If-Modified-Since dates of the future; the object's own date is the last that counts.
        DateTime lastModified = (await S3.GetObjectMetadataAsync(Bucket, "key", Cancellation)).LastModified!.Value.ToUniversalTime();
        string date = (hours > 0 ? lastModified : lastModified.AddHours(hours)).ToString("r");
        RawAnswer answer = await Server.Raw.SendAsync(new RawRequest("GET", $"/{Bucket}/key") { Headers = [(header, date)] });
        Assert.Equal(status, answer.Status);
    }

    [Fact]
    public async Task GetObject_WithResponseParameters_OverridesHeaders()
    {
        await PutAsync("key");
        GetObjectRequest request = new() { BucketName = Bucket, Key = "key" };
        request.ResponseHeaderOverrides.ContentType = "text/override";
        request.ResponseHeaderOverrides.ContentDisposition = "attachment; filename=b";
        request.ResponseHeaderOverrides.CacheControl = "no-cache";
        request.ResponseHeaderOverrides.ContentLanguage = "fr";
        request.ResponseHeaderOverrides.ContentEncoding = "x-y";
        using GetObjectResponse response = await S3.GetObjectAsync(request, Cancellation);
        Assert.Equal("text/override", response.Headers.ContentType);
        Assert.Equal("attachment; filename=b", response.Headers.ContentDisposition);
        Assert.Equal("no-cache", response.Headers.CacheControl);
        Assert.Equal("fr", response.Headers["Content-Language"]);
        Assert.Equal("x-y", response.Headers.ContentEncoding);
    }

    [Fact]
    public async Task GetObject_WithPartNumber_ReturnsThatPart()
    {
        byte[] first = RandomBytes(MinPartBytes, 1);
        byte[] second = RandomBytes(1234, 2);
        string uploadId = await CreateUploadAsync("key");
        UploadPartResponse one = await UploadPartAsync("key", uploadId, 1, first);
        UploadPartResponse two = await UploadPartAsync("key", uploadId, 2, second);
        await CompleteAsync("key", uploadId, new PartETag(1, one.ETag), new PartETag(2, two.ETag));
        using GetObjectResponse response = await S3.GetObjectAsync(new GetObjectRequest { BucketName = Bucket, Key = "key", PartNumber = 2 }, Cancellation);
        Assert.Equal(HttpStatusCode.PartialContent, response.HttpStatusCode);
        Assert.Equal(2, response.PartsCount);
        Assert.Equal(second, await ReadAsync(response));
        RawAnswer third = await Server.Raw.SendAsync(new RawRequest("GET", $"/{Bucket}/key", "partNumber=3"));
        Assert.Equal((416, "InvalidPartNumber"), (third.Status, third.Code));
    }

    [Fact]
    public async Task GetObject_PartNumberOne_OfAnObjectPutAtOnce_IsTheWhole()
    {
        await PutAsync("key", [1, 2, 3]);
        RawAnswer answer = await Server.Raw.SendAsync(new RawRequest("GET", $"/{Bucket}/key", "partNumber=1"));
        Assert.Equal(206, answer.Status);
        Assert.Equal([1, 2, 3], answer.Body);
    }

    [Fact]
    public async Task GetObject_WhileItIsOverwritten_IsAlwaysOneOfTheTwo()
    {
        byte[] one = RandomBytes(700_000, 1);
        byte[] two = RandomBytes(700_000, 2);
        await PutAsync("key", one);
        Task writer = Task.Run(async () =>
        {
            for (int i = 0; i < 10; i++) await PutAsync("key", i % 2 == 0 ? two : one);
        }, Cancellation);
        while (!writer.IsCompleted)
        {
            byte[] read = await GetBytesAsync("key");
            Assert.True(read.AsSpan().SequenceEqual(one) || read.AsSpan().SequenceEqual(two), "The body is a mix of two versions.");
        }

        await writer;
    }
}
