using System.Buffers;
using System.Diagnostics;
using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Extents;

/// <summary>
/// Reads a range block by block. A read is first tried without blocking (RWF_NOWAIT: from the page cache only); what is not there is read on the thread pool. After such a
/// miss the next few reads block at once: attempts that fail would spoil the kernel's detection of sequential reading, and with it its readahead.
/// </summary>
internal sealed class ExtentReader : IExtentReader
{
    private const int BlockingReadsAfterMiss = 64;
    private readonly ExtentStore _store;
    private readonly ExtentLayout _layout;
    private readonly AlignedBufferPool _buffers;
    private readonly ByteBudget _budget;
    private readonly Activity? _activity;
    private readonly byte[] _header = ArrayPool<byte>.Shared.Rent(RecordHeader.MaxBytes);
    private AlignedBuffer? _buffer;
    private int _bufferedAt;
    private int _bufferedBytes;
    private long _position;
    private int _block = -1; // the block whose place is known
    private DriveEngine? _engine;
    private FragmentLocation _location;
    private Volume? _volume;
    private RecordHeader _record;
    private bool _headerRead;
    private int _blockingReadsLeft;
    private bool _disposed;

    public ExtentReader(ExtentStore store, ExtentLayout layout, long offsetBytes, long lengthBytes, AlignedBufferPool buffers, ByteBudget budget)
    {
        _store = store;
        _layout = layout;
        _buffers = buffers;
        _budget = budget;
        _position = offsetBytes;
        RemainingBytes = lengthBytes;
        if (lengthBytes > VolumeFormat.MaxPackedPayloadBytes)
            _activity = StorageActivities.StartRead(layout.Id, lengthBytes);
    }

    public long RemainingBytes { get; private set; }

    public ValueTask<int> ReadAsync(Memory<byte> destination, CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (RemainingBytes == 0 || destination.IsEmpty)
            return new ValueTask<int>(0);
        if (_bufferedBytes > 0)
            return new ValueTask<int>(TakeBuffered(destination.Span));
        cancellationToken.ThrowIfCancellationRequested();
        if (_buffer is null && DirectBytes(destination.Length) == 0 && !TryRent(cancellationToken, out ValueTask admitted))
            return ReadWhenAdmittedAsync(admitted, destination, cancellationToken);
        if (_blockingReadsLeft == 0)
        {
            int read = ReadCore(destination.Span, onlyIfCached: true);
            if (read >= 0)
                return new ValueTask<int>(read);
            _blockingReadsLeft = BlockingReadsAfterMiss;
        }

        _blockingReadsLeft--;
        return new ValueTask<int>(Task.Run(() => ReadCore(destination.Span, onlyIfCached: false), CancellationToken.None));
    }

    public ValueTask<ReadOnlyMemory<byte>> ReadNextAsync(CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (RemainingBytes == 0)
            return default;
        if (_bufferedBytes > 0)
            return new ValueTask<ReadOnlyMemory<byte>>(TakeAllBuffered());
        cancellationToken.ThrowIfCancellationRequested();
        if (_buffer is null && !TryRent(cancellationToken, out ValueTask admitted))
            return ReadNextWhenAdmittedAsync(admitted, cancellationToken);
        if (_blockingReadsLeft == 0)
        {
            if (FillBuffer(wholeRange: true, onlyIfCached: true))
                return new ValueTask<ReadOnlyMemory<byte>>(TakeAllBuffered());
            _blockingReadsLeft = BlockingReadsAfterMiss;
        }

        _blockingReadsLeft--;
        return new ValueTask<ReadOnlyMemory<byte>>(Task.Run<ReadOnlyMemory<byte>>(
            () =>
            {
                FillBuffer(wholeRange: true, onlyIfCached: false);
                return TakeAllBuffered();
            },
            CancellationToken.None));
    }

    public ValueTask DisposeAsync()
    {
        if (_disposed)
            return default;
        _disposed = true;
        ArrayPool<byte>.Shared.Return(_header);
        if (_buffer is not null)
        {
            _buffers.Return(_buffer);
            _budget.Release(_buffers.BufferBytes);
        }

        _buffer = null;
        _activity?.Dispose();
        return default;
    }

    /// <summary>Takes a buffer where the store's bound allows one more at once; otherwise the task that waits for it.</summary>
    private bool TryRent(CancellationToken cancellationToken, out ValueTask admitted)
    {
        admitted = _budget.TakeAsync(_buffers.BufferBytes, cancellationToken);
        if (!admitted.IsCompletedSuccessfully)
            return false;
        _buffer = _buffers.Rent();
        return true;
    }

    private async ValueTask<int> ReadWhenAdmittedAsync(ValueTask admitted, Memory<byte> destination, CancellationToken cancellationToken)
    {
        await RentWhenAdmittedAsync(admitted).ConfigureAwait(false);
        return await ReadAsync(destination, cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask<ReadOnlyMemory<byte>> ReadNextWhenAdmittedAsync(ValueTask admitted, CancellationToken cancellationToken)
    {
        await RentWhenAdmittedAsync(admitted).ConfigureAwait(false);
        return await ReadNextAsync(cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask RentWhenAdmittedAsync(ValueTask admitted)
    {
        await admitted.ConfigureAwait(false);
        if (_disposed)
        {
            _budget.Release(_buffers.BufferBytes);
            throw new ObjectDisposedException(nameof(ExtentReader));
        }

        _buffer = _buffers.Rent();
    }

    private int BlockLength(int block) => (int)Math.Min(_layout.BlockSizeBytes, _layout.LengthBytes - ((long)block * _layout.BlockSizeBytes));

    /// <summary>How much of a destination of this length can be read straight into it: only whole chunks can be verified where they are going to stay.</summary>
    private int DirectBytes(int destinationBytes)
    {
        int inBlock = (int)(_position % _layout.BlockSizeBytes);
        if (inBlock % VolumeFormat.ChunkBytes != 0)
            return 0;
        int blockLength = BlockLength((int)(_position / _layout.BlockSizeBytes));
        long room = Math.Min(destinationBytes, Math.Min(RemainingBytes, blockLength - inBlock));
        return inBlock + room == blockLength ? (int)room : (int)(room / VolumeFormat.ChunkBytes * VolumeFormat.ChunkBytes);
    }

    private int ReadCore(Span<byte> destination, bool onlyIfCached)
    {
        int block = (int)(_position / _layout.BlockSizeBytes);
        int inBlock = (int)(_position % _layout.BlockSizeBytes);
        int direct = DirectBytes(destination.Length);
        if (direct == 0)
            return FillBuffer(wholeRange: false, onlyIfCached) ? TakeBuffered(destination) : -1;
        if (!ReadChunks(block, inBlock, destination[..direct], onlyIfCached))
            return -1;
        _position += direct;
        RemainingBytes -= direct;
        return direct;
    }

    /// <summary>Reads the chunk that holds the position, or every chunk of the range in this block, into the reader's own buffer.</summary>
    private bool FillBuffer(bool wholeRange, bool onlyIfCached)
    {
        int block = (int)(_position / _layout.BlockSizeBytes);
        int inBlock = (int)(_position % _layout.BlockSizeBytes);
        int blockLength = BlockLength(block);
        int first = inBlock / VolumeFormat.ChunkBytes * VolumeFormat.ChunkBytes;
        long wantedEnd = Math.Min(inBlock + RemainingBytes, blockLength);
        long chunksEnd = wholeRange ? (wantedEnd + VolumeFormat.ChunkBytes - 1) / VolumeFormat.ChunkBytes * VolumeFormat.ChunkBytes : first + VolumeFormat.ChunkBytes;
        int count = (int)Math.Min(chunksEnd, blockLength) - first;
        if (!ReadChunks(block, first, _buffer!.GetSpan()[..count], onlyIfCached))
            return false;
        _bufferedAt = inBlock - first;
        _bufferedBytes = (int)Math.Min(RemainingBytes, count - _bufferedAt);
        return true;
    }

    private int TakeBuffered(Span<byte> destination)
    {
        int count = Math.Min(destination.Length, _bufferedBytes);
        _buffer!.GetSpan().Slice(_bufferedAt, count).CopyTo(destination);
        _bufferedAt += count;
        _bufferedBytes -= count;
        _position += count;
        RemainingBytes -= count;
        return count;
    }

    private ReadOnlyMemory<byte> TakeAllBuffered()
    {
        ReadOnlyMemory<byte> bytes = _buffer!.Memory.Slice(_bufferedAt, _bufferedBytes);
        _position += _bufferedBytes;
        RemainingBytes -= _bufferedBytes;
        _bufferedBytes = 0;
        return bytes;
    }

    /// <summary>Reads and verifies whole chunks. False where they are not in memory and only that was asked for.</summary>
    private bool ReadChunks(int block, int inBlock, Span<byte> destination, bool onlyIfCached)
    {
        Locate(block);
        var key = new FragmentKey(_layout.Id, block, 0);
        Span<byte> header = _header.AsSpan(0, _location.PayloadOffset);
        try
        {
            long at = _location.Offset + _location.PayloadOffset + inBlock;
            bool together = !_headerRead && inBlock == 0;
            if (!_headerRead && !together)
            {
                int headerBytes = _volume!.File.Read(_location.Offset, header, default, onlyIfCached);
                if (headerBytes < 0)
                    return false;
                AcceptHeader(key, header, headerBytes);
            }

            int expected = destination.Length + (together ? header.Length : 0);
            int read = together
                ? _volume!.File.Read(_location.Offset, header, destination, onlyIfCached)
                : _volume!.File.Read(at, destination, default, onlyIfCached);
            if (read < 0)
                return false;
            if (together)
                AcceptHeader(key, header, read);
            if (read < expected)
                throw _engine!.Corrupt(key, _location, "the volume ends within it");
        }
        catch (IOException e)
        {
            throw _engine!.Corrupt(key, _location, "the drive cannot read it", e);
        }
        catch (ObjectDisposedException)
        {
            throw new FragmentMissingException(_layout.Id, block, 0);
        }

        for (int done = 0; done < destination.Length; done += VolumeFormat.ChunkBytes)
        {
            Span<byte> chunk = destination.Slice(done, Math.Min(VolumeFormat.ChunkBytes, destination.Length - done));
            if (Crc64Nvme.Compute(chunk) != _record.ChunkChecksum(header, (inBlock + done) / VolumeFormat.ChunkBytes))
            {
                destination.Clear();
                throw _engine!.Corrupt(key, _location, $"the checksum of the chunk at {inBlock + done} does not match");
            }
        }

        StorageMetrics.BytesRead.Add(destination.Length);
        return true;
    }

    private void AcceptHeader(FragmentKey key, ReadOnlySpan<byte> header, int read)
    {
        if (read < header.Length || !RecordHeader.TryDecode(header, new RecordPlace(_volume!.Header.Generation, _volume.Id, _location.Offset), out _record))
            throw _engine!.Corrupt(key, _location, "its header is damaged");
        ExtentStore.RequireRecordOf(_engine!, key, _location, _record, BlockLength(key.Block));
        _headerRead = true;
    }

    private void Locate(int block)
    {
        if (block == _block)
            return;
        if (!_store.TryLocate(_layout.PlacementGroup, new FragmentKey(_layout.Id, block, 0), out DriveEngine engine, out _location, out Volume volume))
            throw new FragmentMissingException(_layout.Id, block, 0);
        ExtentStore.RequirePlausible(engine, new FragmentKey(_layout.Id, block, 0), _location);
        _engine = engine;
        _volume = volume;
        _block = block;
        _headerRead = false;
    }
}
