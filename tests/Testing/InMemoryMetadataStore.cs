// IMetadataStore with the semantics of the real ones and no disk: what the grains are tested and simulated against. Deterministic: no thread, no
// clock and no chance of its own. Calls run to the end at once unless a fault says otherwise.

using System.Collections.Immutable;
using System.Text;
using ObjectStore.Grains;
using ObjectStore.Metadata;

namespace ObjectStore.Testing;

public sealed partial class InMemoryMetadataStore(TimeProvider? time = null) : IObservedMetadataStore
{
    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);
    private readonly StoreFaults _faults = new(time ?? TimeProvider.System);
    private readonly Lock _lock = new();
    private readonly SortedDictionary<string, Bucket> _bucketsByName = new(StringComparer.Ordinal);
    private readonly Dictionary<BucketId, Bucket> _buckets = [];
    private readonly Dictionary<VersionId, Upload> _uploads = [];
    private readonly SortedDictionary<long, Garbage> _garbage = [];
    private readonly Dictionary<(ulong High, ulong Low), int> _garbageOf = [];
    private readonly Dictionary<VersionId, int> _inserts = [];
    private long _lastBucketId;
    private long _lastGarbageId;

    /// <inheritdoc/>
    public Func<StoreCall, StoreFault?>? OnCall { get => _faults.OnCall; set => _faults.OnCall = value; }

    /// <inheritdoc/>
    public TimeSpan CommitLatency { get => _faults.CommitLatency; set => _faults.CommitLatency = value; }

    /// <summary>How often a version was inserted: more than once is a double write.</summary>
    public int CountInserts(VersionId id)
    {
        lock (_lock)
            return _inserts.GetValueOrDefault(id);
    }

    /// <summary>The number of garbage records.</summary>
    public int GarbageCount
    {
        get
        {
            lock (_lock)
                return _garbage.Count;
        }
    }

    public ValueTask<CreateBucketResult> CreateBucketAsync(string name, string owner, string region, long createdUnixMs, CancellationToken cancellationToken = default) =>
        RunAsync("CreateBucket", name, () =>
        {
            if (_bucketsByName.TryGetValue(name, out Bucket? existing))
                return new CreateBucketResult(false, existing.Info);
            Bucket bucket = new(new BucketInfo(new BucketId(++_lastBucketId), name, owner, region, createdUnixMs));
            bucket.Ranges.Add(new Range(new IndexRange(++bucket.LastRangeId, [], null)));
            _bucketsByName.Add(name, bucket);
            _buckets.Add(bucket.Info.Id, bucket);
            return new CreateBucketResult(true, bucket.Info);
        }, cancellationToken);

    public ValueTask<BucketInfo?> GetBucketAsync(string name, CancellationToken cancellationToken = default) =>
        RunAsync("GetBucket", name, () => _bucketsByName.GetValueOrDefault(name)?.Info, cancellationToken);

    public ValueTask<ImmutableArray<BucketInfo>> ListBucketsAsync(string prefix, string startAfter, int maxBuckets, CancellationToken cancellationToken = default) =>
        RunAsync<ImmutableArray<BucketInfo>>("ListBuckets", prefix, () =>
            [.. _bucketsByName.Values
                .Select(bucket => bucket.Info)
                .Where(info => info.Name.StartsWith(prefix, StringComparison.Ordinal) && string.CompareOrdinal(info.Name, startAfter) > 0)
                .Take(maxBuckets)], cancellationToken);

    public ValueTask<DeleteBucketStatus> DeleteBucketAsync(BucketId bucket, long garbageNotBeforeUnixMs, CancellationToken cancellationToken = default) =>
        RunAsync("DeleteBucket", bucket, () =>
        {
            if (!_buckets.TryGetValue(bucket, out Bucket? found))
                return DeleteBucketStatus.NoSuchBucket;
            if (found.Keys.Count > 0)
                return DeleteBucketStatus.NotEmpty;
            foreach (Upload upload in _uploads.Values.Where(upload => upload.Info.Bucket == bucket).ToArray())
                EndUpload(upload, [], garbageNotBeforeUnixMs);
            _buckets.Remove(bucket);
            _bucketsByName.Remove(found.Info.Name);
            return DeleteBucketStatus.Deleted;
        }, cancellationToken);

    public ValueTask<ImmutableArray<IndexRange>> ListRangesAsync(BucketId bucket, CancellationToken cancellationToken = default) =>
        RunAsync<ImmutableArray<IndexRange>>("ListRanges", bucket, () =>
            _buckets.TryGetValue(bucket, out Bucket? found) ? [.. found.Ranges.Select(range => range.Value)] : [], cancellationToken);

    public ValueTask<RangeLease?> AcquireRangeAsync(BucketId bucket, long rangeId, CancellationToken cancellationToken = default) =>
        RunAsync("AcquireRange", bucket, () =>
            FindRange(bucket, rangeId) is { } range ? new RangeLease(range.Value, ++range.Epoch) : null, cancellationToken);

    public ValueTask<ImmutableArray<CommitResult>> CommitAsync(RangeCommit commit, CancellationToken cancellationToken = default) =>
        RunAsync("Commit", commit, () => Commit(commit), cancellationToken);

    public ValueTask<IndexRange?> SplitRangeAsync(BucketId bucket, long rangeId, long epoch, byte[] splitKeyUtf8, CancellationToken cancellationToken = default) =>
        RunAsync("SplitRange", bucket, () =>
        {
            if (FindRange(bucket, rangeId) is not { } range
                || range.Epoch != epoch
                || !range.Value.Contains(splitKeyUtf8)
                || range.Value.Start.AsSpan().SequenceEqual(splitKeyUtf8))
                return null;
            Bucket owner = _buckets[bucket];
            IndexRange created = new(++owner.LastRangeId, splitKeyUtf8, range.Value.End);
            range.Value = range.Value with { End = splitKeyUtf8 };
            range.Epoch++;
            owner.Ranges.Insert(owner.Ranges.IndexOf(range) + 1, new Range(created) { Epoch = 1 });
            return created;
        }, cancellationToken);

    public ValueTask<ObjectVersion?> ReadNewestAsync(BucketId bucket, string key, CancellationToken cancellationToken = default) =>
        RunAsync("ReadNewest", key, () => VersionsOf(bucket, key) is [var newest, ..] ? newest : null, cancellationToken);

    public ValueTask<ObjectVersion?> ReadVersionAsync(BucketId bucket, string key, VersionId version, CancellationToken cancellationToken = default) =>
        RunAsync("ReadVersion", key, () => VersionsOf(bucket, key)?.Find(found => found.VersionId == version), cancellationToken);

    public ValueTask<ListPage> ListAsync(BucketId bucket, IndexRange range, ListQuery query, CancellationToken cancellationToken = default) =>
        RunAsync("List", query, () => List(bucket, range, query), cancellationToken);

    public ValueTask<bool> CreateUploadAsync(UploadInfo upload, CancellationToken cancellationToken = default) =>
        RunAsync("CreateUpload", upload, () =>
        {
            if (!_buckets.ContainsKey(upload.Bucket))
                return false;
            _uploads.TryAdd(upload.UploadId, new Upload(upload));
            return true;
        }, cancellationToken);

    public ValueTask<UploadInfo?> GetUploadAsync(VersionId uploadId, CancellationToken cancellationToken = default) =>
        RunAsync("GetUpload", uploadId, () => _uploads.GetValueOrDefault(uploadId)?.Info, cancellationToken);

    public ValueTask<ImmutableArray<UploadInfo>> ListUploadsAsync(BucketId bucket, string prefix, string keyMarker, VersionId? uploadIdMarker, int maxUploads, CancellationToken cancellationToken = default) =>
        RunAsync<ImmutableArray<UploadInfo>>("ListUploads", bucket, () =>
            [.. _uploads.Values
                .Select(upload => (upload.Info, Key: Encoding.UTF8.GetBytes(upload.Info.Key), Id: upload.Info.UploadId.ToString()))
                .Where(upload => upload.Info.Bucket == bucket && upload.Info.Key.StartsWith(prefix, StringComparison.Ordinal) && IsBehindMarker(upload.Key, upload.Id, keyMarker, uploadIdMarker))
                .OrderBy(upload => upload.Key, KeyOrder.Instance)
                .ThenBy(upload => upload.Id, StringComparer.Ordinal)
                .Select(upload => upload.Info)
                .Take(maxUploads)], cancellationToken);

    public ValueTask<bool> PutPartAsync(VersionId uploadId, UploadPart part, long garbageNotBeforeUnixMs, CancellationToken cancellationToken = default) =>
        RunAsync("PutPart", part, () =>
        {
            if (!_uploads.TryGetValue(uploadId, out Upload? upload) || _garbageOf.ContainsKey((part.Layout.ExtentHigh, part.Layout.ExtentLow)))
                return false;
            if (upload.Parts.TryGetValue(part.Layout.PartNumber, out UploadPart? before) && !IsSameExtent(before.Layout, part.Layout))
                AddGarbage(before.Layout, garbageNotBeforeUnixMs);
            upload.Parts[part.Layout.PartNumber] = part;
            return true;
        }, cancellationToken);

    public ValueTask<ImmutableArray<UploadPart>> ListPartsAsync(VersionId uploadId, int afterPartNumber, int maxParts, CancellationToken cancellationToken = default) =>
        RunAsync<ImmutableArray<UploadPart>>("ListParts", uploadId, () =>
            _uploads.TryGetValue(uploadId, out Upload? upload) ? [.. upload.Parts.Values.Where(part => part.Layout.PartNumber > afterPartNumber).Take(maxParts)] : [], cancellationToken);

    public ValueTask<bool> AbortUploadAsync(VersionId uploadId, long garbageNotBeforeUnixMs, CancellationToken cancellationToken = default) =>
        RunAsync("AbortUpload", uploadId, () =>
        {
            if (!_uploads.TryGetValue(uploadId, out Upload? upload))
                return false;
            EndUpload(upload, [], garbageNotBeforeUnixMs);
            return true;
        }, cancellationToken);

    public async ValueTask AddGarbageAsync(ImmutableArray<PartLayout> extents, long notBeforeUnixMs, CancellationToken cancellationToken = default) =>
        await RunAsync("AddGarbage", extents, () =>
        {
            foreach (PartLayout extent in extents)
                AddGarbage(extent, notBeforeUnixMs);
            return true;
        }, cancellationToken);

    public ValueTask<ImmutableArray<ExtentGarbage>> ListGarbageAsync(long nowUnixMs, int maxExtents, CancellationToken cancellationToken = default) =>
        RunAsync<ImmutableArray<ExtentGarbage>>("ListGarbage", nowUnixMs, () =>
            [.. _garbage.Values.Where(garbage => garbage.NotBeforeUnixMs <= nowUnixMs).OrderBy(garbage => garbage.NotBeforeUnixMs).Take(maxExtents).Select(garbage => garbage.Record)], cancellationToken);

    public async ValueTask RemoveGarbageAsync(ImmutableArray<long> garbageIds, CancellationToken cancellationToken = default) =>
        await RunAsync("RemoveGarbage", garbageIds, () =>
        {
            foreach (long id in garbageIds)
            {
                if (!_garbage.Remove(id, out Garbage? gone))
                    continue;
                (ulong High, ulong Low) extent = (gone.Record.Extent.ExtentHigh, gone.Record.Extent.ExtentLow);
                if (--_garbageOf[extent] == 0)
                    _garbageOf.Remove(extent);
            }

            return true;
        }, cancellationToken);

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    // ---- Behind the grains' backs ----------------------------------------------------------------------------------------------

    /// <summary>Takes a range's lead as another activation would.</summary>
    public RangeLease? Acquire(BucketId bucket, long rangeId)
    {
        lock (_lock)
            return FindRange(bucket, rangeId) is { } range ? new RangeLease(range.Value, ++range.Epoch) : null;
    }

    /// <summary>Commits as another activation would, under the epoch that is the range's now (which fences nobody).</summary>
    public CommitResult CommitBehind(BucketId bucket, ObjectMutation mutation)
    {
        lock (_lock)
        {
            Range range = _buckets[bucket].Ranges.Single(range => range.Value.Contains(Encoding.UTF8.GetBytes(mutation.Key)));
            return Commit(new RangeCommit(bucket, range.Value.RangeId, range.Epoch, [mutation], 0))[0];
        }
    }

    /// <summary>All versions of a key, newest first.</summary>
    public ImmutableArray<ObjectVersion> AllVersions(BucketId bucket, string key)
    {
        lock (_lock)
            return [.. VersionsOf(bucket, key) ?? []];
    }

    // ---- Inside ----------------------------------------------------------------------------------------------------------------

    private ValueTask<T> RunAsync<T>(string method, object? argument, Func<T> body, CancellationToken cancellationToken) =>
        _faults.RunAsync(method, argument, () =>
        {
            lock (_lock)
                return new ValueTask<T>(body());
        }, cancellationToken);

    private ImmutableArray<CommitResult> Commit(RangeCommit commit)
    {
        // As the real ones do, before anything is written.
        foreach (ObjectMutation mutation in commit.Mutations)
        {
            if (StrictUtf8.GetByteCount(mutation.Key) is 0 or > 1024)
                throw new ArgumentException("An object key has 1 to 1024 bytes of UTF-8.", nameof(commit));
        }

        CommitStatus? refusal = !_buckets.TryGetValue(commit.Bucket, out Bucket? bucket)
            ? CommitStatus.NoSuchBucket
            : FindRange(commit.Bucket, commit.RangeId)?.Epoch != commit.Epoch ? CommitStatus.RangeMoved : null;
        return refusal is { } status
            ? [.. commit.Mutations.Select(_ => new CommitResult(status, VersionId.None))]
            : [.. commit.Mutations.Select(mutation => Apply(bucket!, FindRange(commit.Bucket, commit.RangeId)!.Value, mutation, commit.GarbageNotBeforeUnixMs))];
    }

    private CommitResult Apply(Bucket bucket, IndexRange range, ObjectMutation mutation, long garbageNotBeforeUnixMs)
    {
        byte[] key = Encoding.UTF8.GetBytes(mutation.Key);
        if (!range.Contains(key))
            return new CommitResult(CommitStatus.RangeMoved, VersionId.None);
        List<ObjectVersion>? versions = bucket.Versions.GetValueOrDefault(mutation.Key);
        if (mutation.Insert is { } again && versions?.Exists(version => version.VersionId == again.VersionId) == true)
            return new CommitResult(CommitStatus.AlreadyApplied, VersionId.None);
        VersionId newest = versions is [var top, ..] ? top.VersionId : VersionId.None;
        if (newest != mutation.ExpectedNewest)
        {
            bool nothingLeftToRemove = mutation.Insert is null && !mutation.Remove.IsEmpty && newest.IsNone;
            return nothingLeftToRemove ? new CommitResult(CommitStatus.AlreadyApplied, VersionId.None) : new CommitResult(CommitStatus.Conflict, newest);
        }

        Upload? upload = null;
        if (mutation.CompletesUpload is { } uploadId
            && (!_uploads.TryGetValue(uploadId, out upload) || upload.Info.Bucket != bucket.Info.Id || upload.Info.Key != mutation.Key || !HoldsParts(upload, mutation.Insert?.Parts ?? [])))
            return new CommitResult(CommitStatus.NoSuchUpload, VersionId.None);

        if (mutation.Insert is { } inserted && inserted.Parts.Any(part => _garbageOf.ContainsKey((part.ExtentHigh, part.ExtentLow))))
            return new CommitResult(CommitStatus.Conflict, newest);

        if (versions is null)
            bucket.Versions.Add(mutation.Key, versions = []);
        foreach (VersionId removed in mutation.Remove)
        {
            int at = versions.FindIndex(version => version.VersionId == removed);
            if (at < 0)
                continue;
            foreach (PartLayout part in versions[at].Parts)
            {
                if (mutation.Insert?.Parts.Any(kept => IsSameExtent(kept, part)) != true)
                    AddGarbage(part, garbageNotBeforeUnixMs);
            }

            versions.RemoveAt(at);
        }

        if (mutation.Insert is { } insert)
        {
            versions.Insert(0, insert);
            _inserts[insert.VersionId] = _inserts.GetValueOrDefault(insert.VersionId) + 1;
        }

        if (upload is not null)
            EndUpload(upload, mutation.Insert?.Parts ?? [], garbageNotBeforeUnixMs);
        if (versions.Count == 0)
        {
            bucket.Versions.Remove(mutation.Key);
            bucket.Keys.Remove(key);
        }
        else
        {
            bucket.Keys.Add(key);
        }

        return new CommitResult(CommitStatus.Committed, VersionId.None);
    }

    private ListPage List(BucketId bucketId, IndexRange range, ListQuery query)
    {
        ImmutableArray<ListEntry>.Builder entries = ImmutableArray.CreateBuilder<ListEntry>();
        ImmutableArray<byte[]>.Builder prefixes = ImmutableArray.CreateBuilder<byte[]>();
        byte[] last = [];
        bool lastIsPrefix = false;
        bool isTruncated = false;
        if (_buckets.TryGetValue(bucketId, out Bucket? bucket))
        {
            byte[]? from = KeyOrder.Max(range.Start, query.Prefix);
            if (query.StartAfter.Length > 0)
                from = (query.StartAfterIsPrefix ? Successor(query.StartAfter) : [.. query.StartAfter, 0]) is { } after ? KeyOrder.Max(from, after) : null;
            while (from is not null && NextKey(bucket, from) is { } key && range.Contains(key) && key.AsSpan().StartsWith(query.Prefix))
            {
                from = [.. key, 0];
                ObjectVersion newest = bucket.Versions[Encoding.UTF8.GetString(key)][0];
                if (newest.IsDeleteMarker)
                    continue;
                if (entries.Count + prefixes.Count == query.MaxItems)
                {
                    isTruncated = true;
                    break;
                }

                int at = query.Delimiter.Length == 0 ? -1 : key.AsSpan(query.Prefix.Length).IndexOf(query.Delimiter);
                lastIsPrefix = at >= 0;
                if (at >= 0)
                {
                    last = key[..(query.Prefix.Length + at + query.Delimiter.Length)];
                    prefixes.Add(last);
                    from = Successor(last);
                }
                else
                {
                    last = key;
                    entries.Add(new ListEntry(key, newest.SizeBytes, newest.ETag, newest.LastModifiedUnixMs, newest.StorageClass, newest.Checksum?.Algorithm, newest.Checksum?.IsComposite ?? false));
                }
            }
        }

        return new ListPage(entries.ToImmutable(), prefixes.ToImmutable(), isTruncated, last, lastIsPrefix, RangeMoved: false);
    }

    private static byte[]? NextKey(Bucket bucket, byte[] from) =>
        bucket.Keys.Max is { } max && KeyOrder.Instance.Compare(from, max) <= 0 ? bucket.Keys.GetViewBetween(from, max).Min : null;

    /// <summary>The first key behind every key that starts with the prefix; null when there is none.</summary>
    private static byte[]? Successor(byte[] prefix)
    {
        int length = prefix.Length;
        while (length > 0 && prefix[length - 1] == 0xFF)
            length--;
        if (length == 0)
            return null;
        byte[] successor = prefix[..length];
        successor[^1]++;
        return successor;
    }

    private static bool IsBehindMarker(byte[] key, string id, string keyMarker, VersionId? uploadIdMarker)
    {
        int order = KeyOrder.Instance.Compare(key, Encoding.UTF8.GetBytes(keyMarker));
        return order > 0 || (order == 0 && uploadIdMarker is { } marker && string.CompareOrdinal(id, marker.ToString()) > 0);
    }

    /// <summary>Whether each of the parts, in rising order, is the one that the upload has under its number.</summary>
    private static bool HoldsParts(Upload upload, ImmutableArray<PartLayout> listed)
    {
        int last = 0;
        foreach (PartLayout part in listed)
        {
            if (part.PartNumber <= last || !upload.Parts.TryGetValue(part.PartNumber, out UploadPart? recorded) || !IsSameExtent(recorded.Layout, part))
                return false;
            last = part.PartNumber;
        }

        return true;
    }

    private static bool IsSameExtent(PartLayout a, PartLayout b) => a.ExtentHigh == b.ExtentHigh && a.ExtentLow == b.ExtentLow;

    private Range? FindRange(BucketId bucket, long rangeId) =>
        _buckets.TryGetValue(bucket, out Bucket? found) ? found.Ranges.Find(range => range.Value.RangeId == rangeId) : null;

    private List<ObjectVersion>? VersionsOf(BucketId bucket, string key) =>
        _buckets.TryGetValue(bucket, out Bucket? found) ? found.Versions.GetValueOrDefault(key) : null;

    private void EndUpload(Upload upload, ImmutableArray<PartLayout> kept, long garbageNotBeforeUnixMs)
    {
        foreach (UploadPart part in upload.Parts.Values)
        {
            if (!kept.Any(layout => IsSameExtent(layout, part.Layout)))
                AddGarbage(part.Layout, garbageNotBeforeUnixMs);
        }

        _uploads.Remove(upload.Info.UploadId);
    }

    private void AddGarbage(PartLayout extent, long notBeforeUnixMs)
    {
        _garbage.Add(++_lastGarbageId, new Garbage(new ExtentGarbage(_lastGarbageId, extent), notBeforeUnixMs));
        (ulong, ulong) id = (extent.ExtentHigh, extent.ExtentLow);
        _garbageOf[id] = _garbageOf.GetValueOrDefault(id) + 1;
    }

    private sealed class Bucket(BucketInfo info)
    {
        public BucketInfo Info { get; } = info;

        public List<Range> Ranges { get; } = [];

        public long LastRangeId { get; set; }

        public SortedSet<byte[]> Keys { get; } = new(KeyOrder.Instance);

        public Dictionary<string, List<ObjectVersion>> Versions { get; } = new(StringComparer.Ordinal);
    }

    private sealed class Range(IndexRange value)
    {
        public IndexRange Value { get; set; } = value;

        public long Epoch { get; set; }
    }

    private sealed class Upload(UploadInfo info)
    {
        public UploadInfo Info { get; } = info;

        public SortedDictionary<int, UploadPart> Parts { get; } = [];
    }

    private sealed record Garbage(ExtentGarbage Record, long NotBeforeUnixMs);

    private sealed class KeyOrder : IComparer<byte[]>
    {
        public static readonly KeyOrder Instance = new();

        public static byte[] Max(byte[] a, byte[] b) => a.AsSpan().SequenceCompareTo(b) >= 0 ? a : b;

        public int Compare(byte[]? x, byte[]? y) => x.AsSpan().SequenceCompareTo(y);
    }
}
