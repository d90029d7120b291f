using System.Collections.Immutable;
using System.Diagnostics;
using ObjectStore.Metadata;
using Orleans;

namespace ObjectStore.Grains;

/// <summary>
/// One multipart upload. It orders part puts, completion and abort among themselves; where two activations disagree the store's transactions
/// decide. Completion goes through the object's own grain, so it takes its turn among the writes of the key.
/// </summary>
[GrainType("multipart-upload"), CollectionAgeLimit(Minutes = 2)]
public sealed class MultipartUploadGrain(IMetadataStore store, GrainOptions options, TimeProvider time) : Grain, IMultipartUploadGrain
{
    private const int PartsPerPage = 1_000;

    /// <summary>How often one completion chooses its parts, when they are replaced under its hands.</summary>
    private const int MaxSelections = 5;

    private readonly ValidatedCache<UploadInfo> _upload = new(time, options.CacheRevalidation);
    private VersionId _uploadId;

    private long GarbageNotBeforeUnixMs => (time.GetUtcNow() + options.GarbageGrace).ToUnixTimeMilliseconds();

    /// <inheritdoc/>
    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        // A key that is not an id is a client's invention: it names no upload, and every method says so.
        VersionId.TryParse(this.GetPrimaryKeyString(), out _uploadId);
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public async Task<bool> CreateAsync(UploadInfo upload)
    {
        if (upload.UploadId != _uploadId || _uploadId.IsNone)
            throw new ArgumentException($"Upload {upload.UploadId} was sent to the grain of {this.GetPrimaryKeyString()}.", nameof(upload));
        _upload.Invalidate();
        long sentAt = time.GetTimestamp();
        if (!await store.CreateUploadAsync(upload))
            return false;
        _upload.Set(upload, sentAt);
        return true;
    }

    /// <inheritdoc/>
    public async Task<UploadInfo?> GetAsync()
    {
        if (_uploadId.IsNone)
            return null;
        return _upload.TryGet(out UploadInfo? cached) ? cached : await ReadUploadAsync();
    }

    /// <inheritdoc/>
    public async Task<bool> PutPartAsync(UploadPart part)
    {
        if (!_uploadId.IsNone && await store.PutPartAsync(_uploadId, part, GarbageNotBeforeUnixMs))
            return true;
        _upload.Invalidate();
        return false;
    }

    /// <inheritdoc/>
    public async Task<ImmutableArray<UploadPart>?> ListPartsAsync(int afterPartNumber, int maxParts)
    {
        if (_uploadId.IsNone)
            return null;
        ImmutableArray<UploadPart> parts = await store.ListPartsAsync(_uploadId, afterPartNumber, maxParts);

        // Parts are proof of their upload. Without any it is looked for, not remembered.
        if (parts.IsEmpty && await ReadUploadAsync() is null)
            return null;
        return parts;
    }

    /// <inheritdoc/>
    public async Task<CompleteResult> CompleteAsync(CompleteCommand command)
    {
        using Activity? activity = GrainMetrics.Activities.StartActivity("upload.complete");
        for (int selections = 1; ; selections++)
        {
            if (_uploadId.IsNone || await ReadUploadAsync() is not { } upload)
                return await EarlierCompletionAsync(command);
            if (upload.Bucket != command.Bucket || upload.Key != command.Key)
                return new CompleteResult(CompleteStatus.NoSuchUpload, null, 0);
            (ObjectVersion? version, CompleteResult? refusal) = await SelectAsync(upload, command);
            if (version is null)
                return refusal!;

            PutResult put = await ObjectOf(command).PutAsync(new PutCommand(version, command.Condition, _uploadId));
            switch (put.Status)
            {
                case PutStatus.StoreFull:
                    throw new MetadataStoreFullException($"Upload {_uploadId} was not completed: the metadata store has no room.");
                case PutStatus.Busy:
                    throw new RangeBusyException($"Upload {_uploadId} was not completed: too many commits wait.");
            }

            if (put.Status == PutStatus.NoSuchUpload)
            {
                // Another activation ended it, or put a part anew behind the selection. The store knows which.
                _upload.Invalidate();
                if (selections < MaxSelections)
                    continue;
                throw new MetadataStoreException($"Parts of upload {_uploadId} were replaced {MaxSelections} times while it was completed.");
            }

            if (put.Status is PutStatus.Committed or PutStatus.NoSuchBucket)
            {
                _upload.Invalidate();
                DeactivateOnIdle();
            }

            return put.Status switch
            {
                PutStatus.Committed => new CompleteResult(CompleteStatus.Committed, put.Version, 0),
                PutStatus.PreconditionFailed => new CompleteResult(CompleteStatus.PreconditionFailed, null, 0),
                PutStatus.NoSuchKey => new CompleteResult(CompleteStatus.NoSuchKey, null, 0),
                PutStatus.NoSuchBucket => new CompleteResult(CompleteStatus.NoSuchBucket, null, 0),
                _ => throw new InvalidOperationException($"A completion ended with {put.Status}."),
            };
        }
    }

    /// <summary>Makes the version of the parts that are recorded now, or says why not.</summary>
    private async ValueTask<(ObjectVersion? Version, CompleteResult? Refusal)> SelectAsync(UploadInfo upload, CompleteCommand command)
    {
        if (PartSelection.CheckOrder(command.Parts) is { } disorder)
            return (null, disorder);

        PartSelection selection = new(command.Parts);
        int afterPartNumber = 0;
        while (!selection.IsComplete)
        {
            ImmutableArray<UploadPart> page = await store.ListPartsAsync(_uploadId, afterPartNumber, PartsPerPage);
            if (selection.Match(page) is { } mismatch)
                return (null, mismatch);
            if (page.Length < PartsPerPage)
                break;
            afterPartNumber = page[^1].Layout.PartNumber;
        }

        return selection.Assemble(upload, command, time.GetUtcNow().ToUnixTimeMilliseconds());
    }

    /// <inheritdoc/>
    public async Task<bool> AbortAsync()
    {
        _upload.Invalidate();
        try
        {
            return !_uploadId.IsNone && await store.AbortUploadAsync(_uploadId, GarbageNotBeforeUnixMs);
        }
        finally
        {
            _upload.Invalidate();
            DeactivateOnIdle();
        }
    }

    private async ValueTask<UploadInfo?> ReadUploadAsync()
    {
        ValidatedCache<UploadInfo>.Reading reading = _upload.BeginRead();
        UploadInfo? upload = await store.GetUploadAsync(_uploadId);
        _upload.EndRead(reading, upload);
        return upload;
    }

    /// <summary>A completion that is repeated after it succeeded succeeds again, as S3 has it, for as long as the object is the upload's.</summary>
    private async ValueTask<CompleteResult> EarlierCompletionAsync(CompleteCommand command)
    {
        DeactivateOnIdle();
        ObjectVersion? version = _uploadId.IsNone ? null : await ObjectOf(command).ReadAsync(_uploadId);
        return version is null ? new CompleteResult(CompleteStatus.NoSuchUpload, null, 0) : new CompleteResult(CompleteStatus.Committed, version, 0);
    }

    private IObjectGrain ObjectOf(CompleteCommand command) => GrainFactory.GetGrain<IObjectGrain>(GrainKeys.Object(command.Bucket, command.Key));
}
