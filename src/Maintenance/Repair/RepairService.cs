// Makes whole what is not: what the queue says, and what the cluster map says.
//
// Two loops. "repair queue" takes what writes, reads and the scrub have recorded, the blocks with the fewest fragments to spare first. "repair passes" fills the slots of the map that are
// not complete, the groups that miss the most first; that one mechanism is repair of a lost drive, rebalance onto a new one, drain of an old one and refill of a replaced one. When slots
// are complete it empties the drives that had them before. Between these it compares listings: of the newest extents now and then and after a start, because a process that dies takes
// with it what it had not yet recorded; of everything once a day.
//
// Everything here may be repeated and may run in two processes at once: a fragment has the same bytes whoever makes it, and is made durable before anything is said of it.

using System.Collections.Immutable;
using System.Diagnostics;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using ObjectStore.Maintenance.Liveness;
using ObjectStore.Maintenance.Rebalancing;
using ObjectStore.Maintenance.Throttling;
using ObjectStore.Metadata;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Repair;

namespace ObjectStore.Maintenance.Repair;

/// <summary>Repair, rebalance and drain. One runs for a pool; a second one does no harm and no good. Thread-safe.</summary>
public sealed partial class RepairService : BackgroundService
{
    private const string QueueLoop = "repair queue";
    private const string RunningCursor = "repair/running";
    private const string RecentCursor = "repair/recent";
    private const string AuditedCursor = "repair/audited";
    private const string OutCursorPrefix = "repair/out/";
    private const string DrivesCursor = "repair/drives";
    private const string RecentPassCursor = "repair/pass-recent";
    private const string AuditPassCursor = "repair/pass-audit";

    // What keeps a pass from completing its slots, such as a drive that is away, may end at any time.
    private static readonly TimeSpan MaxPassDelay = TimeSpan.FromMinutes(5);

    // Fragments that were only late when their write was answered are queued and found whole a moment later; they say nothing of the state of things.
    private static readonly TimeSpan SettledAfter = TimeSpan.FromSeconds(10);

    // No map is known so late: a group that is not in it by then is in none, and the record is damaged.
    private static readonly TimeSpan LongestWaitForGroup = TimeSpan.FromHours(24);

    // One in so many of the blocks that are repaired at once may be ones with nothing to spare however clients fare: durability comes before their latency.
    private const int UrgentPart = 4;

    // Entries that a new map makes due at once, those with the fewest to spare first. The others wait for their time, an hour at most.
    private const int MaxHastened = 10_000;
    // In a larger pool not every drive is asked for what it may have of a damaged fragment.
    private const int MaxDrivesAsked = 24;
    private static readonly TimeSpan StrayPatience = TimeSpan.FromSeconds(2);

    private const int MaxAsked = 100_000; // entries that are looked through for those that need drives which are out; with more, all of their groups wait

    private readonly IMaintenanceStore _metadata;
    private readonly IFragmentStoreDirectory _drives;
    private readonly Func<IClusterMap> _map;
    private readonly ISlotCompletion _completion;
    private readonly RepairQueue _queue;
    private readonly TimeProvider _time;
    private readonly RepairOptions _options;
    private readonly LoadGovernor _governor;
    private readonly ILogger<RepairService> _logger;
    private readonly PauseSwitch _pause = new();
    private readonly BlockWorker _worker;
    private readonly OwnerSearch _owners;
    private readonly StrayKeeper _strays;
    private readonly SweepList _sweeps;
    private readonly UnnamedEntries _unnamed;
    private readonly Wakeup _queueWakeup;
    private readonly Wakeup _passWakeup;
    private readonly Wakeup _ownerWakeup;
    private volatile bool _ownersFound; // passes that were put off are due
    private volatile bool _queueIsHastened; // and entries
    private readonly Dictionary<string, (DateTimeOffset At, int Attempts, long Epoch)> _retries = []; // Epoch: of the map that the pass went by
    private volatile GroupPass? _running;
    private long _queued;
    private long _unidentified;
    private long _waiting;       // entries when they were last counted, without the degraded writes recorded after this time
    private long _settledUnixMs;
    private bool _isUnnamedKnown;
    private long? _countedAt;
    private DateTimeOffset _recentDue;
    private bool _afterUncleanStop;
    private IClusterMap? _lookedForDrives; // the map by which drives that came back were looked for last
    private long _hastenedEpoch; // of the map for which the queue was last looked through

    public RepairService(
        IMaintenanceStore metadata, IFragmentStoreDirectory drives, Func<IClusterMap> map, IFragmentRepairer repairer, ISlotCompletion completion, IExtentLiveness liveness,
        RepairQueue queue, LoadGovernor governor, TimeProvider time, RepairOptions options, ILogger<RepairService> logger)
    {
        options.Validate();
        (_metadata, _drives, _map, _completion, _queue, _governor, _time, _options, _logger) = (metadata, drives, map, completion, queue, governor, time, options, logger);
        var gate = new WorkGate(() => governor.Workers(options.MaxParallelBlocks), options.MaxParallelBlocksPerDrive, urgentLimit: Math.Max(1, options.MaxParallelBlocks / UrgentPart));
        var rate = new ByteRate(time) { BytesPerSecond = options.BytesPerSecond };
        _owners = new OwnerSearch(metadata, time, MetadataExtentLiveness.DefaultOrphanGrace, logger);
        _worker = new BlockWorker(repairer, liveness, _owners, drives, gate, rate, _pause, governor, time, options, logger);
        _strays = new StrayKeeper(drives, map, liveness, queue, time, logger);
        _sweeps = new SweepList(metadata, drives, map, _strays, _pause, governor, time, options, logger);
        _unnamed = new UnnamedEntries(liveness, time, options.WriteMargin, 2 * options.PollInterval);
        _queueWakeup = new Wakeup(time);
        _passWakeup = new Wakeup(time);
        _ownerWakeup = new Wakeup(time);
        _owners.Asked += _ownerWakeup.Signal;
        queue.Recorded += _queueWakeup.Signal;
        MaintenanceDiagnostics.ObserveSeconds("objectstore.repair.active", "Time during which repair was at work on at least one block.", () => _worker.Active.TotalSeconds);
        MaintenanceDiagnostics.ObserveGauge("objectstore.repair.queued", "{entry}", "Entries of the repair queue when it was last looked at.", () => Interlocked.Read(ref _queued));
        MaintenanceDiagnostics.ObserveGauge(
            "objectstore.repair.blocks.lost", "{block}", "Blocks of named extents found to have too few intact fragments though every drive answered, neither made whole nor deleted since.", () => _worker.BlocksLost);
        MaintenanceDiagnostics.ObserveGauge(
            "objectstore.repair.blocks.awaiting", "{block}", "Blocks with too few fragments on the drives that are in, while drives that are out may have others of them.", () => _worker.BlocksAwaiting);
        MaintenanceDiagnostics.ObserveGauge(
            "objectstore.repair.blocks.unidentified", "{block}", "Queued blocks of which only fragments are left that are so damaged that they do not say whose they are.", () => Interlocked.Read(ref _unidentified));
        MaintenanceDiagnostics.ObserveWhereKnown(
            "objectstore.repair.pass.left", "s", "Time until the pass that runs ends, by its pace so far.",
            () => _running?.Status.EstimatedEnd is { } end ? Math.Max(0, (end - time.GetUtcNow()).TotalSeconds) : null);
        MaintenanceDiagnostics.ObserveWhereKnown(
            "objectstore.repair.pass.progress", "1", "How much of the pass that runs is done, 0 to 1, by the fragments listed.",
            () => _running?.Status is { EntriesExpected: > 0 } pass ? pass.EntriesListed / (double)pass.EntriesExpected : null);
        MaintenanceDiagnostics.ObserveGauge("objectstore.repair.groups.left", "{group}", "Placement groups with slots that are not complete.", () => CountIncomplete().Groups);
    }

    /// <summary>What goes on.</summary>
    public RepairStatus Status
    {
        get
        {
            (int slots, int groups) = CountIncomplete();
            return new RepairStatus(
                _pause.IsPaused, Interlocked.Read(ref _queued), slots, groups, _running?.Status, _governor.Workers(_options.MaxParallelBlocks), _sweeps.Count,
                _worker.Examined, _worker.FragmentsRebuilt, _worker.BytesRebuilt, _worker.BytesRead, _worker.Failures, _worker.BlocksLost, _worker.LastFailure)
            {
                Active = _worker.Active,
                BlocksAwaiting = _worker.BlocksAwaiting,
                BlocksUnidentified = Interlocked.Read(ref _unidentified),
                FewestSpare = _worker.FewestSpare,
            };
        }
    }

    /// <summary>Begins no more work until <see cref="Resume"/>; the blocks in the making are finished. Of itself it does not outlive the process.</summary>
    public void Pause() => _pause.Pause();

    public void Resume() => _pause.Resume();

    /// <summary>Says that the map has changed; without it the change is seen within the poll interval.</summary>
    public void Wake()
    {
        _passWakeup.Signal();
        _queueWakeup.Signal();
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        _queue.Recorded -= _queueWakeup.Signal;
        base.Dispose();
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (!await BeginAsync(stoppingToken).ConfigureAwait(false))
            return;
        await Task.WhenAll(
            LoopAsync(QueueLoop, WorkOffQueueAsync, _queueWakeup, stoppingToken), LoopAsync("repair passes", RunNextPassAsync, _passWakeup, stoppingToken),
            LoopAsync("owner search", SearchOwnersAsync, _ownerWakeup, stoppingToken)).ConfigureAwait(false);

        // What the stop before this one may have cost has not been seen to yet.
        if (_afterUncleanStop)
            return;
        try
        {
            // From here on nothing of this process is lost by its end.
            await _metadata.SetCursorAsync(RunningCursor, null, CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            LogLoopFailure("repair passes", e);
        }
    }

    /// <summary>Reads what the process before left. False where it was stopped before it could.</summary>
    internal async Task<bool> BeginAsync(CancellationToken cancellationToken)
    {
        while (!cancellationToken.IsCancellationRequested)
        {
            try
            {
                _afterUncleanStop = await ReadCursorAsync(RunningCursor, cancellationToken).ConfigureAwait(false) is not null;
                _recentDue = _time.GetUtcNow();
                await _sweeps.LoadAsync(cancellationToken).ConfigureAwait(false);
                await _metadata.SetCursorAsync(RunningCursor, [1], cancellationToken).ConfigureAwait(false);
                if (_afterUncleanStop)
                    LogUncleanStop(_options.WriteMargin);
                return true;
            }
            catch (Exception e) when (!cancellationToken.IsCancellationRequested)
            {
                LogLoopFailure("repair passes", e);
                await Task.Delay(_options.PollInterval, _time, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
            catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
            {
                return false;
            }
            catch (Exception e) when (cancellationToken.IsCancellationRequested)
            {
                LogStopped("repair passes", e);
                return false;
            }
        }

        return false;
    }

    /// <summary>Runs a step over and over; where it did nothing, or failed, after a wait.</summary>
    private async Task LoopAsync(string name, Func<CancellationToken, Task<bool>> step, Wakeup wakeup, CancellationToken stoppingToken)
    {
        try
        {
            while (!stoppingToken.IsCancellationRequested)
            {
                bool didSomething = false;
                try
                {
                    await _pause.WaitAsync(stoppingToken).ConfigureAwait(false);
                    didSomething = await step(stoppingToken).ConfigureAwait(false);
                }
                catch (Exception e) when (!stoppingToken.IsCancellationRequested)
                {
                    MaintenanceDiagnostics.LoopFailures.Add(1, new KeyValuePair<string, object?>("loop", name));
                    LogLoopFailure(name, e);
                }

                if (!didSomething)
                    await wakeup.WaitAsync(_options.PollInterval, stoppingToken).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // Stopping: cursors are written, entries stay queued.
        }
        catch (Exception e) when (stoppingToken.IsCancellationRequested)
        {
            // Whatever a step that is being stopped ends with, it is no reason for the service to fail.
            LogStopped(name, e);
        }
    }

    /// <summary>Searches the metadata for blocks of which nothing at hand says whose they are. Whether it found out anything, upon which they are looked at again.</summary>
    internal async Task<bool> SearchOwnersAsync(CancellationToken cancellationToken)
    {
        if (!await _owners.SearchAsync(cancellationToken).ConfigureAwait(false))
            return false;
        _ownersFound = _queueIsHastened = true;
        _passWakeup.Signal();
        _queueWakeup.Signal();
        return true;
    }

    // ---- The queue -------------------------------------------------------------------------------------------------------------

    internal async Task<bool> WorkOffQueueAsync(CancellationToken cancellationToken)
    {
        // No map is known yet: by it every extent would be gone and every group unknown.
        if (_map().Epoch == 0)
            return false;

        // Counting reads the whole queue, which may be long.
        if (_countedAt is not { } counted || _time.GetElapsedTime(counted) >= _options.PollInterval)
        {
            _countedAt = _time.GetTimestamp();
            _isUnnamedKnown = await RefreshUnnamedAsync(cancellationToken).ConfigureAwait(false);
            _settledUnixMs = (_time.GetUtcNow() - SettledAfter).ToUnixTimeMilliseconds();
            _waiting = await _metadata.CountRepairsAsync(_settledUnixMs, cancellationToken).ConfigureAwait(false);
            SetQueued();
        }

        await HastenAsync(cancellationToken).ConfigureAwait(false);
        ImmutableArray<RepairEntry> due = await _metadata.ListRepairsAsync(_time.GetUtcNow().ToUnixTimeMilliseconds(), _options.QueueBatch, cancellationToken).ConfigureAwait(false);
        if (due.IsEmpty)
            return false;
        using Activity? activity = MaintenanceDiagnostics.Activities.StartActivity("maintenance.repair.queue")?.SetTag("objectstore.entries", due.Length);

        // Those whose drives are all away cost nothing but their turn: of a drive that is down for an hour there may be millions.
        IClusterMap map = _map();
        RepairEntry[] targetless = [.. due.Where(entry => !HasTarget(map, entry))];
        foreach (RepairEntry entry in targetless)
            _worker.NoteSpare(entry.Record.Spare);
        Postponement[] putOff = [.. targetless.Select(PutOff)];
        await _metadata.PostponeRepairsAsync([.. putOff], cancellationToken).ConfigureAwait(false);
        for (int i = 0; i < targetless.Length; i++)
            _unnamed.Keep(targetless[i], putOff[i].NotBeforeUnixMs);
        due = [.. due.Except(targetless)];
        if (due.IsEmpty)
            return true;

        // In their order: those that come first have the fewest to spare. The gate lets in as many as may run.
        var work = new (RepairEntry Entry, Task<bool> Done)[due.Length];
        IReadOnlyList<Inspection> inspections = await InspectAsync(due, cancellationToken).ConfigureAwait(false);
        inspections = await _worker.CondemnAsync(inspections, cancellationToken).ConfigureAwait(false);
        for (int i = 0; i < due.Length; i++)
            work[i] = (due[i], RepairEntryAsync(due[i], inspections[i], cancellationToken));
        foreach ((_, Task<bool> done) in work)
            await ((Task)done).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

        ImmutableArray<long> finished = [.. work.Where(entry => entry.Done.IsCompletedSuccessfully && entry.Done.Result).Select(entry => entry.Entry.RepairId)];
        List<Postponement> postponed = [];
        for (int i = 0; i < work.Length; i++)
        {
            (RepairEntry entry, Task<bool> done) = work[i];
            bool isDone = done.IsCompletedSuccessfully && done.Result;
            _unnamed.Forget(entry);
            if (isDone || cancellationToken.IsCancellationRequested)
                continue;
            postponed.Add(PutOff(entry));
            if (inspections[i] is { Liveness: Liveness.Liveness.Unnamed, Details: { } details })
                _unnamed.Remember(entry, details.Descriptor, postponed[^1].NotBeforeUnixMs);
            else if ((inspections[i].IsUnidentified || inspections[i].IsOwnerless) && entry.Record.BlockCount == 1)
                _unnamed.Remember(entry, null, postponed[^1].NotBeforeUnixMs, inspections[i].IsOwnerless);
        }

        SetQueued();

        // Also when it is stopped: what is done is not done again.
        await _metadata.FinishRepairsAsync(finished, CancellationToken.None).ConfigureAwait(false);
        await _metadata.PostponeRepairsAsync([.. postponed], CancellationToken.None).ConfigureAwait(false);
        foreach ((_, Task<bool> done) in work)
        {
            if (done.Exception is { } fault && !cancellationToken.IsCancellationRequested)
                LogLoopFailure(QueueLoop, fault.InnerException ?? fault);
        }

        cancellationToken.ThrowIfCancellationRequested();
        return true;
    }

    /// <summary>
    /// What could not be repaired may be by a new map: a drive was replaced or is back, or others have its slots. So entries that were put off are due at once then, once for each map and
    /// at the first map after a start, but for those that still have no drive to go to.
    /// </summary>
    private async Task HastenAsync(CancellationToken cancellationToken)
    {
        IClusterMap map = _map();
        if (map.Epoch == _hastenedEpoch && !_queueIsHastened)
            return;
        _queueIsHastened = false;
        long now = _time.GetUtcNow().ToUnixTimeMilliseconds();
        ImmutableArray<RepairEntry> all = await _metadata.ListRepairsAsync(long.MaxValue, MaxHastened, cancellationToken).ConfigureAwait(false);
        IEnumerable<RepairRecord> hastened = all.Where(entry => IsHastened(entry) && HasTarget(map, entry))
            .Select(entry => entry.Record with { NotBeforeUnixMs = now });

        // Recorded once more with an earlier time, which is not an attempt. One that another process has just finished comes back, and is found whole. A few at a time, since clients'
        // commits wait for the same transaction.
        foreach (RepairRecord[] chunk in hastened.Chunk(_options.QueueBatch))
            await _metadata.RecordRepairsAsync([.. chunk], cancellationToken).ConfigureAwait(false);
        _hastenedEpoch = map.Epoch;

        // One that was never looked at waits for its first turn, unless that is so far off that a clock which was ahead must have set it.
        bool IsHastened(RepairEntry entry) => entry.Record.NotBeforeUnixMs > (entry.Attempts > 0 ? now : now + (long)_options.MaxRetryDelay.TotalMilliseconds);
    }

    /// <summary>False where that failed: what is to be repaired does not wait for a number that people look at.</summary>
    private async Task<bool> RefreshUnnamedAsync(CancellationToken cancellationToken)
    {
        try
        {
            await _unnamed.RefreshAsync(cancellationToken).ConfigureAwait(false);
            return true;
        }
        catch (Exception e) when (!cancellationToken.IsCancellationRequested)
        {
            MaintenanceDiagnostics.LoopFailures.Add(1, new KeyValuePair<string, object?>("loop", QueueLoop));
            LogLoopFailure(QueueLoop, e);
            return false;
        }
    }

    private void SetQueued()
    {
        Interlocked.Exchange(ref _queued, Math.Max(0, _waiting - (_isUnnamedKnown ? _unnamed.Count(_settledUnixMs) : 0)));
        Interlocked.Exchange(ref _unidentified, _unnamed.CountUnidentified());
    }

    private bool HasTarget(IClusterMap map, RepairEntry entry)
    {
        // What the map does not know is dealt with as any other, and dropped.
        if (!TrySlots(map, entry, out Scheme scheme, out IReadOnlyList<GroupSlot> slots))
            return true;
        for (int shard = 0; shard < Math.Min(scheme.Width, slots.Count); shard++)
        {
            if ((entry.Record.Shards >> shard & 1) != 0 && slots[shard].Drive is { } drive && _drives.Find(drive) is { IsReachable: true })
                return true;
        }

        return false;
    }

    private Postponement PutOff(RepairEntry entry) => new(entry.RepairId, (_time.GetUtcNow() + Backoff(entry.Attempts)).ToUnixTimeMilliseconds());

    private async Task<IReadOnlyList<Inspection>> InspectAsync(ImmutableArray<RepairEntry> entries, CancellationToken cancellationToken)
    {
        IClusterMap map = _map();
        return await _worker.InspectAsync(
            [.. entries.Select(entry => TrySlots(map, entry, out Scheme scheme, out IReadOnlyList<GroupSlot> slots)
                ? BlockWorker.PlacesOf(ExtentOf(entry), entry.Record.FirstBlock, scheme, slots, absentToo: true).Places
                : [])],
            cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Whether the entry is done with.</summary>
    private async Task<bool> RepairEntryAsync(RepairEntry entry, Inspection known, CancellationToken cancellationToken)
    {
        RepairRecord record = entry.Record;
        IClusterMap map = _map();
        if (!TrySlots(map, entry, out Scheme scheme, out IReadOnlyList<GroupSlot> slots))
        {
            // An extent may be newer than the map at hand, by which its width is not in use yet.
            if (MapLookup.MayComeToHave(map, record.PlacementGroup) && _time.GetUtcNow().ToUnixTimeMilliseconds() - record.RecordedUnixMs < LongestWaitForGroup.TotalMilliseconds)
            {
                LogNoGroupYet(ExtentOf(entry), record.PlacementGroup, map.Epoch);
                return false;
            }

            LogNoGroup(ExtentOf(entry), record.PlacementGroup, record.Scheme);
            return true;
        }

        var reason = (RepairReason)record.Reason;
        if ((known.IsGone && record.BlockCount == 1) || known.Liveness is Liveness.Liveness.Orphan or Liveness.Liveness.Garbage)
        {
            for (int block = record.FirstBlock; block < record.FirstBlock + record.BlockCount; block++)
                _worker.Forget(ExtentOf(entry), block);
            return true;
        }

        // A write under way brings its fragments itself, or takes them away where it is given up; what is made meanwhile would be left behind. A degraded write is recorded before its version
        // is committed; by the next look it is named.
        if (known.Liveness == Liveness.Liveness.Unnamed)
            return false;
        bool whole = true;
        for (int block = record.FirstBlock; block < record.FirstBlock + record.BlockCount; block++)
        {
            _worker.CountExamined();
            var wanted = new ShardSet(record.Shards & ShardSet.All(Math.Min(scheme.Width, slots.Count)).Bits);
            ShardSet suspect = reason is RepairReason.CorruptOnRead or RepairReason.Scrub ? wanted : default;
            (IReadOnlyCollection<Guid> involved, _) = BlockWorker.PlacesOf(ExtentOf(entry), block, scheme, slots);
            var work = new BlockRepair(ExtentOf(entry), record.PlacementGroup, scheme, block, suspect, wanted);
            BlockRepairResult? result = await _worker.RepairAsync(work, involved, record.Spare, cancellationToken).ConfigureAwait(false);
            if (result is { Missing.IsEmpty: false } && known.Liveness == Liveness.Liveness.Live)
                _worker.NoteSpare(scheme.ParityShards - result.Missing.Count);
            if (result?.Status == BlockRepairStatus.TooFewFragments && !suspect.IsEmpty)
            {
                // What was damaged once may be read now, or was on a drive that does not count any more, and may be all that is left. Its header says nothing of that.
                result = await _worker.RepairAsync(work with { ReadsSuspects = true }, involved, record.Spare, cancellationToken).ConfigureAwait(false);
            }

            if (result?.Status == BlockRepairStatus.Whole)
            {
                whole &= suspect.IsEmpty || result.Details is null || await ForgetDamagedAsync(work, slots, result.Details, map, reason == RepairReason.Scrub, cancellationToken).ConfigureAwait(false);
                continue;
            }

            if (result?.Status == BlockRepairStatus.TooFewFragments && known.IsGone)
            {
                _worker.Forget(work.Extent, block);
                continue;
            }

            whole = false;

            // By the map at hand now: a drive that went out meanwhile may have what the others lack.
            if (result?.Status == BlockRepairStatus.TooFewFragments && known.Liveness == Liveness.Liveness.Live)
                _worker.CountTooFew(work, PassPlan.HaveAbsent(_map(), record.PlacementGroup));
        }

        return whole;
    }

    /// <summary>
    /// What was damaged is whole on its drive, but it may have been another drive that was meant, or meant as well: one that the slot is filled from, or that has what is left from before. The entry
    /// is all that is known of it, and stays until nothing damaged is left there.
    /// </summary>
    private async Task<bool> ForgetDamagedAsync(BlockRepair work, IReadOnlyList<GroupSlot> slots, FragmentDetails details, IClusterMap map, bool byScrub, CancellationToken cancellationToken)
    {
        using IDisposable busy = _governor.BusyByShare();
        bool forgotten = true;
        foreach (int shard in Enumerable.Range(0, work.Scheme.Width).Where(work.Suspect.Contains))
        {
            // Those that the map or a sweep speaks of have to answer, as far as they are in; of the others any may have a stray, which the scrub has seen.
            Dictionary<Guid, bool> candidates = byScrub && map.Drives.Count <= MaxDrivesAsked ? map.Drives.ToDictionary(drive => drive.Id, _ => true) : [];
            foreach (Guid drive in slots[shard].Sources.Concat(_sweeps.DrivesOf(work.PlacementGroup)))
                candidates[drive] = map.Drives.FirstOrDefault(mapped => mapped.Id == drive) is not { IsReadable: true };
            if (slots[shard].Drive is { } home)
                candidates.Remove(home);
            var entry = new FragmentEntry(new FragmentKey(work.Extent, work.Block, (ushort)shard), work.PlacementGroup, work.Scheme.Id, work.Scheme.ShardBytes(details.BlockLengthBytes));
            forgotten &= await _strays.DeleteDamagedAsync(entry, work.Scheme, candidates, StrayPatience, cancellationToken).ConfigureAwait(false);
        }

        return forgotten;
    }

    private TimeSpan Backoff(int attempts)
    {
        TimeSpan delay = _options.RetryDelay * Math.Pow(2, Math.Min(attempts, 16));
        return delay < _options.MaxRetryDelay ? delay : _options.MaxRetryDelay;
    }

    private static ExtentId ExtentOf(RepairEntry entry) => new(new UInt128(entry.Record.ExtentHigh, entry.Record.ExtentLow));

    private static bool TrySlots(IClusterMap map, RepairEntry entry, out Scheme scheme, out IReadOnlyList<GroupSlot> slots)
    {
        slots = [];
        return Scheme.TryFromId(entry.Record.Scheme, out scheme) && MapLookup.TrySlotsOf(map, entry.Record.PlacementGroup, out slots);
    }

    // ---- Passes ----------------------------------------------------------------------------------------------------------------

    internal async Task<bool> RunNextPassAsync(CancellationToken cancellationToken)
    {
        // No map is known yet: a comparison by it would see nothing and say that all is well.
        if (_map().Epoch == 0)
            return false;
        if (_ownersFound)
        {
            _ownersFound = false;
            _retries.Clear();
        }

        DateTimeOffset now = _time.GetUtcNow();
        await SweepDrivesThatCameBackAsync(cancellationToken).ConfigureAwait(false);

        // What an unclean stop may have cost comes before everything: its blocks have the fewest fragments that they are allowed to have.
        if (_afterUncleanStop && now >= _recentDue)
            return await CompareRecentAsync(cancellationToken).ConfigureAwait(false);

        // Sweeps come first, as they bring home what former drives have; but not while there are fragments to be rebuilt.
        bool swept = await _sweeps.RunDueAsync(() => PassPlan.Fill(_map(), _drives, _options.ParityOf).Any(plan => plan.SlotsWithoutSource > 0 && IsDue(plan)), cancellationToken).ConfigureAwait(false);
        IClusterMap map = _map();
        ImmutableArray<PassPlan> plans = PassPlan.Fill(map, _drives, _options.ParityOf);
        if (plans.FirstOrDefault(IsDue) is { } urgent)
        {
            await FillAsync(urgent, plans, cancellationToken).ConfigureAwait(false);
            return true;
        }

        if (now >= _recentDue)
            return await CompareRecentAsync(cancellationToken).ConfigureAwait(false);
        return await CompareAllAsync(map, cancellationToken).ConfigureAwait(false) || swept;
    }

    /// <summary>
    /// Has drives swept that were out and are readable again. Their slots may have been completed without them, and the map names them no more for what they hold: some of it may be all there is.
    /// The sweep brings home what is missing there and deletes the rest. Which drives are out is kept as cursors, so that a restart forgets none, and so is which the map had when it was looked
    /// at last: one that was lost and removed since, while a pass ran, is known as out too.
    /// </summary>
    private async Task SweepDrivesThatCameBackAsync(CancellationToken cancellationToken)
    {
        IClusterMap map = _map();
        if (ReferenceEquals(map, _lookedForDrives))
            return;
        HashSet<string> known = [.. (await _metadata.ListCursorsAsync(OutCursorPrefix, cancellationToken).ConfigureAwait(false)).Select(cursor => cursor.Name)];
        byte[]? before = await ReadCursorAsync(DrivesCursor, cancellationToken).ConfigureAwait(false);
        HashSet<Guid> present = [.. map.Drives.Select(drive => drive.Id)];
        foreach (string name in DecodeDrives(before).Where(drive => !present.Contains(drive)).Select(OutCursorOf))
        {
            if (!known.Contains(name))
                await _metadata.SetCursorAsync(name, [1], cancellationToken).ConfigureAwait(false);
        }

        byte[] now = EncodeDrives(present);
        if (!now.AsSpan().SequenceEqual(before))
            await _metadata.SetCursorAsync(DrivesCursor, now, cancellationToken).ConfigureAwait(false);
        foreach (MappedDrive drive in map.Drives)
        {
            string name = OutCursorOf(drive.Id);
            if (!drive.IsReadable && !known.Contains(name))
            {
                await _metadata.SetCursorAsync(name, [1], cancellationToken).ConfigureAwait(false);
            }
            else if (drive.IsReadable && known.Contains(name))
            {
                HashSet<int> all = [.. map.Groups.Select(group => group.Value)];
                await _sweeps.AddAsync(new Dictionary<Guid, HashSet<int>> { [drive.Id] = all }, _time.GetUtcNow(), cancellationToken).ConfigureAwait(false);
                await _metadata.SetCursorAsync(name, null, cancellationToken).ConfigureAwait(false);
                LogCameBack(drive.Id);
            }
        }

        // What is known of drives that were removed stays: one that was given up for good and turns up after all, and is taken back, may have what is nowhere else.
        _worker.StopAwaiting(group => !PassPlan.HaveAbsent(map, group));
        _lookedForDrives = map;
    }

    /// <summary>Whether it has not failed of late, or by an older map only: by the new one it may succeed.</summary>
    private bool IsDue(PassPlan plan)
        => !_retries.TryGetValue(plan.CursorName, out (DateTimeOffset At, int Attempts, long Epoch) retry) || retry.At <= _time.GetUtcNow() || retry.Epoch < plan.Epoch;

    private async Task FillAsync(PassPlan plan, ImmutableArray<PassPlan> plans, CancellationToken cancellationToken)
    {
        HashSet<string> current = [.. plans.Select(other => other.CursorName)];
        foreach (MaintenanceCursor stale in await _metadata.ListCursorsAsync(PassPlan.CursorPrefix, cancellationToken).ConfigureAwait(false))
        {
            if (!current.Contains(stale.Name))
                await _metadata.SetCursorAsync(stale.Name, null, cancellationToken).ConfigureAwait(false);
        }

        foreach (string gone in _retries.Keys.Except(current).ToArray())
            _retries.Remove(gone);
        LogPassBegins(plan.Groups.Count, plan.SlotsWithoutSource, plan.Epoch);
        var pass = new GroupPass(plan, _worker, _queue, _metadata, _drives, _map, _time, _options);
        PassOutcome outcome = await RunAsync(pass, OvertakenBy(plan), cancellationToken).ConfigureAwait(false);
        if (outcome == PassOutcome.Yielded)
            return;
        await CompleteSlotsAsync(plan, pass, cancellationToken).ConfigureAwait(false);
        await pass.ForgetAsync(cancellationToken).ConfigureAwait(false);
        LogPassEnds(plan.Groups.Count, outcome);

        // Also where all was done: until the map says so, it is not begun again at once.
        int attempts = _retries.TryGetValue(plan.CursorName, out (DateTimeOffset, int Attempts, long) retry) ? retry.Attempts : 0;
        TimeSpan delay = Backoff(attempts);
        _retries[plan.CursorName] = (_time.GetUtcNow() + (delay < MaxPassDelay ? delay : MaxPassDelay), attempts + 1, plan.Epoch);
    }

    /// <summary>Whether the map has changed so that another pass is to go first, or this one is about slots that are no more.</summary>
    private Func<bool> OvertakenBy(PassPlan plan)
    {
        IClusterMap planned = _map();
        return () =>
        {
            IClusterMap map = _map();
            if (ReferenceEquals(map, planned))
                return false;
            planned = map;
            return PassPlan.Fill(map, _drives, _options.ParityOf).FirstOrDefault(other => other.CursorName == plan.CursorName || IsDue(other))?.CursorName != plan.CursorName;
        };
    }

    private async Task CompleteSlotsAsync(PassPlan plan, GroupPass pass, CancellationToken cancellationToken)
    {
        IClusterMap map = _map();
        List<SlotCompletion> completed = [];
        Dictionary<Guid, HashSet<int>> left = [];
        HashSet<int> needed = await FindNeededAbsentAsync(plan, [.. pass.DoneGroups], cancellationToken).ConfigureAwait(false);
        foreach (int group in pass.DoneGroups.Where(group => !needed.Contains(group)))
        {
            if (!MapLookup.TrySlotsOf(map, group, out IReadOnlyList<GroupSlot> now))
                continue;
            IReadOnlyList<GroupSlot> then = plan.Groups[group];
            for (int slot = 0; slot < then.Count; slot++)
            {
                // A slot that got another drive or source meanwhile has another pass to come.
                if (then[slot] is not { IsComplete: false, Drive: { } drive } || !now[slot].Equals(then[slot]))
                    continue;
                completed.Add(new SlotCompletion(new PlacementGroupId(group), slot, drive, plan.Epoch));
                foreach (Guid source in then[slot].Sources)
                {
                    if (!left.TryGetValue(source, out HashSet<int>? groups))
                        left.Add(source, groups = []);
                    groups.Add(group);
                }
            }
        }

        if (completed.Count == 0)
            return;

        // First the intention to empty the former drives, then the word that they are no longer needed: a stop between the two forgets neither. A sweep looks at the map itself.
        await _sweeps.AddAsync(left, _time.GetUtcNow() + _options.SweepDelay, cancellationToken).ConfigureAwait(false);
        await _completion.CompleteAsync(completed, cancellationToken).ConfigureAwait(false);
        MaintenanceDiagnostics.SlotsCompleted.Add(completed.Count);
    }

    /// <summary>
    /// Of groups whose listed blocks are all whole, those that drives which are out are needed for nevertheless: what has fragments nowhere else is not listed. That is anything, where all drives of
    /// a group are out; and where so many are out as a write may be acknowledged with, it is what waits in the queue since then: blocks of which nothing is at hand, and writes of several blocks,
    /// of which some may be nowhere else. Complete, the group would no longer name those drives, and what they alone have would count as deleted.
    /// </summary>
    private async Task<HashSet<int>> FindNeededAbsentAsync(PassPlan plan, int[] groups, CancellationToken cancellationToken)
    {
        HashSet<int> needed = [];
        Dictionary<int, int> asked = []; // and how many of its slots may be hollow
        foreach (int group in groups)
        {
            IReadOnlyList<GroupSlot> slots = plan.Groups[group];
            if (!PassPlan.HaveAbsent(slots))
                continue;

            // What a source has may be no more than it got while it held the slot, where drives that are out held it before.
            int unsure = slots.Count(slot => !slot.IsComplete && (slot.Sources.IsEmpty || !slot.Absent.IsEmpty));
            if (unsure == slots.Count)
                needed.Add(group);
            else if (unsure >= RepairOptions.LeastQuorumOf(slots.Count))
                asked.Add(group, unsure);
        }

        if (asked.Count == 0)
            return needed;
        ImmutableArray<RepairEntry> waiting = await _metadata.ListRepairsAsync(long.MaxValue, MaxAsked, cancellationToken).ConfigureAwait(false);
        if (waiting.Length == MaxAsked)
            needed.UnionWith(asked.Keys);
        foreach (RepairEntry[] entries in waiting.Where(MayNeedAbsent).Chunk(_options.QueueBatch))
        {
            IReadOnlyList<Inspection> inspections = await InspectAsync([.. entries], cancellationToken).ConfigureAwait(false);
            for (int i = 0; i < entries.Length; i++)
            {
                if (inspections[i] is { Liveness: null, IsGone: false, IsUnidentified: false, IsOwnerless: false }
                    || (entries[i].Record.BlockCount > 1 && inspections[i].Liveness is Liveness.Liveness.Live or Liveness.Liveness.Unnamed))
                    needed.Add(entries[i].Record.PlacementGroup);
            }
        }

        return needed;

        bool MayNeedAbsent(RepairEntry entry)
            => asked.TryGetValue(entry.Record.PlacementGroup, out int unsure) && !needed.Contains(entry.Record.PlacementGroup)
                && (!Scheme.TryFromId(entry.Record.Scheme, out Scheme scheme) || unsure >= scheme.WriteQuorum);
    }

    /// <summary>Compares the listings of the extents that are newer than the last comparison.</summary>
    private async Task<bool> CompareRecentAsync(CancellationToken cancellationToken)
    {
        DateTimeOffset now = _time.GetUtcNow(), until = now - _options.SettleTime;
        _recentDue = now + _options.RecentAuditInterval;
        long? checkedBelow = await ReadTimeAsync(RecentCursor, cancellationToken).ConfigureAwait(false);
        DateTimeOffset from = checkedBelow is { } below ? DateTimeOffset.FromUnixTimeMilliseconds(below) : until;

        // By a clock that was ahead: whatever it compared, it was not what was written since.
        from = from > until ? now - _options.AuditPeriod : from;
        from -= _afterUncleanStop ? _options.WriteMargin : _options.RecentAuditOverlap;

        // After a day the comparison of everything has been there.
        if (from < now - _options.AuditPeriod - _options.WriteMargin)
            from = now - _options.AuditPeriod - _options.WriteMargin;

        // Where this run began with a cursor, it went from another time; it is short enough to begin anew.
        await _metadata.SetCursorAsync(RecentPassCursor, null, cancellationToken).ConfigureAwait(false);
        var pass = new GroupPass(
            PassPlan.Compare(PassKind.Recent, RecentPassCursor, _map(), ExtentId.FirstAt(from), ExtentId.FirstAt(until)), _worker, _queue, _metadata, _drives, _map, _time, _options);
        await RunAsync(pass, () => false, cancellationToken).ConfigureAwait(false);
        await pass.ForgetAsync(cancellationToken).ConfigureAwait(false);

        // Where a drive did not answer, the same extents are compared again at the next time.
        if (!pass.SawEverything)
            return true;
        await WriteTimeAsync(RecentCursor, until, cancellationToken).ConfigureAwait(false);
        _afterUncleanStop = false;
        return true;
    }

    private async Task<bool> CompareAllAsync(IClusterMap map, CancellationToken cancellationToken)
    {
        DateTimeOffset now = _time.GetUtcNow();
        if (await ReadTimeAsync(AuditedCursor, cancellationToken).ConfigureAwait(false) is not { } last)
        {
            // A new store: there is nothing to compare yet.
            await WriteTimeAsync(AuditedCursor, now, cancellationToken).ConfigureAwait(false);
            return false;
        }

        // A time to come is of a clock that was ahead.
        if (DateTimeOffset.FromUnixTimeMilliseconds(last) is var audited && audited <= now && now < audited + _options.AuditPeriod)
            return false;
        var pass = new GroupPass(PassPlan.Compare(PassKind.Audit, AuditPassCursor, map, null, null), _worker, _queue, _metadata, _drives, _map, _time, _options);

        // Gives way to slots that are to be filled, and to the newest extents; it goes on later.
        PassOutcome outcome = await RunAsync(pass, () => PassPlan.Fill(_map(), _drives, _options.ParityOf).Any(IsDue) || _time.GetUtcNow() >= _recentDue, cancellationToken).ConfigureAwait(false);
        if (outcome == PassOutcome.Yielded)
            return true;
        await WriteTimeAsync(AuditedCursor, now, cancellationToken).ConfigureAwait(false);
        await pass.ForgetAsync(cancellationToken).ConfigureAwait(false);
        return true;
    }

    private async Task<PassOutcome> RunAsync(GroupPass pass, Func<bool> shouldYield, CancellationToken cancellationToken)
    {
        _running = pass;
        try
        {
            return await pass.RunAsync(shouldYield, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _running = null;
        }
    }

    private (int Slots, int Groups) CountIncomplete()
    {
        IClusterMap map = _map();
        int slots = 0, groups = 0;
        foreach (PlacementGroupId group in map.Groups)
        {
            int incomplete = map.SlotsOf(group).Count(slot => !slot.IsComplete);
            slots += incomplete;
            groups += incomplete > 0 ? 1 : 0;
        }

        return (slots, groups);
    }

    // ---- Cursors ---------------------------------------------------------------------------------------------------------------

    private async ValueTask<byte[]?> ReadCursorAsync(string name, CancellationToken cancellationToken)
        => (await _metadata.ListCursorsAsync(name, cancellationToken).ConfigureAwait(false)).FirstOrDefault(cursor => cursor.Name == name)?.Value;

    private static string OutCursorOf(Guid drive) => OutCursorPrefix + drive.ToString("N");

    // version 1 | drives 16 each, in order
    internal static byte[] EncodeDrives(IEnumerable<Guid> drives) => [1, .. drives.Order().SelectMany(drive => drive.ToByteArray())];

    internal static IEnumerable<Guid> DecodeDrives(byte[]? value)
        => value is [1, ..] && value.Length % 16 == 1 ? Enumerable.Range(0, value.Length / 16).Select(i => new Guid(value.AsSpan(1 + 16 * i, 16))) : [];

    // version 1 | Unix milliseconds 8, little-endian
    private async ValueTask<long?> ReadTimeAsync(string name, CancellationToken cancellationToken)
        => await ReadCursorAsync(name, cancellationToken).ConfigureAwait(false) is [1, .. { Length: 8 } time] ? System.Buffers.Binary.BinaryPrimitives.ReadInt64LittleEndian(time) : null;

    private ValueTask WriteTimeAsync(string name, DateTimeOffset time, CancellationToken cancellationToken)
    {
        var value = new byte[9];
        value[0] = 1;
        System.Buffers.Binary.BinaryPrimitives.WriteInt64LittleEndian(value.AsSpan(1), time.ToUnixTimeMilliseconds());
        return _metadata.SetCursorAsync(name, value, cancellationToken);
    }

    [LoggerMessage(1, LogLevel.Warning, "The loop '{Loop}' met an error; it goes on")]
    private partial void LogLoopFailure(string loop, Exception exception);

    [LoggerMessage(8, LogLevel.Debug, "The loop '{Loop}' was stopped in a step that ended with an error")]
    private partial void LogStopped(string loop, Exception exception);

    [LoggerMessage(2, LogLevel.Information, "Filling slots of {Groups} placement groups, in each of which {Without} have their fragments nowhere at hand (map epoch {Epoch})")]
    private partial void LogPassBegins(int groups, int without, long epoch);

    [LoggerMessage(3, LogLevel.Information, "The pass over {Groups} placement groups has ended: {Outcome}")]
    private partial void LogPassEnds(int groups, PassOutcome outcome);

    [LoggerMessage(4, LogLevel.Warning, "The process before this one did not stop cleanly: extents of its last {Margin} are compared first")]
    private partial void LogUncleanStop(TimeSpan margin);

    [LoggerMessage(5, LogLevel.Warning, "The repair queue names extent {Extent} in group {Group} with scheme {Scheme}, which the map does not have; the entry is dropped")]
    private partial void LogNoGroup(ExtentId extent, int group, int scheme);

    [LoggerMessage(7, LogLevel.Warning, "The repair queue names extent {Extent} in group {Group}, which map {Epoch} does not have; a newer one may, so it is tried again")]
    private partial void LogNoGroupYet(ExtentId extent, int group, long epoch);

    [LoggerMessage(6, LogLevel.Information, "Drive {Drive} was out and is back: what it holds is compared with the drives that took its place")]
    private partial void LogCameBack(Guid drive);
}
