using System.Net;
using Microsoft.Extensions.Logging;
using ObjectStore.Silo.Transport;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Simulation;
using ObjectStore.Storage.Transport;

namespace ObjectStore.Benchmarks.Transport;

/// <summary>Fragments to and from a drive in memory behind the data plane's listener, client and server in this process, over loopback. Checksums and signatures included.</summary>
public abstract class FragmentTransportBenchmark(int callers, int sizeBytes) : Benchmark, IFragmentStoreDirectory
{
    private const int ChunkBytes = 64 << 10;
    private const int Fragments = 16;
    private readonly MemoryFragmentStore _memory = new(Guid.NewGuid(), TimeProvider.System);
    private FragmentServer? _server;
    private FragmentListener? _listener;
    private RemoteStorageNode? _node;
    private byte[][] _destinations = [];

    public override long BytesPerOperation => sizeBytes;

    public IReadOnlyCollection<IFragmentStore> All => [_memory];

    protected FragmentWrite[] Stored { get; private set; } = [];

    protected IFragmentStore Drive => _node!.Drives[0];

    public IFragmentStore? Find(Guid driveId) => driveId == _memory.DriveId ? _memory : null;

    public override void Setup()
    {
        ClusterSecret secret = ClusterSecret.Parse("the secret of the benchmark");
        _server = new FragmentServer(new FragmentServerOptions { ClusterId = Guid.NewGuid(), NodeId = "node", Host = "host" }, this, secret, TimeProvider.System);
        _listener = FragmentListener.StartAsync(_server, IPAddress.Loopback, 0, logging => logging.ClearProviders(), TimeSpan.Zero).GetAwaiter().GetResult();
        _node = RemoteStorageNode.ConnectAsync(_listener.Address, secret).GetAwaiter().GetResult();
        _destinations = [.. Enumerable.Range(0, callers).Select(_ => new byte[sizeBytes])];
        Stored = [.. Enumerable.Range(0, Fragments).Select(i => Make((ulong)i))];
        foreach (FragmentWrite fragment in Stored) Drive.WriteAsync(fragment, sync: true).AsTask().GetAwaiter().GetResult();
    }

    public override void Run(long operations)
    {
        long left = operations;
        Task.WaitAll([.. _destinations.Select((destination, caller) => Task.Run(async () =>
        {
            for (long n; (n = Interlocked.Decrement(ref left)) >= 0;) await OperateAsync(Stored[n % Fragments], destination);
        }))]);
    }

    public override void Cleanup()
    {
        _node!.DisposeAsync().AsTask().GetAwaiter().GetResult();
        _listener!.DisposeAsync().AsTask().GetAwaiter().GetResult();
        _server!.Dispose();
    }

    protected abstract ValueTask OperateAsync(FragmentWrite fragment, Memory<byte> destination);

    private FragmentWrite Make(ulong number)
    {
        byte[] payload = new byte[sizeBytes];
        new Random((int)number).NextBytes(payload);
        ulong[] checksums = [.. payload.Chunk(ChunkBytes).Select(chunk => Crc64Nvme.Compute(chunk))];
        ExtentDescriptor descriptor = new(new ExtentId(number), 1, 1, "key"u8.ToArray(), number, 1);
        return new FragmentWrite(descriptor, Scheme.SingleCopy, 1 << 20, 0, sizeBytes, 0, payload, checksums);
    }
}

/// <summary>Reads a fragment.</summary>
public abstract class RemoteGet(int callers, int sizeBytes) : FragmentTransportBenchmark(callers, sizeBytes)
{
    protected override ValueTask OperateAsync(FragmentWrite fragment, Memory<byte> destination)
        => Drive.ReadAsync(new FragmentAddress(fragment.Key, 1, fragment.Scheme, fragment.Payload.Length), 0, destination);
}

/// <summary>Writes a fragment.</summary>
public abstract class RemotePut(int callers, int sizeBytes) : FragmentTransportBenchmark(callers, sizeBytes)
{
    protected override async ValueTask OperateAsync(FragmentWrite fragment, Memory<byte> destination) => await Drive.WriteAsync(fragment, sync: true);
}

/// <summary>One caller, 512 KiB.</summary>
public sealed class RemoteGet512KiBAlone() : RemoteGet(1, 512 << 10)
{
    public override string Name => "Transport.Get512KiB.1";
}

/// <summary>Four callers, 512 KiB.</summary>
public sealed class RemoteGet512KiBBy4() : RemoteGet(4, 512 << 10)
{
    public override string Name => "Transport.Get512KiB.4";
}

/// <summary>Four callers, 512 KiB.</summary>
public sealed class RemotePut512KiBBy4() : RemotePut(4, 512 << 10)
{
    public override string Name => "Transport.Put512KiB.4";
}

/// <summary>One caller, 4 KiB.</summary>
public sealed class RemoteGet4KiBAlone() : RemoteGet(1, 4096)
{
    public override string Name => "Transport.Get4KiB.1";
}

/// <summary>One caller, 4 KiB, a request each.</summary>
public sealed class RemotePut4KiBAlone() : RemotePut(1, 4096)
{
    public override string Name => "Transport.Put4KiB.1";
}

/// <summary>32 callers, 4 KiB: how well they share requests.</summary>
public sealed class RemotePut4KiBBy32() : RemotePut(32, 4096)
{
    public override string Name => "Transport.Put4KiB.32";
}
