using System.Collections.Immutable;
using ObjectStore.Grains;
using ObjectStore.Metadata.Records;

namespace ObjectStore.Metadata.Sqlite;

/// <summary>One read connection with its prepared statements. Each read is one snapshot, which ends when the statement is reset.</summary>
internal sealed partial class ReaderSession : IDisposable
{
    private readonly SqliteConnection _connection;
    private readonly SqliteStatement _bucket;
    private readonly SqliteStatement _buckets;
    private readonly SqliteStatement _ranges;
    private readonly SqliteStatement _newest;
    private readonly SqliteStatement _versions;
    private readonly SqliteStatement _upload;
    private readonly SqliteStatement _uploads;
    private readonly SqliteStatement _parts;
    private readonly SqliteStatement _garbage;
    private readonly EntryLister _lister;
    private readonly SqliteStatement _repairs;
    private readonly SqliteStatement _nextSpare;
    private readonly SqliteStatement _repairCount;
    private readonly SqliteStatement _cursors;
    private readonly ExtentFinder _extents;
    private readonly ExtentSearcher _searcher;

    internal ReaderSession(SqliteConnection connection)
    {
        _connection = connection;
        _bucket = connection.Prepare("SELECT bucket_id, name, owner, region, created_unix_ms FROM bucket WHERE name = ?1");
        _buckets = connection.Prepare("SELECT bucket_id, name, owner, region, created_unix_ms FROM bucket WHERE name > ?1 AND name >= ?2 AND name < ?3 ORDER BY name LIMIT ?4");
        _ranges = connection.Prepare("SELECT range_id, start_key, end_key FROM index_range WHERE bucket_id = ?1 ORDER BY start_key");
        _newest = connection.Prepare("SELECT record FROM object_version WHERE bucket_id = ?1 AND object_key = ?2 ORDER BY sequence DESC LIMIT 1");
        _versions = connection.Prepare("SELECT version_id, record FROM object_version WHERE bucket_id = ?1 AND object_key = ?2 ORDER BY sequence DESC");
        _upload = connection.Prepare("SELECT record FROM multipart_upload WHERE upload_id = ?1");
        _uploads = connection.Prepare("SELECT record FROM multipart_upload INDEXED BY multipart_upload_by_key WHERE bucket_id = ?1 AND (object_key, upload_id) > (?2, ?3) AND object_key < ?4 ORDER BY object_key, upload_id LIMIT ?5");
        _parts = connection.Prepare("SELECT last_modified_unix_ms, record FROM upload_part WHERE upload_id = ?1 AND part_number > ?2 ORDER BY part_number LIMIT ?3");
        _garbage = connection.Prepare("SELECT garbage_id, record, attempts FROM extent_garbage WHERE not_before_unix_ms <= ?1 ORDER BY not_before_unix_ms, garbage_id LIMIT ?2");
        _lister = new EntryLister(connection);
        _repairs = connection.Prepare($"SELECT {RepairRows.Columns} FROM repair_queue INDEXED BY repair_queue_by_spare WHERE spare = ?1 AND not_before_unix_ms <= ?2 ORDER BY not_before_unix_ms, repair_id LIMIT ?3");
        _nextSpare = connection.Prepare("SELECT spare FROM repair_queue INDEXED BY repair_queue_by_spare WHERE spare > ?1 ORDER BY spare LIMIT 1");
        _repairCount = connection.Prepare("SELECT count(*) FROM repair_queue WHERE recorded_unix_ms <= ?1 OR reason <> 0");
        _cursors = connection.Prepare("SELECT name, value FROM maintenance_cursor WHERE name >= ?1 AND name < ?2 ORDER BY name");
        _extents = new ExtentFinder(connection);
        _searcher = new ExtentSearcher(connection);
    }

    internal BucketInfo? GetBucket(string name)
    {
        try
        {
            return _bucket.BindText(1, name).Step() ? WriterSession.BucketOf(_bucket) : null;
        }
        finally
        {
            _bucket.Reset();
        }
    }

    internal ImmutableArray<BucketInfo> ListBuckets(byte[] prefix, byte[] startAfter, int maxBuckets)
    {
        _buckets.BindText(1, startAfter).BindText(2, prefix).BindText(3, ObjectKeys.PrefixSuccessor(prefix)).Bind(4, maxBuckets);
        return Rows(_buckets, WriterSession.BucketOf);
    }

    internal ImmutableArray<IndexRange> ListRanges(BucketId bucket) => Rows(
        _ranges.Bind(1, bucket.Value),
        row => new IndexRange(row.Int64(0), row.Blob(1).ToArray(), row.IsNull(2) ? null : row.Blob(2).ToArray()));

    internal ObjectVersion? ReadNewest(BucketId bucket, ReadOnlySpan<byte> key)
    {
        try
        {
            return _newest.Bind(1, bucket.Value).Bind(2, key).Step() ? MetadataRecords.DecodeVersion(_newest.Blob(0)) : null;
        }
        finally
        {
            _newest.Reset();
        }
    }

    internal ObjectVersion? ReadVersion(BucketId bucket, ReadOnlySpan<byte> key, VersionId version)
    {
        _versions.Bind(1, bucket.Value).Bind(2, key);
        try
        {
            while (_versions.Step())
            {
                if (_versions.VersionId(0) == version)
                {
                    return MetadataRecords.DecodeVersion(_versions.Blob(1));
                }
            }

            return null;
        }
        finally
        {
            _versions.Reset();
        }
    }

    internal ListPage List(BucketId bucket, IndexRange range, ListQuery query) => _lister.List(bucket, range, query);

    internal UploadInfo? GetUpload(VersionId uploadId)
    {
        try
        {
            return _upload.Bind(1, uploadId).Step() ? MetadataRecords.DecodeUpload(_upload.Blob(0)) : null;
        }
        finally
        {
            _upload.Reset();
        }
    }

    internal ImmutableArray<UploadInfo> ListUploads(BucketId bucket, byte[] prefix, byte[] keyMarker, VersionId? uploadIdMarker, int maxUploads)
    {
        // Behind (key, id), both as bytes. An empty id comes before every id, so (key + NUL, empty) is "behind all uploads of the key".
        byte[] afterKey = keyMarker.Length > 0 && uploadIdMarker is null ? ObjectKeys.Successor(keyMarker) : keyMarker;
        Span<byte> afterId = stackalloc byte[16];
        int afterIdLength = 0;
        if (keyMarker.Length > 0 && uploadIdMarker is VersionId id)
        {
            Ids.Write(afterId, id.High, id.Low);
            afterIdLength = 16;
        }

        if (prefix.AsSpan().SequenceCompareTo(afterKey) > 0)
        {
            afterKey = prefix;
            afterIdLength = 0;
        }

        _uploads.Bind(1, bucket.Value).Bind(2, afterKey).Bind(3, afterId[..afterIdLength]).Bind(4, ObjectKeys.PrefixSuccessor(prefix)).Bind(5, maxUploads);
        return Rows(_uploads, row => MetadataRecords.DecodeUpload(row.Blob(0)));
    }

    internal ImmutableArray<UploadPart> ListParts(VersionId uploadId, int afterPartNumber, int maxParts) => Rows(
        _parts.Bind(1, uploadId).Bind(2, afterPartNumber).Bind(3, maxParts),
        row => new UploadPart(MetadataRecords.DecodePart(row.Blob(1)), row.Int64(0)));

    internal ImmutableArray<ExtentGarbage> ListGarbage(long nowUnixMs, int maxExtents) => Rows(
        _garbage.Bind(1, nowUnixMs).Bind(2, maxExtents),
        row => new ExtentGarbage(row.Int64(0), MetadataRecords.DecodePart(row.Blob(1)), (int)row.Int64(2)));

    /// <inheritdoc/>
    public void Dispose() => _connection.Dispose();

    private static ImmutableArray<T> Rows<T>(SqliteStatement statement, Func<SqliteStatement, T> read)
    {
        try
        {
            ImmutableArray<T>.Builder rows = ImmutableArray.CreateBuilder<T>();
            while (statement.Step())
            {
                rows.Add(read(statement));
            }

            return rows.DrainToImmutable();
        }
        finally
        {
            statement.Reset();
        }
    }
}
