using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;
using ObjectStore.Maintenance.Liveness;
using ObjectStore.Maintenance.Throttling;
using ObjectStore.Storage;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Repair;

namespace ObjectStore.Maintenance.Repair;

/// <summary>What is known of an extent before fragments of it are rebuilt.</summary>
/// <param name="Liveness">Null where nothing could be learned because drives do not answer.</param>
/// <param name="Details">One of its fragments; null where there is none: every drive answered and has nothing.</param>
internal readonly record struct Inspection(Liveness.Liveness? Liveness, FragmentDetails? Details)
{
    public bool IsGone => Liveness is null && Details is null && EveryDriveAnswered && !FoundDamaged;

    /// <summary>All that is left are records so damaged that they do not say whose they are: the metadata cannot be asked.</summary>
    public bool IsUnidentified => Liveness is null && Details is null && EveryDriveAnswered && FoundDamaged;

    /// <summary>No fragment says whose it is, but the metadata has been searched, and nothing names it: whatever drives that do not answer may have, it is of a write that is under way or was given up.</summary>
    public bool IsOwnerless { get; init; }

    public bool EveryDriveAnswered { get; init; }

    /// <summary>Whether there were fragments that could not be read.</summary>
    public bool FoundDamaged { get; init; }
}

/// <summary>
/// Repairs single blocks for the queue and the passes: within the limits on what runs at once and how much is written, paused when it is to be, counted. Thread-safe.
/// </summary>
internal sealed partial class BlockWorker(
    IFragmentRepairer repairer, IExtentLiveness liveness, OwnerSearch owners, IFragmentStoreDirectory drives, WorkGate gate, ByteRate rate, PauseSwitch pause, LoadGovernor governor,
    TimeProvider time, RepairOptions options, ILogger logger)
{
    private const int MaxLostBlocks = 1_000_000;

    // No block rests for longer than this and what it read takes at that rate: how long the work took says less of what it cost the busier the machine is, and small blocks cost little.
    private const long RestBytesPerSecond = 128 << 20;
    private static readonly TimeSpan ShortRest = TimeSpan.FromMilliseconds(2);

    private long _examined;
    private long _fragments;
    private long _bytesWritten;
    private long _bytesRead;
    private long _failures;
    private readonly Lock _clock = new();
    private readonly ConcurrentDictionary<(ExtentId Extent, int Block), byte> _lost = [];
    private readonly ConcurrentDictionary<(ExtentId Extent, int Block), (int Group, long Found)> _awaiting = [];
    private long _found; // counts what was put in _awaiting
    private readonly RecentLeast _spare = new(time, TimeSpan.FromSeconds(10));
    private long _activeSince;
    private TimeSpan _active;
    private int _inside;
    private volatile string? _lastFailure;

    public long Examined => Interlocked.Read(ref _examined);
    public long FragmentsRebuilt => Interlocked.Read(ref _fragments);
    public long BytesRebuilt => Interlocked.Read(ref _bytesWritten);
    public long BytesRead => Interlocked.Read(ref _bytesRead);
    public long Failures => Interlocked.Read(ref _failures);

    /// <summary>Blocks that were found lost and have been neither made whole nor found deleted since; counted up to <see cref="MaxLostBlocks"/>.</summary>
    public long BlocksLost => _lost.Count;

    /// <summary>Blocks with too few fragments on the drives that are in, while drives that are out may have others; counted up to <see cref="MaxLostBlocks"/>.</summary>
    public long BlocksAwaiting => _awaiting.Count;

    /// <summary>How long at least one block was being worked on, with the rests and waits that hold back the next: by it is measured how fast repair goes.</summary>
    public TimeSpan Active
    {
        get
        {
            lock (_clock)
                return _inside == 0 ? _active : _active + time.GetElapsedTime(_activeSince);
        }
    }

    public string? LastFailure => _lastFailure;

    /// <summary>The fewest fragments to spare that a block was found with of late, before it was repaired; null where none was found that lacks any.</summary>
    public int? FewestSpare => _spare.Value;

    /// <summary>A block was found that can lose this many more of its fragments; below 0 where it has fewer than it takes to read it.</summary>
    public void NoteSpare(int spare) => _spare.Add(spare);

    public void CountExamined()
    {
        Interlocked.Increment(ref _examined);
        MaintenanceDiagnostics.BlocksExamined.Add(1);
    }

    /// <summary>Repairs a block. Null where the repairer failed unforeseen; that is logged.</summary>
    /// <param name="spare">
    /// How many more fragments may be lost before the block is. Where none, it goes before all others and in numbers of its own; only where there are two or more does it rest for the
    /// clients' sake.
    /// </param>
    public async Task<BlockRepairResult?> RepairAsync(BlockRepair work, IReadOnlyCollection<Guid> involved, int spare, CancellationToken cancellationToken)
    {
        await pause.WaitAsync(cancellationToken).ConfigureAwait(false);
        await gate.EnterAsync(involved, isUrgent: spare <= 0, cancellationToken).ConfigureAwait(false);
        BeginActive();
        try
        {
            using IDisposable busy = governor.BusyByShare();
            long began = time.GetTimestamp();
            BlockRepairResult result = await repairer.RepairAsync(work, cancellationToken).ConfigureAwait(false);
            if (result.Status == BlockRepairStatus.Whole)
                Forget(work.Extent, work.Block);
            Interlocked.Add(ref _fragments, result.Rebuilt.Count);
            Interlocked.Add(ref _bytesWritten, result.BytesWritten);
            Interlocked.Add(ref _bytesRead, result.BytesRead);
            MaintenanceDiagnostics.FragmentsRebuilt.Add(result.Rebuilt.Count);
            MaintenanceDiagnostics.BytesRebuilt.Add(result.BytesWritten);
            MaintenanceDiagnostics.BytesRead.Add(result.BytesRead);
            if (result.Status is BlockRepairStatus.SourcesUnavailable or BlockRepairStatus.TargetsUnavailable)
                CountFailure($"{work.Extent}/{work.Block}: {result.Status}");

            // Paid and rested in its place, so that those who come after are held back.
            TimeSpan rest = spare <= 1 ? TimeSpan.Zero : governor.RestAfter(time.GetElapsedTime(began), options.MaxParallelBlocks);
            TimeSpan longest = ShortRest + TimeSpan.FromSeconds((double)result.BytesRead / RestBytesPerSecond);
            if (rest > longest)
                rest = longest;
            if (rest > TimeSpan.Zero)
                await Task.Delay(rest, time, cancellationToken).ConfigureAwait(false);
            await rate.PayAsync(result.BytesWritten, cancellationToken).ConfigureAwait(false);
            return result;
        }
        catch (Exception e) when (!cancellationToken.IsCancellationRequested)
        {
            CountFailure($"{work.Extent}/{work.Block}: {e.Message}");
            LogFailure(work.Extent, work.Block, work.Wanted, e);
            return null;
        }
        finally
        {
            EndActive();
            gate.Leave(involved);
        }
    }

    /// <summary>A block of a named extent has too few fragments left on the drives that are in.</summary>
    /// <param name="haveAbsent">Whether drives that are out may have others: then it is not known whether it is lost.</param>
    public void CountTooFew(BlockRepair work, bool haveAbsent)
    {
        if (!haveAbsent)
        {
            CountLost(work);
            return;
        }

        _lost.TryRemove((work.Extent, work.Block), out _);
        if (_awaiting.Count < MaxLostBlocks)
            _awaiting[(work.Extent, work.Block)] = (work.PlacementGroup, Interlocked.Increment(ref _found));
    }

    /// <summary>Forgets the blocks of groups for which no drive is waited any more: the next look at them says whether they are lost.</summary>
    public void StopAwaiting(Predicate<int> isOver)
    {
        foreach ((var block, (int group, _)) in _awaiting)
        {
            if (isOver(group))
                _awaiting.TryRemove(block, out _);
        }
    }

    /// <summary>What <see cref="StopAwaiting(Predicate{int}, long)"/> takes: blocks that are found from now on are kept by it.</summary>
    public long FoundSoFar => Interlocked.Read(ref _found);

    /// <summary>Forgets the blocks of groups that were found before a pass which has been over all of the groups since, and which has not found them: their extents were deleted.</summary>
    public void StopAwaiting(Predicate<int> wasSeen, long foundBefore)
    {
        foreach (KeyValuePair<(ExtentId, int), (int Group, long Found)> block in _awaiting)
        {
            if (block.Value.Found <= foundBefore && wasSeen(block.Value.Group))
                _awaiting.TryRemove(block);
        }
    }

    private void CountLost(BlockRepair work)
    {
        _awaiting.TryRemove((work.Extent, work.Block), out _);
        if (_lost.Count < MaxLostBlocks)
            _lost[(work.Extent, work.Block)] = 0;
        LogLost(work.Extent, work.Block, work.PlacementGroup, work.Scheme);
    }

    /// <summary>The block is whole, or its extent is no object's any more.</summary>
    public void Forget(ExtentId extent, int block)
    {
        _lost.TryRemove((extent, block), out _);
        _awaiting.TryRemove((extent, block), out _);
    }

    /// <summary>Looks at extents: a fragment of each, and what the metadata says. In the order asked.</summary>
    /// <param name="extents">Of each, where a fragment of it may be.</param>
    public async Task<IReadOnlyList<Inspection>> InspectAsync(IReadOnlyList<IReadOnlyList<(Guid Drive, FragmentKey Key)>> extents, CancellationToken cancellationToken)
    {
        var found = new Inspection[extents.Count];

        // Of a drive that hangs one wait is enough.
        var hanging = new ConcurrentDictionary<Guid, bool>();
        await Parallel.ForAsync(0, extents.Count, new ParallelOptions { CancellationToken = cancellationToken, MaxDegreeOfParallelism = 16 },
            async (i, stopping) => found[i] = await StatAsync(extents[i], hanging, stopping).ConfigureAwait(false)).ConfigureAwait(false);
        int[] known = [.. Enumerable.Range(0, found.Length).Where(i => found[i].Details is not null)];
        IReadOnlyList<Liveness.Liveness> judged = await liveness.CheckAsync([.. known.Select(i => found[i].Details!.Descriptor)], cancellationToken).ConfigureAwait(false);
        for (int i = 0; i < known.Length; i++)
            found[known[i]] = found[known[i]] with { Liveness = judged[i] };
        for (int i = 0; i < found.Length; i++)
        {
            if (found[i] is { Liveness: null, Details: null, IsGone: false } && extents[i].Count > 0)
                found[i] = found[i] with { IsOwnerless = owners.IsNamed(extents[i][0].Key.Extent) == false };
        }

        return found;
    }

    /// <summary>Makes garbage of the orphans among what was inspected. One that is kept, as it is named after all or there are too many of them, counts as unnamed: nothing is decided about it yet.</summary>
    public async Task<IReadOnlyList<Inspection>> CondemnAsync(IReadOnlyList<Inspection> inspections, CancellationToken cancellationToken)
    {
        int[] orphans = [.. Enumerable.Range(0, inspections.Count).Where(i => inspections[i] is { Liveness: Liveness.Liveness.Orphan, Details: not null })];
        if (orphans.Length == 0)
            return inspections;
        IReadOnlyList<bool> condemned = await liveness.CondemnAsync([.. orphans.Select(i => inspections[i].Details!)], cancellationToken).ConfigureAwait(false);
        Inspection[] decided = [.. inspections];
        for (int i = 0; i < orphans.Length; i++)
        {
            if (!condemned[i])
                decided[orphans[i]] = decided[orphans[i]] with { Liveness = Liveness.Liveness.Unnamed };
        }

        return decided;
    }

    /// <summary>The drives that take part in a block's repair, and the places where its fragments may be.</summary>
    /// <param name="absentToo">Whether drives that are out are among the places. While they are they do not answer, and what is nowhere else may be there.</param>
    public static (IReadOnlyCollection<Guid> Drives, IReadOnlyList<(Guid Drive, FragmentKey Key)> Places) PlacesOf(
        ExtentId extent, int block, Scheme scheme, IReadOnlyList<GroupSlot> slots, bool absentToo = false)
    {
        var places = new List<(Guid, FragmentKey)>();
        var involved = new HashSet<Guid>();
        for (int shard = 0; shard < Math.Min(scheme.Width, slots.Count); shard++)
        {
            foreach (Guid drive in PassPlan.DrivesOf(slots[shard]))
            {
                places.Add((drive, new FragmentKey(extent, block, (ushort)shard)));
                involved.Add(drive);
            }
        }

        // Last, since they are the last to have it at hand.
        for (int shard = 0; absentToo && shard < Math.Min(scheme.Width, slots.Count); shard++)
        {
            foreach (Guid drive in slots[shard].Absent)
                places.Add((drive, new FragmentKey(extent, block, (ushort)shard)));
        }

        return (involved, places);
    }

    private async Task<Inspection> StatAsync(IReadOnlyList<(Guid Drive, FragmentKey Key)> places, ConcurrentDictionary<Guid, bool> hanging, CancellationToken cancellationToken)
    {
        // Without a place to look nothing was asked, and nothing is known.
        bool everyDriveAnswered = places.Count > 0, foundDamaged = false;
        foreach ((Guid id, FragmentKey key) in places)
        {
            if (hanging.ContainsKey(id) || drives.Find(id) is not { } drive)
            {
                everyDriveAnswered = false;
                continue;
            }

            try
            {
                if (await drive.StatAsync(key, cancellationToken).AsTask().WaitAsync(options.StatTimeout, time, cancellationToken).ConfigureAwait(false) is { } details)
                    return new Inspection(null, details);
            }
            catch (TimeoutException)
            {
                hanging[id] = true;
                everyDriveAnswered = false;
            }
            catch (FragmentCorruptException)
            {
                // Another of them may say what it is. Never the same as "not there".
                foundDamaged = true;
            }
            catch (StorageException)
            {
                everyDriveAnswered = false;
            }
            catch (Exception e) when (!cancellationToken.IsCancellationRequested)
            {
                // A drive that fails unforeseen is no reason to leave the other extents as they are.
                CountFailure($"{key} on drive {id}: {e.Message}");
                LogStatFailure(key, id, e);
                everyDriveAnswered = false;
            }
        }

        return new Inspection(null, null) { EveryDriveAnswered = everyDriveAnswered, FoundDamaged = foundDamaged };
    }

    private void BeginActive()
    {
        lock (_clock)
        {
            if (_inside++ == 0)
                _activeSince = time.GetTimestamp();
        }
    }

    private void EndActive()
    {
        lock (_clock)
        {
            if (--_inside == 0)
                _active += time.GetElapsedTime(_activeSince);
        }
    }

    private void CountFailure(string what)
    {
        Interlocked.Increment(ref _failures);
        MaintenanceDiagnostics.RepairFailures.Add(1);
        _lastFailure = what;
    }

    [LoggerMessage(1, LogLevel.Warning, "Shards {Shards} of block {Block} of extent {Extent} could not be repaired; it is tried again")]
    private partial void LogFailure(ExtentId extent, int block, ShardSet shards, Exception exception);

    [LoggerMessage(9, LogLevel.Warning, "Drive {Drive} could not say whether it has fragment {Fragment}")]
    private partial void LogStatFailure(FragmentKey fragment, Guid drive, Exception exception);

    [LoggerMessage(2, LogLevel.Error, "Block {Block} of extent {Extent} in placement group {Group} ({Scheme}) is lost: every drive answered and too few fragments are intact")]
    private partial void LogLost(ExtentId extent, int block, int group, Scheme scheme);
}
