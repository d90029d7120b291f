using ObjectStore.EmbeddedRuntime.State;
using ObjectStore.Silo.Configuration;
using Orleans.Storage;

namespace ObjectStore.Silo.Hosting;

/// <summary>Runs the grains in an Orleans silo of this process: a cluster of one. Its grain state is in the file that the Embedded runtime has it in; its reminders are told anew at every start.</summary>
internal static class GrainHosting
{
    public const string Name = "Orleans";

    public static void Add(WebApplicationBuilder builder, DataFolder folder)
    {
        builder.UseOrleans(silo =>
        {
            int port = FreePort();
            silo.UseLocalhostClustering(siloPort: port, gatewayPort: 0, serviceId: "objectstore", clusterId: folder.ClusterId.ToString("N"));
            silo.UseInMemoryReminderService();

            // The gateway tells faults apart by their types, which Orleans keeps across processes only for namespaces it is told of.
            silo.Configure<Orleans.Serialization.ExceptionSerializationOptions>(options => options.SupportedNamespacePrefixes.Add("ObjectStore"));
        });
        builder.Services.AddSingleton(_ => SqliteGrainStore.Open(folder.GrainStateFile));
        builder.Services.AddKeyedSingleton<IGrainStorage>(Grains.GrainStorageNames.Metadata, (services, _) => new OrleansGrainStorage(services.GetRequiredService<SqliteGrainStore>()));
        builder.Services.AddHostedService<StorageNodeHeartbeat>();
    }

    /// <summary>Opens the grain state now: the first grain would find out too late that it cannot be opened.</summary>
    /// <exception cref="IOException">It cannot be opened.</exception>
    /// <exception cref="InvalidDataException">It is another application's file, or of a newer version.</exception>
    public static void Open(IServiceProvider services) => services.GetRequiredService<SqliteGrainStore>();

    // A silo of one never hears from another, but Orleans binds a port all the same; on loopback, and a free one.
    private static int FreePort()
    {
        using System.Net.Sockets.TcpListener listener = new(System.Net.IPAddress.Loopback, 0);
        listener.Start();
        return ((System.Net.IPEndPoint)listener.LocalEndpoint).Port;
    }
}
