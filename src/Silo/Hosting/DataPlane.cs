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
    private readonly DriveRoutes<RemoteStorageNode> _routes;
    private readonly Namesakes<RemoteStorageNode> _namesakes;
    private readonly StopClock _stop;
    private readonly Lock _serving = new();
    private readonly Lock _following = new();
    private FragmentServer? _server;
    private FragmentListener? _listener;
    private bool _stopping;
    private Task _listenerEnd = Task.CompletedTask;

    private DataPlane(DriveSupervisor local, FragmentStoreDirectory directory, DriveRoutes<RemoteStorageNode> routes, Namesakes<RemoteStorageNode> namesakes, ExtentStore extents, SchemePolicy schemes, StopClock stop)
        => (_local, _directory, _routes, _namesakes, Extents, Schemes, _stop) = (local, directory, routes, namesakes, extents, schemes, stop);

    public ExtentStore Extents { get; }

    public SchemePolicy Schemes { get; }

    public IFragmentStoreDirectory Directory => _directory;

    public IReadOnlyList<LocalFragmentStore> LocalStores => [.. _directory.All.OfType<LocalFragmentStore>()];

    /// <summary>One entry for each configured folder. Never waits for a drive.</summary>
    public IReadOnlyList<DriveHealth> Health => _local.Health;

    /// <summary>The drives of this process. A drive that failed shows as unavailable; one that has not been probed yet is asked now, the others show as of their last probe.</summary>
    public ValueTask<IReadOnlyList<DriveStatistics>> GetStatisticsAsync() => LocalStatistics.GetAsync(Health, _directory);

    /// <summary>As <see cref="GetStatisticsAsync"/>, and the drives of storage nodes; of those without the ones that do not answer at once.</summary>
    public async Task<IReadOnlyList<DriveStatistics>> GetPoolStatisticsAsync(CancellationToken cancellationToken)
    {
        (DriveStatistics? Statistics, string)[] remote = await Task.WhenAll(
            _directory.All.Where(drive => !drive.IsLocal).Select(drive => DriveQuestions.AskAsync(drive, LocalStatistics.Limit, TimeProvider.System, cancellationToken)));
        return [.. await GetStatisticsAsync(), .. remote.Select(answer => answer.Statistics).OfType<DriveStatistics>()];
    }

    /// <summary>The drives of this process that are in use. One that does not say in time how large it is counts as of a size that is not known.</summary>
    public async Task<IReadOnlyList<NodeDrive>> GetDrivesInUseAsync(CancellationToken cancellationToken)
    {
        Dictionary<Guid, DriveStatistics> probed = LocalDriveHealth.OnePerDrive(Health).Where(drive => drive is { DriveId: not null, Statistics: not null }).ToDictionary(drive => drive.DriveId!.Value, drive => drive.Statistics!);
        return await Task.WhenAll(LocalStores.Select(async store =>
        {
            DriveStatistics? known = probed.GetValueOrDefault(store.DriveId) ?? (await DriveQuestions.AskAsync(store, DriveQuestions.Limit, TimeProvider.System, cancellationToken)).Statistics;
            return new NodeDrive(store.DriveId, store.Path, known?.CapacityBytes ?? 0);
        }));
    }

    /// <summary>Makes an empty folder in the place of a drive that was replaced a new one.</summary>
    public Task<DriveHealth> FormatAsync(string path, CancellationToken cancellationToken) => _local.FormatAsync(path, cancellationToken);

    /// <summary>The storage nodes that answer. Without those that go by the name of another, whose drives are not used from here on.</summary>
    public IReadOnlyList<RemoteStorageNode> GetAnsweringNodes()
    {
        IReadOnlyList<RemoteStorageNode> answering = _namesakes.Sift(_remote.Where(node => node.IsReachable), _server?.Run, out IReadOnlyList<RemoteStorageNode> changed);
        foreach (RemoteStorageNode node in changed) Follow(node);
        return answering;
    }

    /// <summary>By which nodes the pool knows drives; told once, before the storage nodes' drives are announced to it.</summary>
    public void ExpectDrives(IReadOnlyDictionary<Guid, string> nodeIds) => _routes.Expect(nodeIds);

    /// <summary>The drives that a storage node named last, without copies of drives that are elsewhere.</summary>
    public IReadOnlyList<IFragmentStore> DrivesOf(RemoteStorageNode node) => _routes.DrivesOf(node);

    /// <summary>Opens the drives, and reaches out to the storage nodes; one that is not there joins when it is.</summary>
    /// <exception cref="StartException">No drive can be used, or a storage node refuses.</exception>
    public static async Task<DataPlane> OpenAsync(SiloOptions options, DataFolder folder, NodeMap map, IRepairSink repairs, IStorageEvents events, StopClock stop)
    {
        StorageOptions storage = new()
        {
            DrivePaths = options.DrivePaths,
            ClusterId = folder.ClusterId,
            VolumeSizeBytes = options.VolumeSizeBytes,
            HeadroomBytes = options.HeadroomBytes,
            Schemes = options.Schemes.Policy,
            FormatNewDrives = options.FormatNewDrives || !folder.HasHadDrives,
        };
        FragmentStoreDirectory directory = new();
        DriveRoutes<RemoteStorageNode> routes = new(directory, Environment.MachineName, node => node.NodeId, events, TimeProvider.System);
        TimeSpan probe = options.DownOutAfter < TimeSpan.FromSeconds(5) ? TimeSpan.FromSeconds(1) : TimeSpan.FromSeconds(5);
        DriveSupervisor local = await OpenDrivesAsync(storage, probe, events, routes, CancellationToken.None);
        ExtentStore extents = new(storage, new ExtentStoreServices(directory, TimeProvider.System, SiloHost.RandomBits, events, repairs), map.Current ?? ClusterMap.Unknown);
        Namesakes<RemoteStorageNode> namesakes = new(Environment.MachineName, node => node.Run, node => node.Address.Authority, events);
        DataPlane plane = new(local, directory, routes, namesakes, extents, options.Schemes.Policy, stop);
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

    /// <exception cref="StartException">No drive can be used.</exception>
    internal static async Task<DriveSupervisor> OpenDrivesAsync(StorageOptions storage, TimeSpan probe, IStorageEvents events, IDriveSet set, CancellationToken stopping)
    {
        try
        {
            return await DriveSupervisor.OpenAsync(storage, new DriveSupervisorOptions { ProbeInterval = probe }, TimeProvider.System, SiloHost.RandomBits, events, set, stopping);
        }
        catch (StorageException e)
        {
            throw new StartException(e.Message, e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new StartException($"a drive cannot be opened: {e.Message}", e);
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            throw new StartException("stopped while the drives were being opened");
        }
    }

    /// <summary>Serves the local drives to other nodes, where that was asked for; not once the stop has begun. Called once.</summary>
    /// <exception cref="StartException">The address cannot be listened on.</exception>
    public async Task ServeAsync(SiloOptions options, DataFolder folder, ILogger logger)
    {
        if (options.DataListen is not { } address) return;
        lock (_serving)
        {
            if (_stopping) return;
        }

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
            FragmentListener listener = await FragmentListener.StartAsync(_server, address.Address, address.Port, logging => SiloHost.ConfigureLogging(logging, options), options.DrainTimeout);
            lock (_serving)
            {
                _listener = listener;
                if (_stopping) EndListener();
            }
        }
        catch (Exception e) when (e is IOException or System.Net.Sockets.SocketException)
        {
            throw new StartException($"cannot listen on http://{address}: {e.Message}", e);
        }
    }

    /// <summary>The process is about to stop: drives that hang are given up, and other nodes are no longer served. Does not block.</summary>
    public void BeginStop()
    {
        _local.BeginStop();
        lock (_serving)
        {
            _stopping = true;
            EndListener();
        }
    }

    /// <summary>Ends what uses the drives and then closes them, in order, whatever fails on the way: a drive that is not closed is recovered at the next start, which takes long.</summary>
    /// <exception cref="AggregateException">What failed.</exception>
    public async ValueTask DisposeAsync()
    {
        List<Exception> failures = [];
        _stop.Enter("requests of other nodes");
        await TryAsync(() => _listenerEnd);
        await TryAsync(() => _listener?.DisposeAsync().AsTask() ?? Task.CompletedTask);
        await TryAsync(() =>
        {
            _server?.Dispose();
            return Task.CompletedTask;
        });
        _stop.Enter("writes in the background");
        await TryAsync(() => Extents.DisposeAsync().AsTask());
        foreach (Task end in _remote.Select(node => TryAsync(() => node.DisposeAsync().AsTask())).ToArray()) await end;
        _stop.Enter("the drives");
        await TryAsync(() => _local.CloseAsync(_stop.LeftForDrives));
        _stop.Enter("the metadata");
        if (failures.Count > 0) throw new AggregateException("The data plane was not stopped in order.", failures);

        async Task TryAsync(Func<Task> end)
        {
            try
            {
                await end();
            }
            catch (Exception e)
            {
                lock (failures) failures.Add(e);
            }
        }
    }

    /// <summary>Its requests have as long to end as those of S3, and at the same time. Holds <see cref="_serving"/>.</summary>
    private void EndListener()
    {
        if (_listener is { } listener) _listenerEnd = Task.Run(() => listener.DisposeAsync().AsTask());
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

    private void Follow(RemoteStorageNode node)
    {
        // From the start and from the node's watch: who asked first must not have the last word.
        lock (_following)
        {
            if (_namesakes.IsAside(node)) _routes.Follow(node, [], isReachable: false);
            else _routes.Follow(node, node.Drives, node.IsReachable);
        }
    }
}
