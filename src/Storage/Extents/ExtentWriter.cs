using System.Diagnostics;
using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Extents;

/// <summary>
/// Cuts a stream into blocks. All blocks go through one volume writer, so the sync that the last one asks for covers those written before it; one more is asked for
/// where a block came behind it. A volume that was poisoned between them shows in its durable end.
/// </summary>
internal sealed class ExtentWriter : IExtentWriter
{
    private readonly DriveEngine _engine;
    private readonly VolumeWriter _writer;
    private readonly ExtentDescriptor _descriptor;
    private readonly StorageOptions _options;
    private readonly AlignedBufferPool _blockBuffers;
    private readonly AlignedBufferPool _smallBuffers;
    private readonly Queue<(Task<WriteTicket> Write, AlignedBuffer Buffer, AlignedBufferPool Pool)> _inFlight = new();
    private readonly List<(int Block, WriteTicket Ticket)> _written = [];
    private AlignedBufferPool _pool;
    private AlignedBuffer? _buffer;
    private int _position;
    private int _nextBlock;
    private int _settledBlocks;
    private bool _completed;
    private bool _failed;
    private bool _disposed;
    private Activity? _activity;

    public ExtentWriter(DriveEngine engine, ExtentDescriptor descriptor, long? expectedLengthBytes, StorageOptions options, AlignedBufferPool blockBuffers, AlignedBufferPool smallBuffers)
    {
        _engine = engine;
        _writer = engine.PickWriter();
        _descriptor = descriptor;
        _options = options;
        _blockBuffers = blockBuffers;
        _smallBuffers = smallBuffers;
        _pool = expectedLengthBytes is { } expected && expected <= PayloadRoom(smallBuffers) ? smallBuffers : blockBuffers;
        _buffer = _pool.Rent();
        if (_pool == blockBuffers)
            _activity = StorageActivities.StartWrite(descriptor.Id);
    }

    public long LengthBytes { get; private set; }

    private int Room => Math.Min(_options.BlockSizeBytes, PayloadRoom(_pool)) - _position;

    public Memory<byte> GetMemory()
    {
        Usable();
        return Room > 0
            ? _buffer!.Memory.Slice(VolumeFormat.PageBytes + _position, Room)
            : throw new InvalidOperationException("The block is full: call FlushIfFullAsync after Advance.");
    }

    public void Advance(int bytes)
    {
        Usable();
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(bytes, Room);
        _position += bytes;
        LengthBytes += bytes;
    }

    public ValueTask FlushIfFullAsync(CancellationToken cancellationToken = default)
    {
        Usable();
        return Room > 0 ? default : FlushFullAsync(cancellationToken);
    }

    public async ValueTask<ExtentLayout> CompleteAsync(CancellationToken cancellationToken = default)
    {
        Usable();
        try
        {
            if (_position > 0 || _nextBlock == 0)
                await SubmitBlockAsync(last: true, cancellationToken).ConfigureAwait(false);
            else
                await SubmitSyncAsync(cancellationToken).ConfigureAwait(false);
            while (_inFlight.Count > 0)
                await SettleOldestAsync().ConfigureAwait(false);

            // Where the queue was full, a block may have been admitted before the last one and yet have been enqueued after it, so that the sync did not cover it.
            // All of them are in the volume now: one more sync does.
            if (_written.Any(item => !item.Ticket.IsDurable && item.Ticket.Volume!.State != Index.VolumeState.Poisoned))
                await SubmitSyncAsync(cancellationToken).ConfigureAwait(false);
            foreach ((_, WriteTicket ticket) in _written)
            {
                if (!ticket.IsDurable)
                    throw new VolumePoisonedException(_engine.DriveId, ticket.Volume!.Id, null);
            }
        }
        catch
        {
            _failed = true;
            throw;
        }

        _completed = true;
        return new ExtentLayout(_descriptor.Id, _descriptor.PlacementGroup, 0, _options.BlockSizeBytes, LengthBytes);
    }

    public async ValueTask DisposeAsync()
    {
        if (_disposed)
            return;
        _disposed = true;
        if (_buffer is { } buffer)
            _pool.Return(buffer);
        _buffer = null;
        while (_inFlight.Count > 0)
        {
            try
            {
                await SettleOldestAsync().ConfigureAwait(false);
            }
            catch (Exception e) when (e is StorageException or IOException or ObjectDisposedException)
            {
                // The block was not stored; there is nothing of it to mark.
            }
        }

        _activity?.SetTag("objectstore.bytes", LengthBytes).SetStatus(_completed ? ActivityStatusCode.Ok : ActivityStatusCode.Error).Dispose();
        _activity = null;
        if (!_completed)
            Abandon();
    }

    /// <summary>
    /// Marks what was written as garbage. Through the same writer, so that each tombstone follows its fragment; nobody waits for it, since without it the
    /// fragments are orphans that no metadata names.
    /// </summary>
    private void Abandon()
    {
        try
        {
            foreach ((int Block, WriteTicket Ticket)[] blocks in _written.Where(item => item.Ticket.Volume is not null).Chunk(TombstoneEntry.MaxPerRecord))
            {
                TombstoneEntry[] entries = [.. blocks.Select(item => new TombstoneEntry(new FragmentKey(_descriptor.Id, item.Block, 0), item.Ticket.Volume!.Id, item.Ticket.Offset))];
                _ = Observe(_engine.SubmitAsync(_writer, _engine.NewTombstone(entries, needsSync: false), CancellationToken.None));
            }
        }
        catch (ObjectDisposedException)
        {
        }

        static async Task Observe(ValueTask<WriteTicket> submitted)
        {
            try
            {
                await submitted.ConfigureAwait(false);
            }
            catch (Exception e) when (e is StorageException or IOException or ObjectDisposedException)
            {
            }
        }
    }

    private async ValueTask FlushFullAsync(CancellationToken cancellationToken)
    {
        try
        {
            if (_pool == _smallBuffers && PayloadRoom(_smallBuffers) < _options.BlockSizeBytes)
            {
                // More came than was announced: go on in a whole block.
                AlignedBuffer larger = _blockBuffers.Rent();
                _buffer!.GetSpan().Slice(VolumeFormat.PageBytes, _position).CopyTo(larger.GetSpan()[VolumeFormat.PageBytes..]);
                _pool.Return(_buffer);
                (_pool, _buffer) = (_blockBuffers, larger);
                return;
            }

            await SubmitBlockAsync(last: false, cancellationToken).ConfigureAwait(false);
            while (_inFlight.Count > 0 && (_inFlight.Count >= _options.MaxBlocksInFlightPerExtent || _inFlight.Peek().Write.IsCompleted))
                await SettleOldestAsync().ConfigureAwait(false);
            _pool = _blockBuffers;
            _buffer = _pool.Rent();
            _position = 0;
        }
        catch
        {
            _failed = true;
            throw;
        }
    }

    private async ValueTask SubmitBlockAsync(bool last, CancellationToken cancellationToken)
    {
        AlignedBuffer buffer = _buffer!;
        int length = _position;
        ulong[] checksums = Checksums(buffer.GetSpan().Slice(VolumeFormat.PageBytes, length));
        WriteRequest request = _engine.NewFragment(
            new FragmentWrite(_descriptor, Scheme.SingleCopy, _options.BlockSizeBytes, _nextBlock, length, 0, buffer.Memory.Slice(VolumeFormat.PageBytes, length), checksums), needsSync: last);
        cancellationToken.ThrowIfCancellationRequested();

        // From here the buffer belongs to the request. Admission is not cancelled: the caller must know when the buffer is free again.
        Task<WriteTicket> write = _engine.SubmitAsync(_writer, request, CancellationToken.None).AsTask();
        _buffer = null;
        _inFlight.Enqueue((write, buffer, _pool));
        _nextBlock++;
        if (last)
            await write.ConfigureAwait(false);
    }

    private async ValueTask SubmitSyncAsync(CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        WriteRequest request = _engine.NewSync();
        await _engine.SubmitAsync(_writer, request, CancellationToken.None).ConfigureAwait(false);
    }

    private async ValueTask SettleOldestAsync()
    {
        (Task<WriteTicket> write, AlignedBuffer buffer, AlignedBufferPool pool) = _inFlight.Dequeue();
        int block = _settledBlocks++;
        try
        {
            _written.Add((block, await write.ConfigureAwait(false)));
        }
        finally
        {
            pool.Return(buffer);
        }
    }

    private void Usable()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (_failed || _completed)
            throw new InvalidOperationException("The extent is complete or has failed; it can only be disposed.");
    }

    private static int PayloadRoom(AlignedBufferPool pool) => pool.BufferBytes - VolumeFormat.PageBytes;

    internal static ulong[] Checksums(ReadOnlySpan<byte> payload)
    {
        var checksums = new ulong[VolumeFormat.ChunkCount(payload.Length)];
        for (int chunk = 0; chunk < checksums.Length; chunk++)
        {
            int at = chunk * VolumeFormat.ChunkBytes;
            checksums[chunk] = Crc64Nvme.Compute(payload.Slice(at, Math.Min(VolumeFormat.ChunkBytes, payload.Length - at)));
        }

        return checksums;
    }
}
