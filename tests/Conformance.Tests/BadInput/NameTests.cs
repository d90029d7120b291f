namespace ObjectStore.Conformance.Tests.BadInput;

public sealed class NameTests(ServerFixture server) : BadInputTest(server)
{
    [Fact]
    public Task AKeyOf1025Bytes_IsKeyTooLongError() =>
        RefusedAsync(400, "KeyTooLongError", new RawRequest("PUT", $"/{Bucket}/{new string('k', 1025)}") { Body = [1] });

    [Fact]
    public Task AKeyOf1026BytesIn342Characters_IsKeyTooLongError() =>
        RefusedAsync(400, "KeyTooLongError", new RawRequest("PUT", $"/{Bucket}/{string.Concat(Enumerable.Repeat("%E2%82%AC", 342))}") { Body = [1] });

    [Theory]
    [InlineData("ab")]
    [InlineData("Upper-Case")]
    [InlineData("under_score")]
    [InlineData("dot..dot")]
    [InlineData("-begins-with-a-dash")]
    [InlineData("192.168.1.1")]
    [InlineData("xn--reserved")]
    public Task AnInvalidBucketName_IsInvalidBucketName(string name) => RefusedAsync(400, "InvalidBucketName", new RawRequest("PUT", $"/{name}") { Body = [] });

    [Fact]
    public Task ABucketNameOf64Characters_IsInvalidBucketName() =>
        RefusedAsync(400, "InvalidBucketName", new RawRequest("PUT", $"/{new string('b', 64)}") { Body = [] });

    [Fact]
    public async Task AKeyThatClimbsOut_IsAKeyAndNoPath()
    {
        RawAnswer answer = await Server.Raw.SendAsync(new RawRequest("PUT", $"/{Bucket}/%2E%2E%2F%2E%2E%2Fetc%2Fpasswd") { Body = [1] });
        if (answer.Status == 200) Assert.Equal(["../../etc/passwd"], await ListKeysAsync());
        else Assert.Equal(400, answer.Status);
        Assert.True(await Server.IsHealthyAsync());
    }

    [Fact]
    public async Task ABadlyEncodedPath_IsRefused()
    {
        RawAnswer answer = await Server.Raw.SendAsync(new RawRequest("PUT", $"/{Bucket}/%zz") { Body = [1], IsSigned = false });
        Assert.InRange(answer.Status, 400, 403);
        await NothingStoredAsync();
    }

    [Fact]
    public async Task AnUnknownMethod_IsMethodNotAllowed() =>
        await RefusedAsync(405, "MethodNotAllowed", new RawRequest("PATCH", $"/{Bucket}/key") { Body = [1] });
}
