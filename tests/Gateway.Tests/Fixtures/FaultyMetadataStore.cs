using System.Collections.Immutable;
using ObjectStore.Grains;
using ObjectStore.Metadata;

namespace ObjectStore.Gateway.Tests.Fixtures;

/// <summary>A metadata store whose commits fail where a test says so, before or after they took effect.</summary>
internal sealed class FaultyMetadataStore(IMetadataStore inner) : IMetadataStore
{
    /// <summary>Thrown in place of a commit.</summary>
    public Func<Exception>? BeforeCommit { get; set; }

    /// <summary>Thrown in place of a commit's answer.</summary>
    public Func<Exception>? AfterCommit { get; set; }

    /// <summary>Thrown in place of a read of a newest version.</summary>
    public Func<Exception>? OnRead { get; set; }

    public void Reset() => (BeforeCommit, AfterCommit, OnRead) = (null, null, null);

    public async ValueTask<ImmutableArray<CommitResult>> CommitAsync(RangeCommit commit, CancellationToken cancellationToken = default)
    {
        if (BeforeCommit is { } before) throw before();
        ImmutableArray<CommitResult> results = await inner.CommitAsync(commit, cancellationToken);
        return AfterCommit is { } after ? throw after() : results;
    }

    public ValueTask<ObjectVersion?> ReadNewestAsync(BucketId bucket, string key, CancellationToken cancellationToken = default) =>
        OnRead is { } fault ? throw fault() : inner.ReadNewestAsync(bucket, key, cancellationToken);

    public ValueTask<CreateBucketResult> CreateBucketAsync(string name, string owner, string region, long createdUnixMs, CancellationToken cancellationToken = default) =>
        inner.CreateBucketAsync(name, owner, region, createdUnixMs, cancellationToken);

    public ValueTask<BucketInfo?> GetBucketAsync(string name, CancellationToken cancellationToken = default) => inner.GetBucketAsync(name, cancellationToken);

    public ValueTask<ImmutableArray<BucketInfo>> ListBucketsAsync(string prefix, string startAfter, int maxBuckets, CancellationToken cancellationToken = default) =>
        inner.ListBucketsAsync(prefix, startAfter, maxBuckets, cancellationToken);

    public ValueTask<DeleteBucketStatus> DeleteBucketAsync(BucketId bucket, long garbageNotBeforeUnixMs, CancellationToken cancellationToken = default) =>
        inner.DeleteBucketAsync(bucket, garbageNotBeforeUnixMs, cancellationToken);

    public ValueTask<ImmutableArray<IndexRange>> ListRangesAsync(BucketId bucket, CancellationToken cancellationToken = default) => inner.ListRangesAsync(bucket, cancellationToken);

    public ValueTask<RangeLease?> AcquireRangeAsync(BucketId bucket, long rangeId, CancellationToken cancellationToken = default) =>
        inner.AcquireRangeAsync(bucket, rangeId, cancellationToken);

    public ValueTask<IndexRange?> SplitRangeAsync(BucketId bucket, long rangeId, long epoch, byte[] splitKeyUtf8, CancellationToken cancellationToken = default) =>
        inner.SplitRangeAsync(bucket, rangeId, epoch, splitKeyUtf8, cancellationToken);

    public ValueTask<ObjectVersion?> ReadVersionAsync(BucketId bucket, string key, VersionId version, CancellationToken cancellationToken = default) =>
        inner.ReadVersionAsync(bucket, key, version, cancellationToken);

    public ValueTask<ListPage> ListAsync(BucketId bucket, IndexRange range, ListQuery query, CancellationToken cancellationToken = default) =>
        inner.ListAsync(bucket, range, query, cancellationToken);

    public ValueTask<bool> CreateUploadAsync(UploadInfo upload, CancellationToken cancellationToken = default) => inner.CreateUploadAsync(upload, cancellationToken);

    public ValueTask<UploadInfo?> GetUploadAsync(VersionId uploadId, CancellationToken cancellationToken = default) => inner.GetUploadAsync(uploadId, cancellationToken);

    public ValueTask<ImmutableArray<UploadInfo>> ListUploadsAsync(
        BucketId bucket, string prefix, string keyMarker, VersionId? uploadIdMarker, int maxUploads, CancellationToken cancellationToken = default) =>
        inner.ListUploadsAsync(bucket, prefix, keyMarker, uploadIdMarker, maxUploads, cancellationToken);

    public ValueTask<bool> PutPartAsync(VersionId uploadId, UploadPart part, long garbageNotBeforeUnixMs, CancellationToken cancellationToken = default) =>
        inner.PutPartAsync(uploadId, part, garbageNotBeforeUnixMs, cancellationToken);

    public ValueTask<ImmutableArray<UploadPart>> ListPartsAsync(VersionId uploadId, int afterPartNumber, int maxParts, CancellationToken cancellationToken = default) =>
        inner.ListPartsAsync(uploadId, afterPartNumber, maxParts, cancellationToken);

    public ValueTask<bool> AbortUploadAsync(VersionId uploadId, long garbageNotBeforeUnixMs, CancellationToken cancellationToken = default) =>
        inner.AbortUploadAsync(uploadId, garbageNotBeforeUnixMs, cancellationToken);

    public ValueTask AddGarbageAsync(ImmutableArray<PartLayout> extents, long notBeforeUnixMs, CancellationToken cancellationToken = default) =>
        inner.AddGarbageAsync(extents, notBeforeUnixMs, cancellationToken);

    public ValueTask<ImmutableArray<ExtentGarbage>> ListGarbageAsync(long nowUnixMs, int maxExtents, CancellationToken cancellationToken = default) =>
        inner.ListGarbageAsync(nowUnixMs, maxExtents, cancellationToken);

    public ValueTask RemoveGarbageAsync(ImmutableArray<long> garbageIds, CancellationToken cancellationToken = default) => inner.RemoveGarbageAsync(garbageIds, cancellationToken);

    public ValueTask RecordRepairsAsync(ImmutableArray<RepairRecord> repairs, CancellationToken cancellationToken = default) =>
        inner.RecordRepairsAsync(repairs, cancellationToken);

    public ValueTask<ImmutableArray<RepairEntry>> ListRepairsAsync(long nowUnixMs, int maxRepairs, CancellationToken cancellationToken = default) =>
        inner.ListRepairsAsync(nowUnixMs, maxRepairs, cancellationToken);

    public ValueTask FinishRepairsAsync(ImmutableArray<long> repairIds, CancellationToken cancellationToken = default) =>
        inner.FinishRepairsAsync(repairIds, cancellationToken);

    public ValueTask PostponeRepairsAsync(ImmutableArray<Postponement> repairs, CancellationToken cancellationToken = default) =>
        inner.PostponeRepairsAsync(repairs, cancellationToken);

    public ValueTask<long> CountRepairsAsync(long writtenByUnixMs = long.MaxValue, CancellationToken cancellationToken = default) =>
        inner.CountRepairsAsync(writtenByUnixMs, cancellationToken);

    public ValueTask PostponeGarbageAsync(ImmutableArray<Postponement> garbage, CancellationToken cancellationToken = default) =>
        inner.PostponeGarbageAsync(garbage, cancellationToken);

    public ValueTask<ImmutableArray<MaintenanceCursor>> ListCursorsAsync(string prefix, CancellationToken cancellationToken = default) =>
        inner.ListCursorsAsync(prefix, cancellationToken);

    public ValueTask SetCursorAsync(string name, byte[]? value, CancellationToken cancellationToken = default) =>
        inner.SetCursorAsync(name, value, cancellationToken);

    public ValueTask<ExtentSearchPage> SearchExtentsAsync(ExtentSearch search, CancellationToken cancellationToken = default) => inner.SearchExtentsAsync(search, cancellationToken);

    public ValueTask<ImmutableArray<ExtentUse>> FindExtentsAsync(ImmutableArray<ExtentReference> extents, CancellationToken cancellationToken = default) =>
        inner.FindExtentsAsync(extents, cancellationToken);

    public ValueTask<ImmutableArray<ExtentUse>> CondemnExtentsAsync(ImmutableArray<CondemnedExtent> extents, long notBeforeUnixMs, CancellationToken cancellationToken = default) =>
        inner.CondemnExtentsAsync(extents, notBeforeUnixMs, cancellationToken);

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
