using ObjectStore.Storage.Extents;

namespace ObjectStore.Benchmarks.Storage;

/// <summary>Extents of 64 MiB over some drives of one file system, streamed as a gateway does it: from and into buffers of its own, 64 KiB at a time. Writes are synced.</summary>
public abstract class LargeExtentBenchmark(int drives, int callers) : ExtentBenchmark(drives, callers)
{
    private const int SizeBytes = 64 << 20;

    public override long BytesPerOperation => SizeBytes;

    protected override byte[] Bytes { get; } = new byte[64 << 10];

    protected async Task<ExtentLayout> WriteOneAsync()
    {
        await using IExtentWriter writer = Store.CreateExtent(Describe(), SizeBytes);
        for (int done = 0; done < SizeBytes;)
        {
            Memory<byte> room = writer.GetMemory();
            int count = Math.Min(room.Length, Bytes.Length);
            Bytes.AsMemory(0, count).CopyTo(room);
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
