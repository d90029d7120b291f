namespace ObjectStore.Conformance.Tests.Objects;

public sealed class DeleteObjectsTests(ServerFixture server) : ConformanceTest(server)
{
    [Fact]
    public async Task DeleteObjects_RemovesThoseNamed_AndReportsEach()
    {
        foreach (string key in new[] { "a", "b c", "d&<e>", "keep" }) await PutAsync(key);
        DeleteObjectsResponse response = await S3.DeleteObjectsAsync(Request("a", "b c", "d&<e>", "never-there"), Cancellation);
        Assert.Equal(["a", "b c", "d&<e>", "never-there"], response.DeletedObjects.Select(deleted => deleted.Key).Order(StringComparer.Ordinal));
        Assert.Equal(["keep"], await ListKeysAsync());
    }

    [Fact]
    public async Task DeleteObjects_Quiet_ReportsOnlyErrors()
    {
        await PutAsync("a");
        DeleteObjectsRequest request = Request("a");
        request.Quiet = true;
        DeleteObjectsResponse response = await S3.DeleteObjectsAsync(request, Cancellation);
        Assert.Empty(response.DeletedObjects ?? []);
        Assert.Empty(await ListKeysAsync());
    }

    [Fact]
    public async Task DeleteObjects_Of1000Keys_Works()
    {
        await Task.WhenAll(Enumerable.Range(0, 50).Select(i => PutAsync($"k{i:d4}")));
        DeleteObjectsResponse response = await S3.DeleteObjectsAsync(Request([.. Enumerable.Range(0, 1000).Select(i => $"k{i:d4}")]), Cancellation);
        Assert.Equal(1000, response.DeletedObjects.Count);
        Assert.Empty(await ListKeysAsync());
    }

    private DeleteObjectsRequest Request(params string[] keys) =>
        new() { BucketName = Bucket, Objects = [.. keys.Select(key => new KeyVersion { Key = key })] };
}
