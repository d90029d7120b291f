// One pass over placement groups: the listings of all their drives, merged, say which fragments are not where they should be; those are made.
//
// What may be missing and why. A fragment that is not on its drive was lost or damaged; or its write is under way; or its extent was deleted while a drive was away that still has
// others of it; or its write crashed. Only the first is to be rebuilt, so the metadata is asked before anything is computed from other fragments. A fragment that a former
// drive of the slot still has is copied without asking: that makes nothing that was not there.
//
// When a slot is complete. The pass has gone over all extents of the group with every drive of the group listed to its end, so no block was out of sight; every fragment that was not on
// the slot's drive has been made or is in the durable queue because its extent is not named yet; and the extents that were being written when the pass began, perhaps under an older
// map, have been looked at again at its end. While drives that are out are known as former drives of the group, and a live block has too few fragments on the others, nothing is complete:
// they may have what is wanted, and would be forgotten. What a writer with a still older map puts on a former drive later is found there by the scrub and brought home.
//
// Order and restart. Blocks are repaired many at a time and end in any order; the cursor stands before the first that has not ended. A repeated block is found whole.

using System.Diagnostics;
using ObjectStore.Maintenance.Liveness;
using ObjectStore.Metadata;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Repair;

namespace ObjectStore.Maintenance.Repair;

internal enum PassOutcome
{
    /// <summary>All was dealt with.</summary>
    Finished,

    /// <summary>It ran to its end, and something could not be dealt with.</summary>
    Incomplete,

    /// <summary>Another one is more urgent; the cursor says where to go on.</summary>
    Yielded,
}

/// <summary>Runs once. Not thread-safe but for <see cref="Status"/>.</summary>
internal sealed class GroupPass(
    PassPlan plan, BlockWorker worker, RepairQueue queue, IMaintenanceStore metadata, IFragmentStoreDirectory drives, Func<IClusterMap> map, TimeProvider time, RepairOptions options)
{
    // Blocks looked at in one go, and the most that are in the making or wait for it.
    private const int BatchBlocks = 128;
    private const int WindowBlocks = 512;
    private const int KnownExtents = 4096;

    private readonly Queue<(Candidate Block, Task Task)> _inFlight = new();
    private readonly Dictionary<ExtentId, Inspection> _known = [];
    private readonly HashSet<ExtentId> _ownerless = [];
    private readonly HashSet<int> _undone = [];
    private readonly HashSet<int> _outOfSight = [];
    private readonly List<Candidate> _batch = [];
    private PassCursor _cursor = new(0, null, []);
    private FragmentKey? _scanned;
    private long _persistedAt;
    private long _expected;
    private long _listed;
    private long _listedBefore; // in earlier runs of the pass
    private long _resumedAt;

    /// <summary>Groups in which nothing was left undone, for a pass that ended.</summary>
    public IEnumerable<int> DoneGroups => plan.Groups.Keys.Where(group => !_undone.Contains(group) && !_outOfSight.Contains(group));

    /// <summary>Whether every drive of the plan was listed from start to end.</summary>
    public bool SawEverything => _outOfSight.Count == 0 && _undone.Count == 0;

    public PassStatus Status
    {
        get
        {
            long listed = Volatile.Read(ref _listed), expected = Math.Max(listed, Volatile.Read(ref _expected));
            DateTimeOffset now = time.GetUtcNow();
            TimeSpan took = time.GetElapsedTime(Volatile.Read(ref _resumedAt));
            long sinceResumed = listed - Volatile.Read(ref _listedBefore);
            DateTimeOffset? end = sinceResumed > 0 && took > TimeSpan.FromSeconds(1) ? now + (took * ((double)(expected - listed) / sinceResumed)) : null;
            return new PassStatus(KindName, plan.Groups.Count, plan.SlotsWithoutSource, DateTimeOffset.FromUnixTimeMilliseconds(Volatile.Read(ref _cursor).StartedUnixMs), listed, expected, end);
        }
    }

    private string KindName => plan.Kind switch { PassKind.Fill => "fill", PassKind.Recent => "recent", _ => "audit" };

    /// <summary>Goes on where the cursor stands, to the end or until it is to yield. However it ends, everything that was begun has ended.</summary>
    public async Task<PassOutcome> RunAsync(Func<bool> shouldYield, CancellationToken cancellationToken)
    {
        using Activity? activity = MaintenanceDiagnostics.Activities.StartActivity("maintenance.repair.pass")?.SetTag("objectstore.pass", KindName).SetTag("objectstore.groups", plan.Groups.Count);
        foreach (MaintenanceCursor stored in await metadata.ListCursorsAsync(plan.CursorName, cancellationToken).ConfigureAwait(false))
        {
            if (stored.Name == plan.CursorName && PassCursor.Decode(stored.Value) is { } cursor)
                _cursor = cursor;
        }

        if (_cursor.StartedUnixMs == 0)
            _cursor = new PassCursor(time.GetUtcNow().ToUnixTimeMilliseconds(), null, []);
        bool isAnew = _cursor.After is null;
        long foundBefore = worker.FoundSoFar;
        _undone.UnionWith(_cursor.Undone);
        _scanned = _cursor.After;
        _listed = _listedBefore = _cursor.Listed;
        _persistedAt = _resumedAt = time.GetTimestamp();
        _expected = await EstimateAsync(cancellationToken).ConfigureAwait(false);
        FragmentKey? from = plan.From is { } first ? PassCursor.Before(first, 0) : null;
        try
        {
            if (!await ScanAsync(_cursor.After ?? from, plan.Until, shouldYield, cancellationToken).ConfigureAwait(false))
                return PassOutcome.Yielded;
            if (plan.Kind == PassKind.Fill)
            {
                ExtentId recent = ExtentId.FirstAt(DateTimeOffset.FromUnixTimeMilliseconds(_cursor.StartedUnixMs) - options.WriteMargin);
                if (!await ScanAsync(PassCursor.Before(recent, 0), null, shouldYield, cancellationToken).ConfigureAwait(false))
                    return PassOutcome.Yielded;
                if (isAnew)
                    worker.StopAwaiting(group => plan.Groups.ContainsKey(group) && !_outOfSight.Contains(group), foundBefore);
            }
        }
        finally
        {
            await EndAllAsync().ConfigureAwait(false);

            // Also when it is stopped: what was done is not done again.
            await PersistAsync(CancellationToken.None).ConfigureAwait(false);
        }

        MaintenanceDiagnostics.PassesFinished.Add(1, new KeyValuePair<string, object?>("kind", KindName));
        return _undone.Count == 0 && _outOfSight.Count == 0 ? PassOutcome.Finished : PassOutcome.Incomplete;
    }

    /// <summary>Forgets the cursor of a pass that ended.</summary>
    public ValueTask ForgetAsync(CancellationToken cancellationToken) => metadata.SetCursorAsync(plan.CursorName, null, cancellationToken);

    private async Task<bool> ScanAsync(FragmentKey? after, ExtentId? until, Func<bool> shouldYield, CancellationToken cancellationToken)
    {
        IFragmentStore[] reachable = [.. plan.Drives.Select(drives.Find).OfType<IFragmentStore>()];
        foreach (Guid away in plan.Drives.Except(reachable.Select(drive => drive.DriveId)))
            LoseSightOf(away);
        HashSet<Guid> seen = [.. reachable.Select(drive => drive.DriveId)];
        var merge = new FragmentMerge(reachable, plan.Groups.Keys.ToHashSet(), after, until, options.ListPageEntries);
        long listedBefore = _listed;
        int sinceLook = 0;
        while (await merge.NextAsync(cancellationToken).ConfigureAwait(false) is { } block)
        {
            Volatile.Write(ref _listed, listedBefore + merge.Entries);
            foreach (Guid failed in merge.Failed.Keys)
            {
                if (seen.Remove(failed))
                    LoseSightOf(failed);
            }

            worker.CountExamined();
            if (Examine(block, seen) is { } candidate)
                _batch.Add(candidate);
            _scanned = PassCursor.Behind(block.Extent, block.Block);
            if (_batch.Count >= BatchBlocks)
                await DispatchAsync(cancellationToken).ConfigureAwait(false);
            if (++sinceLook < BatchBlocks)
                continue;
            sinceLook = 0;
            if (time.GetElapsedTime(_persistedAt) >= options.CursorInterval)
                await PersistAsync(cancellationToken).ConfigureAwait(false);
            if (shouldYield())
                return false;
        }

        foreach (Guid failed in merge.Failed.Keys)
        {
            if (seen.Remove(failed))
                LoseSightOf(failed);
        }

        await DispatchAsync(cancellationToken).ConfigureAwait(false);
        while (_inFlight.Count > 0)
            await EndOneAsync().ConfigureAwait(false);
        return true;
    }

    private void LoseSightOf(Guid drive)
    {
        foreach ((int group, IReadOnlyList<GroupSlot> slots) in plan.Groups)
        {
            if (slots.SelectMany(PassPlan.DrivesOf).Contains(drive))
                _outOfSight.Add(group);
        }
    }

    /// <summary>The shards of a block that are not where they should be; null where all are.</summary>
    private Candidate? Examine(BlockFragments block, HashSet<Guid> seen)
    {
        if (!plan.Groups.TryGetValue(block.PlacementGroup, out IReadOnlyList<GroupSlot>? slots) || !Scheme.TryFromId(block.SchemeId, out Scheme scheme))
            return null;
        ShardSet missing = default, atSource = default;
        for (int shard = 0; shard < Math.Min(scheme.Width, slots.Count); shard++)
        {
            GroupSlot slot = slots[shard];

            // Of a drive that was not listed nothing is known. A comparison leaves incomplete slots to the pass that fills them, in its order.
            if (slot.Drive is not { } target || !seen.Contains(target) || (plan.Kind != PassKind.Fill && !slot.IsComplete))
                continue;
            bool isThere = false, hasSource = false;
            foreach (FoundFragment found in block.Fragments)
            {
                if (found.Entry.Key.Shard != shard)
                    continue;
                isThere |= found.Drive == target;
                hasSource |= slot.Sources.Contains(found.Drive);
            }

            if (isThere)
                continue;
            missing = missing.With(shard);
            if (hasSource)
                atSource = atSource.With(shard);
        }

        if (missing.IsEmpty)
            return null;
        return new Candidate(block, scheme, slots, missing, atSource);
    }

    private async Task DispatchAsync(CancellationToken cancellationToken)
    {
        if (_batch.Count == 0)
            return;
        await InspectAsync(cancellationToken).ConfigureAwait(false);
        foreach (Candidate candidate in _batch)
        {
            while (_inFlight.Count >= WindowBlocks)
                await EndOneAsync().ConfigureAwait(false);
            _inFlight.Enqueue((candidate, DealWithAsync(candidate, cancellationToken)));
        }

        _batch.Clear();
    }

    /// <summary>Learns of each extent in the batch whether it is live, where fragments would have to be computed.</summary>
    private async Task InspectAsync(CancellationToken cancellationToken)
    {
        if (_known.Count > KnownExtents)
            _known.Clear();
        foreach (ExtentId extent in _ownerless)
            _known.Remove(extent);
        _ownerless.Clear();
        Candidate[] unknown = [.. _batch.Where(candidate => candidate.Missing != candidate.AtSource && !_known.ContainsKey(candidate.Block.Extent)).DistinctBy(candidate => candidate.Block.Extent)];
        if (unknown.Length == 0)
            return;
        IReadOnlyList<Inspection> inspections = await worker.InspectAsync(
            [.. unknown.Select(candidate => candidate.Block.Fragments.Select(found => (found.Drive, found.Entry.Key)).ToArray())], cancellationToken).ConfigureAwait(false);
        inspections = await worker.CondemnAsync(inspections, cancellationToken).ConfigureAwait(false);
        for (int i = 0; i < unknown.Length; i++)
        {
            // That it is ownerless is good for a while only, and is asked for again at each block.
            _known[unknown[i].Block.Extent] = inspections[i];
            if (inspections[i].IsOwnerless)
                _ownerless.Add(unknown[i].Block.Extent);
        }
    }

    private async Task DealWithAsync(Candidate candidate, CancellationToken cancellationToken)
    {
        BlockFragments block = candidate.Block;
        ShardSet wanted = candidate.Missing;
        if (candidate.Missing != candidate.AtSource)
        {
            Inspection known = _known[block.Extent];
            switch (known.Liveness)
            {
                case Liveness.Liveness.Live:
                    break;
                case Liveness.Liveness.Unnamed:
                    // A write under way brings its fragments itself; whether it has is looked at later, even if this process does not live to see it.
                    await LookLaterAsync(candidate, candidate.MissingEverywhere, cancellationToken).ConfigureAwait(false);
                    wanted = candidate.AtSource;
                    break;
                case null when known.IsUnidentified || known.IsOwnerless:
                    await LookLaterAtUnidentifiedAsync(candidate, candidate.MissingEverywhere, known.IsOwnerless, cancellationToken).ConfigureAwait(false);
                    wanted = candidate.AtSource;
                    break;
                case null when !known.IsGone:
                    AddUndone(block.PlacementGroup);
                    wanted = candidate.AtSource;
                    break;
                default:
                    worker.Forget(block.Extent, block.Block);
                    return;
            }
        }

        if (wanted.IsEmpty)
            return;
        var work = new BlockRepair(block.Extent, block.PlacementGroup, candidate.Scheme, block.Block, default, wanted);
        (IReadOnlyCollection<Guid> involved, _) = BlockWorker.PlacesOf(block.Extent, block.Block, candidate.Scheme, candidate.Slots);

        // What is only moved is whole.
        int spare = candidate.MissingEverywhere.IsEmpty ? int.MaxValue : candidate.Scheme.ParityShards - candidate.MissingEverywhere.Count;
        if (spare != int.MaxValue)
            worker.NoteSpare(spare);
        BlockRepairResult? result = await worker.RepairAsync(work, involved, spare, cancellationToken).ConfigureAwait(false);
        switch (result?.Status)
        {
            case BlockRepairStatus.Whole:
                return;
            case BlockRepairStatus.TooFewFragments:
                await DealWithTooFewAsync(candidate, work, cancellationToken).ConfigureAwait(false);
                return;
            default:
                if (plan.Kind == PassKind.Fill)
                    AddUndone(block.PlacementGroup);
                else
                    await LookLaterAsync(candidate, wanted, cancellationToken).ConfigureAwait(false);
                return;
        }
    }

    private async Task DealWithTooFewAsync(Candidate candidate, BlockRepair work, CancellationToken cancellationToken)
    {
        // It may have been deleted since it was listed: then no drive that is in has anything of it any more, where at least one had.
        (_, IReadOnlyList<(Guid, FragmentKey)> places) = BlockWorker.PlacesOf(candidate.Block.Extent, candidate.Block.Block, candidate.Scheme, candidate.Slots);
        Inspection now = (await worker.InspectAsync([places], cancellationToken).ConfigureAwait(false))[0];

        // By the map at hand, not the plan's: a drive may have gone out since the pass began.
        bool haveAbsent = PassPlan.HaveAbsent(map(), candidate.Block.PlacementGroup);
        if (now.Liveness == Liveness.Liveness.Live && haveAbsent)
        {
            // A drive that is out may have what is wanted, and is known as a former drive only until the slots are complete.
            worker.CountTooFew(work, haveAbsent: true);
            AddUndone(candidate.Block.PlacementGroup);
        }
        else if (now.Liveness == Liveness.Liveness.Live)
        {
            // Tried again from the queue: a drive that comes back may have what is wanted. The slots need not wait for that; nothing is at hand that they could still get.
            worker.CountTooFew(work, haveAbsent: false);
            await LookLaterAsync(candidate, work.Wanted, cancellationToken).ConfigureAwait(false);
        }
        else if (now.Liveness == Liveness.Liveness.Unnamed)
        {
            await LookLaterAsync(candidate, work.Wanted, cancellationToken).ConfigureAwait(false);
        }
        else if (now.IsUnidentified || now.IsOwnerless)
        {
            await LookLaterAtUnidentifiedAsync(candidate, work.Wanted, now.IsOwnerless, cancellationToken).ConfigureAwait(false);
        }
        else if (now.Liveness is null && !now.IsGone)
        {
            AddUndone(candidate.Block.PlacementGroup);
        }
        else
        {
            worker.Forget(candidate.Block.Extent, candidate.Block.Block);
        }
    }

    /// <summary>
    /// Nothing that could fill a slot is at hand, and nobody can say whether anything should be. The queue keeps it. The slots do not wait for it: a single record of a write that was given up,
    /// damaged, would keep them incomplete for good. But where drives that are out may have others of it they do, until the metadata has been searched and names it nowhere: once the
    /// slots are complete nothing says any more that those drives are needed.
    /// </summary>
    private async ValueTask LookLaterAtUnidentifiedAsync(Candidate candidate, ShardSet shards, bool isOwnerless, CancellationToken cancellationToken)
    {
        if (!isOwnerless && PassPlan.HaveAbsent(map(), candidate.Block.PlacementGroup))
            AddUndone(candidate.Block.PlacementGroup);
        await LookLaterAsync(candidate, shards, cancellationToken).ConfigureAwait(false);
    }

    private ValueTask LookLaterAsync(Candidate candidate, ShardSet shards, CancellationToken cancellationToken) => queue.RecordAsync(
        new RepairNotice(candidate.Block.Extent, candidate.Block.PlacementGroup, candidate.Scheme, candidate.Block.Block, 1, shards, RepairReason.DegradedWrite),
        time.GetUtcNow() + options.RetryDelay, cancellationToken);

    // Blocks end on any thread.
    private void AddUndone(int group)
    {
        lock (_undone)
            _undone.Add(group);
    }

    private async Task EndOneAsync()
    {
        await _inFlight.Peek().Task.ConfigureAwait(false);
        _inFlight.Dequeue();
    }

    /// <summary>Waits for all that was begun. What did not end well stays first in line, where the cursor stops.</summary>
    private async Task EndAllAsync()
    {
        foreach ((_, Task task) in _inFlight)
            await task.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        while (_inFlight.TryPeek(out (Candidate, Task Task) first) && first.Task.IsCompletedSuccessfully)
            _inFlight.Dequeue();
    }

    private async ValueTask PersistAsync(CancellationToken cancellationToken)
    {
        while (_inFlight.TryPeek(out (Candidate, Task Task) done) && done.Task.IsCompletedSuccessfully)
            _inFlight.Dequeue();
        Candidate? first = _inFlight.TryPeek(out (Candidate Block, Task) oldest) ? oldest.Block : _batch.Count > 0 ? _batch[0] : null;
        FragmentKey? after = first is null ? _scanned : PassCursor.Before(first.Block.Extent, first.Block.Block);
        int[] undone;
        lock (_undone)
            undone = [.. _undone.Union(_outOfSight).Order()];
        Volatile.Write(ref _cursor, new PassCursor(_cursor.StartedUnixMs, after, undone, Volatile.Read(ref _listed)));
        _persistedAt = time.GetTimestamp();
        await metadata.SetCursorAsync(plan.CursorName, _cursor.Encode(), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>About how many entries the drives will list: of what each has, the share that the pass's groups are of all that have slots on it.</summary>
    private async Task<long> EstimateAsync(CancellationToken cancellationToken)
    {
        var all = new Dictionary<Guid, int>();
        var ours = new Dictionary<Guid, int>();
        IClusterMap current = map();
        foreach (PlacementGroupId group in current.Groups)
        {
            foreach (Guid drive in current.SlotsOf(group).SelectMany(PassPlan.DrivesOf))
            {
                all[drive] = all.GetValueOrDefault(drive) + 1;
                if (plan.Groups.ContainsKey(group.Value))
                    ours[drive] = ours.GetValueOrDefault(drive) + 1;
            }
        }

        double expected = 0;
        foreach (IFragmentStore drive in plan.Drives.Select(drives.Find).OfType<IFragmentStore>())
        {
            try
            {
                DriveStatistics statistics = await drive.GetStatisticsAsync(cancellationToken).ConfigureAwait(false);
                expected += statistics.LiveFragments * (double)ours.GetValueOrDefault(drive.DriveId) / Math.Max(1, all.GetValueOrDefault(drive.DriveId));
            }
            catch (Exception) when (!cancellationToken.IsCancellationRequested)
            {
                // An estimate does without it; the listing says what is wrong with the drive.
            }
        }

        return (long)expected;
    }

    private sealed record Candidate(BlockFragments Block, Scheme Scheme, IReadOnlyList<GroupSlot> Slots, ShardSet Missing, ShardSet AtSource)
    {
        /// <summary>Those that are not on a former drive of their slot either.</summary>
        public ShardSet MissingEverywhere => new(Missing.Bits & ~AtSource.Bits);
    }
}
