using System.Buffers;
using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace ObjectStore.Storage.Buffers;

/// <summary>
/// Native memory aligned to 4,096 bytes, as O_DIRECT asks for. Owned by one holder at a time. Pins count: memory that is disposed of while it is pinned is freed with the last pin.
///
/// That is how a drive that hangs is left behind: the operation fails, and its pin stays for as long as the kernel may still touch the memory, for ever if need be. Such memory is lost on
/// purpose. It takes an owner who does not use a buffer again while <see cref="IsPinned"/>, and says so with <see cref="HonoursPins"/>; operations on other memory end only with the kernel's.
/// </summary>
internal sealed unsafe class AlignedBuffer : MemoryManager<byte>
{
    public const int Alignment = 4096;
    private nint _address;
    private int _holds = 1; // the owner's and one of each pin
    private int _disposed;

    public AlignedBuffer(int lengthBytes, bool honoursPins = false)
    {
        _address = (nint)NativeMemory.AlignedAlloc((nuint)lengthBytes, Alignment);
        LengthBytes = lengthBytes;
        HonoursPins = honoursPins;
    }

    public int LengthBytes { get; }

    /// <summary>The owner looks at <see cref="IsPinned"/> before the memory is used again.</summary>
    public bool HonoursPins { get; }

    public bool IsPinned => Volatile.Read(ref _holds) > 1;

    public byte* Address => (byte*)_address;

    /// <summary>How far behind the beginning of some pinned or native memory the first aligned byte is.</summary>
    public static int BytesToAligned(ReadOnlySpan<byte> memory) => (int)(-(nint)Unsafe.AsPointer(ref MemoryMarshal.GetReference(memory)) & (Alignment - 1));

    /// <summary>Whether an operation on this memory may be given up before the kernel is done with it.</summary>
    public static bool MayBeAbandoned(ReadOnlyMemory<byte> memory) => MemoryMarshal.TryGetMemoryManager(memory, out AlignedBuffer? buffer) && buffer.HonoursPins;

    public override Span<byte> GetSpan() => new((void*)_address, LengthBytes);

    public override MemoryHandle Pin(int elementIndex = 0)
    {
        Interlocked.Increment(ref _holds);
        return new MemoryHandle((byte*)_address + elementIndex, default, this);
    }

    public override void Unpin() => Release();

    protected override void Dispose(bool disposing)
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
            Release();
    }

    private void Release()
    {
        if (Interlocked.Decrement(ref _holds) == 0)
            NativeMemory.AlignedFree((void*)Interlocked.Exchange(ref _address, 0)); // a pin may come and go even then
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

        return new AlignedBuffer(bufferBytes, honoursPins: true);
    }

    public void Return(AlignedBuffer buffer)
    {
        if (_disposed || buffer.IsPinned)
        {
            ((IDisposable)buffer).Dispose(); // pinned: an operation on it was given up, and the kernel may yet touch it
            return;
        }

        if (Interlocked.Increment(ref _retained) > maxRetained)
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
