using ObjectStore.Storage;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Benchmarks.Storage;

/// <summary>Durable writes and cached reads of small extents: what one PUT or GET costs the data plane. Every write is synced.</summary>
public abstract class ExtentBenchmark(int callers, int sizeBytes, int drives = 1) : Benchmark
{
    private ScratchFolder? _folder;

    protected ExtentStore Store { get; private set; } = null!;

    protected byte[] Bytes { get; } = new byte[sizeBytes];

    public override long BytesPerOperation => sizeBytes;

    public override void Setup()
    {
        _folder = new ScratchFolder();
        Random random = new(1);
        random.NextBytes(Bytes);
        StorageOptions options = new()
        {
            DrivePaths = [.. Enumerable.Range(1, drives).Select(number => Path.Combine(_folder.Path, $"drive{number}"))],
            VolumeSizeBytes = drives > 1 ? 1L << 30 : new StorageOptions().VolumeSizeBytes,
            WritersPerDrive = drives > 1 ? 1 : 0,
        };
        Store = ExtentStore.OpenAsync(options, TimeProvider.System, NextRandom).GetAwaiter().GetResult();

        ulong NextRandom()
        {
            lock (random) return (ulong)random.NextInt64();
        }
    }

    public override void Run(long operations)
    {
        long left = operations;
        Task[] workers = [.. Enumerable.Range(0, callers).Select(_ => Task.Run(async () =>
        {
            while (Interlocked.Decrement(ref left) >= 0) await WriteAsync();
        }))];
        Task.WaitAll(workers);
    }

    public override void Cleanup()
    {
        Store.DisposeAsync().AsTask().GetAwaiter().GetResult();
        _folder!.Dispose();
    }

    protected ValueTask<ExtentLayout> WriteAsync()
    {
        ExtentId id = Store.Ids.Next();
        return Store.WriteAsync(new ExtentDescriptor(id, PlacementGroup: 0, 1, "key"u8.ToArray(), 1, 1), Bytes);
    }
}

/// <summary>One caller, 4 KiB.</summary>
public sealed class Write4KiBAlone() : ExtentBenchmark(1, 4096)
{
    public override string Name => "Storage.Write4KiB.1";
}

/// <summary>32 callers, 4 KiB: how well syncs are shared.</summary>
public sealed class Write4KiBBy32() : ExtentBenchmark(32, 4096)
{
    public override string Name => "Storage.Write4KiB.32";
}

/// <summary>32 callers, 4 KiB, three copies over twelve drives.</summary>
public sealed class Write4KiBBy32Over12() : ExtentBenchmark(32, 4096, drives: 12)
{
    public override string Name => "Storage.Write4KiB.32.12drives";
}

/// <summary>One 1 MiB block at a time.</summary>
public sealed class Write1MiBBy4() : ExtentBenchmark(4, 1 << 20)
{
    public override string Name => "Storage.Write1MiB.4";
}

/// <summary>A 4 KiB read from the page cache, verified.</summary>
public sealed class ReadSmall() : ExtentBenchmark(1, 4096)
{
    private readonly byte[] _destination = new byte[4096];
    private ExtentLayout[] _layouts = [];

    public override string Name => "Storage.ReadSmall4KiB";

    public override void Setup()
    {
        base.Setup();
        _layouts = [.. Enumerable.Range(0, 1000).Select(_ => WriteAsync().AsTask().GetAwaiter().GetResult())];
    }

    public override void Run(long operations)
    {
        for (long i = 0; i < operations; i++)
        {
            if (!Store.TryReadSmall(_layouts[i % _layouts.Length], _destination)) throw new InvalidOperationException("The extent is not in the page cache.");
        }
    }
}
