using Microsoft.Extensions.DependencyInjection;
using ObjectStore.Metadata;
using ObjectStore.Testing;
using Orleans;
#if GRAIN_RUNTIME_ORLEANS
using Microsoft.Extensions.Logging;
using Orleans.Configuration;
using Orleans.Hosting;
using Orleans.Serialization;
using Orleans.TestingHost;
#else
using ObjectStore.EmbeddedRuntime;
using ObjectStore.Metadata.Tests;
#endif

namespace ObjectStore.Grains.Tests;

/// <summary>The grains on the runtime that was built, over one metadata store that all silos share: in memory, unless another is given.</summary>
public sealed class GrainCluster : IAsyncDisposable
{
#if GRAIN_RUNTIME_ORLEANS
    private readonly InProcessTestCluster _cluster;

    private GrainCluster(GrainOptions options, short silos)
    {
        Store = new InMemoryMetadataStore(Time);
        InProcessTestClusterBuilder builder = new(silos);
        builder.Options.ConfigureFileLogging = false;
        builder.ConfigureSilo((_, silo) =>
        {
            silo.AddMemoryGrainStorage(GrainStorageNames.Metadata);
            silo.UseInMemoryReminderService();
            silo.Services.AddSingleton<TimeProvider>(Time);
            silo.Services.AddSingleton<IMetadataStore>(Store);
            silo.Services.AddObjectStoreGrains(options);
            silo.Services.AddLogging(logging => logging.SetMinimumLevel(LogLevel.None));
            silo.Services.Configure<ExceptionSerializationOptions>(exceptions => exceptions.SupportedNamespacePrefixes.Add("ObjectStore"));
            silo.Services.Configure<ClusterMembershipOptions>(membership =>
            {
                membership.ProbeTimeout = TimeSpan.FromSeconds(1);
                membership.NumMissedProbesLimit = 2;
                membership.NumVotesForDeathDeclaration = 1;
            });
        });
        builder.ConfigureClient(client =>
            client.Services.Configure<ExceptionSerializationOptions>(exceptions => exceptions.SupportedNamespacePrefixes.Add("ObjectStore")));
        _cluster = builder.Build();
    }

    public IGrainFactory Grains => _cluster.Client;

    public int LiveObjects => _cluster.Silos.Sum(silo => silo.ServiceProvider.GetRequiredService<ActivationBudget>().Live);

    public T Service<T>()
        where T : notnull => _cluster.Silos[0].ServiceProvider.GetRequiredService<T>();

    public static async Task<GrainCluster> StartAsync(GrainOptions? options = null, short silos = 1)
    {
        GrainCluster cluster = new(options ?? new GrainOptions(), silos);
        await cluster._cluster.DeployAsync();
        return cluster;
    }

    /// <summary>Drops the last silo without letting it deactivate anything.</summary>
    public Task KillSiloAsync() => _cluster.KillSiloAsync(_cluster.Silos[^1]);

    public async ValueTask DisposeAsync()
    {
        await _cluster.StopAllSilosAsync();
        await _cluster.DisposeAsync();
    }
#else
    private readonly ServiceProvider _services;

    private GrainCluster(GrainOptions options, IMetadataStore? store, Action<IServiceCollection>? configure)
    {
        Store = store is null ? new InMemoryMetadataStore(Time) : new ObservedMetadataStore(store, Time);
        ServiceCollection services = new();
        services.AddLogging();
        services.AddSingleton<TimeProvider>(Time);
        services.AddSingleton<IMetadataStore>(Store);
        services.AddObjectStoreGrains(options);
        configure?.Invoke(services);
        services.AddEmbeddedGrains(runtime => runtime.AddGrainAssembly(typeof(ObjectGrain).Assembly));
        _services = services.BuildServiceProvider();
    }

    public IGrainFactory Grains => _services.GetRequiredService<IGrainFactory>();

    public int LiveObjects => Service<ActivationBudget>().Live;

    public T Service<T>()
        where T : notnull => _services.GetRequiredService<T>();

    public static async Task<GrainCluster> StartAsync(GrainOptions? options = null, IMetadataStore? store = null, Action<IServiceCollection>? configure = null)
    {
        GrainCluster cluster = new(options ?? new GrainOptions(), store, configure);
        await cluster._services.StartEmbeddedGrainsAsync();
        return cluster;
    }

    public async ValueTask DisposeAsync()
    {
        await _services.StopEmbeddedGrainsAsync();
        await _services.DisposeAsync();
    }
#endif

    public ShiftableTimeProvider Time { get; } = new();

    public IObservedMetadataStore Store { get; }

    public IObjectGrain Object(BucketId bucket, string key) => Grains.GetGrain<IObjectGrain>(GrainKeys.Object(bucket, key));

    public IBucketIndexGrain Range(BucketId bucket, long rangeId) => Grains.GetGrain<IBucketIndexGrain>(GrainKeys.Range(bucket, rangeId));

    public IMultipartUploadGrain Upload(VersionId uploadId) => Grains.GetGrain<IMultipartUploadGrain>(uploadId.ToString());
}

/// <summary>One cluster for the tests of a class, which run one after the other.</summary>
public class SharedCluster : IAsyncLifetime
{
    public GrainCluster Cluster { get; private set; } = null!;

    public async ValueTask InitializeAsync() => Cluster = await StartAsync();

    public virtual async ValueTask DisposeAsync()
    {
        if (Cluster is not null)
            await Cluster.DisposeAsync();
        GC.SuppressFinalize(this);
    }

    protected virtual Task<GrainCluster> StartAsync() => GrainCluster.StartAsync();
}

/// <summary>With maps that are quick to make.</summary>
public sealed class SmallPoolCluster : SharedCluster
{
    protected override Task<GrainCluster> StartAsync() => GrainCluster.StartAsync(new GrainOptions { PlacementGroups = 32 });
}

#if GRAIN_RUNTIME_EMBEDDED
/// <summary>The same over SQLite.</summary>
public sealed class SqliteCluster : SharedCluster
{
    private TemporaryMetadataStore? _temporary;

    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync();
        if (_temporary is not null)
            await _temporary.DisposeAsync();
    }

    protected override async Task<GrainCluster> StartAsync()
    {
        _temporary = await TemporaryMetadataStore.OpenAsync();
        return await GrainCluster.StartAsync(store: _temporary.Store);
    }
}
#endif

/// <summary>A test with a bucket of its own.</summary>
public abstract class GrainTest(SharedCluster shared) : IClassFixture<SharedCluster>, IAsyncLifetime
{
    protected GrainCluster Cluster => shared.Cluster;

    protected IObservedMetadataStore Store => Cluster.Store;

    protected BucketId Bucket { get; private set; }

    protected string BucketName { get; } = $"bucket-{Make.Next()}";

    protected IObjectGrain this[string key] => Cluster.Object(Bucket, key);

    public async ValueTask InitializeAsync() =>
        Bucket = (await Cluster.Grains.GetGrain<IBucketGrain>(BucketName).CreateAsync(new CreateBucketCommand("owner", "us-east-1"))).Bucket.Id;

    public ValueTask DisposeAsync()
    {
        Store.OnCall = null;
        Store.CommitLatency = TimeSpan.Zero;
        return ValueTask.CompletedTask;
    }

    /// <summary>Applies a fault to the first call that fits.</summary>
    protected void FaultOnce(Func<StoreCall, bool> fits, StoreFault fault)
    {
        int done = 0;
        Store.OnCall = call => fits(call) && Interlocked.Exchange(ref done, 1) == 0 ? fault : null;
    }
}
