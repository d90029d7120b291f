namespace ObjectStore.Conformance.Tests.Buckets;

public sealed class NotImplementedTests(ServerFixture server) : ConformanceTest(server)
{
    [Theory]
    [InlineData("GET", "", "versioning=")]
    [InlineData("GET", "", "acl=")]
    [InlineData("GET", "", "website=")]
    [InlineData("GET", "", "replication=")]
    [InlineData("GET", "", "inventory=")]
    [InlineData("PUT", "", "logging=")]
    [InlineData("GET", "/key", "torrent=")]
    [InlineData("POST", "/key", "restore=")]
    [InlineData("POST", "/key", "select=&select-type=2")]
    public async Task AnOperationThatIsNotOffered_IsNotImplemented(string method, string key, string query)
    {
        RawAnswer answer = await Server.Raw.SendAsync(new RawRequest(method, $"/{Bucket}{key}", query) { Body = method == "GET" ? null : [] });
        Assert.Equal((501, "NotImplemented"), (answer.Status, answer.Code));
    }

    [Fact]
    public async Task ASubresourceThatDoesNotTakeTheMethod_NeverFallsThroughToTheBucket()
    {
        RawAnswer answer = await Server.Raw.SendAsync(new RawRequest("DELETE", $"/{Bucket}", "versioning="));
        Assert.Equal((405, "MethodNotAllowed"), (answer.Status, answer.Code));
        Assert.Equal(200, (await Server.Raw.SendAsync(new RawRequest("HEAD", $"/{Bucket}"))).Status);
    }
}
