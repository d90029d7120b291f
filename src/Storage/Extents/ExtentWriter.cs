using System.Diagnostics;
using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.ErasureCoding;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Extents;

/// <summary>
/// Cuts a stream into blocks and shards. Bytes are received straight into the buffers of the data shards, which are taken one by one as they are needed; when a block is full its parity is
/// computed and all of it goes to <see cref="ExtentCommit"/>, and the next block is received.
///
/// The map may not have groups of the extent's width yet. They are asked for just before the first block goes to its drives: a width that is in the map stays, and an upload that ends before it has
/// stored anything must leave none. The newest map is fetched when the first shard is full: what has been received by then fits the scheme that it asks for, whatever drives have come and gone. Where
/// more of them go while the first block is received, so that it fits no longer, the extent is unavailable, and its next attempt is not.
///
/// The last block has shorter shards. Where the length was announced they are laid out so from the start; where it was not, or was wrong, bytes are moved once.
/// </summary>
internal sealed class ExtentWriter : IExtentWriter
{
    private readonly ExtentStore _store;
    private readonly ExtentDescriptor _descriptor;
    private const int MostMaps = 16;

    private readonly int _smallBelowBytes;
    private Scheme _small;
    private Scheme _large;
    private bool _isSmall; // stored by the scheme for small parts, as far as is known
    private long? _expectedBytes;
    private Scheme _scheme;
    private int _shardBytes; // of each shard of the current block
    private int _blockLimit; // bytes that the current block takes
    private ShardBuffer?[] _buffers;
    private ulong[]?[] _checksums;
    private int _position; // in the current block
    private int _submitted; // blocks
    private ExtentCommit? _commit;
    private Activity? _activity;
    private bool _hasFollowed; // the newest map
    private bool _completed;
    private bool _failed;
    private bool _disposed;

    public ExtentWriter(ExtentStore store, ExtentDescriptor descriptor, long? expectedLengthBytes)
    {
        _store = store;
        _descriptor = descriptor;
        _expectedBytes = expectedLengthBytes is >= 0 ? expectedLengthBytes : null;
        (_small, _large, _smallBelowBytes) = store.SchemesOf(descriptor);
        _isSmall = _expectedBytes < _smallBelowBytes;
        _scheme = _isSmall ? _small : _large;
        _buffers = new ShardBuffer?[_scheme.Width];
        _checksums = new ulong[]?[_scheme.Width];
        BeginBlock();
        if (_expectedBytes is not <= VolumeFormat.MaxPackedPayloadBytes)
            _activity = StorageActivities.StartWrite(descriptor.Id);
    }

    public long LengthBytes { get; private set; }

    private int BlockSizeBytes => _store.BlockSizeOf(_scheme);

    private bool IsFull => _position == BlockSizeBytes;

    public Memory<byte> GetMemory()
    {
        Usable();
        if (_position == _blockLimit)
        {
            if (IsFull)
                throw new InvalidOperationException("The block is full: call FlushIfFullAsync after Advance.");
            MakeRoomForMore();
        }

        int shard = _position / _shardBytes;
        int inShard = _position % _shardBytes;
        return Buffer(shard).Memory[inShard..Math.Min(_shardBytes, _blockLimit - (shard * _shardBytes))];
    }

    public void Advance(int bytes)
    {
        Usable();
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        int inShard = _position % _shardBytes;
        ArgumentOutOfRangeException.ThrowIfGreaterThan(bytes, Math.Min(_shardBytes - inShard, _blockLimit - _position));
        _position += bytes;
        LengthBytes += bytes;
    }

    public ValueTask FlushIfFullAsync(CancellationToken cancellationToken = default)
    {
        Usable();
        if (_position == 0 || (_position < _blockLimit && _position % _shardBytes > 0))
            return default;
        return ShardFullAsync(cancellationToken);
    }

    public async ValueTask<ExtentLayout> CompleteAsync(CancellationToken cancellationToken = default)
    {
        Usable();
        try
        {
            if (_position > 0 || _submitted == 0)
            {
                if (!IsFull)
                    await FitToLengthAsync(cancellationToken).ConfigureAwait(false);
                await RequireGroupsAsync(isLast: true, cancellationToken).ConfigureAwait(false);
                await SubmitBlockAsync(cancellationToken).ConfigureAwait(false);
            }

            // A buffer for the block that did not come is not held while the drives finish.
            ReleaseBuffers();
            _store.WriteBudget.EndExcess(this);
            await _commit!.CompleteAsync(cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            _failed = true;
            throw;
        }

        _completed = true;
        return new ExtentLayout(_descriptor.Id, _commit.PlacementGroup, _scheme.Id, BlockSizeBytes, LengthBytes);
    }

    public ValueTask DisposeAsync()
    {
        if (_disposed)
            return default;
        _disposed = true;
        ReleaseBuffers();
        _store.WriteBudget.EndExcess(this);
        _activity?.SetTag("objectstore.bytes", LengthBytes).SetTag("objectstore.scheme", _scheme.ToString()).SetStatus(_completed ? ActivityStatusCode.Ok : ActivityStatusCode.Error).Dispose();
        _activity = null;
        if (!_completed)
            _commit?.Abandon();
        return default;
    }

    /// <summary>Lays out the block that begins here: with full shards, or, where its length was announced, with shards of just that.</summary>
    private void BeginBlock()
    {
        int blockSize = BlockSizeBytes;
        _position = 0;
        _blockLimit = _expectedBytes - LengthBytes is { } left && left > 0 && left < blockSize ? (int)left : blockSize;
        _shardBytes = _scheme.ShardBytes(_blockLimit);
    }

    /// <summary>More comes than was announced.</summary>
    private void MakeRoomForMore()
    {
        _expectedBytes = null;
        _isSmall &= _submitted > 0;
        if (_submitted == 0 && _scheme != _large)
            Relayout(_large);
        else
            Relayout(_scheme);
    }

    private ShardBuffer Buffer(int shard)
    {
        if (_buffers[shard] is { } buffer)
            return buffer;
        ShardBufferPool pool = _store.Buffers.For(_shardBytes);
        _store.WriteBudget.Force(pool.BufferBytes);
        return _buffers[shard] = pool.Rent(_store.WriteBudget);
    }

    private async ValueTask ShardFullAsync(CancellationToken cancellationToken)
    {
        try
        {
            if (!IsFull)
                await FollowMapAsync(cancellationToken).ConfigureAwait(false);
            if (IsFull)
                await RequireGroupsAsync(isLast: false, cancellationToken).ConfigureAwait(false);
            int full = ((_position - 1) / _shardBytes);
            int end = Math.Min(_shardBytes, _position - (full * _shardBytes));
            if (end == _shardBytes)
                _checksums[full] ??= ChunkChecksums.Compute(_buffers[full]!.Span[.._shardBytes]);
            if (IsFull)
            {
                await SubmitBlockAsync(cancellationToken).ConfigureAwait(false);
                await _commit!.WaitForRoomAsync(_store.Options.MaxBlocksInFlightPerExtent, cancellationToken).ConfigureAwait(false);
                BeginBlock();
                if (_expectedBytes == LengthBytes)
                    return; // that was all, as announced
            }
            else if (_position == _blockLimit)
            {
                return; // likewise
            }

            await RentAsync(_position / _shardBytes, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            _failed = true;
            throw;
        }
    }

    private async ValueTask RentAsync(int shard, CancellationToken cancellationToken)
    {
        if (_buffers[shard] is not null)
            return;
        ShardBufferPool pool = _store.Buffers.For(_shardBytes);
        await _store.WriteBudget.TakeAsync(pool.BufferBytes, this, _store.Options.BufferPatience, cancellationToken).ConfigureAwait(false);
        _buffers[shard] = pool.Rent(_store.WriteBudget);
    }

    /// <summary>Sees to it that the map has groups for the extent, and lays out what there is by the scheme of that map. Does nothing once a block is on its way: it has its group.</summary>
    /// <param name="isLast">Whether the extent ends in this block.</param>
    private ValueTask RequireGroupsAsync(bool isLast, CancellationToken cancellationToken)
        => _commit is not null || _store.Route.HasGroups(_scheme.Width) ? default : new ValueTask(AskForGroupsAsync(isLast, cancellationToken));

    /// <summary>Once, where groups will have to be asked for: goes by the newest map.</summary>
    private async ValueTask FollowMapAsync(CancellationToken cancellationToken)
    {
        if (_commit is not null || _hasFollowed || _store.Route.HasGroups(_scheme.Width) || _store.MapOwner is not { } owner)
            return;
        _hasFollowed = true;
        await owner.RefreshAsync(cancellationToken).ConfigureAwait(false);
        FollowSchemes(isLast: false);
    }

    private async Task AskForGroupsAsync(bool isLast, CancellationToken cancellationToken)
    {
        for (int maps = 0; !_store.Route.HasGroups(_scheme.Width); maps++)
        {
            if (maps == MostMaps)
                throw new PlacementUnavailableException("the drives of the pool change too fast");
            await _store.RequireGroupsAsync(_descriptor, _isSmall, cancellationToken).ConfigureAwait(false);
            FollowSchemes(isLast);
        }
    }

    /// <summary>Lays out what there is by the scheme that the map at hand asks for.</summary>
    private void FollowSchemes(bool isLast)
    {
        (_small, _large, _) = _store.SchemesOf(_descriptor);
        Scheme scheme = _isSmall ? _small : _large;
        if (scheme == _scheme)
            return;
        int blockSize = _store.BlockSizeOf(scheme);
        if (_position > blockSize)
            throw new PlacementUnavailableException("there are fewer drives than when the extent was begun");
        Relayout(scheme, isLast ? _position : _expectedBytes >= _position && _expectedBytes < blockSize ? (int)_expectedBytes : null);
    }

    /// <summary>The stream has ended in this block: gives its shards the length that the scheme asks for, and the extent the scheme of its length where no block is on its way yet.</summary>
    private async ValueTask FitToLengthAsync(CancellationToken cancellationToken)
    {
        if (_submitted == 0 && LengthBytes < _smallBelowBytes && LengthBytes <= _store.BlockSizeOf(_small))
        {
            _isSmall = true;
            if (_scheme != _small)
            {
                Relayout(_small, _position);
                return;
            }
        }

        int shardBytes = _scheme.ShardBytes(_position);
        if (shardBytes == _shardBytes)
            return;

        // Shards become shorter, in place, from the last one to the first: what a move overwrites has been moved already.
        for (int shard = _scheme.IsReplicated ? -1 : (_position - 1) / shardBytes; shard >= 0; shard--)
        {
            await RentAsync(shard, cancellationToken).ConfigureAwait(false);
            int from = shard * shardBytes;
            for (int at = Math.Min(from + shardBytes, _position); at > from;)
            {
                int source = (at - 1) / _shardBytes;
                int start = Math.Max(from, source * _shardBytes);
                _buffers[source]!.Span[(start - (source * _shardBytes))..(at - (source * _shardBytes))].CopyTo(_buffers[shard]!.Span[(start - from)..]);
                at = start;
            }
        }

        _shardBytes = shardBytes;
        _blockLimit = _position;
        Array.Clear(_checksums);
    }

    /// <summary>Copies the block's bytes into the layout of a scheme: full shards, or those of a block of a given length.</summary>
    private void Relayout(Scheme scheme, int? blockLengthBytes = null)
    {
        ShardBuffer?[] old = _buffers;
        int oldShardBytes = _shardBytes;
        _scheme = scheme;
        _buffers = new ShardBuffer?[scheme.Width];
        _checksums = new ulong[]?[scheme.Width];
        _blockLimit = blockLengthBytes ?? BlockSizeBytes;
        _shardBytes = scheme.ShardBytes(_blockLimit);
        for (int done = 0; done < _position;)
        {
            Span<byte> source = old[done / oldShardBytes]!.Span[(done % oldShardBytes)..oldShardBytes];
            Span<byte> target = Buffer(done / _shardBytes).Span[(done % _shardBytes).._shardBytes];
            int count = Math.Min(Math.Min(source.Length, target.Length), _position - done);
            source[..count].CopyTo(target);
            done += count;
        }

        foreach (ShardBuffer? buffer in old)
            buffer?.Release();
    }

    /// <summary>Sends the current block on its way, with its parity.</summary>
    private async ValueTask SubmitBlockAsync(CancellationToken cancellationToken)
    {
        int shards = _scheme.IsReplicated ? 1 : _scheme.Width;
        for (int shard = 0; shard < shards; shard++)
        {
            if (_buffers[shard] is null)
                await RentAsync(shard, cancellationToken).ConfigureAwait(false);
        }

        cancellationToken.ThrowIfCancellationRequested();
        _commit ??= new ExtentCommit(_store, _descriptor, _scheme, BlockSizeBytes);
        FinishShards(shards);
        bool whole = _submitted == 0 && (!IsFull || _expectedBytes == LengthBytes);
        _submitted++;

        // From here the buffers belong to the commit.
        _commit.Submit(_position, _buffers.AsSpan(0, shards)!, _checksums.AsSpan(0, shards)!, sync: whole);
        Array.Clear(_buffers);
        Array.Clear(_checksums);
        _store.WriteBudget.EndExcess(this);
        _position = 0;
    }

    /// <summary>Pads the data, computes parity and the checksums that are not there yet.</summary>
    private void FinishShards(int shards)
    {
        int k = _scheme.DataShards;
        for (int shard = 0; shard < k; shard++)
        {
            // Up to the end of the page, so that nothing of an earlier extent is written behind the payload.
            int used = Math.Clamp(_position - (shard * _shardBytes), 0, _shardBytes);
            _buffers[shard]!.Span[used..VolumeFormat.AlignToPage(_shardBytes)].Clear();
            _checksums[shard] ??= ChunkChecksums.Compute(_buffers[shard]!.Span[.._shardBytes]);
        }

        if (shards == 1)
            return;
        Span<nint> addresses = stackalloc nint[Scheme.MaxShards];
        for (int shard = 0; shard < shards; shard++)
            addresses[shard] = _buffers[shard]!.Address;
        ReedSolomon.For(_scheme).Encode(addresses[..k], addresses[k..shards], _shardBytes);
        for (int shard = k; shard < shards; shard++)
        {
            _buffers[shard]!.Span[_shardBytes..VolumeFormat.AlignToPage(_shardBytes)].Clear();
            _checksums[shard] = ChunkChecksums.Compute(_buffers[shard]!.Span[.._shardBytes]);
        }
    }

    private void ReleaseBuffers()
    {
        for (int shard = 0; shard < _buffers.Length; shard++)
        {
            _buffers[shard]?.Release();
            _buffers[shard] = null;
        }
    }

    private void Usable()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (_failed || _completed)
            throw new InvalidOperationException("The extent is complete or has failed; it can only be disposed.");
    }
}
