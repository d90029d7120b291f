using ObjectStore.Storage.Drives;

namespace ObjectStore.Storage.Transport;

/// <summary>
/// Gathers small things to be asked of one drive: the first goes at once, and those that come while it is under way go together in the next request. So nothing ever waits for
/// a timer, an idle drive adds no latency, and a busy one has a request and a sync for many. Thread-safe.
/// </summary>
/// <param name="maxItems">Of a request.</param>
/// <param name="maxWeight">Of a request; no item alone is heavier.</param>
/// <param name="weightOf">Of an item.</param>
/// <param name="sendAsync">Makes the request; returns the outcomes in the same order, or throws what all of them end with.</param>
internal sealed class RequestGatherer<TItem, TResult>(
    int maxItems, int maxWeight, Func<TItem, int> weightOf, Func<TItem[], ValueTask<(TResult Result, Exception? Error)[]>> sendAsync)
{
    /// <summary>Items in the queue, cancelled ones among them; further callers wait before they are let in.</summary>
    private const int MaxWaiting = 1024;

    private readonly Lock _lock = new();
    private readonly Queue<Pending> _waiting = new();
    private readonly SemaphoreSlim _room = new(MaxWaiting, MaxWaiting);
    private Task _sending = Task.CompletedTask;
    private bool _isSending;

    /// <summary>Cancellation is honoured until the item is part of a request.</summary>
    public async ValueTask<TResult> AskAsync(TItem item, CancellationToken cancellationToken)
    {
        await _room.WaitAsync(cancellationToken).ConfigureAwait(false);
        Pending pending = new(item);
        using CancellationTokenRegistration registration = cancellationToken.UnsafeRegister(
            static (state, token) =>
            {
                Pending cancelled = (Pending)state!;
                if (cancelled.TryTake())
                    cancelled.Completion.TrySetCanceled(token);
            },
            pending);
        lock (_lock)
        {
            _waiting.Enqueue(pending);
            if (!_isSending)
            {
                _isSending = true;
                _sending = SendAsync();
            }
        }

        return await pending.Completion.Task.ConfigureAwait(false);
    }

    public Task CloseAsync()
    {
        lock (_lock)
            return _sending;
    }

    /// <summary>Runs while items wait. Every one that it takes it completes, whatever happens.</summary>
    private async Task SendAsync()
    {
        // The caller holds the lock: it must not be held while a request is made.
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        List<Pending> batch = [];
        while (Take(batch))
        {
            try
            {
                (TResult Result, Exception? Error)[] outcomes = await sendAsync([.. batch.Select(pending => pending.Item)]).ConfigureAwait(false);
                for (int i = 0; i < outcomes.Length; i++)
                {
                    if (outcomes[i].Error is { } error)
                        batch[i].Completion.TrySetException(error);
                    else
                        batch[i].Completion.TrySetResult(outcomes[i].Result);
                }
            }
            catch (Exception e)
            {
                foreach (Pending pending in batch)
                    pending.Completion.TrySetException(e);

                // A drive that does not answer would keep each batch for as long as this one, one after the other.
                if (e is DriveUnavailableException { Cause: DriveUnavailableCause.NoAnswer })
                    FailWaiting(e);
            }
        }
    }

    private void FailWaiting(Exception cause)
    {
        List<Pending> failed = [];
        lock (_lock)
        {
            while (_waiting.TryDequeue(out Pending? pending))
            {
                _room.Release();
                if (pending.TryTake())
                    failed.Add(pending);
            }
        }

        foreach (Pending pending in failed)
            pending.Completion.TrySetException(cause);
    }

    /// <summary>The next batch, as large as a request may be; false where nothing waits, and then the next item starts anew.</summary>
    private bool Take(List<Pending> batch)
    {
        batch.Clear();
        int weight = 0;
        lock (_lock)
        {
            while (batch.Count < maxItems && _waiting.TryPeek(out Pending? next) && (batch.Count == 0 || weight + weightOf(next.Item) <= maxWeight))
            {
                _waiting.Dequeue();
                _room.Release();
                if (!next.TryTake())
                    continue; // cancelled
                batch.Add(next);
                weight += weightOf(next.Item);
            }

            if (batch.Count == 0)
                _isSending = false;
            return batch.Count > 0;
        }
    }

    private sealed class Pending(TItem item)
    {
        private int _taken;

        public TItem Item => item;

        public TaskCompletionSource<TResult> Completion { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        /// <summary>True for the one who decides what becomes of it: the request it goes into, or the caller's cancellation.</summary>
        public bool TryTake() => Interlocked.Exchange(ref _taken, 1) == 0;
    }
}
