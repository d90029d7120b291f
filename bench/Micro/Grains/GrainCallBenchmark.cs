using Orleans;
#if GRAIN_RUNTIME_ORLEANS
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
#else
using Microsoft.Extensions.DependencyInjection;
using ObjectStore.EmbeddedRuntime;
#endif

namespace ObjectStore.Benchmarks.Grains;

/// <summary>A grain that does nothing.</summary>
public interface IEchoGrain : IGrainWithStringKey
{
    /// <summary>Gives back its argument.</summary>
    Task<long> EchoAsync(long value);
}

/// <inheritdoc cref="IEchoGrain"/>
public sealed class EchoGrain : Grain, IEchoGrain
{
    /// <inheritdoc/>
    public Task<long> EchoAsync(long value) => Task.FromResult(value);
}

/// <summary>A call of a warm grain in the same process, one after the other, on the runtime that was built.</summary>
public sealed class GrainCallBenchmark : Benchmark
{
#if GRAIN_RUNTIME_ORLEANS
    private IHost _host = null!;

    public override string Name => "Grains.Call.Orleans";
#else
    private ServiceProvider _host = null!;

    public override string Name => "Grains.Call.Embedded";
#endif

    private IEchoGrain _grain = null!;

    public override void Setup()
    {
#if GRAIN_RUNTIME_ORLEANS
        HostApplicationBuilder builder = Host.CreateApplicationBuilder();
        builder.Logging.ClearProviders();
        builder.UseOrleans(silo => silo.UseLocalhostClustering());
        _host = builder.Build();
        _host.StartAsync().GetAwaiter().GetResult();
        _grain = _host.Services.GetRequiredService<IGrainFactory>().GetGrain<IEchoGrain>("echo");
#else
        _host = new ServiceCollection().AddEmbeddedGrains(options => options.AddGrain<EchoGrain>()).BuildServiceProvider();
        _host.StartEmbeddedGrainsAsync().GetAwaiter().GetResult();
        _grain = _host.GetRequiredService<IGrainFactory>().GetGrain<IEchoGrain>("echo");
#endif
    }

    public override void Run(long operations) => CallAsync(operations).GetAwaiter().GetResult();

    public override void Cleanup()
    {
#if GRAIN_RUNTIME_ORLEANS
        _host.StopAsync().GetAwaiter().GetResult();
#else
        _host.StopEmbeddedGrainsAsync().GetAwaiter().GetResult();
#endif
        _host.Dispose();
    }

    private async Task CallAsync(long operations)
    {
        for (long i = 0; i < operations; i++) await _grain.EchoAsync(i);
    }
}
