using System.Buffers;
using System.Buffers.Binary;

namespace ObjectStore.Storage.Transport;

/// <summary>The frame of an answer, in pooled memory. Owned by whoever sent the request.</summary>
internal sealed class RemoteAnswer : IDisposable
{
    private byte[] _frame = ArrayPool<byte>.Shared.Rent(512);

    public FrameHeader Header { get; private set; }

    public ReadOnlyMemory<byte> Frame => _frame.AsMemory(0, Header.FrameBytes);

    public ReadOnlySpan<byte> Body => FrameHeader.BodyOf(Frame.Span);

    /// <summary>Of the node's run that answered.</summary>
    public int Ordinal { get; set; }

    /// <exception cref="FrameException">What comes is no frame.</exception>
    public async ValueTask ReceiveFrameAsync(Stream stream, CancellationToken cancellationToken)
    {
        await stream.ReadExactlyAsync(_frame.AsMemory(0, FrameHeader.SizeBytes), cancellationToken).ConfigureAwait(false);
        Header = FrameHeader.Read(_frame);
        if (Header.FrameBytes > _frame.Length)
        {
            byte[] larger = ArrayPool<byte>.Shared.Rent(Header.FrameBytes);
            _frame.AsSpan(0, FrameHeader.SizeBytes).CopyTo(larger);
            ArrayPool<byte>.Shared.Return(_frame);
            _frame = larger;
        }

        await stream.ReadExactlyAsync(_frame.AsMemory(FrameHeader.SizeBytes, Header.FrameBytes - FrameHeader.SizeBytes), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Of the answer to a read.</summary>
    public ulong ChunkChecksum(int chunk)
    {
        ReadOnlySpan<byte> body = Body;
        if (body.Length < 2 + ((chunk + 1) * sizeof(ulong)))
            throw new FrameException("The answer has too few checksums.");
        return BinaryPrimitives.ReadUInt64LittleEndian(body[(2 + (chunk * sizeof(ulong)))..]);
    }

    public StorageException ReadError(Guid drive, string node)
    {
        FrameReader reader = new(Body);
        return FragmentErrors.Read(Header.Status, ref reader, drive, node);
    }

    public void Dispose()
    {
        byte[] frame = _frame;
        _frame = [];
        if (frame.Length > 0)
            ArrayPool<byte>.Shared.Return(frame);
    }
}
