using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using ObjectStore.EmbeddedRuntime.Activations;
using ObjectStore.EmbeddedRuntime.Reminders;
using ObjectStore.EmbeddedRuntime.State;
using Orleans;

namespace ObjectStore.EmbeddedRuntime;

public static class EmbeddedGrainServiceExtensions
{
    /// <summary>
    /// Adds the embedded grain runtime: <see cref="IGrainFactory"/>, <see cref="IClusterClient"/> and a hosted service that loads reminders at
    /// start and deactivates every grain at stop. Hosted services registered after this one stop before it. Takes <see cref="TimeProvider"/>,
    /// <see cref="IGrainStateStore"/> (also keyed by storage name) and <see cref="IReminderStore"/> from the services where registered.
    /// </summary>
    public static IServiceCollection AddEmbeddedGrains(this IServiceCollection services, Action<EmbeddedGrainOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentNullException.ThrowIfNull(configure);
        EmbeddedGrainOptions options = new();
        configure(options);
        options.Validate();
        if (options.Simulation is { } simulation)
            services.Replace(ServiceDescriptor.Singleton<TimeProvider>(simulation.Time));
        if (options.DatabasePath is { } path)
        {
            services.TryAddSingleton(_ => SqliteGrainStore.Open(path));
            services.TryAddSingleton<IGrainStateStore>(provider => provider.GetRequiredService<SqliteGrainStore>());
            services.TryAddSingleton<IReminderStore>(provider => provider.GetRequiredService<SqliteGrainStore>());
        }

        services.TryAddSingleton<IGrainStateStore, InMemoryGrainStateStore>();
        services.TryAddSingleton<IReminderStore, InMemoryReminderStore>();
        services.AddSingleton(provider => new GrainRuntime(
            provider,
            options,
            provider.GetService<TimeProvider>() ?? TimeProvider.System,
            provider.GetRequiredService<IGrainStateStore>(),
            provider.GetRequiredService<IReminderStore>(),
            provider.GetService<ILoggerFactory>()?.CreateLogger("ObjectStore.Grains.Runtime") ?? NullLogger.Instance));
        services.AddSingleton<IClusterClient>(provider => provider.GetRequiredService<GrainRuntime>());
        services.AddSingleton<IGrainFactory>(provider => provider.GetRequiredService<GrainRuntime>());
        services.AddHostedService(provider => new EmbeddedGrainService(provider.GetRequiredService<GrainRuntime>()));
        return services;
    }

    /// <summary>Starts the grains of a provider that no host runs, such as a test's.</summary>
    public static Task StartEmbeddedGrainsAsync(this IServiceProvider services, CancellationToken cancellationToken = default) =>
        services.GetRequiredService<GrainRuntime>().StartAsync(cancellationToken);

    /// <summary>Deactivates the grains of a provider that no host runs.</summary>
    public static Task StopEmbeddedGrainsAsync(this IServiceProvider services, CancellationToken cancellationToken = default) =>
        services.GetRequiredService<GrainRuntime>().StopAsync(cancellationToken);

    /// <summary>The number of live activations.</summary>
    public static int CountActivations(this IServiceProvider services) => services.GetRequiredService<GrainRuntime>().ActivationCount;

    private sealed class EmbeddedGrainService(GrainRuntime runtime) : IHostedService
    {
        public Task StartAsync(CancellationToken cancellationToken) => runtime.StartAsync(cancellationToken);

        public Task StopAsync(CancellationToken cancellationToken) => runtime.StopAsync(cancellationToken);
    }
}
