using System.Collections.Immutable;
using ObjectStore.Grains;

namespace ObjectStore.Metadata;

/// <summary>
/// The SQL store behind the metadata plane, and the only place where a write is decided: every commit is a compare-and-swap here
/// (an epoch per index range, the newest version's id per object), whatever grains believe.
/// </summary>
/// <remarks>
/// Thread-safe. Every method that changes something returns only when the change is synced to the disk; each is one transaction,
/// and concurrent changes share a sync (group commit). A cancelled call may or may not have been committed. Storage faults are thrown as
/// <see cref="MetadataStoreException"/>; after a failed sync the store refuses further writes until it is opened again.
/// </remarks>
public interface IMetadataStore : IMaintenanceStore, IAsyncDisposable
{
    /// <summary>Creates a bucket with one index range over all keys, unless a bucket of the name exists.</summary>
    ValueTask<CreateBucketResult> CreateBucketAsync(string name, string owner, string region, long createdUnixMs, CancellationToken cancellationToken = default);

    /// <summary>The bucket of this name, or null.</summary>
    ValueTask<BucketInfo?> GetBucketAsync(string name, CancellationToken cancellationToken = default);

    /// <summary>Buckets by name: those that start with the prefix and come behind <paramref name="startAfter"/>.</summary>
    ValueTask<ImmutableArray<BucketInfo>> ListBucketsAsync(string prefix, string startAfter, int maxBuckets, CancellationToken cancellationToken = default);

    /// <summary>
    /// Deletes a bucket that holds no version, with its ranges; its open uploads are aborted and their parts become garbage, all in one
    /// transaction. From then on every commit to its ranges answers <see cref="CommitStatus.NoSuchBucket"/>.
    /// </summary>
    ValueTask<DeleteBucketStatus> DeleteBucketAsync(BucketId bucket, long garbageNotBeforeUnixMs, CancellationToken cancellationToken = default);

    /// <summary>The ranges of a bucket in key order; empty when the bucket is gone.</summary>
    ValueTask<ImmutableArray<IndexRange>> ListRangesAsync(BucketId bucket, CancellationToken cancellationToken = default);

    /// <summary>Takes the lead of a range: raises its epoch and returns it, which fences the leader before. Null when the range is gone.</summary>
    ValueTask<RangeLease?> AcquireRangeAsync(BucketId bucket, long rangeId, CancellationToken cancellationToken = default);

    /// <summary>
    /// Commits mutations of different or equal objects of one range, in order, in one transaction. The result has one entry for each. When the
    /// epoch is not the range's, or the range is gone, all entries say <see cref="CommitStatus.RangeMoved"/> (or
    /// <see cref="CommitStatus.NoSuchBucket"/>) and nothing is changed; otherwise each mutation stands or falls by itself.
    /// </summary>
    /// <remarks>
    /// A version is not inserted while any of its extents is garbage: <see cref="CommitStatus.Conflict"/> with the expected version as the newest,
    /// which no other conflict has. Nor is one that completes an upload unless each of its parts, in rising order, is recorded with that number
    /// and extent in the upload: <see cref="CommitStatus.NoSuchUpload"/>. In both cases the same mutation will not succeed later.
    /// </remarks>
    ValueTask<ImmutableArray<CommitResult>> CommitAsync(RangeCommit commit, CancellationToken cancellationToken = default);

    /// <summary>Splits a range: see <see cref="IBucketIndexGrain.SplitAsync"/>. Null when the epoch is not the range's or the key is not inside it. Both halves get new epochs.</summary>
    ValueTask<IndexRange?> SplitRangeAsync(BucketId bucket, long rangeId, long epoch, byte[] splitKeyUtf8, CancellationToken cancellationToken = default);

    /// <summary>The newest version of a key (it may be a delete marker), or null.</summary>
    ValueTask<ObjectVersion?> ReadNewestAsync(BucketId bucket, string key, CancellationToken cancellationToken = default);

    /// <summary>One version of a key, or null.</summary>
    ValueTask<ObjectVersion?> ReadVersionAsync(BucketId bucket, string key, VersionId version, CancellationToken cancellationToken = default);

    /// <summary>A page of one range's current objects. Delimiter listings seek past each common prefix.</summary>
    ValueTask<ListPage> ListAsync(BucketId bucket, IndexRange range, ListQuery query, CancellationToken cancellationToken = default);

    /// <summary>Begins a multipart upload. False when the bucket is gone. Repeating it with the same id changes nothing.</summary>
    ValueTask<bool> CreateUploadAsync(UploadInfo upload, CancellationToken cancellationToken = default);

    /// <summary>An open upload, or null.</summary>
    ValueTask<UploadInfo?> GetUploadAsync(VersionId uploadId, CancellationToken cancellationToken = default);

    /// <summary>Open uploads of a bucket by key (bytes), then upload id: see <see cref="IUploadDirectoryGrain.ListAsync"/>.</summary>
    ValueTask<ImmutableArray<UploadInfo>> ListUploadsAsync(BucketId bucket, string prefix, string keyMarker, VersionId? uploadIdMarker, int maxUploads, CancellationToken cancellationToken = default);

    /// <summary>Records a part; one that had its number before becomes garbage (unless it is the same extent). False when the upload is gone, or the part's extent is garbage.</summary>
    ValueTask<bool> PutPartAsync(VersionId uploadId, UploadPart part, long garbageNotBeforeUnixMs, CancellationToken cancellationToken = default);

    /// <summary>Parts by number, from the one behind <paramref name="afterPartNumber"/>.</summary>
    ValueTask<ImmutableArray<UploadPart>> ListPartsAsync(VersionId uploadId, int afterPartNumber, int maxParts, CancellationToken cancellationToken = default);

    /// <summary>Ends an upload; its parts become garbage. False when it is gone.</summary>
    ValueTask<bool> AbortUploadAsync(VersionId uploadId, long garbageNotBeforeUnixMs, CancellationToken cancellationToken = default);

    /// <summary>Records extents whose bytes nothing names (a put that was refused after its bytes were stored).</summary>
    ValueTask AddGarbageAsync(ImmutableArray<PartLayout> extents, long notBeforeUnixMs, CancellationToken cancellationToken = default);

    /// <summary>Garbage that may be deleted at <paramref name="nowUnixMs"/>, oldest first.</summary>
    ValueTask<ImmutableArray<ExtentGarbage>> ListGarbageAsync(long nowUnixMs, int maxExtents, CancellationToken cancellationToken = default);

    /// <summary>Forgets garbage whose bytes have been deleted.</summary>
    ValueTask RemoveGarbageAsync(ImmutableArray<long> garbageIds, CancellationToken cancellationToken = default);
}

/// <summary>The lead of a range.</summary>
/// <param name="Range">The range as it is now.</param>
/// <param name="Epoch">The epoch to commit under.</param>
public sealed record RangeLease(IndexRange Range, long Epoch);

/// <summary>Mutations to commit under one epoch of one range.</summary>
/// <param name="Bucket">The bucket.</param>
/// <param name="RangeId">The range.</param>
/// <param name="Epoch">The epoch the committing activation acquired.</param>
/// <param name="Mutations">What to commit, in order.</param>
/// <param name="GarbageNotBeforeUnixMs">When the extents that these mutations replace may be deleted at the earliest, in Unix milliseconds.</param>
public sealed record RangeCommit(BucketId Bucket, long RangeId, long Epoch, ImmutableArray<ObjectMutation> Mutations, long GarbageNotBeforeUnixMs);

/// <summary>An extent that nothing names any more.</summary>
/// <param name="GarbageId">Names the record.</param>
/// <param name="Extent">Where the bytes are.</param>
/// <param name="Attempts">How often its deletion was put off because it failed.</param>
public sealed record ExtentGarbage(long GarbageId, PartLayout Extent, int Attempts = 0);
