using System.Threading.Tasks.Sources;
using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Storage.Volumes;

/// <summary>Where a request's record went. It is durable once the volume's DurableEnd has reached EndOffset.</summary>
internal readonly record struct WriteTicket(Volume? Volume, long Offset, long EndOffset)
{
    public bool IsDurable => Volume is null || Volume.DurableEnd >= EndOffset;
}

internal enum RequestKind
{
    /// <summary>Up to 128 KiB, copied into the batch's staging buffer.</summary>
    PackedFragment,

    /// <summary>In a block buffer with a page in front for the header; written from there.</summary>
    BlockFragment,
    Tombstone,

    /// <summary>No record; syncs what the writer has written.</summary>
    SyncOnly,
}

/// <summary>One record to append, and the task of whoever waits for it. The memory it points at stays untouched until the task completes.</summary>
internal sealed class WriteRequest(bool asynchronousContinuations) : IValueTaskSource<WriteTicket>
{
    private ManualResetValueTaskSourceCore<WriteTicket> _core = new() { RunContinuationsAsynchronously = asynchronousContinuations };

    public RequestKind Kind { get; init; }
    public ExtentDescriptor? Descriptor { get; init; }
    public ExtentId Extent { get; init; }
    public ushort SchemeId { get; init; }
    public int BlockSizeBytes { get; init; }
    public int Block { get; init; }
    public ushort Shard { get; init; }
    public ReadOnlyMemory<byte> Payload { get; init; }
    public AlignedBuffer? Buffer { get; init; }
    public int PayloadBytes { get; init; }
    public ulong[] Checksums { get; init; } = [];
    public TombstoneEntry[]? Tombstones { get; init; }

    /// <summary>Whether the task completes only after a sync; otherwise after the write.</summary>
    public bool NeedsSync { get; init; }

    public WriteTicket Ticket { get; set; }

    public int KeyBytes => Descriptor?.KeyUtf8.Length ?? 0;

    public int HeaderBytes => RecordHeader.MeasureHeader(KeyBytes, Checksums.Length);

    /// <summary>What the record takes in the file, without the padding of a batch.</summary>
    public int AppendBytes => Kind switch
    {
        RequestKind.SyncOnly => 0,
        RequestKind.BlockFragment => VolumeFormat.AlignToPage(VolumeFormat.PageBytes + PayloadBytes),
        _ => VolumeFormat.AlignToRecord(HeaderBytes + PayloadBytes),
    };

    public long CostBytes => Math.Max(AppendBytes, VolumeFormat.PageBytes);

    public ValueTask<WriteTicket> AsTask() => new(this, _core.Version);

    public void Complete() => _core.SetResult(Ticket);

    public void Fail(Exception exception) => _core.SetException(exception);

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

    public long TakenBytes => Volatile.Read(ref _taken);

    public ValueTask TakeAsync(long bytes, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        TaskCompletionSource source;
        lock (_lock)
        {
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

    private bool Fits(long bytes) => _taken == 0 || _taken + bytes <= capacityBytes;

    private static async ValueTask WaitAsync(TaskCompletionSource source, CancellationToken cancellationToken)
    {
        using CancellationTokenRegistration registration = cancellationToken.UnsafeRegister(
            static (state, token) => ((TaskCompletionSource)state!).TrySetCanceled(token), source);
        await source.Task.ConfigureAwait(false);
    }
}
