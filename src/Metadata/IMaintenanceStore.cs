using System.Collections.Immutable;
using ObjectStore.Grains;

namespace ObjectStore.Metadata;

/// <summary>
/// What the background plane keeps beside the metadata, and what it asks of it: the repair queue, the cursors of its passes, garbage, and whether anything names an extent.
/// With the guarantees of <see cref="IMetadataStore"/>: what changes something returns once it is synced, and each call is one transaction.
/// </summary>
public interface IMaintenanceStore
{
    /// <summary>
    /// Records fragments that are missing or damaged. A record of the same extent and first block is merged with the one that is there: the shards of both, the larger
    /// number of blocks, the worse reason, the earlier times; it gets a new <see cref="RepairEntry.RepairId"/>, so that who worked on the old one does not end the new one.
    /// </summary>
    ValueTask RecordRepairsAsync(ImmutableArray<RepairRecord> repairs, CancellationToken cancellationToken = default);

    /// <summary>Repairs that are due at <paramref name="nowUnixMs"/>, those with the fewest fragments to spare first, then those that are due longest.</summary>
    ValueTask<ImmutableArray<RepairEntry>> ListRepairsAsync(long nowUnixMs, int maxRepairs, CancellationToken cancellationToken = default);

    /// <summary>Forgets repairs that are done. One that was merged with another since it was listed stays, under its new id.</summary>
    ValueTask FinishRepairsAsync(ImmutableArray<long> repairIds, CancellationToken cancellationToken = default);

    /// <summary>Counts an attempt of each and lists it again from its time on. One that was merged since, or is gone, is passed over.</summary>
    ValueTask PostponeRepairsAsync(ImmutableArray<Postponement> repairs, CancellationToken cancellationToken = default);

    /// <summary>How many repairs wait, due or not. Of those whose reason is 0, a degraded write, only those that were recorded by <paramref name="writtenByUnixMs"/>.</summary>
    ValueTask<long> CountRepairsAsync(long writtenByUnixMs = long.MaxValue, CancellationToken cancellationToken = default);

    /// <summary>Counts an attempt of each garbage record and lists it again from its time on, so that what cannot be deleted now does not stand before what can.</summary>
    ValueTask PostponeGarbageAsync(ImmutableArray<Postponement> garbage, CancellationToken cancellationToken = default);

    /// <summary>The cursors whose name starts with the prefix, by name.</summary>
    ValueTask<ImmutableArray<MaintenanceCursor>> ListCursorsAsync(string prefix, CancellationToken cancellationToken = default);

    /// <summary>Sets a cursor, or forgets it where the value is null.</summary>
    ValueTask SetCursorAsync(string name, byte[]? value, CancellationToken cancellationToken = default);

    /// <summary>Whether each extent is named, in one snapshot, in the order asked.</summary>
    ValueTask<ImmutableArray<ExtentUse>> FindExtentsAsync(ImmutableArray<ExtentReference> extents, CancellationToken cancellationToken = default);

    /// <summary>
    /// Looks for names of extents by their ids alone, in every version and every part that there is: for fragments whose records no longer say whose they are. A page at a time, each with a snapshot
    /// of its own; holds up no commits. Nothing that is named when the first page is asked for, and stays so, is missed. A record that cannot be read may name any of them, and counts as if it did.
    /// </summary>
    ValueTask<ExtentSearchPage> SearchExtentsAsync(ExtentSearch search, CancellationToken cancellationToken = default);

    /// <summary>
    /// Makes garbage of those extents that nothing names and that are not garbage yet. Decided and written in one transaction; from then on no version that names one of
    /// them is inserted, and no part. The result says what each was found to be: <see cref="ExtentUse.Unnamed"/> is garbage now.
    /// </summary>
    ValueTask<ImmutableArray<ExtentUse>> CondemnExtentsAsync(ImmutableArray<CondemnedExtent> extents, long notBeforeUnixMs, CancellationToken cancellationToken = default);
}

/// <summary>Fragments that should be there intact and are not.</summary>
/// <param name="ExtentHigh">Upper half of the extent id.</param>
/// <param name="ExtentLow">Lower half of the extent id.</param>
/// <param name="FirstBlock">The first block concerned.</param>
/// <param name="BlockCount">How many blocks from there on.</param>
/// <param name="PlacementGroup">The extent's placement group.</param>
/// <param name="Scheme">The extent's scheme: k × 256 + m.</param>
/// <param name="Shards">A bit for each shard concerned, the same in every block.</param>
/// <param name="Reason">What found it; a number of the data plane's, the higher the worse: what was found damaged is not forgotten when it is found missing too.</param>
/// <param name="RecordedUnixMs">When it was found.</param>
/// <param name="NotBeforeUnixMs">When it is to be looked at.</param>
public sealed record RepairRecord(
    ulong ExtentHigh, ulong ExtentLow, int FirstBlock, int BlockCount, int PlacementGroup, int Scheme, ulong Shards, int Reason, long RecordedUnixMs, long NotBeforeUnixMs)
{
    /// <summary>How many more fragments of a block may be lost before it is: what the queue is ordered by. Negative where the shards named are more than the parity.</summary>
    public int Spare => (Scheme & 0xFF) - System.Numerics.BitOperations.PopCount(Shards);

    /// <summary>This record and one before it of the same extent and first block, as one.</summary>
    public RepairRecord MergedWith(RepairRecord before) => this with
    {
        BlockCount = Math.Max(BlockCount, before.BlockCount),
        Shards = Shards | before.Shards,
        RecordedUnixMs = Math.Min(RecordedUnixMs, before.RecordedUnixMs),
        Reason = Math.Max(Reason, before.Reason),
        NotBeforeUnixMs = Math.Min(NotBeforeUnixMs, before.NotBeforeUnixMs),
    };
}

/// <summary>A repair that waits.</summary>
/// <param name="RepairId">Names it until it is merged with another.</param>
/// <param name="Record">What is to be repaired.</param>
/// <param name="Attempts">How often it was postponed.</param>
public sealed record RepairEntry(long RepairId, RepairRecord Record, int Attempts);

/// <summary>A queued record that is to be looked at again from a time on.</summary>
public readonly record struct Postponement(long Id, long NotBeforeUnixMs);

/// <summary>Where a pass of the background plane stands. The value is the pass's own.</summary>
public sealed record MaintenanceCursor(string Name, byte[] Value);

/// <summary>What a fragment's record says of its extent's owner.</summary>
/// <param name="Bucket">The bucket it was written for.</param>
/// <param name="KeyUtf8">The key it was written for.</param>
/// <param name="Version">The version, or the upload, it was written for. Another version of the key may name the extent by now.</param>
/// <param name="ExtentHigh">Upper half of the extent id.</param>
/// <param name="ExtentLow">Lower half of the extent id.</param>
public sealed record ExtentReference(BucketId Bucket, ReadOnlyMemory<byte> KeyUtf8, VersionId Version, ulong ExtentHigh, ulong ExtentLow);

/// <summary>A search for names of extents.</summary>
/// <param name="Extents">Upper and lower halves of the ids.</param>
/// <param name="After">Where to go on: <see cref="ExtentSearchPage.Next"/> of the page before; null at the start.</param>
/// <param name="MaxRecords">To be read for this page.</param>
public sealed record ExtentSearch(IReadOnlySet<(ulong High, ulong Low)> Extents, byte[]? After = null, int MaxRecords = 10_000);

/// <summary>What a page of a search has found.</summary>
/// <param name="Named">Those of the extents that something read for this page names.</param>
/// <param name="Next">Where to go on; null at the end. The store's own.</param>
public sealed record ExtentSearchPage(ImmutableArray<(ulong High, ulong Low)> Named, byte[]? Next);

/// <summary>An extent to be made garbage unless something names it.</summary>
/// <param name="Reference">Where a name of it would be.</param>
/// <param name="Layout">What the garbage record says of it.</param>
public sealed record CondemnedExtent(ExtentReference Reference, PartLayout Layout);

/// <summary>Whether anything names an extent.</summary>
public enum ExtentUse
{
    /// <summary>Nothing does: a write that has not been committed yet, or one that never will be, or what a deletion left behind.</summary>
    Unnamed,

    /// <summary>A version or a part of an open upload does.</summary>
    Named,

    /// <summary>Nothing does, and its deletion is queued.</summary>
    Garbage,
}
