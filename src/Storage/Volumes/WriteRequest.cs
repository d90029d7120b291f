using System.Buffers;
using System.Threading.Tasks.Sources;
using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;

namespace ObjectStore.Storage.Volumes;

/// <summary>Where a request's record went. It is durable once the volume's DurableEnd has reached EndOffset.</summary>
internal readonly record struct WriteTicket(Volume? Volume, long Offset, long EndOffset)
{
    public bool IsDurable => Volume is null || Volume.DurableEnd >= EndOffset;
}

internal enum RequestKind
{
    /// <summary>Copied into the batch's staging buffer: up to 256 KiB, and longer ones whose memory is not page-aligned.</summary>
    PackedFragment,

    /// <summary>Page-aligned memory of the caller's, written from there; only its last partial page and the header go through the staging buffer.</summary>
    BlockFragment,
    Tombstone,

    /// <summary>No record; syncs what the writer has written.</summary>
    SyncOnly,

    /// <summary>No record; ends a volume that is still open.</summary>
    Seal,
}

/// <summary>One record to append, and the task of whoever waits for it. The memory it points at stays untouched until the task completes.</summary>
internal sealed class WriteRequest(bool asynchronousContinuations) : IValueTaskSource<WriteTicket>
{
    private ManualResetValueTaskSourceCore<WriteTicket> _core = new() { RunContinuationsAsynchronously = asynchronousContinuations };

    private MemoryHandle _pin;
    private int _pinned;
    private int _completed;

    public RequestKind Kind { get; private set; }
    public ExtentDescriptor? Descriptor { get; init; }
    public ExtentId Extent { get; init; }
    public ushort SchemeId { get; init; }
    public int BlockSizeBytes { get; init; }
    public int BlockLengthBytes { get; init; }
    public int Block { get; init; }
    public ushort Shard { get; init; }
    public ReadOnlyMemory<byte> Payload { get; private init; }
    public ReadOnlyMemory<ulong> Checksums { get; init; }
    public TombstoneEntry[]? Tombstones { get; init; }

    /// <summary>The created time of the record, for a copy of an older one; null is now.</summary>
    public long? CreatedUnixMilliseconds { get; init; }

    /// <summary>Where compaction copied the fragment from.</summary>
    public (long VolumeId, long Offset)? Source { get; init; }

    public Volume? ToSeal { get; init; }

    /// <summary>For compaction: it frees more than it takes, so it may go below the headroom.</summary>
    public bool MayUseHeadroom { get; init; }

    /// <summary>Whether the task completes only after a sync; otherwise after the write.</summary>
    public bool NeedsSync { get; init; }

    public WriteTicket Ticket { get; set; }

    /// <summary>The kernel has been, or is about to be, given the payload's address. Set and read under the writer's layout lock.</summary>
    public bool IsInKernel { get; set; }

    public int PayloadBytes => Payload.Length;

    /// <summary>The payload of a block fragment, pinned.</summary>
    public unsafe nint PayloadAddress => (nint)_pin.Pointer;

    /// <summary>Where the payload begins in the record; the writer sets it.</summary>
    public int PayloadOffset { get; set; }

    public int KeyBytes => Descriptor?.KeyUtf8.Length ?? 0;

    /// <summary>The most that the record takes in the file, without the padding of a batch.</summary>
    public int MaxAppendBytes => Kind switch
    {
        RequestKind.SyncOnly or RequestKind.Seal => 0,
        RequestKind.BlockFragment => VolumeFormat.AlignToPage(VolumeFormat.PageBytes + PayloadBytes),
        _ => VolumeFormat.AlignToRecord(RecordHeader.MaxHeaderBytes(KeyBytes, Checksums.Length) + PayloadBytes),
    };

    public long CostBytes => Math.Max(MaxAppendBytes, VolumeFormat.PageBytes);

    public static WriteRequest Sync(bool asynchronousContinuations) => new(asynchronousContinuations) { Kind = RequestKind.SyncOnly, NeedsSync = true };

    public static WriteRequest Seal(bool asynchronousContinuations, Volume volume) => new(asynchronousContinuations) { Kind = RequestKind.Seal, ToSeal = volume };

    public static WriteRequest Tombstone(bool asynchronousContinuations, TombstoneEntry[] entries, ReadOnlyMemory<byte> payload, ulong[] checksums, bool needsSync)
        => new(asynchronousContinuations) { Kind = RequestKind.Tombstone, Tombstones = entries, Payload = payload, Checksums = checksums, NeedsSync = needsSync };

    public static unsafe WriteRequest Fragment(bool asynchronousContinuations, in FragmentWrite fragment, bool needsSync, long? createdUnixMilliseconds = null, (long VolumeId, long Offset)? source = null)
    {
        var request = new WriteRequest(asynchronousContinuations)
        {
            Kind = RequestKind.PackedFragment,
            Descriptor = fragment.Descriptor,
            Extent = fragment.Descriptor.Id,
            SchemeId = fragment.Scheme.Id,
            BlockSizeBytes = fragment.BlockSizeBytes,
            BlockLengthBytes = fragment.BlockLengthBytes,
            Block = fragment.Block,
            Shard = (ushort)fragment.Shard,
            Payload = fragment.Payload,
            Checksums = fragment.ChunkChecksums,
            NeedsSync = needsSync,
            CreatedUnixMilliseconds = createdUnixMilliseconds,
            Source = source,
            MayUseHeadroom = source is not null,
        };
        if (fragment.Payload.Length <= VolumeFormat.MaxPackedPayloadBytes)
            return request;
        request._pin = fragment.Payload.Pin();
        request._pinned = 1;
        if (request.PayloadAddress % VolumeFormat.PageBytes == 0)
            request.Kind = RequestKind.BlockFragment;
        else
            request.Unpin();
        return request;
    }

    /// <summary>For a request that is given up before it was queued; completion does it otherwise.</summary>
    public void Unpin()
    {
        if (Interlocked.Exchange(ref _pinned, 0) != 0)
            _pin.Dispose();
    }

    public ValueTask<WriteTicket> AsTask() => new(this, _core.Version);

    public void Complete()
    {
        Unpin();
        if (Interlocked.Exchange(ref _completed, 1) == 0)
            _core.SetResult(Ticket);
    }

    public void Fail(Exception exception)
    {
        Unpin();
        if (Interlocked.Exchange(ref _completed, 1) == 0)
            _core.SetException(exception);
    }

    /// <summary>
    /// The drive is given up; nobody waits for its writer. Memory that the kernel may still be reading keeps its pin, which the writer drops should it ever come back; where the
    /// memory's owner does not look at pins, the task stays open until then.
    /// </summary>
    public void Abandon(Exception exception)
    {
        if (!IsInKernel)
            Unpin();
        else if (!AlignedBuffer.MayBeAbandoned(Payload))
            return;
        if (Interlocked.Exchange(ref _completed, 1) == 0)
            _core.SetException(exception);
    }

    WriteTicket IValueTaskSource<WriteTicket>.GetResult(short token) => _core.GetResult(token);

    ValueTaskSourceStatus IValueTaskSource<WriteTicket>.GetStatus(short token) => _core.GetStatus(token);

    void IValueTaskSource<WriteTicket>.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags)
        => _core.OnCompleted(continuation, state, token, flags);
}

/// <summary>A number of bytes that may be on their way at once; takers wait in order. One taker may exceed it alone.</summary>
internal sealed class ByteBudget(long capacityBytes, bool asynchronousContinuations)
{
    private readonly Lock _lock = new();
    private readonly Queue<(long Bytes, TaskCompletionSource Source)> _waiting = new();
    private long _taken;
    private Func<Exception>? _failure;

    public long TakenBytes => Volatile.Read(ref _taken);

    /// <summary>Whether nothing is taken and nobody waits.</summary>
    public bool IsIdle
    {
        get
        {
            lock (_lock)
                return _taken == 0; // who waits does so behind one who has taken
        }
    }

    public ValueTask TakeAsync(long bytes, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        TaskCompletionSource source;
        lock (_lock)
        {
            if (_failure is not null)
                throw _failure();
            if (_waiting.Count == 0 && Fits(bytes))
            {
                _taken += bytes;
                return default;
            }

            source = new TaskCompletionSource(asynchronousContinuations ? TaskCreationOptions.RunContinuationsAsynchronously : TaskCreationOptions.None);
            _waiting.Enqueue((bytes, source));
        }

        return cancellationToken.CanBeCanceled ? WaitAsync(source, cancellationToken) : new ValueTask(source.Task);
    }

    public void Release(long bytes)
    {
        List<(long Bytes, TaskCompletionSource Source)>? granted = null;
        lock (_lock)
        {
            _taken -= bytes;
            while (_waiting.TryPeek(out (long Bytes, TaskCompletionSource Source) next))
            {
                if (next.Source.Task.IsCompleted)
                {
                    _waiting.Dequeue();
                    continue;
                }

                if (!Fits(next.Bytes))
                    break;
                _waiting.Dequeue();
                _taken += next.Bytes;
                (granted ??= []).Add(next);
            }
        }

        if (granted is null)
            return;
        foreach ((long taken, TaskCompletionSource source) in granted)
        {
            // Cancelled between the look and the grant: nobody will give these bytes back.
            if (!source.TrySetResult())
                Release(taken);
        }
    }

    /// <summary>Whoever waits, or comes, gets the exception from now on.</summary>
    public void Fail(Func<Exception> failure)
    {
        (long Bytes, TaskCompletionSource Source)[] waiting;
        lock (_lock)
        {
            _failure = failure;
            waiting = [.. _waiting];
            _waiting.Clear();
        }

        foreach ((_, TaskCompletionSource source) in waiting)
            source.TrySetException(failure());
    }

    private bool Fits(long bytes) => _taken == 0 || _taken + bytes <= capacityBytes;

    private static async ValueTask WaitAsync(TaskCompletionSource source, CancellationToken cancellationToken)
    {
        using CancellationTokenRegistration registration = cancellationToken.UnsafeRegister(
            static (state, token) => ((TaskCompletionSource)state!).TrySetCanceled(token), source);
        await source.Task.ConfigureAwait(false);
    }
}
