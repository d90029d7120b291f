using ObjectStore.Storage.Fragments;

namespace ObjectStore.Storage.Transport;

/// <summary>
/// Gathers small synced writes to one drive: the first goes at once, and those that come while it is under way go together in the next request. So nothing ever waits for
/// a timer, an idle drive adds no latency, and a busy one has a request and a sync for many writes. Thread-safe.
/// </summary>
internal sealed class WriteBatcher(RemoteFragmentStore store)
{
    /// <summary>Writes in the queue, cancelled ones among them; further callers wait before they are let in.</summary>
    private const int MaxWaiting = 1024;

    private readonly Lock _lock = new();
    private readonly Queue<Pending> _waiting = new();
    private readonly SemaphoreSlim _room = new(MaxWaiting, MaxWaiting);
    private Task _sending = Task.CompletedTask;
    private bool _isSending;

    /// <summary>Cancellation is honoured until the write is part of a request.</summary>
    public async ValueTask<FragmentTicket> WriteAsync(FragmentWrite fragment, CancellationToken cancellationToken)
    {
        await _room.WaitAsync(cancellationToken).ConfigureAwait(false);
        Pending pending = new(fragment);
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

    /// <summary>Runs while writes wait. Every one that it takes it completes, whatever happens.</summary>
    private async Task SendAsync()
    {
        // The caller holds the lock: it must not be held while a request is made.
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        List<Pending> batch = [];
        while (Take(batch))
        {
            try
            {
                if (batch.Count == 1)
                    batch[0].Completion.TrySetResult(await store.WriteAloneAsync(batch[0].Fragment, sync: true, CancellationToken.None).ConfigureAwait(false));
                else
                    await SendTogetherAsync(batch).ConfigureAwait(false);
            }
            catch (Exception e)
            {
                foreach (Pending pending in batch)
                    pending.Completion.TrySetException(e);

                // A drive that does not answer would keep each batch for as long as this one, one after the other.
                if (e is DriveUnavailableException)
                    FailWaiting(e);
            }

            TransportMetrics.BatchFragments.Record(batch.Count);
        }
    }

    private async Task SendTogetherAsync(List<Pending> batch)
    {
        (FragmentTicket Ticket, Exception? Error)[] outcomes = await store.WriteTogetherAsync([.. batch.Select(pending => pending.Fragment)], CancellationToken.None).ConfigureAwait(false);
        for (int i = 0; i < outcomes.Length; i++)
        {
            if (outcomes[i].Error is { } error)
                batch[i].Completion.TrySetException(error);
            else
                batch[i].Completion.TrySetResult(outcomes[i].Ticket);
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

    /// <summary>The next batch, as large as a request may be; false where nothing waits, and then the next write starts anew.</summary>
    private bool Take(List<Pending> batch)
    {
        batch.Clear();
        int bytes = 0;
        lock (_lock)
        {
            while (batch.Count < FragmentProtocol.MaxBatchFragments && _waiting.TryPeek(out Pending? next) && bytes + next.Fragment.Payload.Length <= FragmentProtocol.MaxBatchBytes)
            {
                _waiting.Dequeue();
                _room.Release();
                if (!next.TryTake())
                    continue; // cancelled
                batch.Add(next);
                bytes += next.Fragment.Payload.Length;
            }

            if (batch.Count == 0)
                _isSending = false;
            return batch.Count > 0;
        }
    }

    private sealed class Pending(FragmentWrite fragment)
    {
        private int _taken;

        public FragmentWrite Fragment => fragment;

        public TaskCompletionSource<FragmentTicket> Completion { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        /// <summary>True for the one who decides what becomes of it: the request it goes into, or the caller's cancellation.</summary>
        public bool TryTake() => Interlocked.Exchange(ref _taken, 1) == 0;
    }
}
