using System.Collections.Concurrent;

namespace ObjectStore.Storage.Extents;

/// <summary>
/// Readers that hold loaded bytes. A reader whose caller is slow to come back, since its own client is, gives up what it has loaded beyond the piece that the caller has in hand when others wait for
/// the buffers: it can be read again. Thread-safe.
/// </summary>
internal sealed class IdleReaders(TimeProvider time)
{
    /// <summary>Who has not come back for so long gives up its buffers: a client of 4 Mbit/s takes a shard of 512 KiB in this time.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);

    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(250);

    private readonly ConcurrentDictionary<ExtentReader, bool> _readers = new(ReferenceEqualityComparer.Instance);
    private readonly Lock _lock = new();
    private int _waiting;
    private ITimer? _timer; // runs while anybody waits

    public void Add(ExtentReader reader) => _readers[reader] = true;

    public void Remove(ExtentReader reader) => _readers.TryRemove(reader, out _);

    /// <summary>Takes the bytes from the budget; while there is no room, idle readers are asked for theirs.</summary>
    /// <inheritdoc cref="Buffers.BufferBudget.TakeAsync"/>
    public ValueTask TakeAsync(Buffers.BufferBudget budget, long bytes, TimeSpan patience, CancellationToken cancellationToken)
    {
        ValueTask taking = budget.TakeAsync(bytes, null, patience, cancellationToken);
        return taking.IsCompleted ? taking : WaitAsync(taking);
    }

    private async ValueTask WaitAsync(ValueTask taking)
    {
        lock (_lock)
        {
            if (_waiting++ == 0)
                _timer = time.CreateTimer(static readers => ((IdleReaders)readers!).Reclaim(), this, TimeSpan.Zero, Timeout.InfiniteTimeSpan);
        }

        try
        {
            await taking.ConfigureAwait(false);
        }
        finally
        {
            lock (_lock)
            {
                if (--_waiting == 0)
                {
                    _timer!.Dispose();
                    _timer = null;
                }
            }
        }
    }

    private void Reclaim()
    {
        foreach (ExtentReader reader in _readers.Keys)
            reader.GiveUpWhereIdle(Patience);
        lock (_lock)
            _timer?.Change(Interval, Timeout.InfiniteTimeSpan);
    }
}
