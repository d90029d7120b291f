namespace ObjectStore.Conformance.Tests.BadInput;

public sealed class RangeTests(ServerFixture server) : ConformanceTest(server)
{
    [Theory]
    [InlineData("bytes=3-")]
    [InlineData("bytes=3-4")]
    [InlineData("bytes=99999999999999999999-")]
    [InlineData("bytes=-0")]
    public async Task ARangePastTheEnd_IsInvalidRange(string range)
    {
        await PutAsync("key", [1, 2, 3]);
        RawAnswer answer = await Server.Raw.SendAsync(new RawRequest("GET", $"/{Bucket}/key") { Headers = [("Range", range)] });
        Assert.Equal((416, "InvalidRange", "bytes */3"), (answer.Status, answer.Code, answer.Headers.GetValueOrDefault("Content-Range")));
        Assert.Equal([1, 2, 3], await GetBytesAsync("key"));
    }

    [Fact]
    public async Task AnyRangeOfAnEmptyObject_IsInvalidRange()
    {
        await PutAsync("key", "");
        RawAnswer answer = await Server.Raw.SendAsync(new RawRequest("GET", $"/{Bucket}/key") { Headers = [("Range", "bytes=0-0")] });
        Assert.Equal((416, "InvalidRange"), (answer.Status, answer.Code));
    }
}
