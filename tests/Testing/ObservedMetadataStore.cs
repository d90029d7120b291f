using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Text;
using ObjectStore.Grains;
using ObjectStore.Metadata;

namespace ObjectStore.Testing;

/// <summary>Puts faults around a real store, and knows what went through it. Not for tests that split ranges. Disposing it leaves the store open.</summary>
public sealed partial class ObservedMetadataStore(IMetadataStore inner, TimeProvider time) : IObservedMetadataStore
{
    private readonly StoreFaults _faults = new(time);
    private readonly ConcurrentDictionary<VersionId, int> _inserts = [];
    private readonly ConcurrentDictionary<(BucketId Bucket, string Key), ImmutableList<VersionId>> _insertsOfKey = [];
    private readonly ConcurrentDictionary<(BucketId Bucket, long RangeId), long> _epochs = [];

    /// <inheritdoc/>
    public Func<StoreCall, StoreFault?>? OnCall { get => _faults.OnCall; set => _faults.OnCall = value; }

    /// <inheritdoc/>
    public TimeSpan CommitLatency { get => _faults.CommitLatency; set => _faults.CommitLatency = value; }

    /// <inheritdoc/>
    public int CountInserts(VersionId id) => _inserts.GetValueOrDefault(id);

    /// <inheritdoc/>
    public RangeLease? Acquire(BucketId bucket, long rangeId) => Wait(AcquireObservedAsync(bucket, rangeId));

    /// <inheritdoc/>
    public CommitResult CommitBehind(BucketId bucket, ObjectMutation mutation)
    {
        IndexRange range = Wait(inner.ListRangesAsync(bucket)).Single(range => range.Contains(Encoding.UTF8.GetBytes(mutation.Key)));
        while (true)
        {
            long epoch = _epochs.TryGetValue((bucket, range.RangeId), out long known) ? known : Acquire(bucket, range.RangeId)!.Epoch;
            CommitResult result = Wait(CommitObservedAsync(new RangeCommit(bucket, range.RangeId, epoch, [mutation], 0), CancellationToken.None))[0];
            if (result.Status != CommitStatus.RangeMoved)
                return result;
        }
    }

    /// <inheritdoc/>
    public ImmutableArray<ObjectVersion> AllVersions(BucketId bucket, string key) =>
        [.. _insertsOfKey.GetValueOrDefault((bucket, key), []).Reverse().Distinct().Select(id => Wait(inner.ReadVersionAsync(bucket, key, id))).OfType<ObjectVersion>()];

    public ValueTask<CreateBucketResult> CreateBucketAsync(string name, string owner, string region, long createdUnixMs, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("CreateBucket", name, () => inner.CreateBucketAsync(name, owner, region, createdUnixMs, cancellationToken), cancellationToken);

    public ValueTask<BucketInfo?> GetBucketAsync(string name, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("GetBucket", name, () => inner.GetBucketAsync(name, cancellationToken), cancellationToken);

    public ValueTask<ImmutableArray<BucketInfo>> ListBucketsAsync(string prefix, string startAfter, int maxBuckets, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("ListBuckets", prefix, () => inner.ListBucketsAsync(prefix, startAfter, maxBuckets, cancellationToken), cancellationToken);

    public ValueTask<DeleteBucketStatus> DeleteBucketAsync(BucketId bucket, long garbageNotBeforeUnixMs, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("DeleteBucket", bucket, () => inner.DeleteBucketAsync(bucket, garbageNotBeforeUnixMs, cancellationToken), cancellationToken);

    public ValueTask<ImmutableArray<IndexRange>> ListRangesAsync(BucketId bucket, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("ListRanges", bucket, () => inner.ListRangesAsync(bucket, cancellationToken), cancellationToken);

    public ValueTask<RangeLease?> AcquireRangeAsync(BucketId bucket, long rangeId, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("AcquireRange", bucket, () => AcquireObservedAsync(bucket, rangeId), cancellationToken);

    public ValueTask<ImmutableArray<CommitResult>> CommitAsync(RangeCommit commit, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("Commit", commit, () => CommitObservedAsync(commit, cancellationToken), cancellationToken);

    public ValueTask<IndexRange?> SplitRangeAsync(BucketId bucket, long rangeId, long epoch, byte[] splitKeyUtf8, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("SplitRange", bucket, () => inner.SplitRangeAsync(bucket, rangeId, epoch, splitKeyUtf8, cancellationToken), cancellationToken);

    public ValueTask<ObjectVersion?> ReadNewestAsync(BucketId bucket, string key, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("ReadNewest", key, () => inner.ReadNewestAsync(bucket, key, cancellationToken), cancellationToken);

    public ValueTask<ObjectVersion?> ReadVersionAsync(BucketId bucket, string key, VersionId version, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("ReadVersion", key, () => inner.ReadVersionAsync(bucket, key, version, cancellationToken), cancellationToken);

    public ValueTask<ListPage> ListAsync(BucketId bucket, IndexRange range, ListQuery query, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("List", query, () => inner.ListAsync(bucket, range, query, cancellationToken), cancellationToken);

    public ValueTask<bool> CreateUploadAsync(UploadInfo upload, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("CreateUpload", upload, () => inner.CreateUploadAsync(upload, cancellationToken), cancellationToken);

    public ValueTask<UploadInfo?> GetUploadAsync(VersionId uploadId, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("GetUpload", uploadId, () => inner.GetUploadAsync(uploadId, cancellationToken), cancellationToken);

    public ValueTask<ImmutableArray<UploadInfo>> ListUploadsAsync(BucketId bucket, string prefix, string keyMarker, VersionId? uploadIdMarker, int maxUploads, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("ListUploads", bucket, () => inner.ListUploadsAsync(bucket, prefix, keyMarker, uploadIdMarker, maxUploads, cancellationToken), cancellationToken);

    public ValueTask<bool> PutPartAsync(VersionId uploadId, UploadPart part, long garbageNotBeforeUnixMs, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("PutPart", part, () => inner.PutPartAsync(uploadId, part, garbageNotBeforeUnixMs, cancellationToken), cancellationToken);

    public ValueTask<ImmutableArray<UploadPart>> ListPartsAsync(VersionId uploadId, int afterPartNumber, int maxParts, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("ListParts", uploadId, () => inner.ListPartsAsync(uploadId, afterPartNumber, maxParts, cancellationToken), cancellationToken);

    public ValueTask<bool> AbortUploadAsync(VersionId uploadId, long garbageNotBeforeUnixMs, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("AbortUpload", uploadId, () => inner.AbortUploadAsync(uploadId, garbageNotBeforeUnixMs, cancellationToken), cancellationToken);

    public async ValueTask AddGarbageAsync(ImmutableArray<PartLayout> extents, long notBeforeUnixMs, CancellationToken cancellationToken = default) =>
        await _faults.RunAsync("AddGarbage", extents, () => DoneAsync(inner.AddGarbageAsync(extents, notBeforeUnixMs, cancellationToken)), cancellationToken);

    public ValueTask<ImmutableArray<ExtentGarbage>> ListGarbageAsync(long nowUnixMs, int maxExtents, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("ListGarbage", nowUnixMs, () => inner.ListGarbageAsync(nowUnixMs, maxExtents, cancellationToken), cancellationToken);

    public async ValueTask RemoveGarbageAsync(ImmutableArray<long> garbageIds, CancellationToken cancellationToken = default) =>
        await _faults.RunAsync("RemoveGarbage", garbageIds, () => DoneAsync(inner.RemoveGarbageAsync(garbageIds, cancellationToken)), cancellationToken);

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private async ValueTask<RangeLease?> AcquireObservedAsync(BucketId bucket, long rangeId)
    {
        RangeLease? lease = await inner.AcquireRangeAsync(bucket, rangeId);
        if (lease is not null)
            _epochs.AddOrUpdate((bucket, rangeId), lease.Epoch, (_, known) => Math.Max(known, lease.Epoch));
        return lease;
    }

    private async ValueTask<ImmutableArray<CommitResult>> CommitObservedAsync(RangeCommit commit, CancellationToken cancellationToken)
    {
        ImmutableArray<CommitResult> results = await inner.CommitAsync(commit, cancellationToken);
        foreach ((ObjectMutation mutation, CommitResult result) in commit.Mutations.Zip(results))
        {
            if (mutation.Insert is not { } insert || result.Status != CommitStatus.Committed)
                continue;
            _inserts.AddOrUpdate(insert.VersionId, 1, static (_, count) => count + 1);
            _insertsOfKey.AddOrUpdate((commit.Bucket, mutation.Key), [insert.VersionId], (_, ids) => ids.Add(insert.VersionId));
        }

        return results;
    }

    private static async ValueTask<bool> DoneAsync(ValueTask call)
    {
        await call;
        return true;
    }

    // What another activation does takes place within one call of a hook. The store answers on threads of its own.
    private static T Wait<T>(ValueTask<T> call) => Task.Run(async () => await call).GetAwaiter().GetResult();
}
