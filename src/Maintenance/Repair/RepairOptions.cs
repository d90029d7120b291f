using ObjectStore.Storage.Extents;

namespace ObjectStore.Maintenance.Repair;

/// <summary>Settings of <see cref="RepairService"/>.</summary>
public sealed class RepairOptions
{
    /// <summary>Payload bytes that repair and rebalance may write in a second; null, the default, is no limit. Foreground latency limits them in any case.</summary>
    public long? BytesPerSecond { get; init; }

    /// <summary>Blocks in the making at once while clients are well. Their fragments are in memory, 1.5 MiB to 20 MiB for each block, within what the store allows for repairs. 32 unless set.</summary>
    public int MaxParallelBlocks { get; init; } = 32;

    /// <summary>Of these, how many may concern one drive. 24 unless set.</summary>
    public int MaxParallelBlocksPerDrive { get; init; } = 24;

    /// <summary>Queue entries taken at a time. 256 unless set.</summary>
    public int QueueBatch { get; init; } = 256;

    /// <summary>How long a drive may take to say whether it has a fragment, before it counts as one that does not answer. 20 s unless set, as long as for a read.</summary>
    public TimeSpan StatTimeout { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>How often the queue is looked at for what became due without a signal, and the map for slots to fill. 5 s unless set.</summary>
    public TimeSpan PollInterval { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>How long what failed is left alone the first time; it doubles with each attempt up to <see cref="MaxRetryDelay"/>. 30 s unless set.</summary>
    public TimeSpan RetryDelay { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>1 h unless set.</summary>
    public TimeSpan MaxRetryDelay { get; init; } = TimeSpan.FromHours(1);

    /// <summary>Entries to a page of a drive's listing. 1,000 unless set.</summary>
    public int ListPageEntries { get; init; } = 1000;

    /// <summary>How often a pass writes down where it stands. 5 s unless set.</summary>
    public TimeSpan CursorInterval { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>How long a write may go on under the map it began with. Extents that are no older than this when a pass begins are looked at a second time at its end. 1 h unless set.</summary>
    public TimeSpan WriteMargin { get; init; } = TimeSpan.FromHours(1);

    /// <summary>How often the newest extents are looked at for fragments that a process took with it when it died. 10 min unless set.</summary>
    public TimeSpan RecentAuditInterval { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>Extents younger than this are left to their writers. 2 min unless set.</summary>
    public TimeSpan SettleTime { get; init; } = TimeSpan.FromMinutes(2);

    /// <summary>How far back from the last one each look at the newest extents begins; after an unclean stop it is <see cref="WriteMargin"/>. 5 min unless set.</summary>
    public TimeSpan RecentAuditOverlap { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>How often all drives' listings are compared with each other. 24 h unless set.</summary>
    public TimeSpan AuditPeriod { get; init; } = TimeSpan.FromHours(24);

    /// <summary>How long fragments stay on a drive that they were moved from, for readers that have not seen the new map. 2 min unless set.</summary>
    public TimeSpan SweepDelay { get; init; } = TimeSpan.FromMinutes(2);

    /// <summary>
    /// The schemes in use: by them is known how many fragments a placement group of a width can lose, of those of that width the fewest. Where none is of that width, 3 are taken for it, or all
    /// but one.
    /// </summary>
    public IReadOnlyCollection<Scheme> Schemes { get; init; } = [];

    internal int ParityOf(int width) => Schemes.Where(scheme => scheme.Width == width).Select(scheme => scheme.ParityShards).DefaultIfEmpty(Math.Min(width - 1, 3)).Min();

    /// <summary>
    /// With how few durable fragments a block in a group of a width may be acknowledged, by any scheme of that width: a group keeps what was written when there were fewer drives, or by schemes that
    /// are not configured any more. 3 is k + 1 for the smallest k that is not copies.
    /// </summary>
    internal static int LeastQuorumOf(int width) => Math.Min(3, Scheme.Copies(width).WriteQuorum);

    /// <exception cref="ArgumentException">A setting makes no sense.</exception>
    public void Validate()
    {
        Require(BytesPerSecond is null or >= 1024, nameof(BytesPerSecond), BytesPerSecond, "use at least 1,024, or leave it out for no limit");
        Require(MaxParallelBlocks is >= 1 and <= 1024, nameof(MaxParallelBlocks), MaxParallelBlocks, "use 1 to 1,024; 32 is the default");
        Require(MaxParallelBlocksPerDrive is >= 1 and <= 1024, nameof(MaxParallelBlocksPerDrive), MaxParallelBlocksPerDrive, "use 1 to 1,024; 24 is the default");
        Require(QueueBatch is >= 1 and <= 10_000, nameof(QueueBatch), QueueBatch, "use 1 to 10,000; 256 is the default");
        Require(ListPageEntries is >= 1 and <= 100_000, nameof(ListPageEntries), ListPageEntries, "use 1 to 100,000; 1,000 is the default");
        foreach ((string name, TimeSpan value) in new[]
        {
            (nameof(StatTimeout), StatTimeout), (nameof(PollInterval), PollInterval), (nameof(RetryDelay), RetryDelay), (nameof(MaxRetryDelay), MaxRetryDelay), (nameof(CursorInterval), CursorInterval),
            (nameof(RecentAuditInterval), RecentAuditInterval), (nameof(AuditPeriod), AuditPeriod),
        })
            Require(value > TimeSpan.Zero, name, value, "use a time above zero");

        static void Require(bool holds, string setting, object? value, string remedy)
        {
            if (!holds)
                throw new ArgumentException($"Repair setting '{setting}' is '{value}': {remedy}.");
        }
    }
}
