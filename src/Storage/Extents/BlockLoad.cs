using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.ErasureCoding;
using ObjectStore.Storage.Fragments;

namespace ObjectStore.Storage.Extents;

/// <summary>One block of an extent, as much of it as reading its fragments needs.</summary>
internal readonly record struct BlockAddress(ExtentId Extent, int PlacementGroup, Scheme Scheme, int Block, int ShardBytes)
{
    public FragmentAddress Fragment(int shard) => new(new FragmentKey(Extent, Block, (ushort)shard), PlacementGroup, Scheme, ShardBytes);
}

/// <summary>Bytes of one shard: whole chunks, or up to the shard's end.</summary>
internal readonly record struct ShardRange(int Shard, int Offset, int Length)
{
    public int End => Offset + Length;

    public bool Covers(ShardRange other) => Offset <= other.Offset && End >= other.End;
}

/// <summary>
/// Gets ranges of some shards of a block: reads them where they are, and where that fails or takes too long, reads the same range of others, whichever k come first, and
/// computes what is wanted from them. Every byte used was verified against its chunk's checksum by the drive's store.
///
/// Each read owns its buffer until it has ended, also when nobody waits for it any more: a buffer into which something may still be written never returns to its pool, and is never read into again.
/// </summary>
internal sealed class BlockLoad
{
    // How soon one that is late is hedged after room for it has come.
    private static readonly TimeSpan CrowdedPoll = TimeSpan.FromMilliseconds(50);

    private readonly Lock _lock = new();
    private readonly ExtentStore _store;
    private readonly BlockAddress _block;
    private readonly ShardRange[] _wanted;
    private readonly DriveLane[][] _candidates;
    private readonly ShardSet _absent;
    private readonly BufferBudget _budget;
    private readonly bool _forRepair;
    private readonly CancellationTokenSource _stragglers = new();
    private readonly List<ShardRead> _reads = [];
    private int _reserved; // charged buffers of the common range's size that nobody has yet
    private readonly ShardRange _common; // covers every wanted range; what others are read for
    private long _began; // later by what was waited for room
    private bool _hasSubstitutes; // these three are of the one who runs the load
    private long _substitutes; // bytes of the budget for what is read in place of others
    private int _substituteReads; // of these, buffers for reads that have not begun
    private TaskCompletionSource? _signal;
    private Exception? _firstError;
    private bool _ended;

    private BlockLoad(ExtentStore store, BlockAddress block, ShardRange[] wanted, DriveLane[][] candidates, ShardSet absent, BufferBudget budget, bool forRepair)
    {
        _store = store;
        _block = block;
        _wanted = wanted;
        _candidates = candidates;
        _absent = absent;
        _budget = budget;
        int start = wanted.Min(range => range.Offset);
        _common = new ShardRange(-1, start, wanted.Max(range => range.End) - start);
        _began = store.Time.GetTimestamp();
        _forRepair = forRepair;
        _reserved = forRepair ? Needed : 0;
    }

    /// <summary>What to take from the budget before a load: the buffers of the wanted ranges. Buffers of further shards are taken beyond it as they are needed.</summary>
    public static long CostBytes(ShardBuffers buffers, ReadOnlySpan<ShardRange> wanted)
    {
        long bytes = 0;
        foreach (ShardRange range in wanted)
            bytes += buffers.For(range.Length).BufferBytes;
        return bytes;
    }

    /// <summary>As <see cref="CostBytes"/>, for a load that repairs: that reads k shards as a rule, and there is time to wait for their buffers.</summary>
    public static long RepairCostBytes(ShardBuffers buffers, ReadOnlySpan<ShardRange> wanted, BlockAddress block)
        => CostBytes(buffers, wanted) + ((long)block.Scheme.DataShards * buffers.For(block.ShardBytes).BufferBytes);

    /// <summary>Where each shard may be read as it is, by the map; of several drives first those that answer promptly.</summary>
    public static DriveLane[][] CandidatesOf(RoutedSlot[] slots, Scheme scheme)
    {
        var candidates = new DriveLane[scheme.Width][];
        for (int shard = 0; shard < candidates.Length; shard++)
        {
            DriveLane[] lanes = ClusterRoute.SlotOf(slots, shard).Candidates;
            candidates[shard] = lanes.Length < 2 || lanes[0].LooksPrompt ? lanes : [.. lanes.OrderBy(lane => !lane.LooksPrompt)];
        }

        return candidates;
    }

    /// <summary>The shards that drives which are out may have.</summary>
    public static ShardSet AbsentOf(RoutedSlot[] slots, Scheme scheme)
    {
        ShardSet absent = default;
        for (int shard = 0; shard < scheme.Width; shard++)
        {
            if (ClusterRoute.SlotOf(slots, shard).HasAbsent)
                absent = absent.With(shard);
        }

        return absent;
    }

    /// <summary>Runs a load. The budget has been charged <see cref="CostBytes"/>, or <see cref="RepairCostBytes"/>, which it gets back as the buffers are released or the load fails.</summary>
    /// <param name="store">The store.</param>
    /// <param name="block">The block.</param>
    /// <param name="wanted">Ascending, each shard once.</param>
    /// <param name="candidates">Drives to read each shard from as it is, in this order; none where it must not be.</param>
    /// <param name="absent">Shards that drives which are out may have: where they are not among the candidates nobody knows whether they are lost.</param>
    /// <param name="budget">Bounds the buffers.</param>
    /// <param name="findings">Learns what is missing and damaged, also when the load fails.</param>
    /// <param name="cancellationToken">Ends the wait. Reads that have begun end by themselves.</param>
    /// <param name="forRepair">Whole shards are wanted, which are read by <see cref="IFragmentStore.ReadOnceAsync"/>.</param>
    /// <returns>A buffer for each wanted range, its bytes from the buffer's start; the caller's to release.</returns>
    /// <exception cref="ExtentUnavailableException">Too few shards can be read now.</exception>
    /// <exception cref="ExtentLostException">Too few shards are intact.</exception>
    public static async Task<ShardBuffer[]> RunAsync(
        ExtentStore store, BlockAddress block, ShardRange[] wanted, DriveLane[][] candidates, ShardSet absent, BufferBudget budget, BlockFindings findings, CancellationToken cancellationToken,
        bool forRepair = false)
    {
        var load = new BlockLoad(store, block, wanted, candidates, absent, budget, forRepair);
        try
        {
            load.Begin();
            await load.GatherAsync(cancellationToken).ConfigureAwait(false);
            return load.Take();
        }
        finally
        {
            load.End(findings);
        }
    }

    private int Needed => _block.Scheme.DataShards;

    private void Begin()
    {
        // Drives that hang or did not answer come last; a wanted shard on one of them waits until it is known whether others will do.
        foreach (ShardRange range in _wanted)
        {
            if (_candidates[range.Shard] is [var first, ..] && first.IsPrompt())
                Start(range, forced: false);
            else if (_forRepair)
                _reserved++; // as large as the common range; what is computed comes into it
            else
                _budget.Release(_store.Buffers.For(range.Length).BufferBytes); // charged, not used; what takes its place charges by itself
        }
    }

    private async Task GatherAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            List<ShardRange>? start = null;
            TaskCompletionSource? signal = null;
            TimeSpan wait = default;
            bool isCrowded = false;
            int missing = 0;
            lock (_lock)
            {
                if (IsDoneLocked())
                    return;
                start = NextReadsLocked(out bool failed, out bool dead);
                if (dead)
                    throw FailureLocked(null);
                if (start.Count > 0)
                {
                    isCrowded = !TryTakeSubstitutesLocked(start.Count, out missing);
                    if (!failed && isCrowded)
                        start.Clear();
                    else if (!failed)
                        StorageMetrics.ReadsHedged.Add(start.Count);
                }

                if (start.Count == 0)
                {
                    TimeSpan left = _store.Options.ReadTimeout - _store.Time.GetElapsedTime(_began);
                    if (left <= TimeSpan.Zero)
                        throw FailureLocked(new TimeoutException($"The drives did not answer within {_store.Options.ReadTimeout.TotalSeconds} s."));
                    wait = UntilHedgeLocked(isCrowded && left > CrowdedPoll ? CrowdedPoll : left);
                    signal = _signal = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                }
            }

            if (isCrowded && start.Count > 0)
            {
                // By then more may have come, or failed.
                await WaitForSubstitutesAsync(start.Count, missing, cancellationToken).ConfigureAwait(false);
                continue;
            }

            _substituteReads = Math.Max(0, _substituteReads - start.Count);
            foreach (ShardRange range in start)
                Start(range, forced: true);
            if (signal is not null)
                await WaitAsync(signal, wait, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Takes room for reads in place of others and for what is computed from them. Once: who has some does not wait for more, so that all who have some get done.
    /// </summary>
    /// <param name="reads">How many.</param>
    /// <param name="missing">Wanted ranges that will be computed, as it looks.</param>
    private bool TryTakeSubstitutesLocked(int reads, out int missing)
    {
        missing = 0;
        if (_forRepair)
            return true;
        int more = Math.Max(0, reads - _substituteReads);
        if (_hasSubstitutes)
        {
            _store.SubstituteBudget.Force(SubstituteBytes(more));
        }
        else
        {
            foreach (ShardRange range in _wanted)
                missing += FindLocked(range, null) is null or { Status: ShardReadStatus.Bad } or { Status: ShardReadStatus.Running, IsLate: true } ? 1 : 0;
            if (!_store.SubstituteBudget.TryTake(SubstituteBytes(reads + missing)))
                return false;
            NoteSubstitutes(reads, missing);
            more = 0;
        }

        _substituteReads += more;
        _substitutes += SubstituteBytes(more);
        return true;
    }

    private void NoteSubstitutes(int reads, int missing)
    {
        _hasSubstitutes = true;
        _substituteReads = reads;
        _substitutes = SubstituteBytes(reads + missing);
    }

    private long SubstituteBytes(int buffers) => (long)buffers * _store.Buffers.For(_common.Length).BufferBytes;

    /// <summary>As long as it takes: those who have the room need nothing but their drives, which answer in time or not at all.</summary>
    private async ValueTask WaitForSubstitutesAsync(int reads, int missing, CancellationToken cancellationToken)
    {
        long from = _store.Time.GetTimestamp();
        await _store.SubstituteBudget.TakeAsync(SubstituteBytes(reads + missing), null, Timeout.InfiniteTimeSpan, cancellationToken).ConfigureAwait(false);
        NoteSubstitutes(reads, missing);
        _began += _store.Time.GetTimestamp() - from;
    }

    private bool IsDoneLocked()
    {
        bool direct = true;
        foreach (ShardRange range in _wanted)
            direct &= FindLocked(range, ShardReadStatus.Good) is not null;
        return direct || CountCommonLocked() >= Needed;
    }

    /// <summary>Shards of which the common range has been read.</summary>
    private int CountCommonLocked()
    {
        int count = 0;
        for (int shard = 0; shard < _candidates.Length; shard++)
        {
            if (FindLocked(_common with { Shard = shard }, ShardReadStatus.Good) is not null)
                count++;
        }

        return count;
    }

    /// <summary>The reads to start now: so many that k shards are read or being read in time, where a wanted one is not.</summary>
    /// <param name="failed">Whether a wanted one is not being read any more: these are needed.</param>
    /// <param name="dead">Whether there are too few that could be.</param>
    private List<ShardRange> NextReadsLocked(out bool failed, out bool dead)
    {
        (failed, dead) = (false, false);
        List<ShardRange> start = [];
        bool late = false;
        foreach (ShardRange range in _wanted)
        {
            ShardRead? read = FindLocked(range, null);
            failed |= read is null || read.Status == ShardReadStatus.Bad;
            late |= read is { Status: ShardReadStatus.Running } && IsLateLocked(read);
        }

        if (!failed && !late)
            return start;
        int inTime = 0, possible = 0;
        for (int shard = 0; shard < _candidates.Length; shard++)
        {
            ShardRead? read = FindLocked(_common with { Shard = shard }, null);
            if (read is null or { Status: ShardReadStatus.Bad })
                continue;
            possible++;
            if (read.Status == ShardReadStatus.Good || !IsLateLocked(read))
                inTime++;
        }

        for (int pass = 0; pass < 3 && inTime < Needed; pass++)
        {
            for (int shard = 0; shard < _candidates.Length && inTime < Needed; shard++)
            {
                // First those on drives that answer, then the others, last those that are being read for less and are late.
                ShardRange range = _common with { Shard = shard };
                if (_candidates[shard].Length == 0 || start.Contains(range) || FindLocked(range, null) is not null || IsOutLocked(shard, lateToo: pass < 2)
                    || (pass == 0 && !_candidates[shard][0].IsPrompt()))
                    continue;
                start.Add(range);
                inTime++;
                possible++;
            }
        }

        dead = failed && possible < Needed;
        return start;
    }

    private bool IsOutLocked(int shard, bool lateToo)
    {
        foreach (ShardRead read in _reads)
        {
            if (read.Range.Shard == shard && (read.Status == ShardReadStatus.Bad || (lateToo && read.Status == ShardReadStatus.Running && IsLateLocked(read))))
                return true;
        }

        return false;
    }

    private bool IsLateLocked(ShardRead read) => read.IsLate || (read.IsLate = _store.Time.GetElapsedTime(read.Started) >= read.HedgeDelay);

    private TimeSpan UntilHedgeLocked(TimeSpan atMost)
    {
        foreach (ShardRead read in _reads)
        {
            if (read.Status != ShardReadStatus.Running || read.IsLate)
                continue;
            TimeSpan left = read.HedgeDelay - _store.Time.GetElapsedTime(read.Started);
            atMost = left < atMost ? left : atMost;
        }

        return atMost > TimeSpan.FromMilliseconds(1) ? atMost : TimeSpan.FromMilliseconds(1);
    }

    /// <summary>The best read that covers a range: a good one before one that runs, and that before one that failed.</summary>
    private ShardRead? FindLocked(ShardRange range, ShardReadStatus? status)
    {
        ShardRead? best = null;
        foreach (ShardRead read in _reads)
        {
            if (read.Range.Shard == range.Shard && read.Range.Covers(range) && (status is null || read.Status == status) && (best is null || read.Status < best.Status))
                best = read;
        }

        return best;
    }

    private void Start(ShardRange range, bool forced)
    {
        ShardBufferPool pool = _store.Buffers.For(range.Length);
        if (forced)
            Charge(pool);
        DriveLane[] candidates = _candidates[range.Shard];
        var read = new ShardRead(range, pool.Rent(_budget), _store.Time.GetTimestamp(), candidates[0].HedgeDelay);
        lock (_lock)
            _reads.Add(read);
        _ = ReadAsync(read, candidates);
    }

    /// <summary>By the one who runs the load: from what was reserved, else whether there is room or not.</summary>
    private void Charge(ShardBufferPool pool)
    {
        if (_reserved > 0)
            _reserved--;
        else
            _budget.Force(pool.BufferBytes);
    }

    private async Task ReadAsync(ShardRead read, DriveLane[] candidates)
    {
        _store.Background.Enter();
        bool good = false;
        FragmentAddress address = _block.Fragment(read.Range.Shard);
        foreach (DriveLane lane in candidates)
        {
            Exception? error = null;
            lock (_lock)
            {
                if (_ended)
                    break;
                read.Lane = lane;
            }

            DriveLane.Operation operation = lane.BeginRead();
            try
            {
                IFragmentStore store = lane.Store ?? throw new DriveUnavailableException(lane.DriveId, "it cannot be reached from here");
                Memory<byte> destination = read.Buffer.Memory[..read.Range.Length];
                await (_forRepair
                    ? store.ReadOnceAsync(address, read.Range.Offset, destination, _stragglers.Token)
                    : store.ReadAsync(address, read.Range.Offset, destination, _stragglers.Token)).ConfigureAwait(false);
                good = true;
            }
            catch (Exception e)
            {
                error = e;
            }

            lane.EndRead(operation, error, isTypical: !_forRepair);
            if (good)
                break;
            lock (_lock)
            {
                read.IsCorrupt |= error is FragmentCorruptException;
                read.IsUnanswered |= error is not (FragmentCorruptException or FragmentMissingException);
                _firstError ??= error;
                if (_ended)
                    break;
                if (read.Buffer.IsPinned)
                    ReplaceBufferLocked(read);
            }
        }

        TaskCompletionSource? signal;
        bool release;
        lock (_lock)
        {
            read.Status = good ? ShardReadStatus.Good : ShardReadStatus.Bad;
            read.IsCorrupt &= !good; // a damaged one on a former drive is of no interest where the next has it intact
            release = _ended;
            (signal, _signal) = (_signal, null);
        }

        if (release)
        {
            read.Lane?.EndLeftBehind(read.Range.Length);
            read.Buffer.Release();
        }

        signal?.TrySetResult();
        _store.Background.Exit();
    }

    /// <summary>
    /// The drive was given up within the operation, and its thread or the kernel may write into the buffer at any time from now on: what another drive gives would be changed after it was
    /// verified. The new buffer has the place of the old one in the budget, which is lost to the pool.
    /// </summary>
    private void ReplaceBufferLocked(ShardRead read)
    {
        ShardBufferPool pool = _store.Buffers.For(read.Range.Length);
        _budget.Force(pool.BufferBytes);
        read.Buffer.Release();
        read.Buffer = pool.Rent(_budget);
    }

    /// <summary>The wanted bytes: those that were read, and the others from k shards. Runs when the block is done.</summary>
    private ShardBuffer[] Take()
    {
        var result = new ShardBuffer[_wanted.Length];
        ShardSet missing = default;
        lock (_lock)
        {
            foreach (ShardRange range in _wanted)
            {
                if (FindLocked(range, ShardReadStatus.Good) is null)
                    missing = missing.With(range.Shard);
            }

            // Before anything is shifted within its buffer.
            if (!missing.IsEmpty)
                Reconstruct(result, missing);
            for (int i = 0; i < _wanted.Length; i++)
                result[i] ??= Shifted(FindLocked(_wanted[i], ShardReadStatus.Good)!, _wanted[i]);
        }

        return result;
    }

    /// <summary>The buffer of a read, with the range's bytes at its start.</summary>
    private static ShardBuffer Shifted(ShardRead read, ShardRange range)
    {
        if (range.Offset > read.Range.Offset)
            read.Buffer.Span.Slice(range.Offset - read.Range.Offset, range.Length).CopyTo(read.Buffer.Span);
        read.Buffer.Retain();
        return read.Buffer;
    }

    private void Reconstruct(ShardBuffer[] result, ShardSet missing)
    {
        Span<nint> addresses = stackalloc nint[_block.Scheme.Width];
        addresses.Clear();
        ShardSet present = default;
        for (int shard = 0; shard < _candidates.Length && present.Count < Needed; shard++)
        {
            if (missing.Contains(shard) || FindLocked(_common with { Shard = shard }, ShardReadStatus.Good) is not { } read)
                continue;
            present = present.With(shard);
            addresses[shard] = read.Buffer.Address + (_common.Offset - read.Range.Offset);
        }

        ShardBufferPool pool = _store.Buffers.For(_common.Length);
        for (int i = 0; i < _wanted.Length; i++)
        {
            if (!missing.Contains(_wanted[i].Shard))
                continue;
            Charge(pool);
            result[i] = pool.Rent(_budget);
            addresses[_wanted[i].Shard] = result[i].Address;
        }

        ReedSolomon.For(_block.Scheme).Reconstruct(present, missing, addresses, _common.Length);
        for (int i = 0; i < _wanted.Length; i++)
        {
            if (missing.Contains(_wanted[i].Shard) && _wanted[i].Offset > _common.Offset)
                result[i].Span.Slice(_wanted[i].Offset - _common.Offset, _wanted[i].Length).CopyTo(result[i].Span);
        }
    }

    private StorageException FailureLocked(Exception? timeout)
    {
        int good = 0;
        bool unanswered = timeout is not null;
        for (int shard = 0; shard < _candidates.Length; shard++)
        {
            bool isGood = false;
            foreach (ShardRead read in _reads)
            {
                if (read.Range.Shard != shard)
                    continue;
                isGood |= read.Status == ShardReadStatus.Good;

                // One that still runs while the time has not run out makes no difference: it was counted as good, and there are too few all the same.
                unanswered |= read.Status == ShardReadStatus.Bad && read.IsUnanswered;
            }

            good += isGood ? 1 : 0;
            unanswered |= !isGood && _absent.Contains(shard);
        }

        return unanswered
            ? new ExtentUnavailableException(_block.Extent, _block.Block, good, Needed, timeout ?? _firstError)
            : new ExtentLostException(_block.Extent, _block.Block, good, Needed, _firstError);
    }

    private async ValueTask WaitAsync(TaskCompletionSource signal, TimeSpan atMost, CancellationToken cancellationToken)
    {
        ITimer timer = _store.Time.CreateTimer(static state => ((TaskCompletionSource)state!).TrySetResult(), signal, atMost, Timeout.InfiniteTimeSpan);
        await using (timer.ConfigureAwait(false))
        {
            using CancellationTokenRegistration registration = cancellationToken.UnsafeRegister(static (state, token) => ((TaskCompletionSource)state!).TrySetCanceled(token), signal);
            await signal.Task.ConfigureAwait(false);
        }
    }

    private void End(BlockFindings findings)
    {
        bool stragglers = false;
        lock (_lock)
        {
            _ended = true;
            foreach (ShardRead read in _reads)
            {
                findings.Learn(read.Range.Shard, read.Status, read.IsCorrupt, read.IsUnanswered);
                if (read.Status == ShardReadStatus.Running)
                {
                    stragglers = true; // releases its buffer itself
                    read.Lane?.LeaveBehind(read.Range.Length);
                }
                else
                {
                    if (read.Status == ShardReadStatus.Good)
                        findings.BytesRead += read.Range.Length;
                    read.Buffer.Release();
                }
            }
        }

        if (_substitutes > 0)
            _store.SubstituteBudget.Release(_substitutes);
        if (_reserved > 0)
            _budget.Release((long)_reserved * _store.Buffers.For(_common.Length).BufferBytes);
        if (stragglers)
            _stragglers.Cancel();
    }

    private sealed class ShardRead(ShardRange range, ShardBuffer buffer, long started, TimeSpan hedgeDelay)
    {
        public ShardRange Range => range;
        public ShardBuffer Buffer { get; set; } = buffer; // another one only while the read runs, under the lock
        public DriveLane? Lane { get; set; } // that it is read from; under the lock, and no other once the load has ended
        public long Started => started;
        public TimeSpan HedgeDelay => hedgeDelay;
        public ShardReadStatus Status { get; set; } = ShardReadStatus.Running;
        public bool IsLate { get; set; }
        public bool IsCorrupt { get; set; } // on one of the drives
        public bool IsUnanswered { get; set; } // by one of the drives
    }
}

/// <summary>In order of use.</summary>
internal enum ShardReadStatus
{
    Good,
    Running,
    Bad,
}

/// <summary>What reading a block found.</summary>
internal sealed class BlockFindings
{
    /// <summary>Shards that are on none of their drives, though all of them answered.</summary>
    public ShardSet Missing { get; private set; }

    /// <summary>Shards that are damaged on one of their drives.</summary>
    public ShardSet Corrupt { get; private set; }

    /// <summary>Shards of which nothing is known, since a drive did not answer.</summary>
    public ShardSet Unavailable { get; private set; }

    public long BytesRead { get; set; }

    public ShardSet Bad => new(Missing.Bits | Corrupt.Bits | Unavailable.Bits);

    /// <summary>Takes in what a load of other bytes of the same block has found.</summary>
    public void Add(BlockFindings other)
    {
        Missing = new(Missing.Bits | other.Missing.Bits);
        Corrupt = new(Corrupt.Bits | other.Corrupt.Bits);
        Unavailable = new(Unavailable.Bits | other.Unavailable.Bits);
        BytesRead += other.BytesRead;
    }

    public void Learn(int shard, ShardReadStatus status, bool isCorrupt, bool isUnanswered)
    {
        if (isCorrupt)
            Corrupt = Corrupt.With(shard);
        if (status != ShardReadStatus.Bad)
            return;
        if (isUnanswered)
            Unavailable = Unavailable.With(shard);
        else if (!isCorrupt)
            Missing = Missing.With(shard);
    }
}
