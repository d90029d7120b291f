using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace ObjectStore.Grains;

public static class GrainServiceExtensions
{
    /// <summary>
    /// Adds what the grains are made of, in every silo. The host registers <see cref="Metadata.IMetadataStore"/> and the grain state storage
    /// named <see cref="GrainStorageNames.Metadata"/> besides; <see cref="TimeProvider"/> is the system's unless registered.
    /// </summary>
    /// <exception cref="InvalidOperationException">A setting is out of range.</exception>
    public static IServiceCollection AddObjectStoreGrains(this IServiceCollection services, GrainOptions options)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddSingleton<IProcessPulse, SteadyPulse>();
        services.AddSingleton(options);
        services.AddSingleton<GrainMetrics>();
        services.AddSingleton<ActivationBudget>();
        services.AddSingleton<IndexRangeMap>();
        services.AddSingleton<IndexLister>();
        return services;
    }
}

/// <summary>The names of grain state storages.</summary>
public static class GrainStorageNames
{
    /// <summary>Small, rarely written state beside the metadata: the cluster map and the storage nodes.</summary>
    public const string Metadata = "metadata";
}
