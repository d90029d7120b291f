using System.Buffers.Binary;

namespace ObjectStore.LoadGenerator.Content;

/// <summary>
/// Bytes that follow from a seed and an object's number: a random pattern of 1 MiB, repeated, in which the first 16 bytes of every 4 KiB say which object
/// and which offset they belong to. Producing the next MiB of an object costs 256 stamps instead of a MiB of random numbers, and a block that
/// comes from another object or another offset is still told apart. Not thread-safe; one instance per connection.
/// </summary>
public sealed class StampedContent
{
    /// <summary>The length of the repeated pattern, and the most that <see cref="Block"/> returns.</summary>
    public const int BlockBytes = 1 << 20;

    private const int StampSpacing = 4096;
    private const int StampBytes = 16;

    private readonly ulong _seed;
    private readonly byte[] _block;

    /// <summary>Creates the content of one seed.</summary>
    public StampedContent(ulong seed)
    {
        _seed = seed;
        _block = new byte[BlockBytes];
        RandomContent.Fill(seed, 0, _block);
    }

    /// <summary>The bytes of an object from <paramref name="offset"/>, a multiple of 1 MiB; valid until the next call.</summary>
    public ReadOnlySpan<byte> Block(ulong identity, long offset, long remaining)
    {
        int length = (int)Math.Min(remaining, BlockBytes);
        Stamp(identity, offset, _block.AsSpan(0, length));
        return _block.AsSpan(0, length);
    }

    /// <summary>True when <paramref name="bytes"/> are the object's bytes at <paramref name="offset"/>, which may be any.</summary>
    public bool Matches(ulong identity, long offset, ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            int within = (int)(offset % BlockBytes);
            int length = Math.Min(bytes.Length, BlockBytes - within);
            StampAround(identity, offset - within, within, length);
            if (!bytes[..length].SequenceEqual(_block.AsSpan(within, length))) return false;
            bytes = bytes[length..];
            offset += length;
        }

        return true;
    }

    private void StampAround(ulong identity, long blockOffset, int within, int length)
    {
        int first = within / StampSpacing * StampSpacing;
        int end = within + length;
        for (int at = first; at < end; at += StampSpacing) StampOne(identity, blockOffset + at, _block.AsSpan(at, StampBytes));
    }

    private void Stamp(ulong identity, long offset, Span<byte> block)
    {
        for (int at = 0; at < block.Length; at += StampSpacing) StampOne(identity, offset + at, block[at..]);
    }

    private void StampOne(ulong identity, long offset, Span<byte> destination)
    {
        if (destination.Length >= StampBytes)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(destination, RandomContent.Mix(identity ^ _seed));
            BinaryPrimitives.WriteInt64LittleEndian(destination[8..], offset);
            return;
        }

        Span<byte> stamp = stackalloc byte[StampBytes];
        StampOne(identity, offset, stamp);
        stamp[..destination.Length].CopyTo(destination);
    }
}
