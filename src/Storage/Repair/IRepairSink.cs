using ObjectStore.Storage.Extents;

namespace ObjectStore.Storage.Repair;

/// <summary>In ascending order of what it asks for: notices of the same block are merged under the higher reason. The numbers are stored.</summary>
public enum RepairReason
{
    /// <summary>A write reached its quorum without these fragments.</summary>
    DegradedWrite,

    /// <summary>A read found them missing.</summary>
    MissingOnRead,

    /// <summary>A read found them damaged.</summary>
    CorruptOnRead,

    /// <summary>The scrub found them missing or damaged.</summary>
    Scrub,
}

/// <summary>Fragments that should be there intact and are not.</summary>
/// <param name="FirstBlock">The first block concerned.</param>
/// <param name="BlockCount">How many blocks from there on; the shards are the same in each.</param>
public sealed record RepairNotice(ExtentId Extent, int PlacementGroup, Scheme Scheme, int FirstBlock, int BlockCount, ShardSet Shards, RepairReason Reason);

/// <summary>Where the data plane says what is missing or damaged. Thread-safe.</summary>
public interface IRepairSink
{
    /// <summary>Durable when it completes. A write that lacks fragments is acknowledged only after it.</summary>
    ValueTask RecordAsync(RepairNotice notice, CancellationToken cancellationToken = default);

    /// <summary>All of them, or none; durable when it completes.</summary>
    ValueTask RecordAsync(IReadOnlyList<RepairNotice> notices, CancellationToken cancellationToken = default);

    /// <summary>From read paths: returns at once and may drop the notice when too many wait, since the scrub finds the same fragments again.</summary>
    void Report(RepairNotice notice);
}

/// <summary>Forgets what it hears; for tests and tools.</summary>
public sealed class NoRepairSink : IRepairSink
{
    public static NoRepairSink Instance { get; } = new();

    public ValueTask RecordAsync(RepairNotice notice, CancellationToken cancellationToken = default) => default;

    public ValueTask RecordAsync(IReadOnlyList<RepairNotice> notices, CancellationToken cancellationToken = default) => default;

    public void Report(RepairNotice notice)
    {
    }
}

/// <summary>One block some of whose fragments are to be rebuilt.</summary>
/// <param name="Suspect">Shards not to be read as they are, because they are known to be missing or damaged.</param>
/// <param name="Wanted">Shards that must be intact on the drive that the cluster map names for them. Those that are, are left alone unless suspect.</param>
/// <param name="ReadsSuspects">
/// Suspect shards are read after all, since there are too few others: what was damaged may be a copy on a drive that does not count any more, and the one that does intact. They are not believed by their
/// headers: each is written anew, from its own bytes where they pass their checksums.
/// </param>
public readonly record struct BlockRepair(ExtentId Extent, int PlacementGroup, Scheme Scheme, int Block, ShardSet Suspect, ShardSet Wanted, bool ReadsSuspects = false);

public enum BlockRepairStatus
{
    /// <summary>Every wanted fragment is intact and durable on its drive.</summary>
    Whole,

    /// <summary>Fewer than k fragments are intact although every drive answered: the block is lost, or it was deleted, or never completed.</summary>
    TooFewFragments,

    /// <summary>Fewer than k fragments can be read now, because drives do not answer. Try again later.</summary>
    SourcesUnavailable,

    /// <summary>A drive that should take a fragment does not, or the map has none for it. Try again later.</summary>
    TargetsUnavailable,
}

/// <param name="Rebuilt">Fragments written.</param>
/// <param name="BytesRead">Payload bytes read from fragments.</param>
/// <param name="BytesWritten">Payload bytes written.</param>
/// <param name="Details">What an intact fragment's record says of the extent; null where none could be read.</param>
public sealed record BlockRepairResult(BlockRepairStatus Status, ShardSet Rebuilt, long BytesRead, long BytesWritten, Fragments.FragmentDetails? Details)
{
    /// <summary>Of the wanted shards, those that were not intact on their drives before anything was rebuilt. One that a former drive of its slot may have is not among them.</summary>
    public ShardSet Missing { get; init; }
}

/// <summary>Rebuilds fragments: copies them from the drive that had them before where that is at hand, else reads k others once and computes all that are missing.</summary>
public interface IFragmentRepairer
{
    ValueTask<BlockRepairResult> RepairAsync(BlockRepair work, CancellationToken cancellationToken = default);
}
