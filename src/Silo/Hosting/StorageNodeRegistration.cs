using System.Collections.Immutable;
using ObjectStore.Grains;
using ObjectStore.Silo.Configuration;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using Orleans;

namespace ObjectStore.Silo.Hosting;

/// <summary>Announces this node's drives to its pool at the start.</summary>
internal static class StorageNodeRegistration
{
    public const string Pool = "default";

    public static async Task RegisterAsync(IServiceProvider services, DataFolder folder, IExtentStore extents)
    {
        string node = Environment.MachineName;
        ImmutableArray<PlacementDrive> drives = [.. extents.GetStatistics().Select(drive => new PlacementDrive(drive.DriveId.ToString("N"), node, $"zone/rack/{node}", drive.CapacityBytes))];
        await services.GetRequiredService<IGrainFactory>().GetGrain<IStorageNodeGrain>(node).RegisterAsync(new NodeRegistration(Pool, drives));
    }
}

/// <summary>Tells the node's grain every 5 s that the node lives and what its drives hold.</summary>
internal sealed class StorageNodeHeartbeat(IGrainFactory grains, IExtentStore extents, TimeProvider time, ILogger<StorageNodeHeartbeat> logger) : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(5);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using PeriodicTimer timer = new(Interval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                try
                {
                    await grains.GetGrain<IStorageNodeGrain>(Environment.MachineName).HeartbeatAsync([.. extents.GetStatistics().Select(Report)]);
                }
                catch (Exception e) when (e is not OperationCanceledException)
                {
                    logger.LogWarning(e, "A heartbeat failed; the next one follows in {Interval}", Interval);
                }
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // Stopping.
        }
    }

    private static DriveReport Report(DriveStatistics drive) => new(drive.DriveId.ToString("N"), drive.CapacityBytes, drive.FreeBytes, drive.PoisonedVolumes);
}
