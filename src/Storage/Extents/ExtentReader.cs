using System.Diagnostics;
using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Repair;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Extents;

/// <summary>
/// Reads a range shard by shard. A read is first tried without blocking, from the drive that has the shard (RWF_NOWAIT: from the page cache only); what is not there is loaded a block at a
/// time, its shards in parallel, and while the caller consumes it the next block is loaded, as far as the store's bound on buffers allows. After such a miss the next few shards
/// are not tried: attempts that fail would spoil the kernel's detection of sequential reading, and with it its readahead.
///
/// Where others wait for buffers and the caller does not come back for the next piece, what was loaded beyond the piece it has is given up (<see cref="IdleReaders"/>), and from there on, until the
/// caller is quick again, loaded a chunk at a time. A caller that was away for long gets from memory no more than a chunk. The piece in hand stays its caller's: so many of those there are at once.
/// </summary>
internal sealed class ExtentReader : IExtentReader
{
    private const int LoadedShardsAfterMiss = 64;
    private const int QuickPiecesToTrust = 16;
    private static readonly TimeSpan QuickReturn = TimeSpan.FromMilliseconds(50); // 10 Mbit/s of chunks

    /// <summary>A call is under way; the caller has a piece in hand, or nothing yet; another thread takes away what is loaded.</summary>
    private const int InCall = 0, Idle = 1, BeingReclaimed = 2;

    private readonly ExtentStore _store;
    private readonly ExtentLayout _layout;
    private readonly Scheme _scheme;
    private readonly Queue<Piece> _pieces = new(); // loaded, in order
    private Piece _piece; // being handed out
    private long _position;
    private int _loadsLeft; // shards to load without trying
    private Ahead? _ahead;
    private CancellationTokenSource? _closing;
    private readonly Activity? _activity;
    private bool _begun;
    private bool _disposed;
    private bool _isListed; // among the idle readers: others may take away what is loaded
    private int _state;
    private long _idleSince; // timestamp
    private bool _isSlow; // of its caller: a chunk at a time is loaded
    private bool _wasAway; // the caller, for long: a chunk is what it gets from memory
    private int _quickPieces;

    public ExtentReader(ExtentStore store, ExtentLayout layout, Scheme scheme, long offsetBytes, long lengthBytes)
    {
        _store = store;
        _layout = layout;
        _scheme = scheme;
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
        if (_piece.Length > 0)
            return new ValueTask<int>(TakeBuffered(destination.Span));
        Enter();
        cancellationToken.ThrowIfCancellationRequested();
        if (_loadsLeft == 0 && _pieces.Count == 0)
        {
            if (TryReadDirect(destination.Span, out int read))
            {
                Leave();
                return new ValueTask<int>(read);
            }

            if (TryFill(wholeRange: false))
            {
                Leave();
                return new ValueTask<int>(TakeBuffered(destination.Span));
            }
        }

        return ReadLoadedAsync(destination, cancellationToken);
    }

    public ValueTask<ReadOnlyMemory<byte>> ReadNextAsync(CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (RemainingBytes == 0)
            return default;
        if (_piece.Length > 0)
            return new ValueTask<ReadOnlyMemory<byte>>(TakeAllBuffered());
        Enter();
        cancellationToken.ThrowIfCancellationRequested();
        if (_loadsLeft == 0 && _pieces.Count == 0 && TryFill(wholeRange: !_isSlow && !_wasAway))
        {
            Leave();
            return new ValueTask<ReadOnlyMemory<byte>>(TakeAllBuffered());
        }

        return ReadNextLoadedAsync(cancellationToken);
    }

    public ValueTask DisposeAsync()
    {
        if (_disposed)
            return default;
        _disposed = true;
        Enter();
        if (_isListed)
            _store.IdleReaders.Remove(this);
        ReleasePiece();
        GiveUpLoaded();
        _closing?.Dispose();
        _activity?.Dispose();
        return default;
    }

    /// <summary>From a thread of somebody who waits for buffers. Where the caller has not come back for so long, what it has not in hand is released.</summary>
    public void GiveUpWhereIdle(TimeSpan patience)
    {
        if (_store.Time.GetElapsedTime(Volatile.Read(ref _idleSince)) < patience || Interlocked.CompareExchange(ref _state, BeingReclaimed, Idle) != Idle)
            return;

        // It may have come and gone meanwhile.
        if (_store.Time.GetElapsedTime(_idleSince) >= patience && (_pieces.Count > 0 || _ahead is not null))
        {
            GiveUpLoaded();
            (_isSlow, _quickPieces) = (true, 0);
            StorageMetrics.ReadsGivenUp.Add(1);
        }

        Volatile.Write(ref _state, Idle);
    }

    private void GiveUpLoaded()
    {
        while (_pieces.TryDequeue(out Piece piece))
            piece.Buffer?.Release();
        if (_ahead is not { } ahead)
            return;
        _ahead = null;
        _closing!.Cancel();
        _closing.Dispose();
        _closing = null;
        _ = DropAsync(ahead.Loading, _store.Background);
    }

    /// <summary>From here to <see cref="Leave"/> nobody takes anything away. A call that fails does not leave: what is loaded stays until the next one, or the end.</summary>
    private void Enter()
    {
        _wasAway = _begun && _store.Time.GetElapsedTime(_idleSince) >= IdleReaders.Patience;
        if (!_isListed)
            return;
        SpinWait spin = default;
        while (Interlocked.CompareExchange(ref _state, InCall, Idle) == BeingReclaimed)
            spin.SpinOnce();
        if (_isSlow && (_quickPieces = _store.Time.GetElapsedTime(_idleSince) < QuickReturn ? _quickPieces + 1 : 0) >= QuickPiecesToTrust)
            _isSlow = false;
    }

    private void Leave()
    {
        _idleSince = _store.Time.GetTimestamp();
        if (_isListed)
            Volatile.Write(ref _state, Idle);
    }

    private int BlockOf(long position) => (int)(position / _layout.BlockSizeBytes);

    private int BlockLength(int block) => (int)Math.Min(_layout.BlockSizeBytes, _layout.LengthBytes - ((long)block * _layout.BlockSizeBytes));

    private BlockAddress AddressOf(int block) => new(_layout.Id, _layout.PlacementGroup, _scheme, block, _scheme.ShardBytes(BlockLength(block)));

    /// <summary>Where the position is, and how far the range goes in its shard.</summary>
    private (BlockAddress Block, int Shard, int InShard, int Length) Locate(long position, long remaining)
    {
        BlockAddress block = AddressOf(BlockOf(position));
        int inBlock = (int)(position - ((long)block.Block * _layout.BlockSizeBytes));
        int shard = inBlock / block.ShardBytes;
        int inShard = inBlock - (shard * block.ShardBytes);
        int inBlockLeft = BlockLength(block.Block) - inBlock;
        return (block, shard, inShard, (int)Math.Min(Math.Min(block.ShardBytes - inShard, inBlockLeft), remaining));
    }

    /// <summary>The whole chunks around bytes of a shard.</summary>
    private static ShardRange ChunksOf(int shard, int inShard, int length, int shardBytes)
    {
        int first = inShard / VolumeFormat.ChunkBytes * VolumeFormat.ChunkBytes;
        int end = Math.Min((inShard + length + VolumeFormat.ChunkBytes - 1) / VolumeFormat.ChunkBytes * VolumeFormat.ChunkBytes, shardBytes);
        return new ShardRange(shard, first, end - first);
    }

    /// <summary>Straight into the caller's memory, where that has room for whole chunks and they can be had at once.</summary>
    private bool TryReadDirect(Span<byte> destination, out int read)
    {
        read = 0;
        (BlockAddress block, int shard, int inShard, int length) = Locate(_position, RemainingBytes);
        if (inShard % VolumeFormat.ChunkBytes != 0)
            return false;
        length = Math.Min(length, destination.Length);
        if (inShard + length != block.ShardBytes)
            length = length / VolumeFormat.ChunkBytes * VolumeFormat.ChunkBytes;
        if (length == 0 || !TryReadAtOnce(block, new ShardRange(shard, inShard, length), destination[..length]))
            return false;
        read = length;
        Advance(length);
        return true;
    }

    /// <summary>Reads the chunk that holds the position, or all of the range in its shard, into a buffer, where that is possible at once.</summary>
    private bool TryFill(bool wholeRange)
    {
        (BlockAddress block, int shard, int inShard, int length) = Locate(_position, RemainingBytes);
        if (!wholeRange)
            length = Math.Min(length, VolumeFormat.ChunkBytes - (inShard % VolumeFormat.ChunkBytes));
        ShardRange range = ChunksOf(shard, inShard, length, block.ShardBytes);
        ShardBufferPool pool = _store.Buffers.For(range.Length);
        ShardBuffer buffer;
        if (_piece.Buffer is { } held && held.LengthBytes == pool.BufferBytes)
        {
            buffer = held;
        }
        else
        {
            ReleasePiece();
            if (!_store.ReadBudget.TryTake(pool.BufferBytes))
                return false;
            buffer = pool.Rent(_store.ReadBudget);
        }

        _piece = new Piece(buffer, 0, 0);
        if (!TryReadAtOnce(block, range, buffer.Span[..range.Length]))
            return false;
        _piece = new Piece(buffer, inShard - range.Offset, length);
        return true;
    }

    /// <summary>False where it would block, or anything is amiss: the load finds out what.</summary>
    private bool TryReadAtOnce(BlockAddress block, ShardRange range, Span<byte> destination)
    {
        if (ExtentStore.TryReadAtOnce(_store.Route.TrySlotsOf(_layout.PlacementGroup) ?? [], block, range, destination))
            return true;
        _loadsLeft = LoadedShardsAfterMiss;
        return false;
    }

    private async ValueTask<int> ReadLoadedAsync(Memory<byte> destination, CancellationToken cancellationToken)
    {
        await LoadPieceAsync(cancellationToken).ConfigureAwait(false);
        return TakeBuffered(destination.Span);
    }

    private async ValueTask<ReadOnlyMemory<byte>> ReadNextLoadedAsync(CancellationToken cancellationToken)
    {
        await LoadPieceAsync(cancellationToken).ConfigureAwait(false);
        return TakeAllBuffered();
    }

    /// <summary>Makes the next loaded piece the current one, and sees to it that a next block is on its way.</summary>
    private async ValueTask LoadPieceAsync(CancellationToken cancellationToken)
    {
        ReleasePiece();
        if (_pieces.Count == 0)
        {
            Ahead load = _ahead is { } ahead && ahead.Position == _position ? ahead : await BeginLoadAsync(cancellationToken).ConfigureAwait(false);
            _ahead = load;
            (Piece[] pieces, int _) = await load.Loading.WaitAsync(cancellationToken).ConfigureAwait(false);
            _ahead = null;
            foreach (Piece piece in pieces)
                _pieces.Enqueue(piece);
            _loadsLeft = Math.Max(0, _loadsLeft - pieces.Length);
            BeginAhead(pieces.Sum(piece => piece.Length));
        }

        _piece = _pieces.Dequeue();
        if (!_isListed)
        {
            _isListed = true;
            _store.IdleReaders.Add(this);
        }

        Leave();
    }

    private async ValueTask<Ahead> BeginLoadAsync(CancellationToken cancellationToken)
    {
        (BlockAddress block, ShardRange[] ranges, Piece[] pieces) = Plan(_position, _isSlow ? Math.Min(RemainingBytes, VolumeFormat.ChunkBytes) : RemainingBytes);
        long cost = BlockLoad.CostBytes(_store.Buffers, ranges);

        // Once bytes have been handed out, the request can no longer be told to come again.
        TimeSpan patience = _begun ? Timeout.InfiniteTimeSpan : _store.Options.BufferPatience;
        await _store.IdleReaders.TakeAsync(_store.ReadBudget, cost, patience, cancellationToken).ConfigureAwait(false);
        if (_disposed)
        {
            _store.ReadBudget.Release(cost);
            throw new ObjectDisposedException(nameof(IExtentReader));
        }

        return Begin(_position, block, ranges, pieces);
    }

    /// <summary>Starts loading the block behind the one just loaded, where there are buffers to spare.</summary>
    private void BeginAhead(int loadedBytes)
    {
        if (RemainingBytes <= loadedBytes || _loadsLeft == 0 || _isSlow)
            return;
        (BlockAddress block, ShardRange[] ranges, Piece[] pieces) = Plan(_position + loadedBytes, RemainingBytes - loadedBytes);
        if (_store.ReadBudget.TryTake(BlockLoad.CostBytes(_store.Buffers, ranges)))
            _ahead = Begin(_position + loadedBytes, block, ranges, pieces);
    }

    private Ahead Begin(long position, BlockAddress block, ShardRange[] ranges, Piece[] pieces)
    {
        _closing ??= new CancellationTokenSource();
        return new Ahead(position, LoadAsync(block, ranges, pieces, _closing.Token));
    }

    /// <summary>The rest of the range in the block that holds a position: what to read of each shard, and which of its bytes to hand out.</summary>
    private (BlockAddress Block, ShardRange[] Ranges, Piece[] Pieces) Plan(long position, long remaining)
    {
        var ranges = new List<ShardRange>();
        var pieces = new List<Piece>();
        BlockAddress first = AddressOf(BlockOf(position));
        while (remaining > 0)
        {
            (BlockAddress block, int shard, int inShard, int length) = Locate(position, remaining);
            if (block.Block != first.Block)
                break;
            ShardRange range = ChunksOf(shard, inShard, length, block.ShardBytes);
            ranges.Add(range);
            pieces.Add(new Piece(null, inShard - range.Offset, length));
            position += length;
            remaining -= length;
        }

        return (first, [.. ranges], [.. pieces]);
    }

    private async Task<(Piece[] Pieces, int Block)> LoadAsync(BlockAddress block, ShardRange[] ranges, Piece[] pieces, CancellationToken cancellationToken)
    {
        ShardBuffer[] buffers;
        for (long cost = BlockLoad.CostBytes(_store.Buffers, ranges); ; _store.ReadBudget.Force(cost))
        {
            ClusterRoute route;
            try
            {
                route = await _store.RouteOfAsync(_layout.PlacementGroup, cancellationToken).ConfigureAwait(false);
            }
            catch
            {
                _store.ReadBudget.Release(cost);
                throw;
            }

            RoutedSlot[] slots = route.SlotsOf(_layout.PlacementGroup);
            var findings = new BlockFindings();
            if (_scheme.IsReplicated)
                ranges = [ranges[0] with { Shard = ClusterRoute.FirstCopy(slots, _scheme.Width) }];
            try
            {
                buffers = await LoadAsync(block, ranges, slots, findings, cancellationToken).ConfigureAwait(false);
                Report(block, slots, findings, reconstructed: true);
                break;
            }
            catch (StorageException) when (_store.Route != route)
            {
                // The map has changed meanwhile: the shards may be where the new one says.
            }
            catch (StorageException)
            {
                Report(block, slots, findings, reconstructed: false);
                throw;
            }
        }

        for (int i = 0; i < pieces.Length; i++)
            pieces[i] = pieces[i] with { Buffer = buffers[i] };

        return (pieces, block.Block);
    }

    /// <summary>
    /// The end of one shard and the beginning of the next, as a short range across their boundary has them, are loaded apart, side by side: where a shard is missing each then costs k times its
    /// own length, and not k whole shards, which is what lies between the two.
    /// </summary>
    private Task<ShardBuffer[]> LoadAsync(BlockAddress block, ShardRange[] ranges, RoutedSlot[] slots, BlockFindings findings, CancellationToken cancellationToken)
        => ranges is [ShardRange end, ShardRange beginning] && beginning.End <= end.Offset
            ? LoadApartAsync(block, end, beginning, slots, findings, cancellationToken)
            : RunAsync(block, ranges, slots, findings, cancellationToken);

    private async Task<ShardBuffer[]> LoadApartAsync(BlockAddress block, ShardRange end, ShardRange beginning, RoutedSlot[] slots, BlockFindings findings, CancellationToken cancellationToken)
    {
        BlockFindings others = new();
        using CancellationTokenSource both = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task<ShardBuffer[]> first = RunAsync(block, [end], slots, findings, both.Token), second = RunAsync(block, [beginning], slots, others, both.Token);
        try
        {
            if (!(await Task.WhenAny(first, second).ConfigureAwait(false)).IsCompletedSuccessfully)
                await both.CancelAsync().ConfigureAwait(false);
            await Task.WhenAll(first, second).ConfigureAwait(false);
            return [first.Result[0], second.Result[0]];
        }
        catch
        {
            foreach (Task<ShardBuffer[]> load in (ReadOnlySpan<Task<ShardBuffer[]>>)[first, second])
            {
                if (load.IsCompletedSuccessfully)
                    load.Result[0].Release();
            }

            throw;
        }
        finally
        {
            findings.Add(others);
        }
    }

    private Task<ShardBuffer[]> RunAsync(BlockAddress block, ShardRange[] ranges, RoutedSlot[] slots, BlockFindings findings, CancellationToken cancellationToken)
        => BlockLoad.RunAsync(_store, block, ranges, BlockLoad.CandidatesOf(slots, _scheme), BlockLoad.AbsentOf(slots, _scheme), _store.ReadBudget, findings, cancellationToken);

    private void Report(BlockAddress block, RoutedSlot[] slots, BlockFindings findings, bool reconstructed)
    {
        if (findings.Bad.IsEmpty)
            return;
        if (reconstructed)
        {
            StorageMetrics.BlocksReconstructed.Add(1);
            _store.Events.BlockReconstructed(block.Extent, block.Block, findings.Bad);
        }

        // A slot that is being filled lacks fragments as a matter of course; whoever fills it knows.
        ShardSet missing = default;
        foreach (int shard in findings.Missing)
        {
            if (ClusterRoute.SlotOf(slots, shard).IsComplete)
                missing = missing.With(shard);
        }

        if (!missing.IsEmpty)
            _store.Repairs.Report(new RepairNotice(block.Extent, block.PlacementGroup, block.Scheme, block.Block, 1, missing, RepairReason.MissingOnRead));
        if (!findings.Corrupt.IsEmpty)
            _store.Repairs.Report(new RepairNotice(block.Extent, block.PlacementGroup, block.Scheme, block.Block, 1, findings.Corrupt, RepairReason.CorruptOnRead));
    }

    private static async Task DropAsync(Task<(Piece[] Pieces, int Block)> loading, BackgroundWork background)
    {
        background.Enter();
        try
        {
            foreach (Piece piece in (await loading.ConfigureAwait(false)).Pieces)
                piece.Buffer!.Release();
        }
        catch (Exception e) when (e is StorageException or OperationCanceledException)
        {
            // Nobody asks for these bytes any more; what was found has been reported.
        }
        finally
        {
            background.Exit();
        }
    }

    private int TakeBuffered(Span<byte> destination)
    {
        int count = Math.Min(destination.Length, _piece.Length);
        _piece.Buffer!.Span.Slice(_piece.Offset, count).CopyTo(destination);
        _piece = _piece with { Offset = _piece.Offset + count, Length = _piece.Length - count };
        Advance(count);
        return count;
    }

    private ReadOnlyMemory<byte> TakeAllBuffered()
    {
        ReadOnlyMemory<byte> bytes = _piece.Buffer!.Memory.Slice(_piece.Offset, _piece.Length);
        Advance(_piece.Length);
        _piece = _piece with { Length = 0 };
        return bytes;
    }

    private void Advance(int bytes)
    {
        _begun = true;
        _position += bytes;
        RemainingBytes -= bytes;
    }

    private void ReleasePiece()
    {
        _piece.Buffer?.Release();
        _piece = default;
    }

    /// <summary>Bytes of a shard that are to be handed out.</summary>
    private readonly record struct Piece(ShardBuffer? Buffer, int Offset, int Length);

    /// <summary>A block that is being loaded, from a position on.</summary>
    private sealed record Ahead(long Position, Task<(Piece[] Pieces, int Block)> Loading);
}
