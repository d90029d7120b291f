using System.Buffers;
using System.Collections.Concurrent;
using System.Runtime.InteropServices;

namespace ObjectStore.Storage.Buffers;

/// <summary>Native memory aligned to 4,096 bytes, as O_DIRECT asks for. Owned by one holder at a time.</summary>
internal sealed unsafe class AlignedBuffer : MemoryManager<byte>
{
    public const int Alignment = 4096;
    private void* _address;

    public AlignedBuffer(int lengthBytes)
    {
        _address = NativeMemory.AlignedAlloc((nuint)lengthBytes, Alignment);
        LengthBytes = lengthBytes;
    }

    public int LengthBytes { get; }

    public byte* Address => (byte*)_address;

    public override Span<byte> GetSpan() => new(_address, LengthBytes);

    public override MemoryHandle Pin(int elementIndex = 0) => new((byte*)_address + elementIndex, default, null);

    public override void Unpin()
    {
    }

    protected override void Dispose(bool disposing)
    {
        NativeMemory.AlignedFree(_address);
        _address = null;
    }
}

/// <summary>Keeps a bounded number of buffers of one size for reuse. Thread-safe.</summary>
internal sealed class AlignedBufferPool(int bufferBytes, int maxRetained) : IDisposable
{
    private readonly ConcurrentStack<AlignedBuffer> _free = new();
    private int _retained;
    private volatile bool _disposed;

    public int BufferBytes => bufferBytes;

    public AlignedBuffer Rent()
    {
        if (_free.TryPop(out AlignedBuffer? buffer))
        {
            Interlocked.Decrement(ref _retained);
            return buffer;
        }

        return new AlignedBuffer(bufferBytes);
    }

    public void Return(AlignedBuffer buffer)
    {
        if (_disposed || Interlocked.Increment(ref _retained) > maxRetained)
        {
            Interlocked.Decrement(ref _retained);
            ((IDisposable)buffer).Dispose();
            return;
        }

        _free.Push(buffer);
    }

    public void Dispose()
    {
        _disposed = true;
        while (_free.TryPop(out AlignedBuffer? buffer))
            ((IDisposable)buffer).Dispose();
    }
}
