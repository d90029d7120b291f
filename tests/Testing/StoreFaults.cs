using System.Collections.Immutable;
using ObjectStore.Grains;
using ObjectStore.Metadata;

namespace ObjectStore.Testing;

/// <summary>A call of the store, as a fault hook sees it.</summary>
/// <param name="Method">The method's name without Async.</param>
/// <param name="Number">Counts the store's calls from 1.</param>
/// <param name="Argument">The call's first argument: the <see cref="RangeCommit"/> of a commit.</param>
public readonly record struct StoreCall(string Method, long Number, object? Argument);

/// <summary>What is to go wrong with a call. In this order: wait, run or not, answer or not.</summary>
public sealed record StoreFault
{
    /// <summary>Waited for before the call runs.</summary>
    public Task? Before { get; init; }

    /// <summary>How long the call takes to arrive.</summary>
    public TimeSpan Delay { get; init; }

    /// <summary>Thrown in place of the call: nothing is changed.</summary>
    public Exception? Fail { get; init; }

    /// <summary>Runs just before the call does: what another activation has done in the meantime.</summary>
    public Action? Meanwhile { get; init; }

    /// <summary>Waited for after the call has run, before it answers.</summary>
    public Task? After { get; init; }

    /// <summary>Thrown after the call has run: its answer is lost.</summary>
    public Exception? LoseReply { get; init; }
}

/// <summary>A metadata store that tests look behind and make fail.</summary>
public interface IObservedMetadataStore : IMetadataStore
{
    /// <summary>Decides what goes wrong with each call; null for nothing. Called on the caller's thread, not under a lock.</summary>
    Func<StoreCall, StoreFault?>? OnCall { get; set; }

    /// <summary>How long every commit takes, as a sync does; so that batches form.</summary>
    TimeSpan CommitLatency { get; set; }

    /// <summary>How often a version was inserted: more than once is a double write.</summary>
    int CountInserts(VersionId id);

    /// <summary>Takes a range's lead as another activation would.</summary>
    RangeLease? Acquire(BucketId bucket, long rangeId);

    /// <summary>Commits as another activation would, under the epoch that is the range's now (which fences nobody).</summary>
    CommitResult CommitBehind(BucketId bucket, ObjectMutation mutation);

    /// <summary>All versions of a key, newest first.</summary>
    ImmutableArray<ObjectVersion> AllVersions(BucketId bucket, string key);
}

/// <summary>Runs a store's calls with what the hook says is to go wrong.</summary>
public sealed class StoreFaults(TimeProvider time)
{
    private long _calls;

    /// <inheritdoc cref="IObservedMetadataStore.OnCall"/>
    public Func<StoreCall, StoreFault?>? OnCall { get; set; }

    /// <inheritdoc cref="IObservedMetadataStore.CommitLatency"/>
    public TimeSpan CommitLatency { get; set; }

    /// <summary>Runs a call.</summary>
    public async ValueTask<T> RunAsync<T>(string method, object? argument, Func<ValueTask<T>> body, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        StoreFault? fault = OnCall?.Invoke(new StoreCall(method, Interlocked.Increment(ref _calls), argument));
        TimeSpan delay = (fault?.Delay ?? TimeSpan.Zero) + (method == "Commit" ? CommitLatency : TimeSpan.Zero);
        if (delay > TimeSpan.Zero)
            await Task.Delay(delay, time, cancellationToken);
        if (fault?.Before is { } before)
            await before.WaitAsync(cancellationToken);
        if (fault?.Fail is { } failure)
            throw failure;
        if (fault?.Meanwhile is { } meanwhile)
        {
            // On a thread that is no grain's: it may wait for the store.
            await Task.Run(meanwhile, CancellationToken.None);
        }

        T result = await body();
        if (fault?.After is { } after)
            await after;
        if (fault?.LoseReply is { } lost)
            throw lost;
        return result;
    }
}
