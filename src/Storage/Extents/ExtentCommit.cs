using System.Numerics;
using System.Runtime.InteropServices;
using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Repair;

namespace ObjectStore.Storage.Extents;

/// <summary>
/// The fragments of one extent on their way to its drives, from the first block to the answer and beyond it.
///
/// A fragment is durable when it was written with a sync, or when a sync of its drive that was asked for after all fragments of its slot had been written has succeeded. The extent has its
/// quorum when every block has <see cref="Scheme.WriteQuorum"/> durable fragments. What is not durable shortly after is recorded for repair before the extent is acknowledged,
/// whether it failed or is only late, since nobody would remember it after a crash; a late fragment that arrives after all is found whole by repair. An extent that is not acknowledged is
/// deleted: slot by slot, each when nothing is on its way there any more, so that no write can overtake its delete.
///
/// Drives that hang are not written to, but their fragments are kept until the block has been written without them: should another drive fail, and the quorum be out of reach, they are asked after all.
///
/// Every write in flight holds its buffer; the caller's share ends with <see cref="Submit"/>. Thread-safe, but for one waiter at a time.
/// </summary>
internal sealed class ExtentCommit
{
    private const int MaxNotices = 16;
    private const int DeleteBatch = 1024;

    private readonly Lock _lock = new();
    private readonly ExtentStore _store;
    private readonly ExtentDescriptor _descriptor;
    private readonly Scheme _scheme;
    private readonly int _blockSizeBytes;
    private readonly Slot[] _slots;
    private readonly List<Block> _blocks = new(1);
    private readonly long _epoch;
    private Exception? _firstError;
    private ShardBits _durable; // slots all of whose written fragments are durable
    private ShardBits _lost; // slots whose sync failed
    private int _unsettledSlots;
    private int _inFlight;
    private bool _closed;
    private bool _abandoned;
    private bool _hopeless; // some block can no longer reach its quorum
    private bool _onlyFull = true;
    private Waiting? _waiting;

    public ExtentCommit(ExtentStore store, ExtentDescriptor descriptor, Scheme scheme, int blockSizeBytes)
    {
        _store = store;
        _scheme = scheme;
        _blockSizeBytes = blockSizeBytes;
        ClusterRoute route = store.Route;
        _descriptor = descriptor = ExtentStore.Place(descriptor, scheme, route);
        _epoch = route.Map.Epoch;
        RoutedSlot[] slots = route.SlotsOf(descriptor.PlacementGroup);
        _slots = new Slot[scheme.Width];
        for (int shard = 0; shard < _slots.Length; shard++)
            _slots[shard].Lane = ClusterRoute.SlotOf(slots, shard).Drive;
        _unsettledSlots = _slots.Length;
    }

    public enum Goal
    {
        /// <summary>Fewer blocks are on their way than allowed.</summary>
        Room,

        /// <summary>The quorum is reached, or cannot be any more.</summary>
        Quorum,

        /// <summary>Nothing is on its way.</summary>
        Settled,
    }

    public Scheme Scheme => _scheme;

    public int PlacementGroup => _descriptor.PlacementGroup;

    /// <summary>Whether the extent has failed already.</summary>
    public bool IsHopeless => Volatile.Read(ref _hopeless);

    /// <summary>
    /// Sends the fragments of the next block to their drives, at once and in parallel. Takes over one hold of each buffer.
    /// </summary>
    /// <param name="blockLengthBytes">Data bytes of the block.</param>
    /// <param name="buffers">One for each shard; a single one where the block is stored in copies.</param>
    /// <param name="checksums">As many.</param>
    /// <param name="sync">Whether each fragment is synced by itself; for extents of one block.</param>
    public void Submit(int blockLengthBytes, ReadOnlySpan<ShardBuffer> buffers, ReadOnlySpan<ulong[]> checksums, bool sync)
    {
        (ShardBits chosen, ShardBits passedOver) = Choose();
        int block;
        lock (_lock)
        {
            block = _blocks.Count;
            bool possible = chosen.Count >= _scheme.WriteQuorum && !_hopeless;
            if (!possible)
            {
                _hopeless = true;
                chosen = passedOver = default;
            }

            // All of them before the first is sent: what that leads to must not take the block for finished.
            Spare[]? spares = passedOver.Count > 0 ? new Spare[passedOver.Count] : null;
            int kept = 0;
            foreach (int shard in new ShardSet(passedOver.Bits))
            {
                int from = _scheme.IsReplicated ? 0 : shard;
                buffers[from].Retain();
                spares![kept++] = new Spare(FragmentOf(block, blockLengthBytes, shard, buffers[from], checksums[from]), buffers[from], sync);
                _slots[shard].Spares++;
            }

            _blocks.Add(new Block { Pending = chosen, Spares = spares });
            if (possible)
                _inFlight++;
            foreach (int shard in new ShardSet(chosen.Bits))
            {
                _slots[shard].Pending++;
                _slots[shard].Blocks++;
            }
        }

        foreach (int shard in new ShardSet(chosen.Bits))
        {
            int from = _scheme.IsReplicated ? 0 : shard;
            buffers[from].Retain();
            _ = WriteAsync(FragmentOf(block, blockLengthBytes, shard, buffers[from], checksums[from]), buffers[from], sync);
        }

        foreach (ShardBuffer buffer in buffers)
            buffer.Release();
    }

    private FragmentWrite FragmentOf(int block, int blockLengthBytes, int shard, ShardBuffer buffer, ulong[] checksums)
        => new(_descriptor, _scheme, _blockSizeBytes, block, blockLengthBytes, shard, buffer.Memory[.._scheme.ShardBytes(blockLengthBytes)], checksums);

    /// <summary>Waits until no more than so many blocks lack their quorum of written fragments.</summary>
    /// <exception cref="StorageException">The extent has failed.</exception>
    public ValueTask WaitForRoomAsync(int maxBlocksInFlight, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (!_hopeless && _inFlight < maxBlocksInFlight)
                return default;
        }

        return WaitForRoomSlowAsync(maxBlocksInFlight, cancellationToken);
    }

    /// <summary>
    /// All blocks have been submitted: waits for the quorum, a little for the rest, and records what is missing then. The extent may be acknowledged when this returns; after an exception
    /// it is to be abandoned.
    /// </summary>
    public async ValueTask CompleteAsync(CancellationToken cancellationToken)
    {
        Close();
        long began = _store.Time.GetTimestamp();
        if (!await WaitAsync(Goal.Quorum, 0, _store.Options.WriteTimeout, cancellationToken).ConfigureAwait(false))
            throw Failure(new TimeoutException($"The drives did not answer within {_store.Options.WriteTimeout.TotalSeconds} s."));
        if (IsHopeless)
            throw Failure(null);
        await WaitAsync(Goal.Settled, 0, _store.WriteLinger, cancellationToken).ConfigureAwait(false);
        List<(int First, int Count, ShardSet Shards)> missing = Missing(out int standing, out int known);

        // What is on drives that the map no longer names may not have been there to be listed when their slots were filled: nobody would look for it there. Where it still names them as sources it
        // counts, but not for what it takes to read the block, as that may be over in a moment.
        if (standing < _scheme.DataShards || known < _scheme.WriteQuorum)
            throw new WriteQuorumException(_descriptor.Id, known, _scheme.WriteQuorum, new PlacementUnavailableException("the map has moved too many of its slots while it was written"));
        if (missing.Count > 0)
            await RecordAsync(missing, cancellationToken).ConfigureAwait(false);
        _store.WriteLoad.Record(_store.Time.GetElapsedTime(began));
    }

    /// <summary>Deletes what was written, in the background, as far as that can be done. Idempotent.</summary>
    public void Abandon()
    {
        ShardBits start = default;
        List<Spare>? unused = null;
        lock (_lock)
        {
            if (_abandoned)
                return;
            _abandoned = _closed = true;
            foreach (ref Block block in CollectionsMarshal.AsSpan(_blocks))
            {
                if (TakeSparesLocked(ref block) is { } spares)
                    (unused ??= []).AddRange(spares);
            }

            for (int shard = 0; shard < _slots.Length; shard++)
            {
                if (_slots[shard].Pending == 0 && _slots[shard].Phase != Phase.Syncing && _slots[shard].Blocks > 0)
                    start[shard] = true;
            }
        }

        foreach (Spare spare in unused ?? [])
            spare.Buffer.Release();
        for (int shard = 0; shard < _slots.Length; shard++)
        {
            if (start[shard])
                Delete(shard);
        }
    }

    /// <summary>The drives to write the next block to: those that answer, as long as they are enough; else all that can be reached. And those that are passed over.</summary>
    private (ShardBits Chosen, ShardBits PassedOver) Choose()
    {
        ShardBits reachable = default, prompt = default;
        long bytes = 0;
        for (int shard = 0; shard < _slots.Length; shard++)
        {
            if (_slots[shard].Lane is not { Store: not null } lane)
                continue;
            reachable[shard] = true;
            bytes += lane.OutstandingBytes;
        }

        foreach (int shard in new ShardSet(reachable.Bits))
        {
            DriveLane lane = _slots[shard].Lane!;
            if (lane.AcceptsWrites((bytes - lane.OutstandingBytes) / Math.Max(1, reachable.Count - 1)))
                prompt[shard] = true;
        }

        if (prompt.Count < _scheme.WriteQuorum)
            return (reachable, default);
        if (prompt.Count < _scheme.Width)
            StorageMetrics.DrivesSkipped.Add(_scheme.Width - prompt.Count);

        // What is kept for those that are passed over may end up waiting for them, so it is bounded as what was sent is.
        ShardBits passedOver = default;
        foreach (int shard in new ShardSet(reachable.Except(prompt).Bits))
            passedOver[shard] = _slots[shard].Lane!.OutstandingBytes < _store.Options.DriveBacklogBytes;
        return (prompt, passedOver);
    }

    private async Task WriteAsync(FragmentWrite fragment, ShardBuffer buffer, bool sync)
    {
        _store.Background.Enter();
        int shard = fragment.Shard;
        DriveLane lane = _slots[shard].Lane!;
        FragmentTicket ticket = default;
        Exception? error = null;
        DriveLane.Operation operation = lane.BeginWrite(buffer.LengthBytes);
        try
        {
            ticket = await StoreAsync(lane, fragment, sync).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            // Whatever it was, the fragment is not stored; it is among the causes where the quorum fails, and handed to repair where it does not.
            error = e;
        }

        TimeSpan took = lane.EndWrite(operation, error);
        buffer.Release();
        if (Settle(fragment.Block, shard, ticket, error, sync))
            _store.WriteLatency.Add(took);
        _store.Background.Exit();
    }

    /// <summary>Writes a fragment; once more where its volume failed, since the drive goes on with another volume.</summary>
    internal static async ValueTask<FragmentTicket> StoreAsync(DriveLane lane, FragmentWrite fragment, bool sync)
    {
        for (bool retried = false; ; retried = true)
        {
            try
            {
                IFragmentStore store = lane.Store ?? throw new DriveUnavailableException(lane.DriveId, "it cannot be reached from here");
                return await store.WriteAsync(fragment, sync, CancellationToken.None).ConfigureAwait(false);
            }
            catch (StorageException e) when (!retried && e is VolumePoisonedException or VolumeWriterException)
            {
            }
        }
    }

    /// <summary>Whether the fragment is one of those that make the quorum: how long the slowest take says nothing of how long to wait for them.</summary>
    private bool Settle(int block, int shard, FragmentTicket ticket, Exception? error, bool sync)
    {
        Waiting? wake;
        Next next;
        bool isOfQuorum = false;
        Spare[]? asked = null, unused = null;
        Span<Next> freed = stackalloc Next[Scheme.MaxShards];
        lock (_lock)
        {
            ref Block at = ref CollectionsMarshal.AsSpan(_blocks)[block];
            at.Pending[shard] = false;
            if (error is null)
            {
                at.Written[shard] = true;
                isOfQuorum = at.Written.Count <= _scheme.WriteQuorum;
                if (!sync)
                    (_slots[shard].Tickets ??= []).Add(ticket);
            }
            else
            {
                NoteLocked(error);
            }

            if (at.Written.Except(_lost).Count >= _scheme.WriteQuorum)
            {
                unused = TakeSparesLocked(ref at);
                foreach (Spare spare in unused ?? [])
                    freed[spare.Fragment.Shard] = NextLocked(spare.Fragment.Shard);
            }
            else
            {
                asked = RequireQuorumLocked(ref at);
            }

            if (!at.HasLeft && (at.Written.Count >= _scheme.WriteQuorum || at.Pending.Count == 0))
            {
                at.HasLeft = true;
                _inFlight--;
            }

            _slots[shard].Pending--;
            next = NextLocked(shard);
            wake = TakeWaiterLocked();
        }

        foreach (Spare spare in asked ?? [])
            _ = WriteAsync(spare.Fragment, spare.Buffer, spare.Sync);
        foreach (Spare spare in unused ?? [])
        {
            spare.Buffer.Release();
            Continue(spare.Fragment.Shard, freed[spare.Fragment.Shard]);
        }

        Continue(shard, next);
        wake?.Source.TrySetResult(true); // runs what waits right here, so it comes last
        return isOfQuorum;
    }

    private void Close()
    {
        Waiting? wake;
        Span<Next> next = stackalloc Next[Scheme.MaxShards];
        lock (_lock)
        {
            _closed = true;
            for (int shard = 0; shard < _slots.Length; shard++)
                next[shard] = NextLocked(shard);
            wake = TakeWaiterLocked();
        }

        for (int shard = 0; shard < _slots.Length; shard++)
            Continue(shard, next[shard]);
        wake?.Source.TrySetResult(true);
    }

    /// <summary>The fragments that were kept of a block; their buffers' holds are the taker's.</summary>
    private Spare[]? TakeSparesLocked(ref Block block)
    {
        Spare[]? spares = block.Spares;
        block.Spares = null;
        foreach (Spare spare in spares ?? [])
            _slots[spare.Fragment.Shard].Spares--;
        return spares;
    }

    /// <summary>
    /// Where a block can no longer get its quorum from what is written and on its way, without the slots whose sync failed: the fragments that were kept, which are to be sent now, if the quorum
    /// can be had with them; else the extent has failed.
    /// </summary>
    private Spare[]? RequireQuorumLocked(ref Block block)
    {
        int possible = block.Written.Or(block.Pending).Except(_lost).Count;
        if (possible >= _scheme.WriteQuorum || _hopeless)
            return null;
        if (possible + (block.Spares?.Length ?? 0) < _scheme.WriteQuorum)
        {
            _hopeless = true;
            return null;
        }

        // A slot for which something is kept has not been synced, so it is not among the lost ones.
        Spare[] asked = TakeSparesLocked(ref block)!;
        foreach (Spare spare in asked)
        {
            block.Pending[spare.Fragment.Shard] = true;
            _slots[spare.Fragment.Shard].Pending++;
            _slots[spare.Fragment.Shard].Blocks++;
        }

        return asked;
    }

    /// <summary>What a slot does when nothing is on its way there.</summary>
    private Next NextLocked(int shard)
    {
        ref Slot slot = ref _slots[shard];
        if (!_closed || slot.Pending > 0 || slot.Spares > 0 || slot.Phase == Phase.Syncing)
            return Next.Nothing;
        if (_abandoned)
            return slot.Blocks > 0 ? Next.Delete : Next.Nothing;
        if (slot.Phase == Phase.Settled)
            return Next.Nothing;
        if (slot.Tickets is { Count: > 0 })
        {
            slot.Phase = Phase.Syncing;
            return Next.Sync;
        }

        slot.Phase = Phase.Settled;
        _unsettledSlots--;
        _durable[shard] = true;
        return Next.Nothing;
    }

    private void Continue(int shard, Next next)
    {
        if (next == Next.Sync)
            _ = SyncAsync(shard);
        else if (next == Next.Delete)
            Delete(shard);
    }

    private async Task SyncAsync(int shard)
    {
        _store.Background.Enter();
        DriveLane lane = _slots[shard].Lane!;
        Exception? error = null;
        DriveLane.Operation operation = lane.BeginWrite(0);
        try
        {
            IFragmentStore store = lane.Store ?? throw new DriveUnavailableException(lane.DriveId, "it cannot be reached from here");
            await store.SyncAsync(_slots[shard].Tickets!.ToArray(), CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            // None of the slot's fragments counts as durable: which of them are is not known.
            error = e;
        }

        lane.EndWrite(operation, error);
        Waiting? wake;
        Next next;
        List<Spare>? asked = null;
        lock (_lock)
        {
            _slots[shard].Phase = Phase.Settled;
            _unsettledSlots--;
            if (error is null)
            {
                _durable[shard] = true;
            }
            else
            {
                _lost[shard] = true;
                NoteLocked(error);
                foreach (ref Block block in CollectionsMarshal.AsSpan(_blocks))
                {
                    if (RequireQuorumLocked(ref block) is { } spares)
                        (asked ??= []).AddRange(spares);
                }
            }

            next = NextLocked(shard);
            wake = TakeWaiterLocked();
        }

        foreach (Spare spare in asked ?? [])
            _ = WriteAsync(spare.Fragment, spare.Buffer, spare.Sync);
        Continue(shard, next);
        wake?.Source.TrySetResult(true); // runs what waits right here, so it comes last
        _store.Background.Exit();
    }

    private void Delete(int shard)
    {
        int blocks;
        lock (_lock)
        {
            blocks = _blocks.Count;
            _slots[shard].Blocks = 0;
        }

        if (!_store.Background.TryStart(() => DeleteAsync(_slots[shard].Lane!, shard, blocks)))
            StorageMetrics.CleanupsDropped.Add(1);
    }

    private async Task DeleteAsync(DriveLane lane, int shard, int blocks)
    {
        try
        {
            for (int first = 0; first < blocks && lane.Store is { } store; first += DeleteBatch)
            {
                FragmentKey[] keys = [.. Enumerable.Range(first, Math.Min(DeleteBatch, blocks - first)).Select(block => new FragmentKey(_descriptor.Id, block, (ushort)shard))];
                await store.DeleteAsync(keys, CancellationToken.None).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is StorageException or IOException or ObjectDisposedException)
        {
            // What stays is an orphan that no metadata names.
            lane.ObserveDelete(e);
        }
    }

    private void NoteLocked(Exception error)
    {
        _firstError ??= error;
        _onlyFull &= error is DriveFullException;
    }

    private StorageException Failure(Exception? cause)
    {
        lock (_lock)
        {
            if (_firstError is DriveFullException full && _onlyFull)
                return full;
            int durable = _blocks.Count == 0 ? 0 : int.MaxValue;
            foreach (ref Block block in CollectionsMarshal.AsSpan(_blocks))
                durable = Math.Min(durable, block.Written.Except(_lost).Count);
            return new WriteQuorumException(_descriptor.Id, durable, _scheme.WriteQuorum, _firstError ?? cause);
        }
    }

    /// <summary>By block, what cannot be counted on: not durable, or on a drive that the map no longer names for the slot.</summary>
    /// <param name="standing">How many fragments of the block that has the fewest can be.</param>
    /// <param name="known">The same with those on former drives that the map still names as such.</param>
    private List<(int First, int Count, ShardSet Shards)> Missing(out int standing, out int known)
    {
        standing = known = _scheme.Width;
        ShardBits moved = default, unknown = default;
        ClusterRoute route = _store.Route;
        if (route.Map.Epoch != _epoch)
        {
            // The slot may have been moved, and its fragments listed for that, before ours came.
            RoutedSlot[] slots = route.SlotsOf(_descriptor.PlacementGroup);
            for (int shard = 0; shard < _slots.Length; shard++)
            {
                RoutedSlot slot = ClusterRoute.SlotOf(slots, shard);
                moved[shard] = slot.Drive != _slots[shard].Lane;
                unknown[shard] = moved[shard] && !(_slots[shard].Lane is { } lane && slot.Sources.Contains(lane));
            }
        }

        var runs = new List<(int First, int Count, ShardSet Shards)>();
        ulong all = ShardSet.All(_scheme.Width).Bits;
        lock (_lock)
        {
            for (int block = 0; block < _blocks.Count; block++)
            {
                var missing = new ShardSet(all & ~_blocks[block].Written.And(_durable).Except(moved).Bits);
                if (missing.IsEmpty)
                    continue;
                standing = Math.Min(standing, _scheme.Width - missing.Count);
                known = Math.Min(known, _blocks[block].Written.And(_durable).Except(unknown).Count);
                if (runs.Count > 0 && runs[^1] is var last && last.First + last.Count == block && last.Shards == missing)
                    runs[^1] = last with { Count = last.Count + 1 };
                else
                    runs.Add((block, 1, missing));
            }
        }

        if (runs.Count <= MaxNotices)
            return runs;
        ulong union = 0;
        foreach ((_, _, ShardSet shards) in runs)
            union |= shards.Bits;
        return [(runs[0].First, runs[^1].First + runs[^1].Count - runs[0].First, new ShardSet(union))];
    }

    private async ValueTask RecordAsync(List<(int First, int Count, ShardSet Shards)> missing, CancellationToken cancellationToken)
    {
        ulong union = 0;
        foreach ((int first, int count, ShardSet shards) in missing)
        {
            union |= shards.Bits;
            await _store.Repairs.RecordAsync(
                new RepairNotice(_descriptor.Id, _descriptor.PlacementGroup, _scheme, first, count, shards, RepairReason.DegradedWrite), cancellationToken).ConfigureAwait(false);
        }

        StorageMetrics.WritesDegraded.Add(1);
        _store.Events.DegradedWrite(_descriptor.Id, new ShardSet(union));
    }

    private async ValueTask WaitForRoomSlowAsync(int maxBlocksInFlight, CancellationToken cancellationToken)
    {
        if (!await WaitAsync(Goal.Room, maxBlocksInFlight, _store.Options.WriteTimeout, cancellationToken).ConfigureAwait(false))
            throw Failure(new TimeoutException($"The drives did not answer within {_store.Options.WriteTimeout.TotalSeconds} s."));
        if (IsHopeless)
            throw Failure(null);
    }

    /// <summary>False where the time ran out.</summary>
    private ValueTask<bool> WaitAsync(Goal goal, int maxBlocksInFlight, TimeSpan timeout, CancellationToken cancellationToken)
    {
        Waiting waiting;
        lock (_lock)
        {
            if (IsMetLocked(goal, maxBlocksInFlight))
                return new ValueTask<bool>(true);
            if (timeout <= TimeSpan.Zero)
                return new ValueTask<bool>(false);
            waiting = _waiting = new Waiting(goal, maxBlocksInFlight);
        }

        return AwaitAsync(waiting, timeout, cancellationToken);
    }

    private async ValueTask<bool> AwaitAsync(Waiting waiting, TimeSpan timeout, CancellationToken cancellationToken)
    {
        ITimer timer = _store.Time.CreateTimer(static state => ((Waiting)state!).Source.TrySetResult(false), waiting, timeout, Timeout.InfiniteTimeSpan);
        try
        {
            await using (timer.ConfigureAwait(false))
            {
                using CancellationTokenRegistration registration = cancellationToken.UnsafeRegister(
                    static (state, token) => ((Waiting)state!).Source.TrySetCanceled(token), waiting);
                return await waiting.Source.Task.ConfigureAwait(false);
            }
        }
        finally
        {
            lock (_lock)
            {
                if (_waiting == waiting)
                    _waiting = null;
            }
        }
    }

    private Waiting? TakeWaiterLocked()
    {
        if (_waiting is not { } waiting || !IsMetLocked(waiting.Goal, waiting.MaxBlocksInFlight))
            return null;
        _waiting = null;
        return waiting;
    }

    private bool IsMetLocked(Goal goal, int maxBlocksInFlight)
    {
        if (_hopeless && goal != Goal.Settled)
            return true;
        switch (goal)
        {
            case Goal.Room:
                return _inFlight < maxBlocksInFlight;
            case Goal.Settled:
                return _unsettledSlots == 0;
            default:
                foreach (ref Block block in CollectionsMarshal.AsSpan(_blocks))
                {
                    if (block.Written.And(_durable).Count < _scheme.WriteQuorum)
                        return false;
                }

                return true;
        }
    }

    private enum Phase : byte
    {
        Writing,
        Syncing,
        Settled,
    }

    private enum Next : byte
    {
        Nothing,
        Sync,
        Delete,
    }

    private struct Slot
    {
        public DriveLane? Lane;
        public List<FragmentTicket>? Tickets; // written without a sync
        public int Pending;
        public int Spares; // kept, and perhaps sent there yet
        public int Blocks; // sent there
        public Phase Phase;
    }

    private struct Block
    {
        public ShardBits Pending;
        public ShardBits Written;
        public Spare[]? Spares; // until the block has its quorum of written fragments
        public bool HasLeft;
    }

    /// <summary>A fragment that is not sent unless it must be, with a hold of its buffer.</summary>
    private readonly record struct Spare(FragmentWrite Fragment, ShardBuffer Buffer, bool Sync);

    /// <summary>A set of shards that is changed in place.</summary>
    private struct ShardBits
    {
        public ulong Bits { get; private init; }

        public readonly int Count => BitOperations.PopCount(Bits);

        public bool this[int shard]
        {
            readonly get => (Bits >> shard & 1) != 0;
            set => this = new ShardBits { Bits = value ? Bits | 1UL << shard : Bits & ~(1UL << shard) };
        }

        public readonly ShardBits And(ShardBits other) => new() { Bits = Bits & other.Bits };

        public readonly ShardBits Or(ShardBits other) => new() { Bits = Bits | other.Bits };

        public readonly ShardBits Except(ShardBits other) => new() { Bits = Bits & ~other.Bits };
    }

    private sealed class Waiting(Goal goal, int maxBlocksInFlight)
    {
        public Goal Goal => goal;

        public int MaxBlocksInFlight => maxBlocksInFlight;

        public TaskCompletionSource<bool> Source { get; } = new();
    }
}
