using ObjectStore.Storage;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Benchmarks.Storage;

/// <summary>Callers at once over an extent store of its own, on some drives of one file system. Every write is synced.</summary>
public abstract class ExtentBenchmark(int drives, int callers) : Benchmark
{
    private ScratchFolder? _folder;

    protected int Drives => drives;

    protected ExtentStore Store { get; private set; } = null!;

    /// <summary>What is written, filled at random before the first operation.</summary>
    protected abstract byte[] Bytes { get; }

    /// <summary>Of the drives' volumes.</summary>
    protected virtual long VolumeSizeBytes => 1L << 30;

    public override void Setup()
    {
        _folder = new ScratchFolder();
        Random random = new(1);
        random.NextBytes(Bytes);
        StorageOptions options = new()
        {
            DrivePaths = [.. Enumerable.Range(1, drives).Select(number => Path.Combine(_folder.Path, $"drive{number}"))],
            VolumeSizeBytes = VolumeSizeBytes,
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
            while (Interlocked.Decrement(ref left) >= 0) await RunOneAsync();
        }))];
        Task.WaitAll(workers);
    }

    public override void Cleanup()
    {
        Store.DisposeAsync().AsTask().GetAwaiter().GetResult();
        _folder!.Dispose();
    }

    /// <summary>One operation of one caller.</summary>
    protected abstract Task RunOneAsync();

    protected ExtentDescriptor Describe() => new(Store.Ids.Next(), PlacementGroup: 0, 1, "key"u8.ToArray(), 1, 1);
}
