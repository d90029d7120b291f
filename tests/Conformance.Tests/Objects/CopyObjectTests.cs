namespace ObjectStore.Conformance.Tests.Objects;

public sealed class CopyObjectTests(ServerFixture server) : ConformanceTest(server)
{
    [Fact]
    public async Task CopyObject_CopiesBodyHeadersAndMetadata()
    {
        byte[] body = RandomBytes(300_000);
        await PutAsync("source key+%", body, request =>
        {
            request.ContentType = "text/x";
            request.Metadata["a"] = "b";
        });
        CopyObjectResponse response = await S3.CopyObjectAsync(Request("source key+%", "target"), Cancellation);
        Assert.Equal(ETagOf(body), response.ETag);
        Assert.Equal(body, await GetBytesAsync("target"));
        GetObjectMetadataResponse head = await S3.GetObjectMetadataAsync(Bucket, "target", Cancellation);
        Assert.Equal(("text/x", "b"), (head.Headers.ContentType, head.Metadata["a"]));
    }

    [Fact]
    public async Task CopyObject_WithReplace_TakesTheRequestsMetadata()
    {
        await PutAsync("source", [1], request => request.Metadata["old"] = "1");
        CopyObjectRequest copy = Request("source", "target");
        copy.MetadataDirective = S3MetadataDirective.REPLACE;
        copy.ContentType = "text/new";
        copy.Metadata["new"] = "2";
        await S3.CopyObjectAsync(copy, Cancellation);
        GetObjectMetadataResponse head = await S3.GetObjectMetadataAsync(Bucket, "target", Cancellation);
        Assert.Equal("text/new", head.Headers.ContentType);
        Assert.Equal(["x-amz-meta-new"], head.Metadata.Keys);
    }

    [Fact]
    public async Task CopyObject_OntoItself_WithoutAChange_IsInvalidRequest()
    {
        await PutAsync("key", [1]);
        await RefusesAsync(HttpStatusCode.BadRequest, "InvalidRequest", () => S3.CopyObjectAsync(Request("key", "key"), Cancellation));
    }

    [Fact]
    public async Task CopyObject_OntoItself_WithReplace_ChangesMetadata()
    {
        await PutAsync("key", [1]);
        CopyObjectRequest copy = Request("key", "key");
        copy.MetadataDirective = S3MetadataDirective.REPLACE;
        copy.Metadata["new"] = "2";
        await S3.CopyObjectAsync(copy, Cancellation);
        Assert.Equal("2", (await S3.GetObjectMetadataAsync(Bucket, "key", Cancellation)).Metadata["new"]);
        Assert.Equal([1], await GetBytesAsync("key"));
    }

    [Fact]
    public async Task CopyObject_TheCopySurvivesItsSource()
    {
        byte[] body = RandomBytes(2_000_000);
        await PutAsync("source", body);
        await S3.CopyObjectAsync(Request("source", "target"), Cancellation);
        await S3.DeleteObjectAsync(Bucket, "source", Cancellation);
        Assert.Equal(body, await GetBytesAsync("target"));
    }

    [Fact]
    public async Task CopyObject_ToAnotherBucket_Works()
    {
        string other = NewBucketName();
        await S3.PutBucketAsync(other, Cancellation);
        await PutAsync("source", [1]);
        await S3.CopyObjectAsync(Bucket, "source", other, "target", Cancellation);
        using GetObjectResponse response = await S3.GetObjectAsync(other, "target", Cancellation);
        Assert.Equal([1], await ReadAsync(response));
    }

    [Fact]
    public async Task CopyObject_SourceConditions_AreHeldAgainstTheSource()
    {
        string etag = (await PutAsync("source", [1])).ETag;
        CopyObjectRequest wrong = Request("source", "target");
        wrong.ETagToMatch = ETagOf([2]);
        await RefusesAsync(HttpStatusCode.PreconditionFailed, "PreconditionFailed", () => S3.CopyObjectAsync(wrong, Cancellation));
        CopyObjectRequest unchanged = Request("source", "target");
        unchanged.ETagToNotMatch = etag;
        await RefusesAsync(HttpStatusCode.PreconditionFailed, "PreconditionFailed", () => S3.CopyObjectAsync(unchanged, Cancellation));
        Assert.Equal(["source"], await ListKeysAsync());
        CopyObjectRequest right = Request("source", "target");
        right.ETagToMatch = etag;
        await S3.CopyObjectAsync(right, Cancellation);
    }

    [Fact]
    public async Task CopyObject_FromNoObject_IsNoSuchKey() =>
        await RefusesAsync(HttpStatusCode.NotFound, "NoSuchKey", () => S3.CopyObjectAsync(Request("never", "target"), Cancellation));

    [Fact]
    public async Task CopyObject_WithAMalformedSource_IsInvalidArgument()
    {
        RawAnswer answer = await Server.Raw.SendAsync(new RawRequest("PUT", $"/{Bucket}/key") { Body = [], Headers = [("x-amz-copy-source", "nothing")] });
        Assert.Equal((400, "InvalidArgument"), (answer.Status, answer.Code));
    }

    private CopyObjectRequest Request(string source, string target) =>
        new() { SourceBucket = Bucket, SourceKey = source, DestinationBucket = Bucket, DestinationKey = target };
}
