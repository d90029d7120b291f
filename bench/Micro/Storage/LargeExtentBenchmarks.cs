using ObjectStore.Storage;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Benchmarks.Storage;

/// <summary>Extents of 64 MiB over some drives of one file system, streamed as a gateway does it: from and into buffers of its own, 64 KiB at a time. Writes are synced.</summary>
public abstract class LargeExtentBenchmark(int drives, int callers) : Benchmark
{
    private const int SizeBytes = 64 << 20;
    private readonly byte[] _piece = new byte[64 << 10];
    private ScratchFolder? _folder;

    public override long BytesPerOperation => SizeBytes;

    protected ExtentStore Store { get; private set; } = null!;

    public override void Setup()
    {
        _folder = new ScratchFolder();
        Random random = new(1);
        random.NextBytes(_piece);
        StorageOptions options = new()
        {
            DrivePaths = [.. Enumerable.Range(1, drives).Select(number => Path.Combine(_folder.Path, $"drive{number}"))],
            VolumeSizeBytes = 1L << 30,
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

    protected abstract Task RunOneAsync();

    protected async Task<ExtentLayout> WriteOneAsync()
    {
        ExtentId id = Store.Ids.Next();
        await using IExtentWriter writer = Store.CreateExtent(new ExtentDescriptor(id, PlacementGroup: 0, 1, "key"u8.ToArray(), 1, 1), SizeBytes);
        for (int done = 0; done < SizeBytes;)
        {
            Memory<byte> room = writer.GetMemory();
            int count = Math.Min(room.Length, _piece.Length);
            _piece.AsMemory(0, count).CopyTo(room);
            writer.Advance(count);
            done += count;
            await writer.FlushIfFullAsync();
        }

        return await writer.CompleteAsync();
    }

    protected async Task ReadOneAsync(ExtentLayout layout)
    {
        await using IExtentReader reader = Store.OpenRead(layout, 0, layout.LengthBytes);
        long done = 0;
        while (await reader.ReadNextAsync() is { IsEmpty: false } piece)
            done += piece.Length;
        if (done != SizeBytes) throw new InvalidOperationException($"{done} bytes came.");
    }
}

/// <summary>Writes and deletes.</summary>
public abstract class WriteLarge(int drives, int callers) : LargeExtentBenchmark(drives, callers)
{
    protected override async Task RunOneAsync() => await Store.DeleteAsync(await WriteOneAsync());
}

public sealed class WriteLarge1() : WriteLarge(1, 4)
{
    public override string Name => "Storage.Write64MiB.1drive";
}

public sealed class WriteLarge12() : WriteLarge(12, 4)
{
    public override string Name => "Storage.Write64MiB.12drives";
}

/// <summary>Reads what the page cache has.</summary>
public abstract class ReadLarge(int drives) : LargeExtentBenchmark(drives, 2)
{
    private ExtentLayout _layout = null!;

    public override void Setup()
    {
        base.Setup();
        _layout = WriteOneAsync().GetAwaiter().GetResult();
        for (int i = 0; i < 3; i++) ReadOneAsync(_layout).GetAwaiter().GetResult();
    }

    protected override Task RunOneAsync() => ReadOneAsync(_layout);
}

public sealed class ReadLarge1() : ReadLarge(1)
{
    public override string Name => "Storage.Read64MiB.1drive";
}

public sealed class ReadLarge12() : ReadLarge(12)
{
    public override string Name => "Storage.Read64MiB.12drives";
}
