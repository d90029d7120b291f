namespace ObjectStore.Conformance.Tests.Objects;

public sealed class HeadObjectTests(ServerFixture server) : ConformanceTest(server)
{
    [Fact]
    public async Task HeadObject_HasWhatGetHas()
    {
        await PutAsync("key", RandomBytes(1000), request => request.Metadata["a"] = "b");
        RawAnswer head = await Server.Raw.SendAsync(new RawRequest("HEAD", $"/{Bucket}/key"));
        RawAnswer get = await Server.Raw.SendAsync(new RawRequest("GET", $"/{Bucket}/key"));
        Assert.Equal(200, head.Status);
        Assert.Empty(head.Body);
        foreach (string name in new[] { "Content-Length", "Content-Type", "ETag", "Last-Modified", "Accept-Ranges", "x-amz-meta-a" })
        {
            Assert.Equal(get.Headers[name], head.Headers[name]);
        }
    }

    [Fact]
    public async Task HeadObject_OfNoObject_Is404WithoutABody()
    {
        RawAnswer answer = await Server.Raw.SendAsync(new RawRequest("HEAD", $"/{Bucket}/key"));
        Assert.Equal((404, 0), (answer.Status, answer.Body.Length));
    }

    [Fact]
    public async Task HeadObject_WithRange_Is206WithTheLengthOfTheRange()
    {
        await PutAsync("key", RandomBytes(1000));
        RawAnswer answer = await Server.Raw.SendAsync(new RawRequest("HEAD", $"/{Bucket}/key") { Headers = [("Range", "bytes=10-19")] });
        Assert.Equal((206, "10", "bytes 10-19/1000"), (answer.Status, answer.Headers["Content-Length"], answer.Headers["Content-Range"]));
    }

    [Fact]
    public async Task HeadObject_Conditions_AnswerLikeGet()
    {
        string etag = (await PutAsync("key", [1])).ETag;
        Assert.Equal(304, (await Server.Raw.SendAsync(new RawRequest("HEAD", $"/{Bucket}/key") { Headers = [("If-None-Match", etag)] })).Status);
        Assert.Equal(412, (await Server.Raw.SendAsync(new RawRequest("HEAD", $"/{Bucket}/key") { Headers = [("If-Match", ETagOf([2]))] })).Status);
    }
}
