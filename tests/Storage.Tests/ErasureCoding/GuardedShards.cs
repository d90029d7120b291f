using System.Runtime.InteropServices;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Storage.Tests.ErasureCoding;

/// <summary>
/// Buffers for the shards of one block in native memory, each at an odd address of its own, with guard bytes before and after it. <see cref="AssertGuards"/> fails when a guard has been written.
/// </summary>
internal sealed unsafe class GuardedShards : IDisposable
{
    private const int GuardBytes = 96;
    private const byte Guard = 0xA5;

    private readonly byte* _memory;
    private readonly int _totalBytes;

    public GuardedShards(int width, int lengthBytes)
    {
        (Width, LengthBytes) = (width, lengthBytes);
        // An odd stride gives every shard another alignment.
        int stride = (lengthBytes + GuardBytes + 1) | 1;
        _totalBytes = GuardBytes + (width * stride);
        _memory = (byte*)NativeMemory.AlignedAlloc((nuint)_totalBytes, 64);
        new Span<byte>(_memory, _totalBytes).Fill(Guard);
        Pointers = new nint[width];
        for (int i = 0; i < width; i++)
            Pointers[i] = (nint)(_memory + GuardBytes + (i * stride));
    }

    public int Width { get; }

    public int LengthBytes { get; }

    public nint[] Pointers { get; }

    public Span<byte> this[int shard] => new((void*)Pointers[shard], LengthBytes);

    public void Fill(byte[][] shards)
    {
        for (int i = 0; i < shards.Length; i++)
            shards[i].CopyTo(this[i]);
    }

    /// <summary>Overwrites the shards with what none of them holds by chance.</summary>
    public void Spoil(ShardSet lost)
    {
        foreach (int shard in lost)
            this[shard].Fill(0xEE);
    }

    /// <summary>Pointers to the shards of the set; 0 for the others.</summary>
    public nint[] Only(ShardSet shards) => [.. Pointers.Select((pointer, shard) => shards.Contains(shard) ? pointer : 0)];

    public void AssertShards(byte[][] expected, string what)
    {
        for (int i = 0; i < Width; i++)
            Assert.True(this[i].SequenceEqual(expected[i]), $"{what}: shard {i} differs.");
        AssertGuards(what);
    }

    public void AssertGuards(string what)
    {
        byte* at = _memory;
        for (int i = 0; i <= Width; i++)
        {
            byte* end = i < Width ? (byte*)Pointers[i] : _memory + _totalBytes;
            Assert.True(new ReadOnlySpan<byte>(at, (int)(end - at)).IndexOfAnyExcept(Guard) < 0, $"{what}: bytes outside shard {i} were written.");
            at = end + LengthBytes;
        }
    }

    public void Dispose() => NativeMemory.AlignedFree(_memory);
}
