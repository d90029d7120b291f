// The order of writes to one key. A write reads the newest version (from the cache where it is fresh), decides, and commits through the range
// that holds the key, comparing with what it read. It never has to believe its cache: a stale one costs a lost race, and what is
// decided without a commit (a refused condition, a delete of nothing) is decided on what the store says.
//
// When a commit's answer is lost, the newest version tells:
//   ours          it was committed.
//   the expected  it was not, and it is tried again: the same compare and the same version id.
//   another       it may have been committed and replaced since. Trying again could bring back a version whose bytes are already garbage, so
//                 the write ends with the exception: not acknowledged, outcome unknown.
// The expected may also be newest again, because ours was committed and deleted since (where there was no version, nothing tells the two apart).
// The store refuses to insert a version whose extents are garbage, and the write ends the same way.

using System.Collections.Immutable;
using System.Diagnostics;
using System.Runtime.ExceptionServices;
using Microsoft.Extensions.Logging;
using ObjectStore.Metadata;
using Orleans;
using Orleans.Runtime;

namespace ObjectStore.Grains;

// The shortest whole minutes that Orleans takes: it must be above its collection quantum of one minute.
[GrainType("object"), CollectionAgeLimit(Minutes = 2)]
public sealed partial class ObjectGrain(
    IMetadataStore store,
    IndexRangeMap ranges,
    ActivationBudget budget,
    GrainOptions options,
    TimeProvider time,
    GrainMetrics metrics,
    ILogger<ObjectGrain> log) : Grain, IObjectGrain
{
    /// <summary>A layout of more parts is not kept: at some 100 bytes each a cache of them would be the silo's memory.</summary>
    private const int MaxCachedParts = 1_000;

    private readonly ValidatedCache<ObjectVersion> _newest = new(time, options.CacheRevalidation);
    private BucketId _bucket;
    private string _key = "";

    /// <inheritdoc/>
    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        (_bucket, _key) = GrainKeys.ParseObject(this.GetPrimaryKeyString());
        budget.Enter();
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public override Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        budget.Leave();
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public async Task<ObjectVersion?> ReadAsync(VersionId? versionId)
    {
        try
        {
            bool isCached = _newest.TryGet(out ObjectVersion? newest);
            if (versionId is { } id && (!isCached || newest!.VersionId != id))
                return await store.ReadVersionAsync(_bucket, _key, id);
            metrics.CacheRead(isCached);
            return isCached ? newest : await ReadNewestAsync();
        }
        finally
        {
            KeepToBudget();
        }
    }

    /// <inheritdoc/>
    public async Task<PutResult> PutAsync(PutCommand command)
    {
        using Activity? activity = GrainMetrics.Activities.StartActivity("object.put");
        ObjectVersion version = command.Version;
        Attempts attempts = new(this);
        try
        {
            while (true)
            {
                (ObjectVersion? newest, bool isCached) = await NewestAsync(attempts);
                if (newest?.VersionId == version.VersionId)
                    return new PutResult(PutStatus.Committed, newest);
                attempts.RefuseIfReplaced(newest);

                ConditionOutcome condition = WriteConditions.Evaluate(command.Condition, newest);
                if (condition != ConditionOutcome.Holds)
                {
                    if (isCached)
                    {
                        _newest.Invalidate();
                        continue;
                    }

                    return new PutResult(condition == ConditionOutcome.NoSuchKey ? PutStatus.NoSuchKey : PutStatus.PreconditionFailed, null);
                }

                ImmutableArray<VersionId> replaced = version.IsNullVersion && newest is { IsNullVersion: true } ? [newest.VersionId] : [];
                ObjectMutation mutation = new(_key, newest?.VersionId ?? VersionId.None, version, replaced, command.CompletesUpload);
                switch (await TryCommitAsync(mutation, version, attempts))
                {
                    case CommitStatus.Committed or CommitStatus.AlreadyApplied:
                        return new PutResult(PutStatus.Committed, version);
                    case CommitStatus.NoSuchBucket:
                        return new PutResult(PutStatus.NoSuchBucket, null);
                    case CommitStatus.NoSuchUpload:
                        // The version is not there, so a try whose answer was lost was not committed, or was and is gone again.
                        attempts.Throw();
                        return new PutResult(PutStatus.NoSuchUpload, null);
                }

                await attempts.NextAsync();
            }
        }
        catch (Exception exception) when (exception is MetadataStoreFullException or RangeBusyException && !attempts.AnswerWasLost)
        {
            // The bytes need not be kept for a commit that may have happened after all.
            return new PutResult(exception is RangeBusyException ? PutStatus.Busy : PutStatus.StoreFull, null);
        }
        finally
        {
            KeepToBudget();
        }
    }

    /// <inheritdoc/>
    public async Task<DeleteResult> DeleteAsync(DeleteCommand command)
    {
        using Activity? activity = GrainMetrics.Activities.StartActivity("object.delete");
        try
        {
            Attempts attempts = new(this);
            while (true)
            {
                (ObjectVersion? newest, bool isCached) = await NewestAsync(attempts);
                if (attempts.AnswerWasLost && newest is null)
                    return new DeleteResult(DeleteStatus.Deleted);
                attempts.RefuseIfReplaced(newest);

                ConditionOutcome condition = WriteConditions.Evaluate(command.Condition, newest);
                if (condition != ConditionOutcome.Holds)
                {
                    if (isCached)
                    {
                        _newest.Invalidate();
                        continue;
                    }

                    return new DeleteResult(condition == ConditionOutcome.NoSuchKey ? DeleteStatus.NoSuchKey : DeleteStatus.PreconditionFailed);
                }

                // The cache holds no absences, so this is what the store says.
                if (newest is null)
                    return new DeleteResult(DeleteStatus.Deleted);

                ObjectMutation mutation = new(_key, newest.VersionId, null, [newest.VersionId], null);
                switch (await TryCommitAsync(mutation, null, attempts))
                {
                    case CommitStatus.Committed:
                        return new DeleteResult(DeleteStatus.Deleted);
                    case CommitStatus.AlreadyApplied when attempts.AnswerWasLost:
                        return new DeleteResult(DeleteStatus.Deleted);
                    case CommitStatus.AlreadyApplied:
                        continue; // Another removed it first: what there was to decide on is gone.
                    case CommitStatus.NoSuchBucket:
                        return new DeleteResult(DeleteStatus.NoSuchBucket);
                }

                await attempts.NextAsync();
            }
        }
        finally
        {
            KeepToBudget();
        }
    }

    private async ValueTask<(ObjectVersion? Newest, bool IsCached)> NewestAsync(Attempts attempts)
    {
        if (_newest.TryGet(out ObjectVersion? cached))
            return (cached, true);
        try
        {
            return (await ReadNewestAsync(), false);
        }
        catch (Exception exception) when (attempts.AnswerWasLost && IsLostAnswer(exception))
        {
            // What matters to the caller is that its write's outcome is unknown, not that looking it up failed too.
            attempts.Throw();
            throw;
        }
    }

    private async ValueTask<ObjectVersion?> ReadNewestAsync()
    {
        ValidatedCache<ObjectVersion>.Reading reading = _newest.BeginRead();
        ObjectVersion? newest = await store.ReadNewestAsync(_bucket, _key);
        _newest.EndRead(reading, Cacheable(newest));
        return newest;
    }

    /// <summary>Sends a mutation once. <see cref="CommitStatus.RangeMoved"/> and <see cref="CommitStatus.Conflict"/> mean: look again and decide again.</summary>
    private async ValueTask<CommitStatus> TryCommitAsync(ObjectMutation mutation, ObjectVersion? newestThen, Attempts attempts)
    {
        // Reads that come while the commit is under way go to the store, which knows; nothing they bring outlives the commit.
        _newest.Invalidate();
        long sentAt = time.GetTimestamp();
        IndexRange? range = await ranges.FindAsync(_bucket, _key);
        if (range is null)
            return CommitStatus.NoSuchBucket;
        CommitResult result;
        try
        {
            result = await GrainFactory.GetGrain<IBucketIndexGrain>(GrainKeys.Range(_bucket, range.RangeId)).CommitAsync(mutation);
        }
        catch (Exception exception) when (IsLostAnswer(exception))
        {
            _newest.Invalidate();
            metrics.LostAnswer();
            LogLostAnswer(log, _bucket, range.RangeId, exception);
            attempts.Lose(exception, mutation.ExpectedNewest);
            return CommitStatus.RangeMoved;
        }

        switch (result.Status)
        {
            case CommitStatus.Committed:
                _newest.Set(Cacheable(newestThen), sentAt);
                break;
            case CommitStatus.AlreadyApplied:
                // It is a version of the key, but not for certain the newest.
                _newest.Invalidate();
                break;
            case CommitStatus.RangeMoved or CommitStatus.NoSuchBucket:
                metrics.RangeMoved();
                ranges.Forget(_bucket, range);
                break;
            case CommitStatus.Conflict:
                // A read that came meanwhile may have brought what has just turned out to be stale.
                _newest.Invalidate();
                metrics.Conflict();
                if (result.Newest == mutation.ExpectedNewest)
                    attempts.RefuseAsGarbage();
                break;
        }

        return result.Status;
    }

    private void KeepToBudget()
    {
        if (budget.IsExceeded)
            DeactivateOnIdle();
    }

    private static ObjectVersion? Cacheable(ObjectVersion? version) => version?.Parts.Length <= MaxCachedParts ? version : null;

    /// <summary>True for what leaves a commit's outcome unknown, and may pass. A full or unusable database, and a busy range, changed nothing and are told to the caller.</summary>
    private static bool IsLostAnswer(Exception exception) =>
        exception is TimeoutException or OrleansException or MetadataStoreException and not (MetadataStoreFullException or MetadataStoreUnusableException);

    [LoggerMessage(1, LogLevel.Warning, "The answer of range {Bucket}/{Range} to a commit was lost; its outcome is looked up.")]
    private static partial void LogLostAnswer(ILogger log, BucketId bucket, long range, Exception exception);

    /// <summary>How often one write has been tried, and what is not known of the tries.</summary>
    private sealed class Attempts(ObjectGrain grain)
    {
        private readonly long _beganAt = grain.Time.GetTimestamp();
        private int _count = 1;
        private TimeSpan _delay;
        private ExceptionDispatchInfo? _lost;
        private VersionId _expected;

        public bool AnswerWasLost => _lost is not null;

        public void Lose(Exception exception, VersionId expectedNewest)
        {
            _lost = ExceptionDispatchInfo.Capture(exception);
            _expected = expectedNewest;
        }

        /// <summary>Ends the write if an answer was lost and the newest version is not the one that try compared with.</summary>
        public void RefuseIfReplaced(ObjectVersion? newest)
        {
            if (AnswerWasLost && (newest?.VersionId ?? VersionId.None) != _expected)
                Throw();
        }

        /// <summary>Ends the write, as bytes of its version are about to be deleted: it was committed and removed since, or names another version's bytes that were.</summary>
        public void RefuseAsGarbage()
        {
            Throw();
            throw new MetadataStoreException($"A write to bucket {grain._bucket} was not committed: bytes that it names are garbage since.");
        }

        /// <summary>Throws the exception of the try whose answer was lost, if there is one.</summary>
        public void Throw() => _lost?.Throw();

        /// <summary>Waits for the next try. The second comes at once: a moved range is found by asking again.</summary>
        /// <exception cref="TimeoutException">There is none: too many, or too late.</exception>
        public async ValueTask NextAsync()
        {
            if (_count >= grain.Options.CommitAttempts || grain.Time.GetElapsedTime(_beganAt) + _delay > grain.Options.CommitDeadline)
            {
                Throw();
                throw new TimeoutException($"A write to bucket {grain._bucket} was not committed in {_count} tries.");
            }

            if (_delay > TimeSpan.Zero)
                await Task.Delay(_delay, grain.Time);
            _delay = _count++ == 1 ? grain.Options.FirstRetryDelay : Min(_delay * 2, grain.Options.MaxRetryDelay);
        }

        private static TimeSpan Min(TimeSpan a, TimeSpan b) => a < b ? a : b;
    }

    private TimeProvider Time => time;

    private GrainOptions Options => options;
}
