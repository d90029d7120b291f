using ObjectStore.EmbeddedRuntime;
using ObjectStore.EmbeddedRuntime.State;
using ObjectStore.Silo.Configuration;

namespace ObjectStore.Silo.Hosting;

/// <summary>Runs the grains in the embedded runtime: one process, state and reminders in SQLite.</summary>
internal static class GrainHosting
{
    public const string Name = "Embedded";

    public static void Add(WebApplicationBuilder builder, DataFolder folder)
    {
        builder.Services.AddEmbeddedGrains(options =>
        {
            options.AddGrainAssembly(typeof(Grains.GrainOptions).Assembly);
            options.DatabasePath = folder.GrainStateFile;
        });
        builder.Services.AddHostedService<StorageNodeHeartbeat>();
    }

    /// <summary>Opens the grain state.</summary>
    /// <exception cref="IOException">It cannot be opened.</exception>
    /// <exception cref="InvalidDataException">It is another application's file, or of a newer version.</exception>
    public static void Open(IServiceProvider services) => services.GetRequiredService<SqliteGrainStore>();
}
