using ObjectStore.Gateway.Tests.Fixtures;
using ObjectStore.Metadata;
using ObjectStore.Storage;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Gateway.Tests.Objects;

/// <summary>What clients see of a full disk, a corrupt fragment and a metadata store that fails, and what becomes of the bytes.</summary>
public sealed class FaultTests(GatewayFixture gateway) : GatewayTest(gateway), IClassFixture<GatewayFixture>
{
    private const int Large = (2 << 20) + 100;

    [Theory]
    [InlineData(100)]
    [InlineData(Large)]
    public async Task FullDrive_IsInsufficientStorage_AndNothingIsStored(int size)
    {
        DriveStatistics before = Fixture.Drive;
        Fixture.Extents.OnStore = () => new DriveFullException(Guid.Empty, 1, 2);
        Exchange put = await PutAsync("key", GatewayFixture.RandomBytes(size));
        Assert.Equal((507, "InsufficientStorage"), (put.Status, put.Code));
        await StoredNothingAsync("key", before);

        Fixture.Extents.OnStore = null;
        Assert.Equal(200, (await PutAsync("key", [1])).Status);
    }

    [Theory]
    [InlineData(100)]
    [InlineData(Large)]
    public async Task BytesThatTookLongerThanAnythingUnnamedIsKept_AreRefused_AndNothingIsStored(int size)
    {
        DriveStatistics before = Fixture.Drive;
        Fixture.Extents.OnStored = () => Fixture.Time.Later = TimeSpan.FromHours(49);
        Exchange put = await PutAsync("key", GatewayFixture.RandomBytes(size));
        Assert.Equal((400, "RequestTimeout"), (put.Status, put.Code));
        Fixture.Time.Later = TimeSpan.Zero;
        await StoredNothingAsync("key", before);
        Fixture.Extents.OnStored = () => Fixture.Time.Later = TimeSpan.FromHours(47);
        Assert.Equal(200, (await PutAsync("key", GatewayFixture.RandomBytes(size))).Status);
    }

    [Fact]
    public async Task PartThatTookLongerThanAnythingUnnamedIsKept_IsRefused()
    {
        Exchange made = await Fixture.SendAsync(new Call("POST", $"/{Bucket}/key", "uploads="));
        string upload = Assert.Single(made.Values("UploadId"));
        Fixture.Extents.OnStored = () => Fixture.Time.Later = TimeSpan.FromHours(49);
        Exchange put = await Fixture.SendAsync(new Call("PUT", $"/{Bucket}/key", $"partNumber=1&uploadId={upload}") { Body = [1] });
        Assert.Equal((400, "RequestTimeout"), (put.Status, put.Code));
        (Fixture.Time.Later, Fixture.Extents.OnStored) = (TimeSpan.Zero, null);
        put = await Fixture.SendAsync(new Call("PUT", $"/{Bucket}/key", $"partNumber=1&uploadId={upload}") { Body = [2] });
        Assert.Equal(200, put.Status);
    }

    [Fact]
    public async Task RefusedUpload_WhoseBytesCannotBeDeletedNow_IsAnsweredAsRefused()
    {
        Assert.Equal(200, (await PutAsync("key", [1])).Status);
        Fixture.Extents.OnDelete = () => new DriveUnavailableException(Guid.Empty, "injected");
        Exchange put = await PutAsync("key", [2], ("If-None-Match", "*"));
        Assert.Equal((412, "PreconditionFailed"), (put.Status, put.Code));
        Assert.Equal([1], (await GetAsync("key")).Body);
    }

    [Fact]
    public async Task PoisonedVolume_IsServiceUnavailable_ToBeTriedAgain()
    {
        Fixture.Extents.OnStore = () => new VolumePoisonedException(Guid.Empty, 1, null);
        Exchange put = await PutAsync("key", [1]);
        Assert.Equal((503, "1"), (put.Status, put.Header("Retry-After")));
    }

    [Theory]
    [InlineData(100)]
    [InlineData(65_537)]
    [InlineData(Large)]
    public async Task CorruptFirstBlock_IsAnErrorDocument_AndSaysNothingInternal(int size)
    {
        await PutAsync("key", GatewayFixture.RandomBytes(size), ("Cache-Control", "max-age=60"));
        Fixture.Extents.OnRead = _ => Corrupt();
        foreach ((string, string)[] headers in new[] { Array.Empty<(string, string)>(), [("Range", "bytes=1-50")] })
        {
            Exchange get = await GetAsync("key", headers);
            Assert.Equal((500, "InternalError", false), (get.Status, get.Code, get.IsAborted));
            Assert.Equal("application/xml", get.Header("Content-Type"));
            Assert.Equal(get.Body.Length.ToString(System.Globalization.CultureInfo.InvariantCulture), get.Header("Content-Length"));

            // None of the object's own headers: a cache must not keep the error as the object.
            Assert.All(new[] { "ETag", "Cache-Control", "Last-Modified", "Content-Range" }, name => Assert.Null(get.Header(name)));
            Assert.DoesNotContain("volume", System.Text.Encoding.UTF8.GetString(get.Body), StringComparison.OrdinalIgnoreCase);
        }

        Assert.Equal(200, (await HeadAsync("key")).Status);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task MissingFragment_IsAnErrorToo_AndNeverNoSuchKey(bool isRange)
    {
        await PutAsync("key", GatewayFixture.RandomBytes(200_000));
        Fixture.Extents.OnRead = _ => new FragmentMissingException(default, 0, 0);
        Exchange get = isRange ? await GetAsync("key", ("Range", "bytes=100-200")) : await GetAsync("key");
        Assert.Equal((500, "InternalError"), (get.Status, get.Code));
    }

    [Fact]
    public async Task CorruptLaterBlock_BreaksTheConnection()
    {
        byte[] body = GatewayFixture.RandomBytes(Large);
        await PutAsync("key", body);
        Fixture.Extents.OnRead = offset => offset >= 1 << 20 ? Corrupt() : null;
        Exchange get = await GetAsync("key");
        Assert.Equal((200, true), (get.Status, get.IsAborted));
        Assert.InRange(get.Body.Length, 1, Large - 1);
        Assert.Equal(body[..get.Body.Length], get.Body);
    }

    [Theory]
    [InlineData(100)]
    [InlineData(Large)]
    public async Task FullMetadataStore_IsInsufficientStorage_AndNothingIsVisible(int size)
    {
        Fixture.Metadata.BeforeCommit = () => new MetadataStoreFullException("full");
        Exchange put = await PutAsync("key", GatewayFixture.RandomBytes(size));
        Assert.Equal((507, "InsufficientStorage"), (put.Status, put.Code));
        Assert.Single(Fixture.Extents.Deleted); // what certainly nothing names
        Fixture.Metadata.Reset();
        Assert.Equal("NoSuchKey", (await GetAsync("key")).Code);
        Assert.Empty(await ListKeysAsync());
    }

    [Theory]
    [InlineData(100)]
    [InlineData(Large)]
    public async Task CommitWhoseAnswerIsLost_IsFoundToStand_AndIsAcknowledged(int size)
    {
        byte[] body = GatewayFixture.RandomBytes(size);
        Fixture.Metadata.AfterCommit = () => new MetadataStoreException("lost");
        Assert.Equal(200, (await PutAsync("key", body)).Status);
        Assert.Empty(Fixture.Extents.Deleted);
        Fixture.Metadata.Reset();
        Assert.Equal(body, (await GetAsync("key")).Body);
    }

    [Fact]
    public async Task CommitWhoseOutcomeStaysUnknown_IsNotAcknowledged_AndKeepsItsBytes()
    {
        byte[] body = GatewayFixture.RandomBytes(100);
        Fixture.Metadata.AfterCommit = () =>
        {
            Fixture.Metadata.OnRead = () => new MetadataStoreException("gone");
            return new MetadataStoreException("lost");
        };
        Exchange put = await PutAsync("key", body);
        Assert.Equal((503, "ServiceUnavailable"), (put.Status, put.Code));
        Assert.Single(Fixture.Extents.Stored);
        Assert.Empty(Fixture.Extents.Deleted);

        // It did stand: a client that looks finds all of it.
        Fixture.Metadata.Reset();
        Assert.Equal(body, (await GetAsync("key")).Body);
    }

    [Fact]
    public async Task CommitThatNeverHappened_IsNotAcknowledged_AndIsNotVisible()
    {
        Fixture.Metadata.BeforeCommit = () => new MetadataStoreException("failed");
        Assert.Equal(503, (await PutAsync("key", [1])).Status);
        Assert.Empty(Fixture.Extents.Deleted);
        Fixture.Metadata.Reset();
        Assert.Equal("NoSuchKey", (await GetAsync("key")).Code);
    }

    [Theory]
    [InlineData(100)]
    [InlineData(Large)]
    public async Task RefusedCommit_DeletesItsExtent_BeforeTheErrorGoesOut(int size)
    {
        await PutAsync("key", "first"u8.ToArray());
        DriveStatistics before = Fixture.Drive;
        Exchange put = await PutAsync("key", GatewayFixture.RandomBytes(size), ("If-None-Match", "*"));
        Assert.Equal((412, "PreconditionFailed"), (put.Status, put.Code));
        ExtentLayout stored = Fixture.Extents.Stored.Last();
        Assert.Equal(stored.Id, Assert.Single(Fixture.Extents.Deleted).Id);
        Assert.Equal((before.LiveFragments, before.LiveBytes), (Fixture.Drive.LiveFragments, Fixture.Drive.LiveBytes));
        Assert.Equal("first"u8.ToArray(), (await GetAsync("key")).Body);
    }

    [Fact]
    public async Task IfMatchOfAnotherVersion_DeletesItsExtent()
    {
        await PutAsync("key", "first"u8.ToArray());
        Assert.Equal(412, (await PutAsync("key", [2], ("If-Match", "\"00000000000000000000000000000000\""))).Status);
        Assert.Single(Fixture.Extents.Deleted);
        Assert.Equal("first"u8.ToArray(), (await GetAsync("key")).Body);
    }

    [Fact]
    public async Task XmlBodiesThatDoNotArrive_HoldUpNobody_AndThoseThatHaveArrivedAreBounded()
    {
        TaskCompletionSource rest = new(TaskCreationOptions.RunContinuationsAsynchronously);
        using SemaphoreSlim arrived = new(0);
        byte[] part = new byte[300 << 10];
        (string, string)[] digest = [("Content-MD5", Convert.ToBase64String(System.Security.Cryptography.MD5.HashData(part)))];
        Call Stalled(int bytes) => new("POST", $"/{Bucket}", "delete=")
        {
            Body = part[..bytes],
            DeclaredLength = 1 << 20,
            Headers = digest,
            Stall = () =>
            {
                arrived.Release();
                return rest.Task;
            },
        };
        Task<Exchange>[] waiting = [.. Enumerable.Range(0, 23).Select(i => Fixture.SendAsync(Stalled(i < 20 ? 1 : part.Length)))];
        for (int i = 0; i < waiting.Length; i++)
            Assert.True(await arrived.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken), $"{i} of {waiting.Length}");
        Assert.Equal(200, (await Fixture.SendAsync(new Call("PUT", $"/{Bucket}-other"))).Status);
        Exchange beyond = await Fixture.SendAsync(new Call("POST", $"/{Bucket}", "delete=") { Body = part, Headers = digest });
        Assert.Equal((503, "SlowDown"), (beyond.Status, beyond.Code));
        rest.SetResult();
        await Task.WhenAll(waiting);
        Assert.Equal("MalformedXML", (await Fixture.SendAsync(new Call("POST", $"/{Bucket}", "delete=") { Body = part, Headers = digest })).Code);
    }

    [Fact]
    public async Task BucketThatIsGone_IsToldBeforeTheBodyIsStored()
    {
        Assert.Equal("NoSuchBucket", (await Fixture.SendAsync(new Call("PUT", "/no-such-bucket/key") { Body = [1] })).Code);
        Assert.Empty(Fixture.Extents.Stored);
    }

    private static FragmentCorruptException Corrupt() => new(default, 0, 0, Guid.Empty, 7, 4096, "checksum");
}
