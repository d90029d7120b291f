using ObjectStore.Grains;
using ObjectStore.Metadata.Records;

namespace ObjectStore.Metadata.Sqlite;

/// <content>Buckets and their ranges.</content>
internal sealed partial class WriterSession
{
    private readonly SqliteStatement _selectBucketByName = connection.Prepare("SELECT bucket_id, name, owner, region, created_unix_ms FROM bucket WHERE name = ?1");
    private readonly SqliteStatement _selectBucketExists = connection.Prepare("SELECT 1 FROM bucket WHERE bucket_id = ?1");
    private readonly SqliteStatement _insertBucket = connection.Prepare("INSERT INTO bucket (name, owner, region, created_unix_ms, next_range_id) VALUES (?1, ?2, ?3, ?4, 2)");
    private readonly SqliteStatement _deleteBucket = connection.Prepare("DELETE FROM bucket WHERE bucket_id = ?1");
    private readonly SqliteStatement _selectAnyVersion = connection.Prepare("SELECT 1 FROM object_version WHERE bucket_id = ?1 LIMIT 1");
    private readonly SqliteStatement _selectUploadsOfBucket = connection.Prepare("SELECT upload_id FROM multipart_upload WHERE bucket_id = ?1");
    private readonly SqliteStatement _takeRangeId = connection.Prepare("UPDATE bucket SET next_range_id = next_range_id + 1 WHERE bucket_id = ?1");
    private readonly SqliteStatement _selectNextRangeId = connection.Prepare("SELECT next_range_id FROM bucket WHERE bucket_id = ?1");
    private readonly SqliteStatement _selectRange = connection.Prepare("SELECT epoch, start_key, end_key FROM index_range WHERE bucket_id = ?1 AND range_id = ?2");
    private readonly SqliteStatement _insertRange = connection.Prepare("INSERT INTO index_range (bucket_id, range_id, start_key, end_key, epoch) VALUES (?1, ?2, ?3, ?4, ?5)");
    private readonly SqliteStatement _raiseEpoch = connection.Prepare("UPDATE index_range SET epoch = epoch + 1 WHERE bucket_id = ?1 AND range_id = ?2");
    private readonly SqliteStatement _shortenRange = connection.Prepare("UPDATE index_range SET epoch = epoch + 1, end_key = ?3 WHERE bucket_id = ?1 AND range_id = ?2");
    private readonly SqliteStatement _deleteRanges = connection.Prepare("DELETE FROM index_range WHERE bucket_id = ?1");

    internal CreateBucketResult CreateBucket(string name, string owner, string region, long createdUnixMs)
    {
        _selectBucketByName.BindText(1, name);
        if (_selectBucketByName.Step())
        {
            BucketInfo existing = BucketOf(_selectBucketByName);
            _selectBucketByName.Reset();
            return new CreateBucketResult(false, existing);
        }

        _selectBucketByName.Reset();
        _insertBucket.BindText(1, name).BindText(2, owner).BindText(3, region).Bind(4, createdUnixMs).Run();
        var bucket = new BucketId(SqliteNative.LastInsertRowId(connection.Handle));
        InsertRange(bucket, 1, [], null, epoch: 1);
        return new CreateBucketResult(true, new BucketInfo(bucket, name, owner, region, createdUnixMs));
    }

    internal DeleteBucketStatus DeleteBucket(BucketId bucket, long garbageNotBeforeUnixMs)
    {
        if (!BucketExists(bucket))
        {
            return DeleteBucketStatus.NoSuchBucket;
        }

        bool holdsVersions = _selectAnyVersion.Bind(1, bucket.Value).Step();
        _selectAnyVersion.Reset();
        if (holdsVersions)
        {
            return DeleteBucketStatus.NotEmpty;
        }

        // Ids first: a statement that walks the table while rows go from it may see a row twice or not at all.
        var uploads = new List<VersionId>();
        _selectUploadsOfBucket.Bind(1, bucket.Value);
        while (_selectUploadsOfBucket.Step())
        {
            uploads.Add(_selectUploadsOfBucket.VersionId(0));
        }

        _selectUploadsOfBucket.Reset();
        foreach (VersionId upload in uploads)
        {
            ReadParts(upload, []);
            EndUpload(upload, kept: null, garbageNotBeforeUnixMs);
        }

        _deleteRanges.Bind(1, bucket.Value).Run();
        _deleteBucket.Bind(1, bucket.Value).Run();
        return DeleteBucketStatus.Deleted;
    }

    internal RangeLease? AcquireRange(BucketId bucket, long rangeId)
    {
        if (ReadRange(bucket, rangeId) is not RangeLease lease)
        {
            return null;
        }

        _raiseEpoch.Bind(1, bucket.Value).Bind(2, rangeId).Run();
        return lease with { Epoch = lease.Epoch + 1 };
    }

    internal IndexRange? SplitRange(BucketId bucket, long rangeId, long epoch, byte[] splitKey)
    {
        if (ReadRange(bucket, rangeId) is not RangeLease lease
            || lease.Epoch != epoch
            || splitKey.AsSpan().SequenceCompareTo(lease.Range.Start) <= 0
            || !lease.Range.Contains(splitKey))
        {
            return null;
        }

        _selectNextRangeId.Bind(1, bucket.Value).Step();
        long newRangeId = _selectNextRangeId.Int64(0);
        _selectNextRangeId.Reset();
        _takeRangeId.Bind(1, bucket.Value).Run();

        // Leaders of either half have to acquire it anew: the old epoch is fenced here, and the new range has one that no activation ever held.
        _shortenRange.Bind(1, bucket.Value).Bind(2, rangeId).Bind(3, splitKey).Run();
        InsertRange(bucket, newRangeId, splitKey, lease.Range.End, epoch + 1);
        return new IndexRange(newRangeId, splitKey, lease.Range.End);
    }

    private RangeLease? ReadRange(BucketId bucket, long rangeId)
    {
        _selectRange.Bind(1, bucket.Value).Bind(2, rangeId);
        RangeLease? lease = null;
        if (_selectRange.Step())
        {
            byte[]? end = _selectRange.IsNull(2) ? null : _selectRange.Blob(2).ToArray();
            lease = new RangeLease(new IndexRange(rangeId, _selectRange.Blob(1).ToArray(), end), _selectRange.Int64(0));
        }

        _selectRange.Reset();
        return lease;
    }

    private void InsertRange(BucketId bucket, long rangeId, byte[] start, byte[]? end, long epoch)
    {
        _insertRange.Bind(1, bucket.Value).Bind(2, rangeId).Bind(3, start).Bind(5, epoch);
        if (end is null)
        {
            _insertRange.BindNull(4);
        }
        else
        {
            _insertRange.Bind(4, end);
        }

        _insertRange.Run();
    }

    private bool BucketExists(BucketId bucket)
    {
        bool exists = _selectBucketExists.Bind(1, bucket.Value).Step();
        _selectBucketExists.Reset();
        return exists;
    }

    internal static BucketInfo BucketOf(SqliteStatement row) => new(new BucketId(row.Int64(0)), row.Text(1), row.Text(2), row.Text(3), row.Int64(4));
}
