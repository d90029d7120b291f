using System.Collections.Immutable;
using System.Runtime.InteropServices;
using ObjectStore.Grains;
using ObjectStore.Metadata.Records;

namespace ObjectStore.Metadata.Sqlite;

/// <content>Versions and the entries that LIST shows.</content>
internal sealed partial class WriterSession
{
    internal const long NullVersionFlag = 1;
    internal const long DeleteMarkerFlag = 2;

    private readonly SqliteStatement _selectVersions = connection.Prepare("SELECT sequence, version_id, record FROM object_version WHERE bucket_id = ?1 AND object_key = ?2 ORDER BY sequence DESC");
    private readonly SqliteStatement _insertVersion = connection.Prepare("INSERT INTO object_version (bucket_id, object_key, sequence, version_id, flags, size_bytes, last_modified_unix_ms, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
    private readonly SqliteStatement _deleteVersion = connection.Prepare("DELETE FROM object_version WHERE bucket_id = ?1 AND object_key = ?2 AND sequence = ?3");
    private readonly SqliteStatement _replaceEntry = connection.Prepare("INSERT OR REPLACE INTO object_entry (bucket_id, object_key, size_bytes, etag, part_count, last_modified_unix_ms, storage_class, checksum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
    private readonly SqliteStatement _deleteEntry = connection.Prepare("DELETE FROM object_entry WHERE bucket_id = ?1 AND object_key = ?2");

    // Scratch of one mutation; the writer is one thread.
    private readonly List<RemovedVersion> _removed = [];
    private readonly HashSet<(ulong High, ulong Low)> _kept = [];

    internal ImmutableArray<CommitResult> Commit(PreparedCommit prepared)
    {
        RangeCommit commit = prepared.Commit;
        var results = new CommitResult[prepared.Mutations.Length];
        if (ReadRange(commit.Bucket, commit.RangeId) is not RangeLease lease || lease.Epoch != commit.Epoch)
        {
            CommitStatus status = BucketExists(commit.Bucket) ? CommitStatus.RangeMoved : CommitStatus.NoSuchBucket;
            Array.Fill(results, new CommitResult(status, VersionId.None));
        }
        else
        {
            for (int i = 0; i < results.Length; i++)
            {
                results[i] = Apply(commit, lease.Range, prepared.Mutations[i]);
            }
        }

        return ImmutableCollectionsMarshal.AsImmutableArray(results);
    }

    private CommitResult Apply(RangeCommit commit, IndexRange range, PreparedMutation prepared)
    {
        ObjectMutation mutation = prepared.Mutation;
        if (!range.Contains(prepared.Key))
        {
            return new CommitResult(CommitStatus.RangeMoved, VersionId.None);
        }

        KeyState state = ReadKey(commit.Bucket, prepared);
        if (state.HoldsInsert)
        {
            return new CommitResult(CommitStatus.AlreadyApplied, VersionId.None);
        }

        if (state.Newest != mutation.ExpectedNewest)
        {
            // A deletion whose answer was lost finds nothing under the key, which is what it wanted. Where another version is newest it cannot be told
            // from a deletion that was decided on a stale read, so the caller has to look again.
            bool nothingLeftToRemove = mutation.Insert is null && !prepared.Remove.IsEmpty && state.Newest.IsNone;
            return nothingLeftToRemove
                ? new CommitResult(CommitStatus.AlreadyApplied, VersionId.None)
                : new CommitResult(CommitStatus.Conflict, state.Newest);
        }

        if (mutation.CompletesUpload is VersionId completes
            && !(UploadIsOf(completes, commit.Bucket, prepared.Key) && ReadParts(completes, mutation.Insert?.Parts ?? [])))
        {
            return new CommitResult(CommitStatus.NoSuchUpload, VersionId.None);
        }

        // A version that was committed and removed since may come again, from a writer whose answer was lost. The compare does not see that where the newest
        // is what it was before (nothing, on a key that was free), but the extents are then on their way out.
        if (mutation.Insert is { } inserted && HoldsGarbage(inserted.Parts))
        {
            return new CommitResult(CommitStatus.Conflict, state.Newest);
        }

        // From here on it writes.
        _kept.Clear();
        if (mutation.Insert is { } insert)
        {
            foreach (PartLayout part in insert.Parts.AsSpan())
            {
                _kept.Add((part.ExtentHigh, part.ExtentLow));
            }
        }

        RemoveVersions(commit, prepared.Key);
        if (mutation.CompletesUpload is VersionId upload)
        {
            EndUpload(upload, _kept, commit.GarbageNotBeforeUnixMs);
        }

        if (mutation.Insert is not null)
        {
            InsertVersion(commit.Bucket, prepared, state.NewestSequence + 1);
            ShowEntry(commit.Bucket, prepared.Key, mutation.Insert);
        }
        else if (state.RemovesNewest)
        {
            ShowEntry(commit.Bucket, prepared.Key, state.NewestThatStays);
        }

        return new CommitResult(CommitStatus.Committed, VersionId.None);
    }

    /// <summary>
    /// Reads the key's rows, newest first, as far as the mutation needs: the newest; all that it removes; and every id, as the version to insert
    /// may be among them. The rows to remove are decoded here, so a damaged one is found before anything is written.
    /// </summary>
    private KeyState ReadKey(BucketId bucket, PreparedMutation prepared)
    {
        var state = default(KeyState);
        VersionId insertId = prepared.Mutation.Insert?.VersionId ?? VersionId.None;
        ImmutableArray<VersionId> remove = prepared.Remove;
        _removed.Clear();
        _selectVersions.Bind(1, bucket.Value).Bind(2, prepared.Key);
        try
        {
            for (bool isNewest = true; _selectVersions.Step(); isNewest = false)
            {
                long sequence = _selectVersions.Int64(0);
                VersionId id = _selectVersions.VersionId(1);
                if (isNewest)
                {
                    state.Newest = id;
                    state.NewestSequence = sequence;
                }

                if (id == insertId)
                {
                    state.HoldsInsert = true;
                    return state;
                }

                if (remove.Contains(id))
                {
                    _removed.Add(new RemovedVersion(sequence, MetadataRecords.DecodeVersion(_selectVersions.Blob(2)).Parts));
                    state.RemovesNewest |= isNewest;
                }
                else if (state.RemovesNewest && state.NewestThatStays is null && insertId.IsNone)
                {
                    state.NewestThatStays = MetadataRecords.DecodeVersion(_selectVersions.Blob(2));
                }
            }

            return state;
        }
        finally
        {
            _selectVersions.Reset();
        }
    }

    private void RemoveVersions(RangeCommit commit, byte[] key)
    {
        foreach (RemovedVersion version in _removed)
        {
            _deleteVersion.Bind(1, commit.Bucket.Value).Bind(2, key).Bind(3, version.Sequence).Run();
            foreach (PartLayout part in version.Parts)
            {
                // A version that is written anew over the same bytes (its headers changed) keeps them.
                if (!_kept.Contains((part.ExtentHigh, part.ExtentLow)))
                {
                    InsertGarbage(part, commit.GarbageNotBeforeUnixMs);
                }
            }
        }
    }

    private void InsertVersion(BucketId bucket, PreparedMutation prepared, long sequence)
    {
        ObjectVersion version = prepared.Mutation.Insert!;
        _insertVersion.Bind(1, bucket.Value).Bind(2, prepared.Key).Bind(3, sequence).Bind(4, version.VersionId)
            .Bind(5, (version.IsNullVersion ? NullVersionFlag : 0) | (version.IsDeleteMarker ? DeleteMarkerFlag : 0))
            .Bind(6, version.SizeBytes).Bind(7, version.LastModifiedUnixMs).Bind(8, prepared.Record!)
            .Run();
    }

    private void ShowEntry(BucketId bucket, byte[] key, ObjectVersion? newest)
    {
        if (newest is null || newest.IsDeleteMarker)
        {
            _deleteEntry.Bind(1, bucket.Value).Bind(2, key).Run();
            return;
        }

        Span<byte> md5 = stackalloc byte[16];
        newest.ETag.CopyMd5To(md5);
        _replaceEntry.Bind(1, bucket.Value).Bind(2, key).Bind(3, newest.SizeBytes).Bind(4, md5).Bind(5, newest.ETag.PartCount).Bind(6, newest.LastModifiedUnixMs)
            .Bind(7, RecordNames.StorageClassCode(newest.StorageClass))
            .Bind(8, RecordNames.ChecksumCode(newest.Checksum?.Algorithm, newest.Checksum?.IsComposite ?? false))
            .Run();
    }

    private readonly record struct RemovedVersion(long Sequence, ImmutableArray<PartLayout> Parts);

    private struct KeyState
    {
        internal VersionId Newest;
        internal long NewestSequence;
        internal bool HoldsInsert;
        internal bool RemovesNewest;
        internal ObjectVersion? NewestThatStays;
    }
}
