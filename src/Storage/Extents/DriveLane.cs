using ObjectStore.Storage.Fragments;

namespace ObjectStore.Storage.Extents;

/// <summary>
/// What the extent store knows of one drive from using it: how long it takes, what is on its way to it, and whether it answers. A drive that failed to answer, or whose oldest
/// operation has been under way for too long, is passed over where there is another way, until a probe or that operation succeeds. Thread-safe.
/// </summary>
internal sealed class DriveLane(Guid driveId, IFragmentStoreDirectory directory, StorageOptions options, TimeProvider time, IStorageEvents events)
{
    private const int BacklogRatio = 4;

    // A quarter of what reads may hold, over eight drives that hang at once.
    private const int LeftBehindParts = 32;

    private readonly Lock _lock = new();
    private readonly OperationList _writes = new();
    private readonly OperationList _reads = new();
    private bool _unavailable;
    private long _probeAt; // timestamp
    private long _silentSince = long.MaxValue; // timestamp: when the first read was begun of those given up since one was answered
    private bool _silent;
    private long _leftBehindBytes;

    public Guid DriveId => driveId;

    /// <summary>Null where the drive cannot be reached from here.</summary>
    public IFragmentStore? Store => directory.Find(driveId);

    public LatencyWindow ReadLatency { get; } = new();

    /// <summary>Bytes of buffers that writes to this drive hold.</summary>
    public long OutstandingBytes => _writes.Bytes;

    /// <summary>After how long a read of this drive is hedged.</summary>
    public TimeSpan HedgeDelay
    {
        get
        {
            var expected = new TimeSpan((long)(ReadLatency.P95.Ticks * options.HedgeFactor));
            return expected > options.HedgeFloor ? expected : options.HedgeFloor;
        }
    }

    /// <summary>False where a write should do without this drive if it can. Lets one caller through as a probe now and then.</summary>
    /// <param name="usualBytes">What is on its way to the other drives of the group, on average: where all have much to do, none is passed over for it.</param>
    public bool AcceptsWrites(long usualBytes)
    {
        if ((_writes.Bytes >= options.DriveBacklogBytes && _writes.Bytes / BacklogRatio >= usualBytes) || IsStuck(_writes))
            return false;
        return !Volatile.Read(ref _unavailable) || TakeProbe();
    }

    /// <summary>False where a read should try other drives first. Lets one caller through as a probe now and then.</summary>
    public bool IsPrompt() => !IsStuck(_reads) && !IsCrowded && (!IsAbsent || TakeProbe());

    /// <summary>As <see cref="IsPrompt"/>, without letting anyone through.</summary>
    public bool LooksPrompt => !IsStuck(_reads) && !IsCrowded && !IsAbsent;

    /// <summary>A read that nobody waits for any more goes on, and holds its buffer until the drive has answered. Those of a drive that hangs would otherwise take all the buffers before it is stuck.</summary>
    public void LeaveBehind(long bytes) => Interlocked.Add(ref _leftBehindBytes, bytes);

    /// <summary>It has ended.</summary>
    public void EndLeftBehind(long bytes) => Interlocked.Add(ref _leftBehindBytes, -bytes);

    public Operation BeginWrite(long bytes) => Begin(_writes, bytes);

    public Operation BeginRead() => Begin(_reads, 0);

    /// <summary>Returns how long the operation took.</summary>
    public TimeSpan EndWrite(Operation operation, Exception? error) => End(_writes, operation, error);

    /// <param name="isTypical">Whether clients' reads take as long: those of repair, which go past the page cache, do not, and would make clients wait longer before they hedge.</param>
    public void EndRead(Operation operation, Exception? error, bool isTypical = true)
    {
        TimeSpan took = End(_reads, operation, error);
        ObserveSilence(operation, took, isGivenUp: error is OperationCanceledException);
        if (error is null && isTypical)
            ReadLatency.Add(took);
    }

    /// <summary>What a delete that failed says of the drive: that its node has no room for more deletes says nothing of its reads and writes.</summary>
    public void ObserveDelete(Exception error)
    {
        if (error is not DriveUnavailableException { Cause: DriveUnavailableCause.NoRoom })
            Observe(error);
    }

    /// <summary>What an operation without a duration of interest says of the drive.</summary>
    public void Observe(Exception? error)
    {
        // Whatever is not the drive's own answer counts as none.
        bool answered = error is null or DriveFullException or VolumePoisonedException or VolumeWriterException or FragmentCorruptException or FragmentMissingException;
        if (answered && !Volatile.Read(ref _unavailable))
            return;
        if (error is OperationCanceledException)
            return;
        bool changed;
        lock (_lock)
        {
            changed = _unavailable == answered;
            _unavailable = !answered;
            _probeAt = time.GetTimestamp() + Ticks(options.DriveProbeInterval);
        }

        if (!changed)
            return;
        if (answered)
            events.DriveAvailableAgain(driveId);
        else
            events.DriveUnavailable(driveId, error!.Message);
    }

    private Operation Begin(OperationList list, long bytes)
    {
        var operation = new Operation(time.GetTimestamp(), bytes);
        lock (_lock)
            list.Add(operation);
        return operation;
    }

    private TimeSpan End(OperationList list, Operation operation, Exception? error)
    {
        lock (_lock)
            list.Remove(operation);
        Observe(error);
        return time.GetElapsedTime(operation.Started);
    }

    /// <summary>
    /// A read of another node ends as soon as nobody waits for it any more, so that one that hangs never grows old. Where none has been answered for as long as makes one stuck, though some
    /// were waited for until they were late, the drive is silent, and left alone but for probes.
    /// </summary>
    private void ObserveSilence(Operation read, TimeSpan took, bool isGivenUp)
    {
        if (!isGivenUp && Volatile.Read(ref _silentSince) == long.MaxValue)
            return;
        if (isGivenUp && took < HedgeDelay)
            return;
        lock (_lock)
        {
            if (!isGivenUp)
            {
                (_silentSince, _silent) = (long.MaxValue, false);
                return;
            }

            _silentSince = Math.Min(_silentSince, read.Started);
            _silent = time.GetElapsedTime(_silentSince) >= options.SlowDriveAfter;
            if (_silent)
                _probeAt = time.GetTimestamp() + Ticks(options.DriveProbeInterval);
        }
    }

    private bool IsCrowded => Volatile.Read(ref _leftBehindBytes) >= options.ReadBufferBytes / LeftBehindParts;

    private bool IsAbsent => Volatile.Read(ref _unavailable) || Volatile.Read(ref _silent);

    private bool IsStuck(OperationList list)
    {
        long oldest = list.OldestStarted;
        return oldest != long.MaxValue && time.GetElapsedTime(oldest) >= options.SlowDriveAfter;
    }

    private bool TakeProbe()
    {
        long now = time.GetTimestamp();
        long due = Volatile.Read(ref _probeAt);
        return now >= due && Interlocked.CompareExchange(ref _probeAt, now + Ticks(options.DriveProbeInterval), due) == due;
    }

    private long Ticks(TimeSpan span) => (long)(span.TotalSeconds * time.TimestampFrequency);

    /// <summary>Something under way at a drive.</summary>
    internal sealed class Operation(long started, long bytes)
    {
        public long Started => started;
        public long Bytes => bytes;
        public Operation? Previous { get; set; }
        public Operation? Next { get; set; }
    }

    /// <summary>In order of start. Changed under the lane's lock; the two numbers are read without it.</summary>
    private sealed class OperationList
    {
        private Operation? _first;
        private Operation? _last;
        private long _bytes;
        private long _oldest = long.MaxValue;

        public long Bytes => Volatile.Read(ref _bytes);

        public long OldestStarted => Volatile.Read(ref _oldest);

        public void Add(Operation operation)
        {
            operation.Previous = _last;
            if (_last is null)
                _first = operation;
            else
                _last.Next = operation;
            _last = operation;
            Publish(operation.Bytes);
        }

        public void Remove(Operation operation)
        {
            if (operation.Previous is { } previous)
                previous.Next = operation.Next;
            else
                _first = operation.Next;
            if (operation.Next is { } next)
                next.Previous = operation.Previous;
            else
                _last = operation.Previous;
            Publish(-operation.Bytes);
        }

        private void Publish(long bytes)
        {
            Volatile.Write(ref _bytes, _bytes + bytes);
            Volatile.Write(ref _oldest, _first?.Started ?? long.MaxValue);
        }
    }
}
