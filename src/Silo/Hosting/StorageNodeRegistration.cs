using System.Collections.Immutable;
using ObjectStore.Grains;
using ObjectStore.Silo.Configuration;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using Orleans;

namespace ObjectStore.Silo.Hosting;

/// <summary>What the node tells of its drives; called from the heartbeat, every few seconds.</summary>
internal sealed record NodeDrives(Func<IReadOnlyList<DriveHealth>> Health)
{
    /// <summary>Each drive once; folders whose drive cannot be told are all there.</summary>
    public ImmutableArray<DriveReport> Reports() =>
    [
        .. LocalDriveHealth.OnePerDrive(Health()).Select(drive => new DriveReport(
            drive.DriveId?.ToString("N") ?? "", drive.Statistics?.CapacityBytes ?? 0, drive.Statistics?.FreeBytes ?? 0, drive.RecentErrors.IoErrors + drive.RecentErrors.PoisonedVolumes + drive.RecentErrors.CorruptFragments,
            drive.State switch { DriveHealthState.Failed => DriveCondition.Failed, DriveHealthState.Full => DriveCondition.Full, _ => DriveCondition.Working },
            drive.Path, drive.Reason.Length == 0 ? null : drive.Reason)),
    ];

    /// <summary>As the drives of a storage node tell it, asked all at once. One that fails or does not answer in time is reported as failed; the others are none the worse.</summary>
    public static async Task<ImmutableArray<DriveReport>> AskAsync(IReadOnlyList<IFragmentStore> drives, TimeSpan limit, TimeProvider time, CancellationToken cancellationToken) =>
    [
        .. await Task.WhenAll(drives.Select(async drive =>
        {
            (DriveStatistics? statistics, string reason) = await DriveQuestions.AskAsync(drive, limit, time, cancellationToken);
            return statistics is null
                ? new DriveReport(drive.DriveId.ToString("N"), 0, 0, 0, DriveCondition.Failed, Reason: reason)
                : new DriveReport(
                    drive.DriveId.ToString("N"), statistics.CapacityBytes, statistics.FreeBytes, statistics.PoisonedVolumes,
                    statistics.State switch
                    {
                        DriveState.Unavailable or DriveState.Closed => DriveCondition.Failed,
                        DriveState.Full => DriveCondition.Full,
                        _ => DriveCondition.Working,
                    },
                    statistics.Path);
        })),
    ];
}

/// <summary>
/// The cluster map that this node goes by: the newest it has heard of, kept in its data folder. It is durable there before it is acted on, so that what the node stores under a map can be found
/// after the pool has lost it. Thread-safe.
/// </summary>
internal sealed class NodeMap
{
    private readonly string _folder;
    private readonly Lock _lock = new();
    private volatile Known? _known;

    private NodeMap(string folder, Known? known) => (_folder, _known) = (folder, known);

    /// <summary>Null before the node has heard of one.</summary>
    public ClusterMap? Current => _known?.Map;

    /// <summary>The same in bytes, as it goes into a registration. Not to be changed.</summary>
    public byte[]? Encoded => _known?.Encoded;

    /// <summary>Called with every new map, one at a time, after it is durable and before <see cref="Update"/> returns. Must be quick and not throw.</summary>
    public event Action<ClusterMap>? Changed;

    /// <summary>Takes the map of the folder. A damaged one is as good as none, since the pool has it: it is said in the log.</summary>
    public static NodeMap Open(string folder, ILogger logger)
    {
        try
        {
            return new NodeMap(folder, ClusterMapFile.Load(folder) is { } map ? new Known(map, ClusterMapFormat.Encode(map)) : null);
        }
        catch (ClusterMapFormatException e)
        {
            logger.LogError(e, "The cluster map in {Folder} is set aside; the pool is asked for its own", folder);
            return new NodeMap(folder, null);
        }
    }

    /// <summary>Takes a map where it is newer than the one that is known.</summary>
    /// <exception cref="IOException">It cannot be made durable; the node goes on by the one before.</exception>
    /// <exception cref="ClusterMapFormatException">It is damaged.</exception>
    public void Update(PlacementMap map)
    {
        if (map.Encoded.Length == 0) return;
        lock (_lock)
        {
            if (map.Epoch <= (_known?.Map.Epoch ?? 0)) return;
            ClusterMap decoded = ClusterMapFormat.Decode(map.Encoded);
            ClusterMapFile.Save(_folder, map.Encoded);
            _known = new Known(decoded, map.Encoded);
            Changed?.Invoke(decoded);
        }
    }

    private sealed record Known(ClusterMap Map, byte[] Encoded);
}

/// <summary>Announces this node's drives to its pool: at the start, and whenever there is one that the pool has not been told of. Thread-safe.</summary>
/// <param name="inUse">The drives that are in use; their folders are among <paramref name="drivePaths"/>.</param>
internal sealed class StorageNodeRegistration(
    IGrainFactory grains, string node, Func<CancellationToken, Task<IReadOnlyList<NodeDrive>>> inUse, Topology topology, IReadOnlyList<string> drivePaths, NodeMap map,
    AnnouncedDrives announced) : IDisposable
{
    public const string Pool = "default";

    private readonly SemaphoreSlim _one = new(1, 1);
    private bool _isRegistered;

    /// <summary>Registers where something is new, and takes the pool's map, which has the drives.</summary>
    /// <exception cref="StartException">The topology names a drive that the node does not have.</exception>
    /// <exception cref="IOException">The map cannot be made durable here; the pool has the drives.</exception>
    public async Task RegisterAsync(CancellationToken cancellationToken)
    {
        await _one.WaitAsync(cancellationToken);
        try
        {
            IReadOnlyList<NodeDrive> drives = await inUse(cancellationToken);
            if (_isRegistered && !announced.IsBehind(node, drives)) return;
            Dictionary<string, DrivePlace> places = drivePaths.Zip(topology.PlacesOf(node, drivePaths)).ToDictionary(pair => Topology.FolderOf(pair.First), pair => pair.Second, StringComparer.Ordinal);
            ImmutableArray<PlacementDrive> registered = [.. drives.Select(drive => Announce(drive, places[Topology.FolderOf(drive.Path)]))];
            PlacementMap newest = await grains.GetGrain<IStorageNodeGrain>(node).RegisterAsync(new NodeRegistration(Pool, node, registered, map.Encoded)).WaitAsync(cancellationToken);
            _isRegistered = true;
            announced.Add(node, drives);
            map.Update(newest);
        }
        finally
        {
            _one.Release();
        }
    }

    public void Dispose() => _one.Dispose();

    public static PlacementDrive Announce(NodeDrive drive, DrivePlace place) =>
        new(drive.Id.ToString("N"), new DriveDomain(place.Region, place.Zone, place.Rack, place.Host), drive.CapacityBytes, place.Weight);
}

/// <summary>Tells the node's grain every 5 s that the node lives and how its drives are, and hears of new maps.</summary>
internal sealed class StorageNodeHeartbeat(IGrainFactory grains, NodeDrives drives, StorageNodeRegistration registration, NodeMap map, TimeProvider time, ILogger<StorageNodeHeartbeat> logger) : BackgroundService
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
                    await RegisterAsync(stoppingToken);
                    NodeHeartbeat heartbeat = new(map.Current?.Epoch ?? 0, drives.Reports());
                    if (await grains.GetGrain<IStorageNodeGrain>(Environment.MachineName).HeartbeatAsync(heartbeat).WaitAsync(stoppingToken) is { } newer) map.Update(newer);
                }
                catch (Exception e) when (!stoppingToken.IsCancellationRequested)
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
    /// <summary>A drive that cannot be announced must not make the node fall silent.</summary>
    private async Task RegisterAsync(CancellationToken stoppingToken)
    {
        try
        {
            await registration.RegisterAsync(stoppingToken);
        }
        catch (Exception e) when (!stoppingToken.IsCancellationRequested)
        {
            logger.LogWarning(e, "The drives of this node cannot be announced to the pool; it is tried again in {Interval}", Interval);
        }
    }
}
