namespace ObjectStore.Conformance.Tests.Objects;

public sealed class PresignedUrlTests(ServerFixture server) : ConformanceTest(server)
{
    private static readonly HttpClient Http = new();

    [Fact]
    public async Task Presigned_PutThenGet_Works()
    {
        using HttpResponseMessage put = await Http.PutAsync(Url("a key+%/é", HttpVerb.PUT), new ByteArrayContent([1, 2, 3]), Cancellation);
        Assert.Equal(HttpStatusCode.OK, put.StatusCode);
        Assert.Equal([1, 2, 3], await Http.GetByteArrayAsync(Url("a key+%/é", HttpVerb.GET), Cancellation));
    }

    [Fact]
    public async Task Presigned_ForAnotherMethod_IsSignatureDoesNotMatch()
    {
        await PutAsync("key");
        using HttpResponseMessage response = await Http.DeleteAsync(Url("key", HttpVerb.GET), Cancellation);
        Assert.Equal(HttpStatusCode.Forbidden, response.StatusCode);
        Assert.Contains("<Code>SignatureDoesNotMatch</Code>", await response.Content.ReadAsStringAsync(Cancellation), StringComparison.Ordinal);
        Assert.Equal(["key"], await ListKeysAsync());
    }

    [Fact]
    public async Task Presigned_WithAChangedParameter_IsSignatureDoesNotMatch()
    {
        await PutAsync("key");
        using HttpResponseMessage response = await Http.GetAsync(Url("key", HttpVerb.GET) + "&response-content-type=text%2Fhtml", Cancellation);
        Assert.Equal(HttpStatusCode.Forbidden, response.StatusCode);
    }

    private string Url(string key, HttpVerb verb) => S3.GetPreSignedURL(new GetPreSignedUrlRequest
    {
        BucketName = Bucket,
        Key = key,
        Verb = verb,
        Expires = DateTime.UtcNow.AddMinutes(5),
        Protocol = Protocol.HTTP,
    });
}
