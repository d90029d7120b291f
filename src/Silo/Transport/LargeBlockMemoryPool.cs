using System.Buffers;
using System.Collections.Concurrent;
using Microsoft.AspNetCore.Connections;

namespace ObjectStore.Silo.Transport;

/// <summary>
/// Blocks of 64 KiB for Kestrel's pipes, instead of 4 KiB: a fragment of half a megabyte takes 8 reads and a gather list of 8 instead of 128. Pinned memory, a bounded
/// number of blocks kept. Thread-safe.
/// </summary>
internal sealed class LargeBlockMemoryPool(int maxRetained) : MemoryPool<byte>
{
    private const int BlockBytes = 64 << 10;
    private readonly ConcurrentStack<Block> _free = new();
    private int _retained;
    private volatile bool _disposed;

    public override int MaxBufferSize => BlockBytes;

    public override IMemoryOwner<byte> Rent(int minBufferSize = -1)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(minBufferSize, BlockBytes);
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (!_free.TryPop(out Block? block)) return new Block(this);
        Interlocked.Decrement(ref _retained);
        block.Take();
        return block;
    }

    protected override void Dispose(bool disposing)
    {
        _disposed = true;
        _free.Clear();
    }

    private void Return(Block block)
    {
        if (!_disposed && Interlocked.Increment(ref _retained) <= maxRetained) _free.Push(block);
        else Interlocked.Decrement(ref _retained);
    }

    private sealed class Block(LargeBlockMemoryPool pool) : IMemoryOwner<byte>
    {
        private readonly byte[] _bytes = GC.AllocateUninitializedArray<byte>(BlockBytes, pinned: true);
        private int _returned;

        public Memory<byte> Memory => _bytes;

        public void Take() => Volatile.Write(ref _returned, 0);

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _returned, 1) == 0) pool.Return(this);
        }
    }
}

/// <summary>Kestrel takes a pool for each of its queues of input and output, which are as many as there are cores, 16 at most. Together they keep 64 MiB.</summary>
internal sealed class LargeBlockMemoryPoolFactory : IMemoryPoolFactory<byte>
{
    private const int MaxRetained = 1024;

    public MemoryPool<byte> Create(MemoryPoolOptions? options = null) => new LargeBlockMemoryPool(MaxRetained / Math.Min(16, Environment.ProcessorCount));
}
