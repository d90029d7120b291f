using System.Diagnostics;
using System.Net.Sockets;
using ObjectStore.Silo.Configuration;
using ObjectStore.Silo.Observability;
using ObjectStore.Silo.Transport;
using ObjectStore.Storage;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Transport;

namespace ObjectStore.Silo.Hosting;

/// <summary>
/// A process with the role storage: it opens drives and serves them to the nodes of its cluster, with /health and /metrics on the same port. It knows nothing of objects. Opening goes
/// data folder, drives, listener; stopping the other way round, so that every write that was let in is answered before its drive closes.
/// </summary>
internal static class StorageNodeHost
{
    private static readonly TimeSpan HealthTimeout = TimeSpan.FromSeconds(1);

    public static async Task<int> RunAsync(SiloOptions options)
    {
        long started = Stopwatch.GetTimestamp();
        ClusterSecret secret = ClusterSecrets.Load(options) ?? throw new StartException("--roles storage needs the cluster's secret: --cluster-secret-file, or OBJECTSTORE_CLUSTER_SECRET");
        using DataFolder folder = DataFolder.Open(options.DataPath, options.ClusterId, secret.DerivedClusterId);
        using ILoggerFactory logs = LoggerFactory.Create(logging => SiloHost.ConfigureLogging(logging, options));
        using PrometheusExporter exporter = new();
        using Lifetime lifetime = new();
        using SignalLifetime signals = new(lifetime);
        await signals.WaitForStartAsync(CancellationToken.None);

        await using LocalDrives drives = await OpenDrivesAsync(options, folder, new StorageEventLog(logs.CreateLogger("ObjectStore.Storage")), lifetime.ApplicationStopping);
        ILogger logger = logs.CreateLogger("ObjectStore.Transport");
        foreach (SetAsideDrive aside in drives.SetAside) logger.LogError("The folder {Path} is not used as a drive: {Reason}", aside.Path, aside.Reason);
        FragmentServerOptions serverOptions = new()
        {
            ClusterId = folder.ClusterId,
            NodeId = $"{Environment.MachineName}:{options.DataListen!.Port}",
            Host = Environment.MachineName,
            UnforeseenFailure = failure => logger.LogError(failure, "A request of another node failed"),
        };
        using FragmentServer server = new(serverOptions, new Directory(drives), secret, TimeProvider.System);
        ServiceState state = new();
        OperatorEndpoints endpoints = new(state, exporter, new DriveHealth(drives).GetAsync, redundancy: null);
        await using (FragmentListener listener = await ListenAsync(server, options, endpoints))
        {
            state.IsReady = true;
            TimeSpan elapsed = Stopwatch.GetElapsedTime(started);
            Console.Out.WriteLine($"ObjectStore serves drives at {listener.Address.GetLeftPart(UriPartial.Authority)} (cluster {folder.ClusterId}, data in {folder.Root}, {drives.Drives.Count} drive(s), started in {elapsed.TotalMilliseconds:0} ms)");
            Console.Out.WriteLine("Ctrl-C stops it.");
            Console.Out.Flush();
            await lifetime.Stopping;
            state.IsReady = false;
        }

        return 0;
    }

    private static async Task<LocalDrives> OpenDrivesAsync(SiloOptions options, DataFolder folder, IStorageEvents events, CancellationToken stopping)
    {
        try
        {
            StorageOptions storage = new()
            {
                DrivePaths = options.DrivePaths,
                ClusterId = folder.ClusterId,
                VolumeSizeBytes = options.VolumeSizeBytes,
                HeadroomBytes = options.HeadroomBytes,
            };
            return await LocalDrives.OpenAsync(storage, TimeProvider.System, SiloHost.RandomBits, events, stopping);
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

    private sealed class Directory(LocalDrives drives) : IFragmentStoreDirectory
    {
        private readonly Dictionary<Guid, IFragmentStore> _byId = drives.Drives.ToDictionary(drive => drive.DriveId, drive => (IFragmentStore)drive);

        public IReadOnlyCollection<IFragmentStore> All => drives.Drives;

        public IFragmentStore? Find(Guid driveId) => _byId.GetValueOrDefault(driveId);
    }

    /// <summary>What /health shows. A drive that hangs cannot hold the answer: one that has not answered within a second shows as unavailable, and is not asked a second time meanwhile.</summary>
    private sealed class DriveHealth(LocalDrives drives)
    {
        private readonly Slot[] _slots = [.. drives.Drives.Select(drive => new Slot(drive))];

        public async ValueTask<IReadOnlyList<DriveStatistics>> GetAsync() => await Task.WhenAll(_slots.Select(slot => slot.GetAsync()));

        private sealed class Slot(LocalFragmentStore drive)
        {
            private readonly Lock _lock = new();
            private Task<DriveStatistics>? _asked;

            public async Task<DriveStatistics> GetAsync()
            {
                Task<DriveStatistics> asked;
                lock (_lock) asked = _asked = _asked is { IsCompleted: false } ? _asked : drive.GetStatisticsAsync().AsTask();
                await ((Task)asked).WaitAsync(HealthTimeout).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                return asked.IsCompletedSuccessfully
                    ? await asked
                    : new DriveStatistics(drive.DriveId, drive.Path, DriveState.Unavailable, 0, 0, 0, 0, 0, 0, 0, 0, 0);
            }
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
