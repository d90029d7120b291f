using System.Collections.Immutable;
using Microsoft.Extensions.Logging;
using Orleans;
using Orleans.Runtime;

namespace ObjectStore.Grains;

/// <summary>
/// One storage host: whether it and its drives live, and what follows when they do not. Its registration is durable; when it was last heard of is not, since a heartbeat every few seconds is
/// not worth a write. So an activation counts silence from its own beginning, and without the time in which its process stood still: it may give up a drive later than it could, never sooner.
///
/// One timer looks for what is overdue; one reminder brings the grain back after its silo went, so that a node that died with it is missed too.
/// </summary>
[GrainType("storage-node")]
public sealed partial class StorageNodeGrain(
    [PersistentState("registration", GrainStorageNames.Metadata)] IPersistentState<StorageNodeState> state,
    GrainOptions options,
    TimeProvider time,
    IProcessPulse pulse,
    ILogger<StorageNodeGrain> logger) : Grain, IStorageNodeGrain, IRemindable
{
    private const string CheckReminder = "check";

    // The least period that reminders allow.
    private static readonly TimeSpan ReminderPeriod = TimeSpan.FromMinutes(1);

    private readonly long _activatedAt = time.GetTimestamp();
    private readonly Dictionary<string, Drive> _drives = new(StringComparer.Ordinal);
    private ImmutableArray<DriveReport> _strangers = [];
    private long? _heardAt;
    private long? _spaceTold;
    private long _heardUnixMs;

    /// <inheritdoc/>
    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        _heardUnixMs = state.State.RegisteredUnixMs;
        Expect(state.State.Drives);
        this.RegisterGrainTimer(CheckAsync, new GrainTimerCreationOptions(options.NodeCheckInterval, options.NodeCheckInterval) { KeepAlive = state.RecordExists });
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public Task ReceiveReminder(string reminderName, TickStatus status) => CheckAsync();

    /// <inheritdoc/>
    public async Task<PlacementMap> RegisterAsync(NodeRegistration registration)
    {
        IPlacementGrain pool = GrainFactory.GetGrain<IPlacementGrain>(registration.Pool);
        HashSet<string> announced = [.. registration.Drives.Select(drive => Normal(drive.DriveId))];
        PlacementDrive[] unannounced = [.. state.State.Drives.Where(drive => !announced.Contains(Normal(drive.DriveId)))];

        // The watch is durable before the pool has the drives: one that is in the map and that nobody watches would never be missed. What the pool refuses is watched in vain.
        await RememberAsync(registration.Pool, [.. registration.Drives, .. unannounced]);
        Expect(state.State.Drives);
        await this.RegisterOrUpdateReminder(CheckReminder, ReminderPeriod, ReminderPeriod);
        PlacementMap map = await pool.RegisterDrivesAsync(registration with { NodeId = NodeId });

        // A drive that broke while the node was down is not announced, and must be missed, also one that was removed and may be taken back; one that another node has now must not.
        HashSet<string> own = [.. (await pool.GetDrivesAsync()).Where(drive => drive.NodeId == NodeId).Select(drive => drive.DriveId)];
        List<PlacementDrive> drives = [.. registration.Drives, .. unannounced.Where(drive => own.Contains(Normal(drive.DriveId)))];
        await RememberAsync(registration.Pool, drives);
        Expect(drives);
        foreach ((string id, Drive drive) in _drives)
        {
            if (announced.Contains(id))
                drive.Revive();
            else
                drive.Miss(time.GetTimestamp());
        }

        Hear();
        return map;
    }

    /// <inheritdoc/>
    public async Task<PlacementMap?> HeartbeatAsync(NodeHeartbeat heartbeat)
    {
        Hear();
        long now = time.GetTimestamp();
        Dictionary<string, DriveReport> reports = new(StringComparer.Ordinal);
        foreach (DriveReport report in heartbeat.Drives)
        {
            // A copy that was set aside, or the place a drive has left, has the same id: it must not cost the drive that is in use.
            string id = Normal(report.DriveId);
            if (!reports.TryGetValue(id, out DriveReport? other) || other.Condition == DriveCondition.Failed)
                reports[id] = report;
        }

        foreach ((string id, Drive drive) in _drives)
        {
            if (reports.TryGetValue(id, out DriveReport? report))
                drive.Hear(report, now, time, options.DriveErrorMemory);
            else
                drive.Miss(now);
        }

        _strangers = [.. heartbeat.Drives.Where(report => !_drives.ContainsKey(Normal(report.DriveId)))];

        // A drive that is back is told at once; one that went is given time.
        await JudgeAsync(lostToo: false);
        return state.RecordExists ? await GrainFactory.GetGrain<IPlacementGrain>(state.State.Pool).GetMapAsync(heartbeat.KnownEpoch) : null;
    }

    /// <inheritdoc/>
    public async Task<NodeStatus> GetStatusAsync()
    {
        ImmutableArray<PoolDrive> pool = state.RecordExists ? await GrainFactory.GetGrain<IPlacementGrain>(state.State.Pool).GetDrivesAsync() : [];
        Dictionary<string, PoolDriveState> standings = pool.ToDictionary(drive => drive.DriveId, drive => drive.State, StringComparer.Ordinal);
        NodeState node = SilenceNow();
        ImmutableArray<DriveStatus> drives =
        [
            .. _drives.OrderBy(drive => drive.Key, StringComparer.Ordinal).Select(drive => new DriveStatus(
                drive.Value.Report,
                standings.GetValueOrDefault(drive.Key) switch
                {
                    PoolDriveState.Lost or PoolDriveState.Out => NodeState.Out,
                    PoolDriveState.Removed => NodeState.Removed,
                    PoolDriveState.Draining when StateOf(drive.Value, node) is NodeState.Up => NodeState.Draining,
                    _ => StateOf(drive.Value, node),
                },
                (long)DownFor(drive.Value).TotalMilliseconds)),
            .. _strangers.Select(report => new DriveStatus(report, report.Condition == DriveCondition.Failed ? NodeState.Down : NodeState.Unknown, 0)),
        ];
        NodeState[] kinds = [.. drives.Select(drive => drive.State).Distinct()];
        return new NodeStatus(kinds is [NodeState.Out or NodeState.Draining or NodeState.Removed] ? kinds[0] : node, _heardUnixMs, drives);
    }

    /// <inheritdoc/>
    public async Task CheckAsync()
    {
        await JudgeAsync(lostToo: true);
        if (!state.RecordExists || (_spaceTold is { } told && time.GetElapsedTime(told) < options.SpaceReportInterval))
            return;
        NodeState node = SilenceNow();
        ImmutableArray<DriveSpace> spaces = [.. _drives.Where(drive => StateOf(drive.Value, node) is NodeState.Up or NodeState.Suspect && drive.Value.IsHeard)
            .Select(drive => new DriveSpace(drive.Key, NodeId, drive.Value.Report.CapacityBytes, drive.Value.Report.FreeBytes, drive.Value.Report.Condition == DriveCondition.Full))];
        if (spaces.IsEmpty)
            return;
        _spaceTold = time.GetTimestamp();
        await GrainFactory.GetGrain<IPlacementGrain>(state.State.Pool).ReportSpaceAsync(spaces);
    }

    private string NodeId => this.GetPrimaryKeyString();

    /// <summary>Makes the registration durable, where it is another than before.</summary>
    private async Task RememberAsync(string pool, List<PlacementDrive> drives)
    {
        if (state.State.Pool == pool && state.State.Drives.SequenceEqual(drives))
            return;
        state.State = new StorageNodeState { Pool = pool, Drives = drives, RegisteredUnixMs = time.GetUtcNow().ToUnixTimeMilliseconds() };
        try
        {
            await state.WriteStateAsync();
        }
        catch
        {
            DeactivateOnIdle();
            throw;
        }
    }

    private static string Normal(string driveId) => Guid.TryParse(driveId, out Guid id) ? id.ToString("N") : driveId;

    private void Expect(IEnumerable<PlacementDrive> drives)
    {
        HashSet<string> expected = new(StringComparer.Ordinal);
        foreach (PlacementDrive drive in drives)
        {
            string id = Normal(drive.DriveId);
            expected.Add(id);
            _drives.TryAdd(id, new Drive(new DriveReport(id, drive.CapacityBytes, FreeBytes: 0, ErrorCount: 0)));
        }

        foreach (string gone in _drives.Keys.Where(id => !expected.Contains(id)).ToArray())
            _drives.Remove(gone);
    }

    private void Hear()
    {
        _heardAt = time.GetTimestamp();
        _heardUnixMs = time.GetUtcNow().ToUnixTimeMilliseconds();
    }

    private TimeSpan Silence() => ElapsedSince(_heardAt ?? _activatedAt);

    private TimeSpan ElapsedSince(long timestamp) => time.GetElapsedTime(timestamp) - pulse.StoodStillSince(timestamp);

    private NodeState SilenceNow()
    {
        if (!state.RecordExists && _heardAt is null)
            return NodeState.Unknown;
        TimeSpan silence = Silence();
        return silence > options.NodeGrace ? NodeState.Down : _heardAt is null ? NodeState.Unknown : silence > options.NodeSuspectAfter ? NodeState.Suspect : NodeState.Up;
    }

    private NodeState StateOf(Drive drive, NodeState node)
    {
        if (node is NodeState.Down or NodeState.Unknown)
            return node;
        return drive.FailedAt is not null ? NodeState.Down
            : drive.ErrorsAt is { } at && time.GetElapsedTime(at) < options.DriveErrorMemory ? NodeState.Suspect
            : node;
    }

    /// <summary>How long the drive has been down: failed by its own node, or silent together with it for longer than the grace.</summary>
    private TimeSpan DownFor(Drive drive)
    {
        TimeSpan failed = drive.FailedAt is { } at ? ElapsedSince(at) : TimeSpan.Zero;
        TimeSpan silent = Silence() is var silence && silence > options.NodeGrace ? silence : TimeSpan.Zero;
        return failed > silent ? failed : silent;
    }

    /// <summary>Tells the pool of drives that are back and, with <paramref name="lostToo"/>, of those that have been down for too long. What it refuses is tried again at the next check.</summary>
    private async Task JudgeAsync(bool lostToo)
    {
        if (!state.RecordExists)
            return;
        NodeState node = SilenceNow();
        List<(Drive Drive, DriveVerdict Verdict)> verdicts = [];
        foreach ((string id, Drive drive) in _drives)
        {
            bool isDown = StateOf(drive, node) is NodeState.Down;
            if (isDown && lostToo && drive.ToldLost != true && DownFor(drive) > options.DownOutAfter)
                verdicts.Add((drive, new DriveVerdict(id, NodeId, IsLost: true)));
            else if (StateOf(drive, node) is NodeState.Up or NodeState.Suspect && drive.ToldLost != false)
                verdicts.Add((drive, new DriveVerdict(id, NodeId, IsLost: false)));
        }

        if (verdicts.Count == 0)
            return;
        ImmutableArray<DriveChange> changes = await GrainFactory.GetGrain<IPlacementGrain>(state.State.Pool).ReportDrivesAsync([.. verdicts.Select(each => each.Verdict)]);
        foreach (((Drive drive, DriveVerdict verdict), DriveChange change) in verdicts.Zip(changes))
        {
            if (change.Status is DriveChangeStatus.Changed or DriveChangeStatus.Unchanged)
                (drive.ToldLost, drive.Refusal) = (verdict.IsLost, null);
            else if (change.Status == DriveChangeStatus.NoSuchDrive)
                (drive.ToldLost, drive.Refusal) = (null, null); // one that was removed may be taken back, and has to be judged then
            else if (drive.Refusal != change.Reason)
                LogStays(verdict.DriveId, drive.Refusal = change.Reason);
        }
    }

    [LoggerMessage(1, LogLevel.Warning, "Drive {Drive} stays as it is in the cluster map, though it has been down for too long or is back: {Reason}")]
    private partial void LogStays(string drive, string? reason);

    /// <summary>A drive as it was last heard of.</summary>
    private sealed class Drive(DriveReport report)
    {
        public DriveReport Report { get; private set; } = report;

        /// <summary>Whether the report is its node's, and not what was expected of it.</summary>
        public bool IsHeard { get; private set; }

        /// <summary>Since when its node says that it has failed.</summary>
        public long? FailedAt { get; private set; }

        /// <summary>When errors were last seen to rise.</summary>
        public long? ErrorsAt { get; private set; }

        /// <summary>What the pool was told last; null where nothing since the activation.</summary>
        public bool? ToldLost { get; set; }

        /// <summary>Why the pool does not follow; said once.</summary>
        public string? Refusal { get; set; }

        public void Hear(DriveReport report, long now, TimeProvider time, TimeSpan errorMemory)
        {
            // A node that has started anew counts from zero.
            if (report.ErrorCount > Report.ErrorCount)
                ErrorsAt = now;
            else if (ErrorsAt is { } at && time.GetElapsedTime(at, now) >= errorMemory)
                ErrorsAt = null;
            FailedAt = report.Condition == DriveCondition.Failed ? FailedAt ?? now : null;
            (Report, IsHeard) = (report, true);
        }

        /// <summary>Its node lives and says nothing of it.</summary>
        public void Miss(long now)
        {
            FailedAt ??= now;
            Report = Report with { FreeBytes = 0, Condition = DriveCondition.Failed, Reason = "its node does not report it" };
        }

        /// <summary>Its node has registered it: it was opened, and the pool has been told.</summary>
        public void Revive() => (FailedAt, ErrorsAt, ToldLost, Report) = (null, null, false, Report with { Condition = DriveCondition.Working, Reason = null });
    }
}

/// <summary>The stored registration of a node.</summary>
[GenerateSerializer, Alias("ObjectStore.StorageNodeState.2")]
public sealed class StorageNodeState
{
    /// <summary>The pool the node's drives are in.</summary>
    [Id(0)] public string Pool { get; set; } = "";

    /// <summary>Its drives, as last announced.</summary>
    [Id(1)] public List<PlacementDrive> Drives { get; set; } = [];

    /// <summary>When this registration was first made, in Unix milliseconds.</summary>
    [Id(2)] public long RegisteredUnixMs { get; set; }
}
