using System.Diagnostics.CodeAnalysis;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;
using ObjectStore.EmbeddedRuntime;
using ObjectStore.Grains;
using ObjectStore.Metadata;
using ObjectStore.Metadata.Sqlite;
using ObjectStore.S3.Signing;
using ObjectStore.Storage;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using Orleans;

namespace ObjectStore.Gateway.Tests.Fixtures;

/// <summary>
/// The gateway over the real planes, in this process and in a folder of its own: embedded grains, SQLite, volumes. Both stores can be told to fail.
/// </summary>
public sealed class GatewayFixture : IAsyncLifetime
{
    private const string AccessKey = "tester";
    private const string Secret = "tester-secret-key";
    private readonly string _folder = Directory.CreateTempSubdirectory("objectstore-gateway-").FullName;
    private readonly Random _random = new(20261121);
    private ServiceProvider _services = null!;
    private SqliteMetadataStore _sqlite = null!;
    private ExtentStore _volumes = null!;
    private int _buckets;

    internal FaultyExtentStore Extents { get; private set; } = null!;

    internal LaterTime Time { get; } = new();

    internal FaultyMetadataStore Metadata { get; private set; } = null!;

    internal S3Gateway Gateway { get; private set; } = null!;

    internal SigV4Signer Signer { get; } = new(AccessKey, Secret);

    /// <summary>What the drive holds.</summary>
    internal DriveStatistics Drive => _volumes.GetStatistics()[0];

    /// <summary>Completes when the data plane does nothing in the background any more.</summary>
    internal Task WhenIdleAsync() => _volumes.Background.WhenIdleAsync().WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);

    public async ValueTask InitializeAsync()
    {
        StorageOptions storage = new() { DrivePaths = [Path.Combine(_folder, "drive")], VolumeSizeBytes = 64 << 20, HeadroomBytes = 0 };
        _volumes = await ExtentStore.OpenAsync(storage, TimeProvider.System, NextRandom);
        _sqlite = await SqliteMetadataStore.OpenAsync(new SqliteMetadataOptions { Directory = Path.Combine(_folder, "metadata") });
        Extents = new FaultyExtentStore(_volumes);
        Metadata = new FaultyMetadataStore(_sqlite);
        ServiceCollection services = new();
        services.AddLogging();
        services.AddSingleton<IMetadataStore>(Metadata);

        // Two tries and no cache: a fault is told at once, and reads see what the store says.
        services.AddObjectStoreGrains(new GrainOptions { CommitAttempts = 2, CacheRevalidation = TimeSpan.Zero });
        services.AddEmbeddedGrains(options => options.AddGrainAssembly(typeof(GrainOptions).Assembly));
        _services = services.BuildServiceProvider();
        await _services.StartEmbeddedGrainsAsync();
        GatewayServices gateway = new(
            _services.GetRequiredService<IGrainFactory>(), Extents, Time, () => (NextRandom(), NextRandom()), new GatewayOptions { Domains = ["s3.test"], MaxXmlBytes = 1 << 20 });
        Gateway = new S3Gateway(gateway, new OneKey(), NullLogger<S3Gateway>.Instance);
    }

    public async ValueTask DisposeAsync()
    {
        await _services.StopEmbeddedGrainsAsync();
        await _services.DisposeAsync();
        await _sqlite.DisposeAsync();
        await _volumes.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>A new bucket's name.</summary>
    internal async Task<string> NewBucketAsync()
    {
        string name = $"bucket-{Interlocked.Increment(ref _buckets)}";
        Exchange made = await SendAsync(new Call("PUT", $"/{name}"));
        Assert.Equal(200, made.Status);
        return name;
    }

    /// <summary>Runs one request through the gateway.</summary>
    internal Task<Exchange> SendAsync(Call call) => call.RunAsync(this);

    /// <summary>Bytes that follow from a seed.</summary>
    internal static byte[] RandomBytes(int count, int seed = 1)
    {
        byte[] bytes = new byte[count];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    private ulong NextRandom()
    {
        lock (_random) return (ulong)_random.NextInt64();
    }

    private sealed class OneKey : ICredentialStore
    {
        private static readonly SecretKey Key = new(GatewayFixture.Secret);

        public bool TryGetSecret(string accessKey, [NotNullWhen(true)] out SecretKey? secret)
        {
            secret = accessKey == AccessKey ? Key : null;
            return secret is not null;
        }
    }
}

/// <summary>The gateway's clock: the system's, or later.</summary>
internal sealed class LaterTime : TimeProvider
{
    public TimeSpan Later { get; set; }

    public override DateTimeOffset GetUtcNow() => base.GetUtcNow() + Later;
}

/// <summary>A test with a bucket of its own and stores that work at its start.</summary>
public abstract class GatewayTest(GatewayFixture gateway) : IAsyncLifetime
{
    internal GatewayFixture Fixture => gateway;

    internal string Bucket { get; private set; } = "";

    public async ValueTask InitializeAsync()
    {
        gateway.Extents.Reset();
        gateway.Metadata.Reset();
        Bucket = await gateway.NewBucketAsync();
    }

    public ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        gateway.Extents.Reset();
        gateway.Metadata.Reset();
        gateway.Time.Later = TimeSpan.Zero;
        return ValueTask.CompletedTask;
    }

    internal Task<Exchange> PutAsync(string key, byte[] body, params (string Name, string Value)[] headers) =>
        gateway.SendAsync(new Call("PUT", $"/{Bucket}/{key}") { Body = body, Headers = headers });

    internal Task<Exchange> GetAsync(string key, params (string Name, string Value)[] headers) => gateway.SendAsync(new Call("GET", $"/{Bucket}/{key}") { Headers = headers });

    internal Task<Exchange> HeadAsync(string key, params (string Name, string Value)[] headers) => gateway.SendAsync(new Call("HEAD", $"/{Bucket}/{key}") { Headers = headers });

    internal async Task<string[]> ListKeysAsync()
    {
        Exchange listing = await gateway.SendAsync(new Call("GET", $"/{Bucket}", "list-type=2"));
        Assert.Equal(200, listing.Status);
        return listing.Values("Key");
    }

    /// <summary>The key is nowhere: not in a read, not in the listing, and its bytes are no live fragment.</summary>
    internal async Task StoredNothingAsync(string key, DriveStatistics before)
    {
        Assert.Equal("NoSuchKey", (await GetAsync(key)).Code);
        Assert.Empty(await ListKeysAsync());

        // What an abandoned extent left is deleted in the background, which begins before the request is answered.
        await gateway.WhenIdleAsync();
        Assert.Equal((before.LiveFragments, before.LiveBytes), (gateway.Drive.LiveFragments, gateway.Drive.LiveBytes));
    }
}
