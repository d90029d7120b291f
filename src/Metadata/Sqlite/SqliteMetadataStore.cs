using System.Collections.Immutable;
using ObjectStore.Grains;
using ObjectStore.Metadata.Records;

namespace ObjectStore.Metadata.Sqlite;

/// <summary>
/// The embedded metadata store: one SQLite database in write-ahead mode, one writer thread that commits for all callers (<see cref="GroupCommitter"/>), and
/// a pool of connections that read snapshots in the caller's thread. A read that starts after a change was acknowledged sees it.
/// </summary>
public sealed partial class SqliteMetadataStore : IMetadataStore
{
    private readonly SqliteMetadataOptions _options;
    private readonly FileStream _lock;
    private readonly SqliteConnection _writer;
    private readonly SqliteConnection _checkpointer;
    private readonly GroupCommitter _committer;
    private readonly SemaphoreSlim _readSlots;
    private readonly Stack<ReaderSession> _idleReaders = new();
    private readonly Lock _gate = new();
    private bool _disposed;

    private SqliteMetadataStore(SqliteMetadataOptions options, FileStream held, SqliteConnection writer, SqliteConnection checkpointer)
    {
        _options = options;
        _lock = held;
        _writer = writer;
        _checkpointer = checkpointer;
        _readSlots = new SemaphoreSlim(options.ReadConnections);
        _committer = new GroupCommitter(writer, checkpointer, options);
    }

    /// <summary>The path of the database.</summary>
    public string DatabasePath => PathOf(_options);

    /// <summary>Opens the database, creating or migrating it as need be. Dispose the store to release the folder.</summary>
    /// <exception cref="ArgumentException">An option makes no sense.</exception>
    /// <exception cref="MetadataStoreInUseException">The folder is in use.</exception>
    /// <exception cref="MetadataStoreUnusableException">The database is damaged, of a newer schema, or something else's.</exception>
    /// <exception cref="MetadataStoreException">The disk failed.</exception>
    public static Task<SqliteMetadataStore> OpenAsync(SqliteMetadataOptions options, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();

        // Opening may recover a log of many megabytes; that is no work for a caller that is a grain or a request.
        return Task.Run(() => Open(options), cancellationToken);
    }

    private static string PathOf(SqliteMetadataOptions options) => Path.Combine(Path.GetFullPath(options.Directory), SqliteMetadataOptions.FileName);

    private static SqliteMetadataStore Open(SqliteMetadataOptions options)
    {
        string directory = Path.GetFullPath(options.Directory);
        string path = PathOf(options);
        FileStream? held = null;
        SqliteConnection? writer = null;
        SqliteConnection? checkpointer = null;
        try
        {
            StoreFolder.Create(directory);
            held = StoreFolder.Lock(directory);
            writer = OpenWriter(options, path);

            // The main file's name: SQLite syncs the folder for its log, but not for this one.
            StoreFolder.Sync(directory);
            checkpointer = OpenConnection(path, busyTimeout: TimeSpan.Zero);
            checkpointer.Pragma("synchronous", 2);
            checkpointer.Execute("PRAGMA checkpoint_fullfsync=1");
            SettleLog(checkpointer);
            return new SqliteMetadataStore(options, held, writer, checkpointer);
        }
        catch (Exception fault)
        {
            checkpointer?.Dispose();
            writer?.Dispose();
            held?.Dispose();
            if (fault is SqliteException { Code: SqliteNative.NotADatabase or SqliteNative.Corrupt } damaged)
            {
                throw new MetadataStoreUnusableException($"{path} is damaged or not a database ({damaged.Message}): restore it from a backup.", damaged);
            }

            if (fault is SqliteException other)
            {
                throw new MetadataStoreException($"{path} could not be opened: {other.Message} (SQLite code {other.ExtendedCode}).", other);
            }

            if (fault is IOException or UnauthorizedAccessException)
            {
                throw new MetadataStoreException($"The metadata folder {directory} could not be opened: {fault.Message}", fault);
            }

            throw;
        }
    }

    /// <summary>
    /// Copies what the process before left in the log into the database, synced, so that the log begins anew. What that process could not sync may be in the page cache only, where the kernel
    /// takes it for clean: commits behind it, each synced, would all be lost with it at a power cut. Without room for it the store opens all the same, so that something can be deleted.
    /// </summary>
    private static unsafe void SettleLog(SqliteConnection checkpointer)
    {
        int code = SqliteNative.WalCheckpoint(checkpointer.Handle, null, SqliteNative.CheckpointRestart, null, null);
        if (code is not SqliteNative.Ok && (code & 0xFF) is not (SqliteNative.Busy or SqliteNative.Full))
        {
            throw checkpointer.Fault(code);
        }
    }

    private static SqliteConnection OpenConnection(string path, TimeSpan busyTimeout)
    {
        SqliteConnection connection = SqliteConnection.Open(path);
        try
        {
            ObjectStore.Sqlite.SqliteSleep.SetBusyLimit(connection.Handle, busyTimeout);
            connection.Pragma("wal_autocheckpoint", 0);
            connection.Execute("PRAGMA temp_store=MEMORY");
            return connection;
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    private static SqliteConnection OpenWriter(SqliteMetadataOptions options, string path)
    {
        SqliteConnection connection = OpenConnection(path, TimeSpan.FromSeconds(2));
        try
        {
            connection.Pragma("page_size", options.PageSizeBytes);
            connection.Pragma("cache_size", -(options.WriterCacheBytes >> 10));

            // Everything that says "this is not ours" comes before the first write to the file.
            _ = connection.QueryInt64("SELECT count(*) FROM sqlite_master");
            connection.Pragma("synchronous", 2);
            connection.Execute("PRAGMA fullfsync=1");
            long applicationId = connection.QueryInt64("PRAGMA application_id") ?? 0;
            if (applicationId is 0 or SqliteSchema.ApplicationId)
            {
                connection.Execute("PRAGMA journal_mode=WAL");
            }

            SqliteSchema.Migrate(connection, path, options.TimeProvider);
            if (connection.QueryInt64("PRAGMA synchronous") != 2 || connection.QueryInt64("SELECT count(*) FROM pragma_journal_mode WHERE journal_mode = 'wal'") != 1)
            {
                throw new MetadataStoreUnusableException($"{path} could not be put into write-ahead mode: the file system lacks shared memory maps; use a local one.");
            }

            connection.Pragma("journal_size_limit", options.CheckpointBytes * 2);
            if (options.MaxDatabaseBytes > 0)
            {
                connection.Pragma("max_page_count", Math.Max(1, options.MaxDatabaseBytes / (connection.QueryInt64("PRAGMA page_size") ?? options.PageSizeBytes)));
            }

            return connection;
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public ValueTask<CreateBucketResult> CreateBucketAsync(string name, string owner, string region, long createdUnixMs, CancellationToken cancellationToken = default) =>
        _committer.SubmitAsync("metadata.create_bucket", session => session.CreateBucket(name, owner, region, createdUnixMs), cancellationToken);

    /// <inheritdoc/>
    public ValueTask<BucketInfo?> GetBucketAsync(string name, CancellationToken cancellationToken = default) =>
        ReadAsync(name, static (reader, name) => reader.GetBucket(name), cancellationToken);

    /// <inheritdoc/>
    public ValueTask<ImmutableArray<BucketInfo>> ListBucketsAsync(string prefix, string startAfter, int maxBuckets, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(maxBuckets);
        return ReadAsync(
            (Prefix: ObjectKeys.ToUtf8(prefix), StartAfter: ObjectKeys.ToUtf8(startAfter), Max: maxBuckets),
            static (reader, query) => reader.ListBuckets(query.Prefix, query.StartAfter, query.Max),
            cancellationToken);
    }

    /// <inheritdoc/>
    public ValueTask<DeleteBucketStatus> DeleteBucketAsync(BucketId bucket, long garbageNotBeforeUnixMs, CancellationToken cancellationToken = default) =>
        _committer.SubmitAsync("metadata.delete_bucket", session => session.DeleteBucket(bucket, garbageNotBeforeUnixMs), cancellationToken);

    /// <inheritdoc/>
    public ValueTask<ImmutableArray<IndexRange>> ListRangesAsync(BucketId bucket, CancellationToken cancellationToken = default) =>
        ReadAsync(bucket, static (reader, bucket) => reader.ListRanges(bucket), cancellationToken);

    /// <inheritdoc/>
    public ValueTask<RangeLease?> AcquireRangeAsync(BucketId bucket, long rangeId, CancellationToken cancellationToken = default) =>
        _committer.SubmitAsync("metadata.acquire_range", session => session.AcquireRange(bucket, rangeId), cancellationToken);

    /// <inheritdoc/>
    public ValueTask<ImmutableArray<CommitResult>> CommitAsync(RangeCommit commit, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(commit);
        var prepared = new PreparedCommit(commit);
        return prepared.Mutations.Length == 0
            ? ValueTask.FromResult(ImmutableArray<CommitResult>.Empty)
            : _committer.SubmitAsync("metadata.commit", session => session.Commit(prepared), cancellationToken);
    }

    /// <inheritdoc/>
    public ValueTask<IndexRange?> SplitRangeAsync(BucketId bucket, long rangeId, long epoch, byte[] splitKeyUtf8, CancellationToken cancellationToken = default) =>
        _committer.SubmitAsync("metadata.split_range", session => session.SplitRange(bucket, rangeId, epoch, splitKeyUtf8), cancellationToken);

    /// <inheritdoc/>
    public ValueTask<ObjectVersion?> ReadNewestAsync(BucketId bucket, string key, CancellationToken cancellationToken = default) =>
        ReadAsync((bucket, Key: ObjectKeys.ToUtf8(key)), static (reader, at) => reader.ReadNewest(at.bucket, at.Key), cancellationToken);

    /// <inheritdoc/>
    public ValueTask<ObjectVersion?> ReadVersionAsync(BucketId bucket, string key, VersionId version, CancellationToken cancellationToken = default) =>
        ReadAsync((bucket, Key: ObjectKeys.ToUtf8(key), version), static (reader, at) => reader.ReadVersion(at.bucket, at.Key, at.version), cancellationToken);

    /// <inheritdoc/>
    public ValueTask<ListPage> ListAsync(BucketId bucket, IndexRange range, ListQuery query, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(range);
        ArgumentNullException.ThrowIfNull(query);
        ArgumentOutOfRangeException.ThrowIfLessThan(query.MaxItems, 1, nameof(query));
        return ReadAsync((bucket, range, query), static (reader, at) => reader.List(at.bucket, at.range, at.query), cancellationToken);
    }

    /// <inheritdoc/>
    public ValueTask<bool> CreateUploadAsync(UploadInfo upload, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(upload);
        byte[] key = ObjectKeys.ToUtf8Checked(upload.Key);
        byte[] record = MetadataRecords.EncodeUpload(upload);
        return _committer.SubmitAsync("metadata.create_upload", session => session.CreateUpload(upload, key, record), cancellationToken);
    }

    /// <inheritdoc/>
    public ValueTask<UploadInfo?> GetUploadAsync(VersionId uploadId, CancellationToken cancellationToken = default) =>
        ReadAsync(uploadId, static (reader, id) => reader.GetUpload(id), cancellationToken);

    /// <inheritdoc/>
    public ValueTask<ImmutableArray<UploadInfo>> ListUploadsAsync(BucketId bucket, string prefix, string keyMarker, VersionId? uploadIdMarker, int maxUploads, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(maxUploads);
        return ReadAsync(
            (bucket, Prefix: ObjectKeys.ToUtf8(prefix), KeyMarker: ObjectKeys.ToUtf8(keyMarker), uploadIdMarker, maxUploads),
            static (reader, query) => reader.ListUploads(query.bucket, query.Prefix, query.KeyMarker, query.uploadIdMarker, query.maxUploads),
            cancellationToken);
    }

    /// <inheritdoc/>
    public ValueTask<bool> PutPartAsync(VersionId uploadId, UploadPart part, long garbageNotBeforeUnixMs, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(part);
        byte[] record = MetadataRecords.EncodePart(part.Layout);
        return _committer.SubmitAsync("metadata.put_part", session => session.PutPart(uploadId, part, record, garbageNotBeforeUnixMs), cancellationToken);
    }

    /// <inheritdoc/>
    public ValueTask<ImmutableArray<UploadPart>> ListPartsAsync(VersionId uploadId, int afterPartNumber, int maxParts, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(maxParts);
        return ReadAsync((uploadId, afterPartNumber, maxParts), static (reader, query) => reader.ListParts(query.uploadId, query.afterPartNumber, query.maxParts), cancellationToken);
    }

    /// <inheritdoc/>
    public ValueTask<bool> AbortUploadAsync(VersionId uploadId, long garbageNotBeforeUnixMs, CancellationToken cancellationToken = default) =>
        _committer.SubmitAsync("metadata.abort_upload", session => session.AbortUpload(uploadId, garbageNotBeforeUnixMs), cancellationToken);

    /// <inheritdoc/>
    public async ValueTask AddGarbageAsync(ImmutableArray<PartLayout> extents, long notBeforeUnixMs, CancellationToken cancellationToken = default)
    {
        if (!extents.IsDefaultOrEmpty)
        {
            byte[][] records = [.. extents.Select(MetadataRecords.EncodePart)];
            await _committer.SubmitAsync("metadata.add_garbage", session => session.AddGarbage(extents, records, notBeforeUnixMs), cancellationToken).ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    public ValueTask<ImmutableArray<ExtentGarbage>> ListGarbageAsync(long nowUnixMs, int maxExtents, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(maxExtents);
        return ReadAsync((nowUnixMs, maxExtents), static (reader, query) => reader.ListGarbage(query.nowUnixMs, query.maxExtents), cancellationToken);
    }

    /// <inheritdoc/>
    public async ValueTask RemoveGarbageAsync(ImmutableArray<long> garbageIds, CancellationToken cancellationToken = default)
    {
        if (!garbageIds.IsDefaultOrEmpty)
        {
            await _committer.SubmitAsync("metadata.remove_garbage", session => session.RemoveGarbage(garbageIds.AsSpan()), cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Commits what is queued, waits for the reads under way, closes the database and releases the folder.</summary>
    public async ValueTask DisposeAsync()
    {
        lock (_gate)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
        }

        await Task.Run(_committer.Dispose).ConfigureAwait(false);
        for (int i = 0; i < _options.ReadConnections; i++)
        {
            await _readSlots.WaitAsync().ConfigureAwait(false);
        }

        while (_idleReaders.TryPop(out ReaderSession? reader))
        {
            reader.Dispose();
        }

        // The last connection to close copies the log into the database and removes it.
        _checkpointer.Dispose();
        await Task.Run(_writer.Dispose).ConfigureAwait(false);
        await _lock.DisposeAsync().ConfigureAwait(false);
    }

    private ValueTask<T> ReadAsync<TState, T>(TState state, Func<ReaderSession, TState, T> read, CancellationToken cancellationToken)
    {
        if (cancellationToken.IsCancellationRequested)
        {
            return ValueTask.FromCanceled<T>(cancellationToken);
        }

        return _readSlots.Wait(0, CancellationToken.None)
            ? ValueTask.FromResult(Read(state, read))
            : ReadWhenFreeAsync(state, read, cancellationToken);
    }

    private async ValueTask<T> ReadWhenFreeAsync<TState, T>(TState state, Func<ReaderSession, TState, T> read, CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        await _readSlots.WaitAsync(cancellationToken).ConfigureAwait(false);
        return Read(state, read);
    }

    /// <summary>Reads in the caller's thread, with a slot taken.</summary>
    private T Read<TState, T>(TState state, Func<ReaderSession, TState, T> read)
    {
        ReaderSession? reader = null;
        try
        {
            lock (_gate)
            {
                ObjectDisposedException.ThrowIf(_disposed, this);
                _idleReaders.TryPop(out reader);
            }

            reader ??= OpenReader();
            return read(reader, state);
        }
        catch (SqliteException fault)
        {
            throw fault.ToStoreException();
        }
        finally
        {
            if (reader is not null)
            {
                lock (_gate)
                {
                    _idleReaders.Push(reader);
                }
            }

            _readSlots.Release();
        }
    }

    private ReaderSession OpenReader()
    {
        SqliteConnection connection = OpenConnection(DatabasePath, TimeSpan.FromSeconds(5));
        try
        {
            connection.Pragma("cache_size", -(_options.ReaderCacheBytes >> 10));
            connection.Pragma("mmap_size", _options.MemoryMapBytes);
            connection.Pragma("query_only", 1);
            return new ReaderSession(connection);
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }
}
