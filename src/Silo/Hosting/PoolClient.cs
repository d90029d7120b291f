using System.Collections.Immutable;
using ObjectStore.Grains;
using ObjectStore.Maintenance.Repair;
using ObjectStore.Silo.Configuration;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Transport;
using Orleans;

namespace ObjectStore.Silo.Hosting;

/// <summary>This node's way to the grain that owns the cluster map. Thread-safe.</summary>
internal sealed class PoolClient(IGrainFactory grains, NodeMap map) : ISlotCompletion
{
    private IPlacementGrain Grain => grains.GetGrain<IPlacementGrain>(StorageNodeRegistration.Pool);

    /// <inheritdoc/>
    public async ValueTask CompleteAsync(IReadOnlyList<SlotCompletion> slots, CancellationToken cancellationToken = default)
    {
        await Grain.CompleteSlotsAsync([.. slots.Select(slot => new FilledSlot(slot.Group.Value, slot.Slot, slot.Drive.ToString("N"), slot.Epoch))]).WaitAsync(cancellationToken);
        await RefreshAsync(cancellationToken);
    }

    /// <summary>Carries out what an operator orders for a drive.</summary>
    public async Task<DriveChange> SetDriveAsync(Guid drive, DriveOrder order, CancellationToken cancellationToken)
    {
        DriveChange change = await Grain.SetDriveAsync(drive.ToString("N"), order).WaitAsync(cancellationToken);
        await RefreshAsync(cancellationToken);
        return change;
    }

    public Task<ImmutableArray<PoolDrive>> GetDrivesAsync() => Grain.GetDrivesAsync();

    public Task<NodeStatus> GetNodeAsync(string node) => grains.GetGrain<IStorageNodeGrain>(node).GetStatusAsync();

    private async Task RefreshAsync(CancellationToken cancellationToken)
    {
        if (await Grain.GetMapAsync(map.Current?.Epoch ?? -1).WaitAsync(cancellationToken) is { } newer) map.Update(newer);
    }
}

/// <summary>
/// Speaks for storage nodes, which know nothing of grains: registers their drives, and gives their sign of life while they answer. A node that does not answer is silent, and its grain draws
/// the conclusions.
/// </summary>
internal sealed class StorageNodeKeeper(IGrainFactory grains, DataPlane plane, Topology topology, NodeMap map, TimeProvider time, ILogger<StorageNodeKeeper> logger) : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(5);
    private readonly Dictionary<string, ImmutableHashSet<Guid>> _registered = [];

    /// <summary>One round; before the node is ready, so that the first map has these drives.</summary>
    public async Task BeatAsync(CancellationToken cancellationToken)
    {
        foreach (RemoteStorageNode node in plane.RemoteNodes.Where(node => node.IsReachable))
        {
            try
            {
                await BeatAsync(node, cancellationToken);
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                logger.LogWarning(e, "The heartbeat of storage node {Node} failed; the next one follows in {Interval}", node.Address, Interval);
            }
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using PeriodicTimer timer = new(Interval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken)) await BeatAsync(stoppingToken);
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // Stopping.
        }
    }

    private async Task BeatAsync(RemoteStorageNode node, CancellationToken cancellationToken)
    {
        IReadOnlyList<IFragmentStore> drives = node.Drives;
        DriveStatistics[] statistics = await Task.WhenAll(drives.Select(drive => drive.GetStatisticsAsync(cancellationToken).AsTask()));
        IStorageNodeGrain grain = grains.GetGrain<IStorageNodeGrain>(node.NodeId);
        ImmutableHashSet<Guid> ids = [.. drives.Select(drive => drive.DriveId)];
        if (!_registered.TryGetValue(node.NodeId, out ImmutableHashSet<Guid>? known) || !known.SetEquals(ids))
        {
            DrivePlace place = topology.PlaceOf(node.NodeId, node.Host);
            ImmutableArray<PlacementDrive> announced =
                [.. statistics.Select(drive => new PlacementDrive(drive.DriveId.ToString("N"), new DriveDomain(place.Region, place.Zone, place.Rack, place.Host), drive.CapacityBytes, place.Weight))];
            map.Update(await grain.RegisterAsync(new NodeRegistration(StorageNodeRegistration.Pool, node.NodeId, announced, map.Encoded)).WaitAsync(cancellationToken));
            _registered[node.NodeId] = ids;
        }

        NodeHeartbeat heartbeat = new(map.Current?.Epoch ?? 0, NodeDrives.Of(statistics));
        if (await grain.HeartbeatAsync(heartbeat).WaitAsync(cancellationToken) is { } newer) map.Update(newer);
    }
}
