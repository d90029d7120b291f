using System.Collections.Concurrent;

namespace ObjectStore.Storage.Buffers;

/// <summary>
/// A pooled page-aligned buffer with a count of its holders: a write that straggles keeps its buffer while everybody else is done with it. The last
/// <see cref="Release"/> returns it to its pool, and its bytes to the budget they were taken from.
/// </summary>
internal sealed class ShardBuffer(int lengthBytes)
{
    private readonly AlignedBuffer _memory = new(lengthBytes, honoursPins: true);
    private ShardBufferPool? _pool;
    private BufferBudget? _budget;
    private int _holders;

    public int LengthBytes => lengthBytes;

    public Memory<byte> Memory => _memory.Memory;

    public Span<byte> Span => _memory.GetSpan();

    public unsafe nint Address => (nint)_memory.Address;

    /// <summary>An operation on it was given up, and the kernel may yet touch the memory.</summary>
    public bool IsPinned => _memory.IsPinned;

    public void Retain() => Interlocked.Increment(ref _holders);

    public void Release()
    {
        int left = Interlocked.Decrement(ref _holders);
        ObjectDisposedException.ThrowIf(left < 0, this);
        if (left > 0)
            return;
        BufferBudget? budget = _budget;
        _budget = null;
        _pool!.Return(this);
        budget?.Release(lengthBytes);
    }

    public void Lend(ShardBufferPool pool, BufferBudget budget)
    {
        _pool = pool;
        _budget = budget;
        _holders = 1;
    }

    public void Free() => ((IDisposable)_memory).Dispose();
}

/// <summary>Buffers of one size; keeps a bounded number of them. Thread-safe.</summary>
internal sealed class ShardBufferPool(int bufferBytes, int maxRetained)
{
    private readonly ConcurrentStack<ShardBuffer> _free = new();
    private int _retained;
    private int _lent;
    private volatile bool _closed;

    public int BufferBytes => bufferBytes;

    /// <summary>Buffers that somebody holds.</summary>
    public int Lent => Volatile.Read(ref _lent);

    /// <summary>The bytes have been taken from <paramref name="budget"/> by the caller; they go back with the buffer.</summary>
    public ShardBuffer Rent(BufferBudget budget)
    {
        if (_free.TryPop(out ShardBuffer? buffer))
            Interlocked.Decrement(ref _retained);
        else
            buffer = new ShardBuffer(bufferBytes);
        Interlocked.Increment(ref _lent);
        buffer.Lend(this, budget);
        return buffer;
    }

    public void Return(ShardBuffer buffer)
    {
        Interlocked.Decrement(ref _lent);
        if (buffer.IsPinned)
        {
            buffer.Free(); // with the last pin
            return;
        }

        if (!_closed && Interlocked.Increment(ref _retained) <= maxRetained)
        {
            _free.Push(buffer);
            return;
        }

        Interlocked.Decrement(ref _retained);
        buffer.Free();
    }

    /// <summary>Frees what is not lent; what is, is freed as it comes back.</summary>
    public void Close()
    {
        _closed = true;
        while (_free.TryPop(out ShardBuffer? buffer))
            buffer.Free();
    }
}

/// <summary>Pools of four sizes, so that a small fragment or a short range does not hold a megabyte.</summary>
internal sealed class ShardBuffers(int shardSizeBytes)
{
    private const int LargestBytes = 1 << 20;
    private readonly ShardBufferPool[] _pools = [.. new[] { 16 << 10, 128 << 10, shardSizeBytes, LargestBytes }.Distinct().Order().Select(bytes => new ShardBufferPool(bytes, Math.Max(32, (64 << 20) / bytes / 2)))];

    public int Lent => _pools.Sum(pool => pool.Lent);

    /// <summary>The pool for so many bytes, at most 1 MiB.</summary>
    public ShardBufferPool For(int lengthBytes)
    {
        foreach (ShardBufferPool pool in _pools)
        {
            if (lengthBytes <= pool.BufferBytes)
                return pool;
        }

        throw new ArgumentOutOfRangeException(nameof(lengthBytes), lengthBytes, "A shard has at most 1 MiB.");
    }

    public void Close()
    {
        foreach (ShardBufferPool pool in _pools)
            pool.Close();
    }
}
