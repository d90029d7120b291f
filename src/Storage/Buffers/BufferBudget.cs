namespace ObjectStore.Storage.Buffers;

/// <summary>
/// Bounds the bytes of buffers that are held at once. Takers wait in order.
///
/// Those who take piece by piece could each wait for a piece while none gives any back. So one of them at a time may go beyond the capacity, until it says that it has what it needs
/// (<see cref="EndExcess"/>): there is always one who can finish. Thread-safe.
/// </summary>
internal sealed class BufferBudget(long capacityBytes, TimeProvider time)
{
    private readonly Lock _lock = new();
    private readonly LinkedList<Waiter> _waiting = new();
    private long _taken;
    private object? _exceeding;
    private int _ownersWaiting;

    public long TakenBytes => Volatile.Read(ref _taken);

    /// <summary>Takes the bytes if there is room for them and nobody waits.</summary>
    public bool TryTake(long bytes)
    {
        lock (_lock)
            return TryTakeLocked(bytes);
    }

    /// <summary>Takes the bytes whether there is room or not.</summary>
    public void Force(long bytes)
    {
        lock (_lock)
            _taken += bytes;
    }

    /// <param name="owner">Who may go beyond the capacity while nobody else does; null never does, unless nothing is taken at all.</param>
    /// <param name="bytes">What to take.</param>
    /// <param name="patience">How long to wait.</param>
    /// <param name="cancellationToken">Ends the wait; nothing has been taken then.</param>
    /// <exception cref="BuffersBusyException">The wait was too long.</exception>
    public ValueTask TakeAsync(long bytes, object? owner, TimeSpan patience, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        Waiter waiter;
        lock (_lock)
        {
            if (TryTakeLocked(bytes) || TryExceedLocked(bytes, owner))
                return default;
            waiter = new Waiter(bytes, owner);
            _waiting.AddLast(waiter.Node);
            _ownersWaiting += owner is null ? 0 : 1;
        }

        return WaitAsync(waiter, patience, cancellationToken);
    }

    public void Release(long bytes)
    {
        List<Waiter>? granted = null;
        lock (_lock)
        {
            _taken -= bytes;
            GrantLocked(ref granted);
        }

        Wake(granted);
    }

    /// <summary>The owner has what it needs: another may go beyond the capacity.</summary>
    public void EndExcess(object owner)
    {
        if (Volatile.Read(ref _exceeding) != owner)
            return;
        List<Waiter>? granted = null;
        lock (_lock)
        {
            if (_exceeding == owner)
                _exceeding = null;
            GrantLocked(ref granted);
        }

        Wake(granted);
    }

    private bool TryTakeLocked(long bytes)
    {
        if (_waiting.Count > 0 || !Fits(bytes))
            return false;
        _taken += bytes;
        return true;
    }

    private bool TryExceedLocked(long bytes, object? owner)
    {
        if (owner is null || (_exceeding is not null && _exceeding != owner))
            return false;
        _exceeding = owner;
        _taken += bytes;
        return true;
    }

    private void GrantLocked(ref List<Waiter>? granted)
    {
        while (_waiting.First is { } first && (Fits(first.Value.Bytes) || (first.Value.Owner is { } owner && _exceeding is null)))
        {
            if (Fits(first.Value.Bytes))
                _taken += first.Value.Bytes;
            else
                TryExceedLocked(first.Value.Bytes, first.Value.Owner);
            RemoveLocked(first.Value);
            (granted ??= []).Add(first.Value);
        }

        // The first may not go beyond the capacity, and those behind it may have what it waits for.
        if (_exceeding is not null || _ownersWaiting == 0)
            return;
        LinkedListNode<Waiter> next = _waiting.First!;
        while (next.Value.Owner is null)
            next = next.Next!;
        TryExceedLocked(next.Value.Bytes, next.Value.Owner);
        RemoveLocked(next.Value);
        (granted ??= []).Add(next.Value);
    }

    private void RemoveLocked(Waiter waiter)
    {
        _waiting.Remove(waiter.Node);
        _ownersWaiting -= waiter.Owner is null ? 0 : 1;
    }

    private bool Fits(long bytes) => _taken == 0 || _taken + bytes <= capacityBytes;

    private static void Wake(List<Waiter>? granted)
    {
        foreach (Waiter waiter in granted ?? [])
            waiter.Granted.TrySetResult();
    }

    private async ValueTask WaitAsync(Waiter waiter, TimeSpan patience, CancellationToken cancellationToken)
    {
        try
        {
            await waiter.Granted.Task.WaitAsync(patience, time, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is TimeoutException or OperationCanceledException)
        {
            List<Waiter>? granted = null;
            lock (_lock)
            {
                // Granted in the same moment: the bytes are given back, since nobody will use them. Whoever waited behind may find room in either case.
                if (waiter.Node.List is not null)
                    RemoveLocked(waiter);
                else
                    _taken -= waiter.Bytes;
                GrantLocked(ref granted);
            }

            Wake(granted);
            if (e is TimeoutException)
                throw new BuffersBusyException(capacityBytes);
            throw;
        }
    }

    private sealed class Waiter
    {
        public Waiter(long bytes, object? owner)
        {
            (Bytes, Owner) = (bytes, owner);
            Node = new LinkedListNode<Waiter>(this);
        }

        public long Bytes { get; }
        public object? Owner { get; }
        public LinkedListNode<Waiter> Node { get; }
        public TaskCompletionSource Granted { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
