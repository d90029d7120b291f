using System.Collections.Immutable;
using ObjectStore.Silo.Configuration;
using ObjectStore.Silo.Transport;
using ObjectStore.Storage;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Repair;
using ObjectStore.Storage.Transport;

namespace ObjectStore.Silo.Hosting;

/// <summary>
/// The data plane of a node with all roles: the drives of this process, those of storage nodes, and the extent store over both. Until the pool has given its map nothing can be stored or read.
/// </summary>
internal sealed class DataPlane : IAsyncDisposable
{
    private readonly DriveSupervisor _local;
    private readonly FragmentStoreDirectory _directory;
    private readonly List<RemoteStorageNode> _remote = [];
    private readonly Lock _remoteLock = new();
    private readonly Dictionary<RemoteStorageNode, ImmutableArray<Guid>> _remoteDrives = [];
    private FragmentServer? _server;
    private FragmentListener? _listener;

    private DataPlane(DriveSupervisor local, FragmentStoreDirectory directory, ExtentStore extents, SchemePolicy schemes)
        => (_local, _directory, Extents, Schemes) = (local, directory, extents, schemes);

    public ExtentStore Extents { get; }

    public SchemePolicy Schemes { get; }

    public IFragmentStoreDirectory Directory => _directory;

    public IReadOnlyList<LocalFragmentStore> LocalStores => [.. _directory.All.OfType<LocalFragmentStore>()];

    /// <summary>One entry for each configured folder. Never waits for a drive.</summary>
    public IReadOnlyList<DriveHealth> Health => _local.Health;

    /// <summary>The drives of this process. A drive that failed shows as unavailable; one that has not been probed yet is asked now, the others show as of their last probe.</summary>
    public async ValueTask<IReadOnlyList<DriveStatistics>> GetStatisticsAsync()
    {
        List<DriveStatistics> all = [];
        foreach (DriveHealth drive in Health)
        {
            if (drive.DriveId is not { } id) continue;
            DriveStatistics? known = drive.Statistics;
            if (drive.State != DriveHealthState.Failed && known is null && _directory.Find(id) is { } store) known = await AskAsync(store);
            all.Add(drive.State == DriveHealthState.Failed || known is null
                ? new DriveStatistics(id, drive.Path, DriveState.Unavailable, known?.CapacityBytes ?? 0, 0, 0, 0, 0, 0, 0, 0, 0)
                : known);
        }

        return all;
    }

    private static async Task<DriveStatistics?> AskAsync(IFragmentStore store)
    {
        try
        {
            return await store.GetStatisticsAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(1));
        }
        catch (Exception e) when (e is StorageException or TimeoutException or ObjectDisposedException)
        {
            return null; // its supervisor will have more to say
        }
    }

    /// <summary>Makes an empty folder in the place of a drive that was replaced a new one.</summary>
    public Task<DriveHealth> FormatAsync(string path, CancellationToken cancellationToken) => _local.FormatAsync(path, cancellationToken);

    public IReadOnlyList<RemoteStorageNode> RemoteNodes => _remote;

    /// <summary>Opens the drives, and reaches out to the storage nodes; one that is not there joins when it is.</summary>
    /// <exception cref="StartException">No drive can be used, or a storage node refuses.</exception>
    public static async Task<DataPlane> OpenAsync(SiloOptions options, DataFolder folder, NodeMap map, IRepairSink repairs, IStorageEvents events)
    {
        StorageOptions storage = new()
        {
            DrivePaths = options.DrivePaths,
            ClusterId = folder.ClusterId,
            VolumeSizeBytes = options.VolumeSizeBytes,
            HeadroomBytes = options.HeadroomBytes,
            Schemes = options.Schemes.Policy,
        };
        FragmentStoreDirectory directory = new();
        DriveSupervisor local;
        try
        {
            TimeSpan probe = options.DownOutAfter < TimeSpan.FromSeconds(5) ? TimeSpan.FromSeconds(1) : TimeSpan.FromSeconds(5);
            local = await DriveSupervisor.OpenAsync(
                storage, new DriveSupervisorOptions { ProbeInterval = probe }, TimeProvider.System, SiloHost.RandomBits, events, new DriveSet(directory));
        }
        catch (StorageException e)
        {
            throw new StartException(e.Message, e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new StartException($"a drive cannot be opened: {e.Message}", e);
        }

        ExtentStore extents = new(storage, new ExtentStoreServices(directory, TimeProvider.System, SiloHost.RandomBits, events, repairs), map.Current ?? ClusterMap.Unknown);
        DataPlane plane = new(local, directory, extents, options.Schemes.Policy);
        map.Changed += extents.UpdateMap;
        try
        {
            await plane.ConnectAsync(options, folder, events);
        }
        catch
        {
            await plane.DisposeAsync();
            throw;
        }

        return plane;
    }

    /// <summary>Serves the local drives to other nodes, where that was asked for.</summary>
    /// <exception cref="StartException">The address cannot be listened on.</exception>
    public async Task ServeAsync(SiloOptions options, DataFolder folder, ILogger logger)
    {
        if (options.DataListen is not { } address) return;
        ClusterSecret secret = ClusterSecrets.Load(options) ?? throw new StartException("--data-listen needs the cluster's secret: --cluster-secret-file, or OBJECTSTORE_CLUSTER_SECRET");
        _server = new FragmentServer(
            new FragmentServerOptions
            {
                ClusterId = folder.ClusterId,
                NodeId = Environment.MachineName,
                Host = Environment.MachineName,
                UnforeseenFailure = failure => logger.LogError(failure, "A request of another node failed"),
            },
            _directory, secret, TimeProvider.System);
        try
        {
            _listener = await FragmentListener.StartAsync(_server, address.Address, address.Port, logging => SiloHost.ConfigureLogging(logging, options), options.DrainTimeout);
        }
        catch (Exception e) when (e is IOException or System.Net.Sockets.SocketException)
        {
            throw new StartException($"cannot listen on http://{address}: {e.Message}", e);
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_listener is not null) await _listener.DisposeAsync();
        _server?.Dispose();
        await Extents.DisposeAsync();
        foreach (RemoteStorageNode node in _remote) await node.DisposeAsync();
        await _local.DisposeAsync();
    }

    private async Task ConnectAsync(SiloOptions options, DataFolder folder, IStorageEvents events)
    {
        if (options.StorageNodes.Count == 0) return;
        ClusterSecret secret = ClusterSecrets.Load(options) ?? throw new StartException("--storage-nodes needs the cluster's secret: --cluster-secret-file, or OBJECTSTORE_CLUSTER_SECRET");
        foreach (Uri address in options.StorageNodes)
        {
            try
            {
                RemoteStorageNode node = await RemoteStorageNode.ConnectAsync(address, secret, new RemoteStorageNodeOptions { ClusterId = folder.ClusterId }, events: events);
                _remote.Add(node);
                node.Changed += Follow;
                Follow(node);
            }
            catch (StorageException e)
            {
                throw new StartException(e.Message, e);
            }
        }
    }

    /// <summary>Drives that the node names are ways to drives; those that it names no longer are none.</summary>
    private void Follow(RemoteStorageNode node)
    {
        lock (_remoteLock)
        {
            IReadOnlyList<IFragmentStore> drives = node.Drives;
            foreach (Guid gone in _remoteDrives.GetValueOrDefault(node, []).Where(id => drives.All(drive => drive.DriveId != id)))
                _directory.Remove(gone);
            foreach (IFragmentStore drive in drives)
            {
                // The same drive in this process comes first.
                if (_directory.Find(drive.DriveId) is not { IsLocal: true }) _directory.Set(drive);
            }

            _remoteDrives[node] = [.. drives.Select(drive => drive.DriveId)];
        }
    }

    private sealed class DriveSet(FragmentStoreDirectory directory) : IDriveSet
    {
        public void Add(IFragmentStore store) => directory.Set(store);

        public void Remove(Guid driveId) => directory.Remove(driveId);
    }
}
