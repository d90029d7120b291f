using System.Net;
using ObjectStore.Silo.Transport;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Simulation;
using ObjectStore.Storage.Transport;

namespace ObjectStore.Silo.Tests.Transport;

/// <summary>A clock that runs with the machine's, a given time apart from it.</summary>
internal sealed class ShiftedTime(TimeSpan shift) : TimeProvider
{
    public override DateTimeOffset GetUtcNow() => System.GetUtcNow() + shift;
}

/// <summary>A storage node in this process: drives in memory behind the real listener on loopback. It can be stopped and started again on its port.</summary>
internal sealed class ServedDrives : IAsyncDisposable, IFragmentStoreDirectory
{
    public static readonly ClusterSecret Secret = ClusterSecret.Parse("a secret of the tests, long enough");

    private readonly TimeProvider _time;
    private readonly FragmentServerOptions _options;
    private FragmentServer? _server;
    private FragmentListener? _listener;

    private ServedDrives(IReadOnlyList<IFragmentStore> drives, FragmentServerOptions? options, TimeProvider? time)
    {
        All = [.. drives];
        _time = time ?? TimeProvider.System;
        _options = options ?? Options();
    }

    public static Guid ClusterId { get; } = new("11111111-2222-3333-4444-555555555555");

    public List<IFragmentStore> All { get; }

    IReadOnlyCollection<IFragmentStore> IFragmentStoreDirectory.All => All;

    public MemoryFragmentStore Memory => (MemoryFragmentStore)All[0];

    public Uri Address { get; private set; } = new("http://127.0.0.1:0");

    public static FragmentServerOptions Options(int maxRequests = 256, long maxBytes = 64 << 20, int maxDeletes = 1000, long maxUnverified = 16 << 20) => new()
    {
        ClusterId = ClusterId,
        NodeId = "node-1",
        Host = "host-1",
        MaxRequestsPerDrive = maxRequests,
        MaxBytesPerDrive = maxBytes,
        MaxRememberedDeletes = maxDeletes,
        MaxUnverifiedBytes = maxUnverified,
    };

    public static async Task<ServedDrives> StartAsync(FragmentServerOptions? options = null, TimeProvider? time = null, params IFragmentStore[] drives)
    {
        ServedDrives served = new(drives.Length > 0 ? drives : [new MemoryFragmentStore(Guid.NewGuid(), TimeProvider.System)], options, time);
        await served.StartAgainAsync();
        return served;
    }

    public async Task StartAgainAsync()
    {
        _server = new FragmentServer(_options, this, Secret, _time);
        _listener = await FragmentListener.StartAsync(_server, IPAddress.Loopback, Address.Port, logging => logging.ClearProviders(), TimeSpan.FromMilliseconds(100));
        Address = _listener.Address;
    }

    /// <summary>Ends it, with what is under way.</summary>
    public async Task StopAsync()
    {
        if (_listener is not null) await _listener.DisposeAsync();
        _server?.Dispose();
        (_listener, _server) = (null, null);
    }

    public Task<RemoteStorageNode> ConnectAsync(RemoteStorageNodeOptions? options = null, ClusterSecret? secret = null, TimeProvider? time = null) =>
        RemoteStorageNode.ConnectAsync(Address, secret ?? Secret, options ?? Quick(), time, null, TestContext.Current.CancellationToken);

    /// <summary>The defaults with intervals for tests.</summary>
    public static RemoteStorageNodeOptions Quick(double idleSeconds = 5, double busySeconds = 2, int batchBelowBytes = 64 << 10) => new()
    {
        IdleTimeout = TimeSpan.FromSeconds(idleSeconds),
        HelloTimeout = TimeSpan.FromSeconds(Math.Min(idleSeconds, 2)),
        ReconnectInterval = TimeSpan.FromMilliseconds(20),
        BusyTimeout = TimeSpan.FromSeconds(busySeconds),
        BatchBelowBytes = batchBelowBytes,
    };

    public IFragmentStore? Find(Guid driveId) => All.Find(drive => drive.DriveId == driveId);

    public async ValueTask DisposeAsync() => await StopAsync();
}
