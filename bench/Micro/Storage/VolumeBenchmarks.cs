using ObjectStore.Storage;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Benchmarks.Storage;

/// <summary>Durable writes and cached reads of small extents: what one PUT or GET costs the data plane. Every write is synced.</summary>
public abstract class SmallExtentBenchmark(int callers, int sizeBytes, int drives = 1) : ExtentBenchmark(drives, callers)
{
    public override long BytesPerOperation => sizeBytes;

    protected override byte[] Bytes { get; } = new byte[sizeBytes];

    protected override long VolumeSizeBytes => Drives > 1 ? base.VolumeSizeBytes : new StorageOptions().VolumeSizeBytes;

    protected override Task RunOneAsync() => WriteAsync().AsTask();

    protected ValueTask<ExtentLayout> WriteAsync() => Store.WriteAsync(Describe(), Bytes);
}

/// <summary>One caller, 4 KiB.</summary>
public sealed class Write4KiBAlone() : SmallExtentBenchmark(1, 4096)
{
    public override string Name => "Storage.Write4KiB.1";
}

/// <summary>32 callers, 4 KiB: how well syncs are shared.</summary>
public sealed class Write4KiBBy32() : SmallExtentBenchmark(32, 4096)
{
    public override string Name => "Storage.Write4KiB.32";
}

/// <summary>32 callers, 4 KiB, three copies over twelve drives.</summary>
public sealed class Write4KiBBy32Over12() : SmallExtentBenchmark(32, 4096, drives: 12)
{
    public override string Name => "Storage.Write4KiB.32.12drives";
}

/// <summary>One 1 MiB block at a time.</summary>
public sealed class Write1MiBBy4() : SmallExtentBenchmark(4, 1 << 20)
{
    public override string Name => "Storage.Write1MiB.4";
}

/// <summary>A 4 KiB read from the page cache, verified.</summary>
public sealed class ReadSmall() : SmallExtentBenchmark(1, 4096)
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
