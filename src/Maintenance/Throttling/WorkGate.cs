namespace ObjectStore.Maintenance.Throttling;

/// <summary>
/// Lets work on drives in: so much in all, and so much for each drive, so that one slow drive does not fill every place. Those who wait are let in in their order as far as their
/// drives allow, urgent work before all other, and up to a number that it has whatever the limit in all is. Thread-safe.
/// </summary>
internal sealed class WorkGate(Func<int> totalLimit, int driveLimit, int urgentLimit = 1)
{
    private readonly Lock _lock = new();
    private readonly LinkedList<Waiter> _waiters = [];
    private readonly Dictionary<Guid, DriveCount> _drives = []; // those that someone inside or waiting works on
    private int _inside;

    public int Inside
    {
        get
        {
            lock (_lock)
                return _inside;
        }
    }

    /// <summary>Drives that someone inside or waiting works on.</summary>
    public int Drives
    {
        get
        {
            lock (_lock)
                return _drives.Count;
        }
    }

    /// <summary>Completes when the work may begin; <see cref="Leave"/> ends it.</summary>
    public async ValueTask EnterAsync(IReadOnlyCollection<Guid> drives, bool isUrgent, CancellationToken cancellationToken)
    {
        Waiter waiter;
        lock (_lock)
        {
            DriveCount[] counts = Find(drives);
            if (_waiters.Count == 0 && HasRoom(counts, isUrgent))
            {
                Take(counts);
                return;
            }

            waiter = new Waiter(counts, isUrgent);
            if (isUrgent && FirstNotUrgent() is { } next)
                _waiters.AddBefore(next, waiter.Node);
            else
                _waiters.AddLast(waiter.Node);
            Admit();
        }

        await using (cancellationToken.UnsafeRegister(Cancel, (this, waiter)).ConfigureAwait(false))
            await waiter.Entered.Task.ConfigureAwait(false);
    }

    public void Leave(IReadOnlyCollection<Guid> drives)
    {
        lock (_lock)
        {
            _inside--;
            foreach (Guid drive in drives)
            {
                DriveCount count = _drives[drive];
                count.Inside--;
                Forget(count);
            }

            Admit();
        }
    }

    private static void Cancel(object? state, CancellationToken cancellationToken)
    {
        (WorkGate gate, Waiter waiter) = ((WorkGate, Waiter))state!;
        lock (gate._lock)
        {
            if (waiter.Node.List is null)
                return;
            gate._waiters.Remove(waiter.Node);
            foreach (DriveCount count in waiter.Drives)
                gate.Forget(count);
        }

        waiter.Entered.TrySetCanceled(cancellationToken);
    }

    private void Admit()
    {
        for (LinkedListNode<Waiter>? node = _waiters.First; node is not null && _inside < Limit(node.Value.IsUrgent);)
        {
            LinkedListNode<Waiter>? next = node.Next;
            if (HasRoom(node.Value.Drives, node.Value.IsUrgent))
            {
                _waiters.Remove(node);
                Take(node.Value.Drives);
                node.Value.Entered.TrySetResult();
            }

            node = next;
        }
    }

    private LinkedListNode<Waiter>? FirstNotUrgent()
    {
        LinkedListNode<Waiter>? node = _waiters.First;
        while (node is { Value.IsUrgent: true })
            node = node.Next;
        return node;
    }

    private int Limit(bool isUrgent) => Math.Max(isUrgent ? urgentLimit : 1, totalLimit());

    private bool HasRoom(DriveCount[] drives, bool isUrgent)
    {
        if (_inside >= Limit(isUrgent))
            return false;
        foreach (DriveCount drive in drives)
        {
            if (drive.Inside >= driveLimit)
                return false;
        }

        return true;
    }

    private void Take(DriveCount[] drives)
    {
        _inside++;
        foreach (DriveCount drive in drives)
            drive.Inside++;
    }

    /// <summary>Once for each who comes: hundreds may wait, and each who leaves looks at all of them.</summary>
    private DriveCount[] Find(IReadOnlyCollection<Guid> drives)
    {
        var counts = new DriveCount[drives.Count];
        int found = 0;
        foreach (Guid drive in drives)
        {
            if (!_drives.TryGetValue(drive, out DriveCount? count))
                _drives.Add(drive, count = new DriveCount(drive));
            count.Users++;
            counts[found++] = count;
        }

        return counts;
    }

    private void Forget(DriveCount drive)
    {
        if (--drive.Users == 0)
            _drives.Remove(drive.Id);
    }

    private sealed class DriveCount(Guid id)
    {
        public Guid Id => id;

        public int Inside { get; set; }

        /// <summary>With those who wait.</summary>
        public int Users { get; set; }
    }

    private sealed class Waiter
    {
        public Waiter(DriveCount[] drives, bool isUrgent)
        {
            (Drives, IsUrgent) = (drives, isUrgent);
            Node = new LinkedListNode<Waiter>(this);
        }

        public DriveCount[] Drives { get; }

        public bool IsUrgent { get; }

        public LinkedListNode<Waiter> Node { get; }

        public TaskCompletionSource Entered { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
