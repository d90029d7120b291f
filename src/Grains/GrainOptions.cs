using ObjectStore.Storage.Placement;

namespace ObjectStore.Grains;

/// <summary>Settings of the metadata plane's grains.</summary>
public sealed class GrainOptions
{
    /// <summary>
    /// How long the bytes of a replaced or deleted version stay after the commit that made them garbage. It must outlast the longest
    /// download that began before: a reader holds a layout, not a lock; and the retries of a commit, which is refused a second time only while its garbage is listed.
    /// Zero is for tests and for stores without readers: a download under way may then end early, with an error.
    /// </summary>
    public TimeSpan GarbageGrace { get; init; } = TimeSpan.FromMinutes(15);

    /// <summary>
    /// How old a cached answer may be before it is read from the store again. It bounds how stale a read can be while the cluster runs two
    /// activations of one grain, which is for a short while after a failure.
    /// </summary>
    public TimeSpan CacheRevalidation { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>How often one write is tried: a range that moved, a lost race and a lost answer each cost one.</summary>
    public int CommitAttempts { get; init; } = 12;

    /// <summary>The wait before the third try; the second comes at once. Each one after waits twice as long, up to <see cref="MaxRetryDelay"/>.</summary>
    public TimeSpan FirstRetryDelay { get; init; } = TimeSpan.FromMilliseconds(5);

    /// <summary>The longest wait between two tries.</summary>
    public TimeSpan MaxRetryDelay { get; init; } = TimeSpan.FromMilliseconds(500);

    /// <summary>No try begins later than this after the write began. Below the runtimes' response timeout of 30 s, so the caller still hears of it.</summary>
    public TimeSpan CommitDeadline { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>The number of live object grains in the silo above which one goes after it has answered.</summary>
    public int ObjectActivationBudget { get; init; } = 50_000;

    /// <summary>Mutations in one transaction, at most.</summary>
    public int MaxCommitBatch { get; init; } = 512;

    /// <summary>Transactions one range has in flight, at most. Two keep the database busy while the first waits for its sync.</summary>
    public int MaxCommitsInFlight { get; init; } = 2;

    /// <summary>Mutations that may wait in one range; further ones get a <see cref="RangeBusyException"/>.</summary>
    public int MaxPendingCommits { get; init; } = 20_000;

    /// <summary>Buckets whose range map the silo keeps.</summary>
    public int MaxRangeMaps { get; init; } = 4_096;

    /// <summary>How long a storage node may be silent before it is down.</summary>
    public TimeSpan NodeGrace { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>How long a storage node may be silent before it is suspect: a heartbeat comes every 5 s.</summary>
    public TimeSpan NodeSuspectAfter { get; init; } = TimeSpan.FromSeconds(8);

    /// <summary>How often a node's grain looks for what is overdue.</summary>
    public TimeSpan NodeCheckInterval { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>How long a drive stays suspect after its errors have last risen.</summary>
    public TimeSpan DriveErrorMemory { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>
    /// How long a drive may be down before it is taken out of the map and its fragments are rebuilt elsewhere. Longer than a restart takes, as what is rebuilt for one is wasted; short beside the
    /// time to the next failure. Ceph's mon_osd_down_out_interval has the same default.
    /// </summary>
    public TimeSpan DownOutAfter { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>How often a node's grain tells the pool what its drives hold.</summary>
    public TimeSpan SpaceReportInterval { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>How long a drive must have been full before it loses a part of its share, and as long again before the next; the same for getting it back.</summary>
    public TimeSpan FullDrivePatience { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>The number of placement groups of each width of a pool that is made. Fixed for the pool's life, so it suits the size it may grow to.</summary>
    public int PlacementGroups { get; init; } = MapPlanner.DefaultGroupCount;

    /// <exception cref="InvalidOperationException">A setting is out of range; the message names it, its value and the remedy.</exception>
    public void Validate()
    {
        Require(GarbageGrace >= TimeSpan.Zero, nameof(GarbageGrace), GarbageGrace, "use a time of zero or more; 00:15:00 is the default");
        Require(CacheRevalidation >= TimeSpan.Zero, nameof(CacheRevalidation), CacheRevalidation, "use a time of zero (no caching) or more");
        Require(CommitAttempts is >= 1 and <= 1_000, nameof(CommitAttempts), CommitAttempts, "use 1 to 1000");
        Require(FirstRetryDelay > TimeSpan.Zero, nameof(FirstRetryDelay), FirstRetryDelay, "use a time above zero");
        Require(MaxRetryDelay >= FirstRetryDelay, nameof(MaxRetryDelay), MaxRetryDelay, "use a time of at least FirstRetryDelay");
        Require(CommitDeadline > TimeSpan.Zero, nameof(CommitDeadline), CommitDeadline, "use a time above zero and below the grain response timeout");
        Require(ObjectActivationBudget >= 1, nameof(ObjectActivationBudget), ObjectActivationBudget, "use at least 1");
        Require(MaxCommitBatch >= 1, nameof(MaxCommitBatch), MaxCommitBatch, "use at least 1");
        Require(MaxCommitsInFlight is >= 1 and <= 16, nameof(MaxCommitsInFlight), MaxCommitsInFlight, "use 1 to 16");
        Require(MaxPendingCommits >= 1, nameof(MaxPendingCommits), MaxPendingCommits, "use at least 1");
        Require(MaxRangeMaps >= 1, nameof(MaxRangeMaps), MaxRangeMaps, "use at least 1");
        Require(NodeGrace > TimeSpan.Zero, nameof(NodeGrace), NodeGrace, "use a time above zero");
        Require(NodeSuspectAfter > TimeSpan.Zero && NodeSuspectAfter <= NodeGrace, nameof(NodeSuspectAfter), NodeSuspectAfter, "use a time above zero, at most NodeGrace");
        Require(NodeCheckInterval > TimeSpan.Zero, nameof(NodeCheckInterval), NodeCheckInterval, "use a time above zero");
        Require(DriveErrorMemory > TimeSpan.Zero, nameof(DriveErrorMemory), DriveErrorMemory, "use a time above zero");
        Require(DownOutAfter > TimeSpan.Zero, nameof(DownOutAfter), DownOutAfter, "use a time above zero; 00:10:00 is the default");
        Require(SpaceReportInterval > TimeSpan.Zero, nameof(SpaceReportInterval), SpaceReportInterval, "use a time above zero");
        Require(FullDrivePatience > TimeSpan.Zero, nameof(FullDrivePatience), FullDrivePatience, "use a time above zero; 00:10:00 is the default");
        Require(PlacementGroups is >= 1 and <= 1 << 16, nameof(PlacementGroups), PlacementGroups, "use 1 to 65536");
    }

    private static void Require(bool holds, string name, object value, string remedy)
    {
        if (!holds)
            throw new InvalidOperationException($"GrainOptions.{name} is {value}; {remedy}.");
    }
}
