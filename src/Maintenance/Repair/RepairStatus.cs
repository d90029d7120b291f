namespace ObjectStore.Maintenance.Repair;

/// <summary>What repair does at a moment, for people.</summary>
/// <param name="Queued">Entries of the repair queue, due or not, when it was last looked at; without those of writes of the last ten seconds and those whose extents nothing named when they were last due.</param>
/// <param name="IncompleteSlots">Slots of the map that are being filled or wait for it.</param>
/// <param name="GroupsLeft">Placement groups with such slots.</param>
/// <param name="Pass">The pass that runs; null between passes.</param>
/// <param name="Workers">How many blocks may be worked on at once, as clients fare.</param>
/// <param name="BlocksLost">Blocks found lost that have been neither made whole nor found deleted since.</param>
/// <param name="SweepsPending">Drives that fragments are to be deleted from, since they were moved.</param>
public sealed record RepairStatus(
    bool Paused, long Queued, int IncompleteSlots, int GroupsLeft, PassStatus? Pass, int Workers, int SweepsPending,
    long BlocksExamined, long FragmentsRebuilt, long BytesRebuilt, long BytesRead, long Failures, long BlocksLost, string? LastFailure)
{
    /// <summary>How long repair was at work on at least one block.</summary>
    public TimeSpan Active { get; init; }

    /// <summary>Blocks with too few fragments on the drives that are in, while drives that are out may have others of them; as far as was found since the start.</summary>
    public long BlocksAwaiting { get; init; }

    /// <summary>
    /// Queued blocks of which only fragments are left that are so damaged that they do not say whose they are, as far as was found since the start: of no object, or lost. Not among
    /// <see cref="Queued"/> and <see cref="BlocksLost"/>.
    /// </summary>
    public long BlocksUnidentified { get; init; }

    /// <summary>The fewest fragments to spare that a block was found with in the last 10 to 20 s, before it was repaired; null where none was found that lacks any.</summary>
    public int? FewestSpare { get; init; }
}

/// <summary>A pass over placement groups.</summary>
/// <param name="Kind">"fill": slots are brought up to date; "recent" and "audit": listings are compared.</param>
/// <param name="SlotsWithoutSource">For "fill": in each of its groups, how many slots have their fragments nowhere at hand. The pass with the most goes first.</param>
/// <param name="EntriesListed">Fragments listed so far, of all drives.</param>
/// <param name="EntriesExpected">About how many there are.</param>
/// <param name="EstimatedEnd">By the pace so far; null where it says nothing yet.</param>
public sealed record PassStatus(
    string Kind, int Groups, int SlotsWithoutSource, DateTimeOffset Started, long EntriesListed, long EntriesExpected, DateTimeOffset? EstimatedEnd);
