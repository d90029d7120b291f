// One contiguous key range. Every commit of the range goes through here so that concurrent ones share a transaction and a sync.
//
// Batching has no timer: while transactions are in flight mutations gather, and the next transaction takes all of them. Up to
// MaxCommitsInFlight transactions run at once. Two mutations of one key are never in flight together: the second waits for the first, and a
// repetition of the first (a retry after a lost answer) joins it. So the order of one key's mutations is the order of their arrival, whatever
// order the database runs transactions in.
//
// When a transaction fails without an answer nobody knows whether it was, or will yet be, committed. The activation then goes away:
// the next one raises the epoch, which fences a transaction that is still under way. Only then do its writers look whether they succeeded,
// or retry. What was not sent yet is answered "moved": nothing was changed.

using System.Collections.Immutable;
using System.Diagnostics;
using System.Text;
using Microsoft.Extensions.Logging;
using ObjectStore.Metadata;
using Orleans;
using Orleans.Concurrency;

namespace ObjectStore.Grains;

[Reentrant, GrainType("bucket-index")]
public sealed partial class BucketIndexGrain(IMetadataStore store, GrainOptions options, TimeProvider time, GrainMetrics metrics, ILogger<BucketIndexGrain> log)
    : Grain, IBucketIndexGrain
{
    private readonly Queue<Pending> _pending = new();
    private readonly Dictionary<string, Pending> _byKey = new(StringComparer.Ordinal);
    private BucketId _bucket;
    private long _rangeId;
    private RangeLease? _lease;
    private bool _isSplitting;
    private int _inFlight;
    private TaskCompletionSource? _idle;

    /// <inheritdoc/>
    public override async Task OnActivateAsync(CancellationToken cancellationToken)
    {
        (_bucket, _rangeId) = GrainKeys.ParseRange(this.GetPrimaryKeyString());
        _lease = await store.AcquireRangeAsync(_bucket, _rangeId, cancellationToken);
    }

    /// <inheritdoc/>
    public async Task<CommitResult> CommitAsync(ObjectMutation mutation)
    {
        while (_byKey.TryGetValue(mutation.Key, out Pending? before))
        {
            if (mutation.Insert is { } insert && before.Mutation.Insert?.VersionId == insert.VersionId)
                return await before.Result;
            await ((Task)before.Result).ConfigureAwait(ConfigureAwaitOptions.ContinueOnCapturedContext | ConfigureAwaitOptions.SuppressThrowing);
        }

        if (_lease is not { } lease)
            return Moved();
        if (!lease.Range.Contains(Encoding.UTF8.GetBytes(mutation.Key)))
            return Counted(new CommitResult(CommitStatus.RangeMoved, VersionId.None));
        if (_pending.Count >= options.MaxPendingCommits)
            throw new RangeBusyException($"Range {_bucket}/{_rangeId} has {_pending.Count} commits waiting.");

        Pending pending = new(mutation);
        _pending.Enqueue(pending);
        _byKey.Add(mutation.Key, pending);
        if (_inFlight < options.MaxCommitsInFlight && !_isSplitting)
            _ = FlushAsync();
        return await pending.Result;
    }

    /// <inheritdoc/>
    public async Task<ListPage> ListAsync(ListQuery query)
    {
        if (_lease is not { } lease)
        {
            DeactivateOnIdle();
            return new ListPage([], [], IsTruncated: false, [], LastIsPrefix: false, RangeMoved: true);
        }

        // The rows are read from the database, which has every acknowledged commit, so a listing by an activation that has been superseded
        // is right too, as long as the caller goes on where this range ended for it.
        ListPage page = await store.ListAsync(_bucket, lease.Range, query);
        return page with { RangeEnd = lease.Range.End };
    }

    /// <inheritdoc/>
    public async Task<SplitResult> SplitAsync(byte[] splitKeyUtf8)
    {
        if (_lease is null)
            DeactivateOnIdle();
        if (_isSplitting || _lease is not { } lease || !lease.Range.Contains(splitKeyUtf8) || lease.Range.Start.AsSpan().SequenceEqual(splitKeyUtf8))
            return new SplitResult(false, null);

        // Transactions in flight end first: the split raises the epoch, and would only make them fail.
        _isSplitting = true;
        try
        {
            while (_inFlight > 0)
            {
                _idle = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                await _idle.Task;
            }

            if (!ReferenceEquals(_lease, lease))
                return new SplitResult(false, null);
            IndexRange? created = await store.SplitRangeAsync(_bucket, _rangeId, lease.Epoch, splitKeyUtf8);
            if (created is null)
            {
                // Not this activation's range any more; the key was inside.
                Fence();
                return new SplitResult(false, null);
            }

            _lease = await store.AcquireRangeAsync(_bucket, _rangeId);
            if (_lease is null)
                Fence();
            LogSplit(log, _bucket, _rangeId, created.RangeId);
            return new SplitResult(true, created);
        }
        catch
        {
            // The split may have happened, with an epoch that this activation does not know.
            Fence();
            throw;
        }
        finally
        {
            _isSplitting = false;
            while (_pending.Count > 0 && _lease is not null && _inFlight < options.MaxCommitsInFlight)
                _ = FlushAsync();
        }
    }

    /// <summary>Commits batches until nothing waits. Never throws: what goes wrong is the outcome of the mutations.</summary>
    private async Task FlushAsync()
    {
        _inFlight++;
        while (_pending.Count > 0 && !_isSplitting && _lease is { } lease)
        {
            Pending[] batch = TakeBatch(lease);
            if (batch.Length > 0)
                await CommitAsync(lease, batch);
        }

        if (--_inFlight == 0)
            Interlocked.Exchange(ref _idle, null)?.TrySetResult();
    }

    private Pending[] TakeBatch(RangeLease lease)
    {
        List<Pending> batch = new(Math.Min(_pending.Count, options.MaxCommitBatch));
        while (batch.Count < options.MaxCommitBatch && _pending.TryDequeue(out Pending? next))
        {
            // A split may have taken the key since it was queued.
            if (lease.Range.Contains(Encoding.UTF8.GetBytes(next.Mutation.Key)))
                batch.Add(next);
            else
                Complete(next, new CommitResult(CommitStatus.RangeMoved, VersionId.None));
        }

        return [.. batch];
    }

    private async Task CommitAsync(RangeLease lease, Pending[] batch)
    {
        using Activity? activity = GrainMetrics.Activities.StartActivity("range.commit");
        activity?.SetTag("objectstore.batch_size", batch.Length);
        metrics.Batch(batch.Length);
        try
        {
            RangeCommit commit = new(
                _bucket,
                _rangeId,
                lease.Epoch,
                [.. batch.Select(static pending => pending.Mutation)],
                (time.GetUtcNow() + options.GarbageGrace).ToUnixTimeMilliseconds());
            ImmutableArray<CommitResult> results = await store.CommitAsync(commit);
            if (results.Length != batch.Length)
                throw new MetadataStoreException($"The store answered {results.Length} of {batch.Length} mutations.");

            bool isFenced = results.All(static result => result.Status is CommitStatus.RangeMoved or CommitStatus.NoSuchBucket);
            if (isFenced && ReferenceEquals(_lease, lease))
                Fence();
            for (int i = 0; i < batch.Length; i++)
                Complete(batch[i], results[i]);
        }
        catch (MetadataStoreFullException exception)
        {
            // Nothing was changed, and the epoch is still ours.
            Fail(batch, exception);
        }
        catch (ArgumentException exception) when (batch.Length == 1)
        {
            Fail(batch, exception);
        }
        catch (ArgumentException)
        {
            // The store will not take one of them (such as a key of no bytes), and changed nothing. It must not take the others with it.
            foreach (Pending pending in batch)
            {
                if (ReferenceEquals(_lease, lease))
                    await CommitAsync(lease, [pending]);
                else
                    Complete(pending, new CommitResult(CommitStatus.RangeMoved, VersionId.None));
            }
        }
        catch (Exception exception)
        {
            activity?.SetStatus(ActivityStatusCode.Error);
            LogCommitFailed(log, _bucket, _rangeId, batch.Length, exception);
            Fence();
            Fail(batch, exception);
        }
    }

    /// <summary>Ends this activation's lead. Nothing is sent under its epoch from here on.</summary>
    private void Fence()
    {
        _lease = null;
        while (_pending.TryDequeue(out Pending? pending))
            Complete(pending, new CommitResult(CommitStatus.RangeMoved, VersionId.None));
        DeactivateOnIdle();
    }

    private CommitResult Moved()
    {
        DeactivateOnIdle();
        return Counted(new CommitResult(CommitStatus.RangeMoved, VersionId.None));
    }

    private CommitResult Counted(CommitResult result)
    {
        metrics.Committed(result.Status);
        return result;
    }

    private void Complete(Pending pending, CommitResult result)
    {
        _byKey.Remove(pending.Mutation.Key);
        pending.Complete(Counted(result));
    }

    private void Fail(Pending[] batch, Exception exception)
    {
        foreach (Pending pending in batch)
        {
            _byKey.Remove(pending.Mutation.Key);
            pending.Fail(exception);
        }
    }

    [LoggerMessage(1, LogLevel.Warning, "Range {Bucket}/{Range}: the outcome of a commit of {Count} mutations is unknown. The activation goes, and the next one fences it.")]
    private static partial void LogCommitFailed(ILogger log, BucketId bucket, long range, int count, Exception exception);

    [LoggerMessage(2, LogLevel.Information, "Range {Bucket}/{Range} was split; the new range is {NewRange}.")]
    private static partial void LogSplit(ILogger log, BucketId bucket, long range, long newRange);

    /// <summary>A mutation that waits for its commit.</summary>
    private sealed class Pending(ObjectMutation mutation)
    {
        private readonly TaskCompletionSource<CommitResult> _result = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public ObjectMutation Mutation { get; } = mutation;

        public Task<CommitResult> Result => _result.Task;

        public void Complete(CommitResult result) => _result.TrySetResult(result);

        public void Fail(Exception exception)
        {
            _result.TrySetException(exception);
            _ = _result.Task.Exception; // Observed, should no caller be left to do so.
        }
    }
}
