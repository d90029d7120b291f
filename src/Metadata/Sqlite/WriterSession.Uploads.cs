using System.Collections.Immutable;
using ObjectStore.Grains;
using ObjectStore.Metadata.Records;

namespace ObjectStore.Metadata.Sqlite;

/// <content>Multipart uploads.</content>
internal sealed partial class WriterSession
{
    private readonly SqliteStatement _selectUpload = connection.Prepare("SELECT bucket_id, object_key FROM multipart_upload WHERE upload_id = ?1");
    private readonly SqliteStatement _insertUpload = connection.Prepare("INSERT INTO multipart_upload (upload_id, bucket_id, object_key, initiated_unix_ms, record) VALUES (?1, ?2, ?3, ?4, ?5)");
    private readonly SqliteStatement _deleteUpload = connection.Prepare("DELETE FROM multipart_upload WHERE upload_id = ?1");
    private readonly SqliteStatement _selectPart = connection.Prepare("SELECT record FROM upload_part WHERE upload_id = ?1 AND part_number = ?2");
    private readonly SqliteStatement _replacePart = connection.Prepare("INSERT OR REPLACE INTO upload_part (upload_id, part_number, last_modified_unix_ms, record) VALUES (?1, ?2, ?3, ?4)");
    private readonly SqliteStatement _selectParts = connection.Prepare("SELECT record FROM upload_part WHERE upload_id = ?1 ORDER BY part_number");
    private readonly SqliteStatement _deleteParts = connection.Prepare("DELETE FROM upload_part WHERE upload_id = ?1");

    // Scratch of one operation.
    private readonly List<(PartLayout Part, byte[] Record)> _unlisted = [];

    internal bool CreateUpload(UploadInfo upload, byte[] key, byte[] record)
    {
        if (!BucketExists(upload.Bucket))
        {
            return false;
        }

        if (!UploadExists(upload.UploadId))
        {
            _insertUpload.Bind(1, upload.UploadId).Bind(2, upload.Bucket.Value).Bind(3, key).Bind(4, upload.InitiatedUnixMs).Bind(5, record).Run();
        }

        return true;
    }

    internal bool PutPart(VersionId uploadId, UploadPart part, byte[] record, long garbageNotBeforeUnixMs)
    {
        // A part that was replaced and comes again from a caller whose answer was lost, or one that took so long that its bytes were swept as an orphan's.
        if (!UploadExists(uploadId) || _extents.IsGarbage(part.Layout.ExtentHigh, part.Layout.ExtentLow))
        {
            return false;
        }

        PartLayout? replaced = null;
        _selectPart.Bind(1, uploadId).Bind(2, part.Layout.PartNumber);
        try
        {
            if (_selectPart.Step())
            {
                replaced = MetadataRecords.DecodePart(_selectPart.Blob(0));
            }
        }
        finally
        {
            _selectPart.Reset();
        }

        _replacePart.Bind(1, uploadId).Bind(2, part.Layout.PartNumber).Bind(3, part.LastModifiedUnixMs).Bind(4, record).Run();
        if (replaced is not null && (replaced.ExtentHigh, replaced.ExtentLow) != (part.Layout.ExtentHigh, part.Layout.ExtentLow))
        {
            InsertGarbage(replaced, garbageNotBeforeUnixMs);
        }

        return true;
    }

    internal bool AbortUpload(VersionId uploadId, long garbageNotBeforeUnixMs)
    {
        if (!UploadExists(uploadId))
        {
            return false;
        }

        ReadParts(uploadId, []);
        EndUpload(uploadId, kept: null, garbageNotBeforeUnixMs);
        return true;
    }

    private bool UploadExists(VersionId uploadId)
    {
        bool exists = _selectUpload.Bind(1, uploadId).Step();
        _selectUpload.Reset();
        return exists;
    }

    private bool UploadIsOf(VersionId uploadId, BucketId bucket, byte[] key)
    {
        bool holds = _selectUpload.Bind(1, uploadId).Step() && _selectUpload.Int64(0) == bucket.Value && _selectUpload.Blob(1).SequenceEqual(key);
        _selectUpload.Reset();
        return holds;
    }

    /// <summary>
    /// Reads the upload's parts, and leaves those that are not listed for <see cref="EndUpload"/>. False when not every listed one, in rising order, is recorded
    /// with its number and extent: another took its number since it was chosen, and its own bytes are garbage.
    /// </summary>
    private bool ReadParts(VersionId uploadId, ImmutableArray<PartLayout> listed)
    {
        _unlisted.Clear();
        int found = 0;
        _selectParts.Bind(1, uploadId);
        try
        {
            while (_selectParts.Step())
            {
                ReadOnlySpan<byte> record = _selectParts.Blob(0);
                PartLayout part = MetadataRecords.DecodePart(record);
                if (found < listed.Length && listed[found] is { } next
                    && (next.PartNumber, next.ExtentHigh, next.ExtentLow) == (part.PartNumber, part.ExtentHigh, part.ExtentLow))
                {
                    found++;
                }
                else
                {
                    _unlisted.Add((part, record.ToArray()));
                }
            }
        }
        finally
        {
            _selectParts.Reset();
        }

        return found == listed.Length;
    }

    /// <summary>Takes the upload and its parts away, which <see cref="ReadParts"/> has read; extents that are not kept become garbage.</summary>
    private void EndUpload(VersionId uploadId, HashSet<(ulong High, ulong Low)>? kept, long garbageNotBeforeUnixMs)
    {
        foreach ((PartLayout part, byte[] record) in _unlisted)
        {
            if (kept is null || !kept.Contains((part.ExtentHigh, part.ExtentLow)))
            {
                InsertGarbage(part, record, garbageNotBeforeUnixMs);
            }
        }

        _unlisted.Clear();
        _deleteParts.Bind(1, uploadId).Run();
        _deleteUpload.Bind(1, uploadId).Run();
    }
}
