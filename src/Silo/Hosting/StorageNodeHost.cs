using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using ObjectStore.Maintenance;
using ObjectStore.Maintenance.Compaction;
using ObjectStore.Maintenance.Throttling;
using ObjectStore.Silo.Configuration;
using ObjectStore.Silo.Observability;
using ObjectStore.Silo.Transport;
using ObjectStore.Storage;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Transport;

namespace ObjectStore.Silo.Hosting;

/// <summary>
/// A process with the role storage: it opens drives, watches and compacts them, and serves them to the nodes of its cluster, with /health and /metrics on the same port. It knows nothing of objects. Opening goes
/// data folder, drives, listener; stopping the other way round, so that every write that was let in is answered before its drive closes.
/// </summary>
internal static class StorageNodeHost
{
    public static async Task<int> RunAsync(SiloOptions options)
    {
        long started = Stopwatch.GetTimestamp();
        ClusterSecret secret = ClusterSecrets.Load(options) ?? throw new StartException("--roles storage needs the cluster's secret: --cluster-secret-file, or OBJECTSTORE_CLUSTER_SECRET");
        using DataFolder folder = DataFolder.Open(options.DataPath, options.ClusterId, secret.DerivedClusterId);
        using ILoggerFactory logs = LoggerFactory.Create(logging => SiloHost.ConfigureLogging(logging, options));
        using PrometheusExporter exporter = new();
        using StopClock stop = new(options.DrainTimeout, TimeProvider.System, logs.CreateLogger("ObjectStore.Stop"));
        using Lifetime lifetime = new();
        using SignalLifetime signals = new(lifetime);
        await signals.WaitForStartAsync(CancellationToken.None);

        FragmentStoreDirectory directory = new();
        StorageEventLog events = new(logs.CreateLogger("ObjectStore.Storage"));
        await using DriveSupervisor drives = await DataPlane.OpenDrivesAsync(
            StorageOptionsOf(options, folder), new DriveSupervisorOptions().ProbeInterval, events, new DriveRoutes<RemoteStorageNode>(directory, Environment.MachineName, node => node.NodeId, events, TimeProvider.System),
            lifetime.ApplicationStopping);
        using DriveGauges gauges = new(() => drives.Health);
        ILogger logger = logs.CreateLogger("ObjectStore.Transport");
        Guid nodeId = folder.LoadNodeId();
        FragmentServerOptions serverOptions = new()
        {
            ClusterId = folder.ClusterId,

            // A port that is given stays the same; a free one is another each time, and two nodes that ask for one must not be taken for each other.
            NodeId = $"{Environment.MachineName}:{(options.DataListen!.Port > 0 ? options.DataListen.Port.ToString(CultureInfo.InvariantCulture) : nodeId.ToString("N")[..12])}",
            Host = Environment.MachineName,
            UnforeseenFailure = failure => logger.LogError(failure, "A request of another node failed"),
        };
        using FragmentServer server = new(serverOptions, directory, secret, TimeProvider.System);
        ServiceState state = new();
        OperatorEndpoints endpoints = new(state, exporter, () => LocalStatistics.GetAsync(drives.Health, directory), redundancy: null);
        await using (FragmentListener listener = await ListenAsync(server, options, endpoints))
        {
            await using BackgroundLoops loops = await BackgroundLoops.StartAsync(directory, logs);
            state.Serve();
            TimeSpan elapsed = Stopwatch.GetElapsedTime(started);
            Console.Out.WriteLine($"ObjectStore serves drives at {listener.Address.GetLeftPart(UriPartial.Authority)} (cluster {folder.ClusterId}, data in {folder.Root}, {directory.All.Count} drive(s), started in {elapsed.TotalMilliseconds:0} ms)");
            Console.Out.WriteLine("Ctrl-C stops it.");
            Console.Out.Flush();
            await lifetime.Stopping;
            state.Stop();
            stop.Begin();
            drives.BeginStop();
            await Task.WhenAll(listener.DisposeAsync().AsTask(), loops.DisposeAsync().AsTask());
            server.Stop();
        }

        stop.Enter("the drives");
        await drives.CloseAsync(stop.LeftForDrives);
        return 0;
    }

    private static StorageOptions StorageOptionsOf(SiloOptions options, DataFolder folder) => new()
    {
        DrivePaths = options.DrivePaths,
        ClusterId = folder.ClusterId,
        VolumeSizeBytes = options.VolumeSizeBytes,
        HeadroomBytes = options.HeadroomBytes,
        FormatNewDrives = options.FormatNewDrives || !folder.HasHadDrives,
    };

    private static async Task<FragmentListener> ListenAsync(FragmentServer server, SiloOptions options, OperatorEndpoints endpoints)
    {
        try
        {
            return await FragmentListener.StartAsync(
                server, options.DataListen!.Address, options.DataListen.Port, logging => SiloHost.ConfigureLogging(logging, options), options.DrainTimeout,
                http =>
                {
                    if (endpoints.Handles(http)) return endpoints.HandleAsync(http);
                    http.Response.StatusCode = StatusCodes.Status404NotFound;
                    return Task.CompletedTask;
                });
        }
        catch (IOException e)
        {
            throw new StartException($"cannot listen on http://{options.DataListen}: the port is in use", e);
        }
        catch (SocketException e)
        {
            throw new StartException($"cannot listen on http://{options.DataListen}: {e.Message}", e);
        }
    }

    /// <summary>
    /// What a storage node does for its drives by itself: it compacts them. How its clients' own clients fare is not known here, so a rate bounds it. Repair and scrub are the business of the node that
    /// has the metadata.
    /// </summary>
    private sealed class BackgroundLoops : IAsyncDisposable
    {
        private const long CompactionBytesPerSecond = 64 << 20;
        private readonly LoadGovernor _governor = new(TimeProvider.System, new LoadGovernorOptions());
        private readonly CompactionService _compaction;
        private int _disposed;

        private BackgroundLoops(FragmentStoreDirectory directory, ILoggerFactory logs)
            => _compaction = new CompactionService(
                () => [.. directory.All.OfType<LocalFragmentStore>().Select(drive => new LocalDriveCompaction(drive))], _governor, TimeProvider.System,
                new Maintenance.Compaction.CompactionOptions { BytesPerSecond = CompactionBytesPerSecond }, logs.CreateLogger<CompactionService>());

        public static async Task<BackgroundLoops> StartAsync(FragmentStoreDirectory directory, ILoggerFactory logs)
        {
            BackgroundLoops loops = new(directory, logs);
            await loops._compaction.StartAsync(CancellationToken.None);
            return loops;
        }

        /// <summary>A compaction that does not end is left to its drive, which does not close before it has ended. Only the first call does anything.</summary>
        public async ValueTask DisposeAsync()
        {
            if (Interlocked.Exchange(ref _disposed, 1) != 0) return;
            using CancellationTokenSource limit = new(StopClock.ServicesLimit);
            await _compaction.StopAsync(limit.Token);
            _compaction.Dispose();
            _governor.Dispose();
        }
    }

    /// <summary>The signals' way to this host, which has no generic host around it.</summary>
    private sealed class Lifetime : IHostApplicationLifetime, IDisposable
    {
        private readonly CancellationTokenSource _stopping = new();
        private readonly TaskCompletionSource _stopped = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public CancellationToken ApplicationStarted => CancellationToken.None;

        public CancellationToken ApplicationStopping => _stopping.Token;

        public CancellationToken ApplicationStopped => CancellationToken.None;

        public Task Stopping => _stopped.Task;

        public void StopApplication()
        {
            _stopping.Cancel();
            _stopped.TrySetResult();
        }

        public void Dispose() => _stopping.Dispose();
    }
}
