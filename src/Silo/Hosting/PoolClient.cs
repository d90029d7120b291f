using System.Collections.Immutable;
using ObjectStore.Grains;
using ObjectStore.Maintenance.Repair;
using ObjectStore.Silo.Configuration;
using ObjectStore.Storage;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Transport;
using Orleans;

namespace ObjectStore.Silo.Hosting;

/// <summary>This node's way to the grain that owns the cluster map. Thread-safe.</summary>
internal sealed class PoolClient(IGrainFactory grains, NodeMap map, ILogger<PoolClient> logger) : ISlotCompletion, IMapOwner, IDisposable
{
    // A writer waits here with its buffers, and no longer than for its drives.
    private readonly OneAsks _oneAsks = new(new StorageOptions().WriteTimeout, TimeProvider.System);

    private IPlacementGrain Grain => grains.GetGrain<IPlacementGrain>(StorageNodeRegistration.Pool);

    /// <inheritdoc/>
    public async ValueTask CompleteAsync(IReadOnlyList<SlotCompletion> slots, CancellationToken cancellationToken = default)
    {
        await Grain.CompleteSlotsAsync([.. slots.Select(slot => new FilledSlot(slot.Group.Value, slot.Slot, slot.Drive.ToString("N"), slot.Epoch))]).WaitAsync(cancellationToken);
        await FollowAsync(cancellationToken);
    }

    /// <inheritdoc/>
    public ValueTask RequireGroupsAsync(Scheme scheme, CancellationToken cancellationToken = default) => AskAsync(
        () => map.Current is { WritableDrives: > 0 } known && known.Widths.Contains(scheme.Narrow(known.WritableDrives).Width), async () => await Grain.RequireGroupsAsync(scheme.Id), cancellationToken);

    /// <inheritdoc/>
    public ValueTask RefreshAsync(CancellationToken cancellationToken = default)
    {
        long known = map.Current?.Epoch ?? 0;
        return AskAsync(() => (map.Current?.Epoch ?? 0) > known, () => Grain.GetMapAsync(known), cancellationToken);
    }

    public void Dispose() => _oneAsks.Dispose();

    /// <summary>Carries out what an operator orders for a drive.</summary>
    /// <param name="force">See <see cref="IPlacementGrain.SetDriveAsync"/>.</param>
    public async Task<DriveChange> SetDriveAsync(Guid drive, DriveOrder order, bool force, CancellationToken cancellationToken)
    {
        DriveChange change = await Grain.SetDriveAsync(drive.ToString("N"), order, force).WaitAsync(cancellationToken);
        await FollowAsync(cancellationToken);
        return change;
    }

    public Task<ImmutableArray<PoolDrive>> GetDrivesAsync() => Grain.GetDrivesAsync();

    public Task<NodeStatus> GetNodeAsync(string node) => grains.GetGrain<IStorageNodeGrain>(node).GetStatusAsync();

    private ValueTask AskAsync(Func<bool> isKnown, Func<Task<PlacementMap?>> ask, CancellationToken cancellationToken) => _oneAsks.AskAsync(
        isKnown,
        async stop =>
        {
            try
            {
                // Durable in this node's folder too before anybody acts on it.
                if (await ask().WaitAsync(stop) is { } newer) map.Update(newer);
            }
            catch (Exception e) when (e is not OperationCanceledException || !cancellationToken.IsCancellationRequested)
            {
                logger.LogWarning(e, "The pool's newest cluster map cannot be had; who needs it is told to try again");
                throw new PlacementUnavailableException("the pool's newest map cannot be had", e);
            }
        },
        cancellationToken);

    private async Task FollowAsync(CancellationToken cancellationToken)
    {
        try
        {
            if (await Grain.GetMapAsync(map.Current?.Epoch ?? -1).WaitAsync(cancellationToken) is { } newer) map.Update(newer);
        }
        catch (IOException e)
        {
            // What was asked for is durable in the pool; only this node's own copy is behind, and the next heartbeat brings it again.
            logger.LogError(e, "The new cluster map cannot be written; this node goes by the one before");
        }
    }
}

/// <summary>
/// Speaks for storage nodes, which know nothing of grains: registers their drives, and gives their sign of life while they answer. A node that does not answer is silent, and its grain draws
/// the conclusions.
/// </summary>
internal sealed class StorageNodeKeeper(
    IGrainFactory grains, DataPlane plane, Topology topology, NodeMap map, AnnouncedDrives announced, TimeProvider time, ILogger<StorageNodeKeeper> logger) : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(5);

    // A node is missed after 15 s of silence: one drive of it must not cost the others so much.
    private static readonly TimeSpan AnswerLimit = TimeSpan.FromSeconds(3);

    private readonly SemaphoreSlim _first = new(1, 1);
    private bool _isExpecting;

    /// <summary>One round, all nodes at once; before the node is ready, so that the first map has these drives.</summary>
    public async Task BeatAsync(CancellationToken cancellationToken)
    {
        await ExpectAsync(cancellationToken);
        await BeatAllAsync(cancellationToken);
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        base.Dispose();
        _first.Dispose();
    }

    /// <summary>Before anything is announced, which would make the pool know drives by other nodes.</summary>
    private async Task ExpectAsync(CancellationToken cancellationToken)
    {
        await _first.WaitAsync(cancellationToken);
        try
        {
            if (_isExpecting) return;
            ImmutableArray<PoolDrive> drives = await grains.GetGrain<IPlacementGrain>(StorageNodeRegistration.Pool).GetDrivesAsync().WaitAsync(cancellationToken);
            plane.ExpectDrives(drives.ToDictionary(drive => Guid.Parse(drive.DriveId), drive => drive.NodeId));
            _isExpecting = true;
        }
        finally
        {
            _first.Release();
        }
    }

    private Task BeatAllAsync(CancellationToken cancellationToken) => Task.WhenAll(plane.GetAnsweringNodes().Select(async node =>
    {
        try
        {
            await BeatAsync(node, cancellationToken);
        }
        catch (Exception e) when (!cancellationToken.IsCancellationRequested)
        {
            logger.LogWarning(e, "The heartbeat of storage node {Node} failed; the next one follows in {Interval}", node.Address, Interval);
        }
    }));

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using PeriodicTimer timer = new(Interval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                try
                {
                    await BeatAsync(stoppingToken);
                }
                catch (Exception e) when (!stoppingToken.IsCancellationRequested)
                {
                    logger.LogWarning(e, "The pool cannot be asked for its drives; it is tried again in {Interval}", Interval);
                }
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // Stopping.
        }
    }

    private async Task BeatAsync(RemoteStorageNode node, CancellationToken cancellationToken)
    {
        ImmutableArray<DriveReport> reports = await NodeDrives.AskAsync(plane.DrivesOf(node), AnswerLimit, time, cancellationToken);
        IStorageNodeGrain grain = grains.GetGrain<IStorageNodeGrain>(node.NodeId);
        try
        {
            await AnnounceAsync(node, grain, reports, cancellationToken);
        }
        catch (Exception e) when (!cancellationToken.IsCancellationRequested)
        {
            // The drives that the pool knows must not be missed for the sake of one that it cannot take.
            logger.LogWarning(e, "The drives of storage node {Node} cannot be announced to the pool; it is tried again in {Interval}", node.Address, Interval);
        }

        if (await grain.HeartbeatAsync(new NodeHeartbeat(map.Current?.Epoch ?? 0, reports)).WaitAsync(cancellationToken) is { } newer) map.Update(newer);
    }

    private async Task AnnounceAsync(RemoteStorageNode node, IStorageNodeGrain grain, ImmutableArray<DriveReport> reports, CancellationToken cancellationToken)
    {
        // One that does not answer is not announced: that would say that it is there.
        NodeDrive[] drives = [.. reports.Where(report => report.Condition != DriveCondition.Failed).Select(report => new NodeDrive(Guid.Parse(report.DriveId), report.Path ?? "", report.CapacityBytes))];
        if (!announced.IsBehind(node.NodeId, drives)) return;
        DrivePlace place = topology.PlaceOf(node.NodeId, node.Host);
        PlacementMap newest = await grain.RegisterAsync(
            new NodeRegistration(StorageNodeRegistration.Pool, node.NodeId, [.. drives.Select(drive => StorageNodeRegistration.Announce(drive, place))], map.Encoded)).WaitAsync(cancellationToken);
        announced.Add(node.NodeId, drives);
        map.Update(newest);
    }
}
