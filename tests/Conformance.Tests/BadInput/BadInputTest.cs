namespace ObjectStore.Conformance.Tests.BadInput;

/// <summary>A test that sends something wrong and asserts that it was refused as S3 refuses it, that nothing was stored and that the server goes on.</summary>
public abstract class BadInputTest(ServerFixture server) : ConformanceTest(server)
{
    /// <summary>Sends, asserts the refusal, and that the bucket is still empty and usable.</summary>
    protected async Task<RawAnswer> RefusedAsync(int status, string code, RawRequest request)
    {
        RawAnswer answer = await Server.Raw.SendAsync(request);
        Assert.Equal((status, code), (answer.Status, request.Method == "HEAD" ? code : answer.Code));
        await NothingStoredAsync();
        return answer;
    }

    /// <summary>Asserts that the bucket is empty and takes an object.</summary>
    protected async Task NothingStoredAsync()
    {
        Assert.Empty(await ListKeysAsync());
        Assert.True(await Server.IsHealthyAsync(), "/health does not answer 200 any more.");
        await PutAsync("after", [1]);
        Assert.Equal([1], await GetBytesAsync("after"));
        await S3.DeleteObjectAsync(Bucket, "after", Cancellation);
    }
}
