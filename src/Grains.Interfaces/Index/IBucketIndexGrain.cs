using System.Collections.Immutable;
using Orleans;
using Orleans.Concurrency;

namespace ObjectStore.Grains;

/// <summary>
/// One contiguous key range of one bucket. Key: <see cref="GrainKeys.Range"/>. It takes the range's epoch when it activates and commits
/// under it; when the database refuses the epoch another activation leads the range, and this one answers
/// <see cref="CommitStatus.RangeMoved"/> and deactivates.
/// </summary>
[Alias("ObjectStore.IBucketIndexGrain")]
public interface IBucketIndexGrain : IGrainWithStringKey
{
    /// <summary>Commits one object's mutation; concurrent calls share a transaction and a sync.</summary>
    [Alias("Commit")]
    Task<CommitResult> CommitAsync(ObjectMutation mutation);

    /// <summary>One page of the range's objects, in UTF-8 binary order.</summary>
    [AlwaysInterleave, Alias("List")]
    Task<ListPage> ListAsync(ListQuery query);

    /// <summary>
    /// Splits the range at a key, which must lie inside it: keys from it on belong to a new range. No row moves. The epoch of
    /// this range is raised in the same transaction, so a stale activation of it is fenced.
    /// </summary>
    [Alias("Split")]
    Task<SplitResult> SplitAsync(byte[] splitKeyUtf8);
}

/// <summary>One object's change, atomic: all of it is committed or none.</summary>
/// <param name="Key">The object key.</param>
/// <param name="ExpectedNewest">The id of the newest version as the caller knows it, <see cref="VersionId.None"/> for none: the compare of the compare-and-swap.</param>
/// <param name="Insert">The version to add on top, or null.</param>
/// <param name="Remove">Ids of versions to remove; their extents become garbage in the same transaction.</param>
/// <param name="CompletesUpload">The upload to end in the same transaction, or null. Its parts that <paramref name="Insert"/> does not name become garbage.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.ObjectMutation")]
public sealed record ObjectMutation(
    [property: Id(0)] string Key,
    [property: Id(1)] VersionId ExpectedNewest,
    [property: Id(2)] ObjectVersion? Insert,
    [property: Id(3)] ImmutableArray<VersionId> Remove,
    [property: Id(4)] VersionId? CompletesUpload);

/// <summary>How a mutation's commit ended.</summary>
public enum CommitStatus
{
    /// <summary>Durable.</summary>
    Committed,

    /// <summary>An earlier try of the same mutation is already durable (idempotency by version id).</summary>
    AlreadyApplied,

    /// <summary>The newest version is not the expected one: read again and decide again. Nothing was changed.</summary>
    Conflict,

    /// <summary>The key is not in this range, or the range has another leader: refresh the range map and retry. Nothing was changed.</summary>
    RangeMoved,

    /// <summary>The bucket is gone. Nothing was changed.</summary>
    NoSuchBucket,

    /// <summary>The upload to complete is gone. Nothing was changed.</summary>
    NoSuchUpload,
}

/// <summary>The outcome of <see cref="IBucketIndexGrain.CommitAsync"/>.</summary>
/// <param name="Status">How it ended.</param>
/// <param name="Newest">With <see cref="CommitStatus.Conflict"/>, the id of the newest version in fact.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.CommitResult")]
public readonly record struct CommitResult([property: Id(0)] CommitStatus Status, [property: Id(1)] VersionId Newest);

/// <summary>
/// A listing to make. Keys are UTF-8 bytes and compared as bytes.
/// </summary>
/// <param name="Prefix">Only keys that start with it; empty for all.</param>
/// <param name="Delimiter">Keys with it behind the prefix are rolled up to common prefixes; empty for none.</param>
/// <param name="StartAfter">Only keys behind it; empty for all.</param>
/// <param name="StartAfterIsPrefix">True when <paramref name="StartAfter"/> is a common prefix that was already returned: everything that starts with it is passed over.</param>
/// <param name="MaxItems">Entries and common prefixes together, at most; 1 to 1,000.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.ListQuery")]
public sealed record ListQuery(
    [property: Id(0)] byte[] Prefix,
    [property: Id(1)] byte[] Delimiter,
    [property: Id(2)] byte[] StartAfter,
    [property: Id(3)] bool StartAfterIsPrefix,
    [property: Id(4)] int MaxItems);

/// <summary>One object as a LIST shows it.</summary>
/// <param name="Key">The key, UTF-8.</param>
/// <param name="SizeBytes">The size in bytes.</param>
/// <param name="ETag">The entity tag.</param>
/// <param name="LastModifiedUnixMs">In Unix milliseconds.</param>
/// <param name="StorageClass">S3's name of it; interned by the store.</param>
/// <param name="ChecksumAlgorithm">S3's name of the stored checksum's algorithm, or null; interned by the store.</param>
/// <param name="ChecksumIsComposite">True for COMPOSITE, false for FULL_OBJECT; means nothing without an algorithm.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.ListEntry")]
public readonly record struct ListEntry(
    [property: Id(0)] byte[] Key,
    [property: Id(1)] long SizeBytes,
    [property: Id(2)] ETag ETag,
    [property: Id(3)] long LastModifiedUnixMs,
    [property: Id(4)] string StorageClass,
    [property: Id(5)] string? ChecksumAlgorithm,
    [property: Id(6)] bool ChecksumIsComposite);

/// <summary>A page of a listing.</summary>
/// <param name="Entries">The objects, in order.</param>
/// <param name="CommonPrefixes">The common prefixes, in order, UTF-8, each ending with the delimiter.</param>
/// <param name="IsTruncated">True when more follow.</param>
/// <param name="Last">The last entry's key or last common prefix, whichever comes later; empty when the page is empty. The next page's <see cref="ListQuery.StartAfter"/>.</param>
/// <param name="LastIsPrefix">True when <paramref name="Last"/> is a common prefix.</param>
/// <param name="RangeMoved">True when this activation does not lead the range any more; the page is empty then.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.ListPage")]
public sealed record ListPage(
    [property: Id(0)] ImmutableArray<ListEntry> Entries,
    [property: Id(1)] ImmutableArray<byte[]> CommonPrefixes,
    [property: Id(2)] bool IsTruncated,
    [property: Id(3)] byte[] Last,
    [property: Id(4)] bool LastIsPrefix,
    [property: Id(5)] bool RangeMoved)
{
    /// <summary>
    /// The first key behind the range that was listed, UTF-8; null when it was the bucket's last. Set by the range's grain. A lister goes on
    /// here and not at the end its own range map names: after a split that map's range is wider than what was listed, and keys would be missed.
    /// </summary>
    [Id(6)] public byte[]? RangeEnd { get; init; }
}

/// <summary>A range of the map.</summary>
/// <param name="RangeId">The range's id, unique in its bucket.</param>
/// <param name="Start">The first key that belongs to it, UTF-8; empty for the first range.</param>
/// <param name="End">The first key that does not, UTF-8; null for the last range.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.IndexRange")]
public sealed record IndexRange([property: Id(0)] long RangeId, [property: Id(1)] byte[] Start, [property: Id(2)] byte[]? End)
{
    /// <summary>True when the key lies in the range.</summary>
    public bool Contains(ReadOnlySpan<byte> keyUtf8) =>
        keyUtf8.SequenceCompareTo(Start) >= 0 && (End is null || keyUtf8.SequenceCompareTo(End) < 0);
}

/// <summary>The outcome of a split.</summary>
/// <param name="Split">False when the key is the range's start, is not in it, or the range moved; nothing was changed then.</param>
/// <param name="NewRange">The range that begins at the split key.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.SplitResult")]
public sealed record SplitResult([property: Id(0)] bool Split, [property: Id(1)] IndexRange? NewRange);
