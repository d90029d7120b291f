using System.Buffers;
using System.Collections.Concurrent;
using System.Diagnostics;
using System.IO.Pipelines;
using System.Security.Cryptography;
using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Compaction;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Transport;

/// <summary>Settings of the serving side.</summary>
public sealed class FragmentServerOptions
{
    /// <summary>Told to peers: whose drives these are.</summary>
    public required Guid ClusterId { get; init; }

    public required string NodeId { get; init; }

    /// <summary>The machine: the failure domain that the drives of this node share with others on it.</summary>
    public required string Host { get; init; }

    /// <summary>Requests to one drive at once. More are answered 503. Default 256: a drive has its best rate far below it, and one that hangs can hold no more than these.</summary>
    public int MaxRequestsPerDrive { get; init; } = 256;

    /// <summary>Buffers of the requests to one drive at once. Default 64 MiB.</summary>
    public long MaxBytesPerDrive { get; init; } = 64L << 20;

    /// <summary>Frames being received whose signature is not known yet, those of up to 4 KiB and larger ones each. Default 16 MiB: what a stranger can make this node hold is twice that.</summary>
    public long MaxUnverifiedBytes { get; init; } = 16L << 20;

    /// <summary>Requests to delete that are remembered against replay while their time stamps are good, of all drives. Default 262,144, about 15 MB: 870 a second.</summary>
    public int MaxRememberedDeletes { get; init; } = 256 * 1024;

    /// <summary>Told of failures that are no <see cref="StorageException"/>. Returns quickly, does not throw.</summary>
    public Action<Exception>? UnforeseenFailure { get; init; }
}

/// <summary>
/// Serves the drives of this process to other nodes: everything of the protocol but HTTP itself, which the host brings. Thread-safe.
///
/// The order of a request: the frame is received into bounded memory and its checksum, signature, time and target verified; then the request is admitted; only then is a buffer
/// taken for the payload, received, and verified against the checksums in the signed frame. What fails before the last step has had no effect.
/// </summary>
public sealed class FragmentServer : IDisposable
{
    /// <summary>The largest request: a frame and a payload.</summary>
    public const int MaxRequestBodyBytes = FragmentProtocol.MaxFrameBytes + FragmentProtocol.MaxPayloadBytes;

    // The frame of a hello, a read, a stat or a write of its own is smaller.
    private const int SmallFrameBytes = 4096;

    private readonly FragmentServerOptions _options;
    private readonly IFragmentStoreDirectory _drives;
    private readonly ClusterSecret _secret;
    private readonly TimeProvider _time;
    private readonly ulong _instance;
    private readonly Admission _unverified;
    private readonly Admission _unverifiedLarge; // listings, deletes, syncs and batches: who fills this holds up no read and no hello
    private readonly ConcurrentDictionary<Guid, Admission> _admissions = new(); // of drives that exist: bounded by their number
    private readonly AlignedBufferPool _buffers = new(VolumeFormat.MaxBlockBytes, maxRetained: 64);
    private readonly ReplayWindow _deletes;
    private readonly VolumeVerifications _verifications;

    /// <param name="drives">Those that are in this process are served.</param>
    public FragmentServer(FragmentServerOptions options, IFragmentStoreDirectory drives, ClusterSecret secret, TimeProvider time)
    {
        (_options, _drives, _secret, _time) = (options, drives, secret, time);
        _unverified = new Admission(int.MaxValue, options.MaxUnverifiedBytes);
        _unverifiedLarge = new Admission(int.MaxValue, options.MaxUnverifiedBytes);
        _verifications = new VolumeVerifications(time);
        _deletes = new ReplayWindow(options.MaxRememberedDeletes, FragmentProtocol.ClockWindow);
        Span<byte> random = stackalloc byte[8];
        do
        {
            RandomNumberGenerator.Fill(random);
            _instance = BitConverter.ToUInt64(random);
        }
        while (_instance == 0);
    }

    /// <summary>By which peers tell this run from another of the same node: see <see cref="NodeRun.Run"/>.</summary>
    public ulong Run => _instance;

    /// <summary>Whether the path is one of this protocol, whatever its version.</summary>
    public static bool Handles(string path) => path.Length > 3 && path[0] == '/' && path[1] == 'v' && char.IsAsciiDigit(path[2]);

    /// <summary>Answers one request. The caller sends the answer and then disposes of it.</summary>
    /// <param name="contentLength">Null where the request does not say: it is refused.</param>
    /// <exception cref="OperationCanceledException">The peer is gone.</exception>
    /// <exception cref="IOException">The body broke off before there was a frame's head.</exception>
    public async ValueTask<FragmentAnswer> HandleAsync(string method, string path, long? contentLength, PipeReader body, CancellationToken cancellationToken)
    {
        if (!FragmentProtocol.TryParsePath(path, out FragmentRequest request, out Guid drive))
            return Refuse(404, "path", "There is nothing here; this node speaks version 1 of the fragment protocol.");
        if (method != "POST")
            return Refuse(405, "method", "Use POST.");
        if (contentLength is not { } length)
            return Refuse(411, "length", "The length of the body is needed.");
        if (length is < FrameHeader.MinFrameBytes or > MaxRequestBodyBytes)
            return Refuse(400, "length", "The length of the body cannot be.");
        long started = Stopwatch.GetTimestamp();
        using Activity? activity = TransportMetrics.StartServer(request, drive);
        byte[]? received = null;
        long unverified = 0;
        Admission room = _unverified;
        try
        {
            FrameHeader header = await PeekHeaderAsync(body, cancellationToken).ConfigureAwait(false);
            if (header.IsAnswer || header.Request != request || header.Drive != drive || header.FrameBytes > FragmentProtocol.MaxRequestFrameBytes(request)
                || header.FrameBytes + (long)header.PayloadBytes != length)
            {
                return Refuse(400, "frame", "The frame is not of this request.");
            }

            if (header.FrameBytes > SmallFrameBytes)
                room = _unverifiedLarge;
            if (!room.TryEnter(header.FrameBytes))
                return Busy();
            unverified = header.FrameBytes;
            received = ArrayPool<byte>.Shared.Rent(header.FrameBytes);
            Memory<byte> frame = received.AsMemory(0, header.FrameBytes);
            if (!await FillAsync(body, frame, cancellationToken).ConfigureAwait(false))
                return Refuse(400, "truncated", "The body ends within the frame.");
            if (!FrameHeader.IsIntact(frame.Span))
                return Refuse(400, "checksum", "The checksum of the frame does not match.");
            if (!FrameHeader.Verify(frame.Span, _secret))
                return Refuse(401, "signature", "The signature is not one of this cluster.");
            if (Math.Abs(header.UnixMilliseconds - (double)_time.GetUtcNow().ToUnixTimeMilliseconds()) > FragmentProtocol.ClockWindow.TotalMilliseconds)
                return Refuse(401, "clock", "The request's time is more than five minutes from this node's clock.");
            room.Leave(unverified);
            unverified = 0;

            // Of the bytes that were verified; the head above is what they were when they were looked at first.
            header = FrameHeader.Read(frame.Span);
            FragmentAnswer answer = await ServeAsync(header, frame[FrameHeader.SizeBytes..^FrameHeader.TrailerBytes], body, cancellationToken).ConfigureAwait(false);
            TransportMetrics.ServerDuration.Record(
                Stopwatch.GetElapsedTime(started).TotalSeconds, TransportMetrics.Operation(request), TransportMetrics.Outcome(answer.Outcome));
            activity?.SetTag("objectstore.outcome", answer.Outcome);
            return answer;
        }
        catch (FrameException e)
        {
            return Refuse(400, "frame", e.Message);
        }
        finally
        {
            if (unverified > 0)
                room.Leave(unverified);
            if (received is not null)
                ArrayPool<byte>.Shared.Return(received);
        }
    }

    /// <summary>Ends what goes on without a request. Called when no request comes any more, before the drives are closed.</summary>
    public void Stop() => _verifications.Dispose();

    public void Dispose()
    {
        Stop();
        _buffers.Dispose();
    }

    /// <summary>Leaves the bytes where they are.</summary>
    private static async ValueTask<FrameHeader> PeekHeaderAsync(PipeReader body, CancellationToken cancellationToken)
    {
        ReadResult head = await body.ReadAtLeastAsync(FrameHeader.SizeBytes, cancellationToken).ConfigureAwait(false);
        try
        {
            return Read(head.Buffer);
        }
        finally
        {
            // Always: a read that is left open would cost the connection.
            body.AdvanceTo(head.Buffer.Start);
        }

        static FrameHeader Read(ReadOnlySequence<byte> source)
        {
            Span<byte> head = stackalloc byte[FrameHeader.SizeBytes];
            source = source.Slice(0, Math.Min(source.Length, FrameHeader.SizeBytes));
            source.CopyTo(head);
            return FrameHeader.Read(head[..(int)source.Length]);
        }
    }

    /// <summary>False where the body ends first, or breaks off, which is the peer's or the network's doing and no failure of this node.</summary>
    private static async ValueTask<bool> FillAsync(PipeReader body, Memory<byte> destination, CancellationToken cancellationToken)
    {
        int done = 0;
        while (done < destination.Length)
        {
            ReadResult read;
            try
            {
                read = await body.ReadAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (Exception e) when (e is IOException || (e is OperationCanceledException && !cancellationToken.IsCancellationRequested))
            {
                return false;
            }

            ReadOnlySequence<byte> taken = read.Buffer.Slice(0, Math.Min(read.Buffer.Length, destination.Length - done));
            taken.CopyTo(destination.Span[done..]);
            done += (int)taken.Length;
            body.AdvanceTo(taken.End);
            if (read.IsCompleted && done < destination.Length && taken.Length == read.Buffer.Length)
                return false;
        }

        return true;
    }

    /// <summary>Receives a payload chunk by chunk, each verified while it is in the processor's cache. False where the body ends first.</summary>
    /// <exception cref="PayloadDamagedException">A chunk is not the one whose checksum was signed.</exception>
    private static async ValueTask<bool> FillVerifiedAsync(PipeReader body, Memory<byte> destination, ReadOnlyMemory<ulong> checksums, CancellationToken cancellationToken)
    {
        for (int chunk = 0; chunk < checksums.Length; chunk++)
        {
            int at = chunk * FragmentProtocol.ChunkBytes;
            Memory<byte> bytes = destination.Slice(at, Math.Min(FragmentProtocol.ChunkBytes, destination.Length - at));
            if (!await FillAsync(body, bytes, cancellationToken).ConfigureAwait(false))
                return false;
            if (Crc64Nvme.Compute(bytes.Span) != checksums.Span[chunk])
                throw new PayloadDamagedException($"The checksum of the chunk at {at} does not match.");
        }

        return true;
    }

    private static FragmentAnswer Refuse(int status, string reason, string text)
    {
        TransportMetrics.ServerRefused.Add(1, new KeyValuePair<string, object?>("reason", reason));
        return new FragmentAnswer(status, text, retryLater: false);
    }

    private static FragmentAnswer Busy()
    {
        TransportMetrics.ServerRefused.Add(1, new KeyValuePair<string, object?>("reason", "busy"));
        return new FragmentAnswer(503, "Too much is under way.", retryLater: true);
    }

    private async ValueTask<FragmentAnswer> ServeAsync(FrameHeader header, ReadOnlyMemory<byte> body, PipeReader payload, CancellationToken cancellationToken)
    {
        if (header.Request == FragmentRequest.Hello)
            return Answer(header, frame => FragmentCodec.WriteHello(frame, Hello()));

        // A read that was meant for an earlier run is as good in this one; but one rule is simpler than two, and the peer has to learn of the new run anyway.
        if (header.Instance != _instance)
            return Answer(header, FragmentStatus.OtherInstance);
        if (_drives.Find(header.Drive) is not { IsLocal: true } store)
            return Answer(header, FragmentStatus.UnknownDrive);
        Admission admission = _admissions.GetOrAdd(header.Drive, static (_, options) => new Admission(options.MaxRequestsPerDrive, options.MaxBytesPerDrive), _options);
        if (!TryGetPayloadBytes(header, body.Span, out int payloadBytes))
            return Answer(header, FragmentStatus.BadRequest, frame => frame.Text("The range cannot be."));
        int bufferBytes = payloadBytes == 0 ? 0 : payloadBytes <= VolumeFormat.MaxPackedPayloadBytes ? VolumeFormat.MaxPackedPayloadBytes : VolumeFormat.MaxBlockBytes;
        if (!admission.TryEnter(bufferBytes))
            return Busy();
        Held held = new(this, admission, bufferBytes);
        try
        {
            FragmentAnswer answer = header.Request switch
            {
                FragmentRequest.Write => await WriteAsync(header, store, body, payload, held, cancellationToken).ConfigureAwait(false),
                FragmentRequest.WriteBatch => await WriteBatchAsync(header, store, body, payload, held, cancellationToken).ConfigureAwait(false),
                FragmentRequest.Sync => await SyncAsync(header, store, body, cancellationToken).ConfigureAwait(false),
                FragmentRequest.Read or FragmentRequest.ReadOnce => await ReadAsync(header, store, body, held, cancellationToken).ConfigureAwait(false),
                FragmentRequest.Stat => await StatAsync(header, store, body, cancellationToken).ConfigureAwait(false),
                FragmentRequest.Delete => await DeleteAsync(header, store, body, cancellationToken).ConfigureAwait(false),
                FragmentRequest.List => await ListAsync(header, store, body, cancellationToken).ConfigureAwait(false),
                FragmentRequest.Statistics => await StatisticsAsync(header, store, body, cancellationToken).ConfigureAwait(false),
                FragmentRequest.Volumes => await VolumesAsync(header, store, body, cancellationToken).ConfigureAwait(false),
                FragmentRequest.VerifyVolume => VerifyVolume(header, store, body),
                _ => throw new FrameException("The frame is of no known kind."),
            };
            answer.Held = held;
            held = default;
            return answer;
        }
        catch (PayloadDamagedException e)
        {
            return Answer(header, FragmentStatus.PayloadDamaged, frame => frame.Text(e.Message));
        }
        catch (Exception e) when (e is not OperationCanceledException || !cancellationToken.IsCancellationRequested)
        {
            FragmentStatus status = FragmentErrors.StatusOf(e);
            if (status == FragmentStatus.Failed)
                _options.UnforeseenFailure?.Invoke(e);
            return Answer(header, status, frame => FragmentErrors.Write(frame, e));
        }
        finally
        {
            held.Release();
        }
    }

    private async ValueTask<FragmentAnswer> WriteAsync(
        FrameHeader header, IFragmentStore store, ReadOnlyMemory<byte> body, PipeReader payload, Held held, CancellationToken cancellationToken)
    {
        (FragmentWrite fragment, bool sync) = Decode(body.Span, header.PayloadBytes);
        Memory<byte> bytes = held.Memory[..header.PayloadBytes];
        if (!await FillVerifiedAsync(payload, bytes, fragment.ChunkChecksums, cancellationToken).ConfigureAwait(false))
            throw new FrameException("The body ends within the payload.");
        FragmentTicket ticket = await store.WriteAsync(fragment with { Payload = bytes }, sync, cancellationToken).ConfigureAwait(false);
        return Answer(header, frame => FragmentCodec.WriteTicket(frame, ticket));

        static (FragmentWrite, bool) Decode(ReadOnlySpan<byte> body, int givenBytes)
        {
            FrameReader reader = new(body);
            bool sync = reader.Byte() != 0;
            FragmentWrite fragment = FragmentCodec.ReadFragment(ref reader, out int payloadBytes);
            reader.RequireEnd();
            return payloadBytes == givenBytes ? (fragment, sync) : throw new FrameException("The payload has not the length that the scheme gives a shard of this block.");
        }
    }

    /// <summary>Synced writes that share a request. Each has an outcome of its own; only a fault of the frame or of a payload fails them all, and then nothing was stored.</summary>
    private async ValueTask<FragmentAnswer> WriteBatchAsync(
        FrameHeader header, IFragmentStore store, ReadOnlyMemory<byte> body, PipeReader payload, Held held, CancellationToken cancellationToken)
    {
        (FragmentWrite[] fragments, int[] lengths) = Decode(body.Span, header.PayloadBytes);
        Memory<byte> left = held.Memory[..header.PayloadBytes];
        for (int i = 0; i < fragments.Length; i++)
        {
            Memory<byte> bytes = left[..lengths[i]];
            if (!await FillVerifiedAsync(payload, bytes, fragments[i].ChunkChecksums, cancellationToken).ConfigureAwait(false))
                throw new FrameException("The body ends within the payload.");
            fragments[i] = fragments[i] with { Payload = bytes };
            left = left[lengths[i]..];
        }

        // All are handed over before the first is awaited, so that they share a sync; and all are awaited, since they use the buffer.
        var writes = new Task<FragmentTicket>[fragments.Length];
        for (int i = 0; i < fragments.Length; i++)
            writes[i] = StartWrite(store, fragments[i], cancellationToken);
        await ((Task)Task.WhenAll(writes)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        cancellationToken.ThrowIfCancellationRequested();
        return Answer(header, frame =>
        {
            frame.Int32(writes.Length);
            foreach (Task<FragmentTicket> write in writes)
            {
                Exception? error = write.IsCanceled ? new TaskCanceledException(write) : write.Exception?.InnerException;
                FragmentStatus status = error is null ? FragmentStatus.Ok : FragmentErrors.StatusOf(error);
                frame.UInt16((ushort)status);
                if (error is null)
                {
                    FragmentCodec.WriteTicket(frame, write.Result);
                    continue;
                }

                if (status == FragmentStatus.Failed)
                    _options.UnforeseenFailure?.Invoke(error);
                FragmentErrors.Write(frame, error);
            }
        });

        // What the store throws at once is this fragment's outcome as well.
        static async Task<FragmentTicket> StartWrite(IFragmentStore store, FragmentWrite fragment, CancellationToken cancellationToken)
            => await store.WriteAsync(fragment, sync: true, cancellationToken).ConfigureAwait(false);

        static (FragmentWrite[] Fragments, int[] Lengths) Decode(ReadOnlySpan<byte> body, int givenBytes)
        {
            FrameReader reader = new(body);
            var fragments = new FragmentWrite[reader.Count(FragmentProtocol.MaxBatchFragments, 64)];
            var lengths = new int[fragments.Length];
            long total = 0;
            for (int i = 0; i < fragments.Length; i++)
            {
                fragments[i] = FragmentCodec.ReadFragment(ref reader, out lengths[i]);
                total += lengths[i];
            }

            reader.RequireEnd();
            return total == givenBytes ? (fragments, lengths) : throw new FrameException("The payloads have not the lengths that their schemes give.");
        }
    }

    private async ValueTask<FragmentAnswer> SyncAsync(FrameHeader header, IFragmentStore store, ReadOnlyMemory<byte> body, CancellationToken cancellationToken)
    {
        RequireNoPayload(header);
        await store.SyncAsync(Decode(body.Span, FragmentCodec.ReadTickets), cancellationToken).ConfigureAwait(false);
        return Answer(header, FragmentStatus.Ok);
    }

    private async ValueTask<FragmentAnswer> ReadAsync(FrameHeader header, IFragmentStore store, ReadOnlyMemory<byte> body, Held held, CancellationToken cancellationToken)
    {
        RequireNoPayload(header);
        (FragmentAddress address, int offset, int length) = Decode(body.Span, FragmentCodec.ReadRead);
        Memory<byte> bytes = held.Memory[..length];
        if (header.Request == FragmentRequest.ReadOnce)
            await store.ReadOnceAsync(address, offset, bytes, cancellationToken).ConfigureAwait(false);
        else if (!store.TryRead(address, offset, bytes.Span))
            await store.ReadAsync(address, offset, bytes, cancellationToken).ConfigureAwait(false);

        // The drive has just verified these bytes against its record; from here on it is these checksums, signed, that they are verified against.
        FragmentAnswer answer = Answer(
            header,
            frame =>
            {
                int chunks = FragmentProtocol.ChunksOf(length);
                frame.UInt16((ushort)chunks);
                for (int at = 0; at < length; at += FragmentProtocol.ChunkBytes)
                    frame.UInt64(Crc64Nvme.Compute(bytes.Span.Slice(at, Math.Min(FragmentProtocol.ChunkBytes, length - at))));
            },
            length);
        answer.Payload = bytes;
        return answer;
    }

    private async ValueTask<FragmentAnswer> StatAsync(FrameHeader header, IFragmentStore store, ReadOnlyMemory<byte> body, CancellationToken cancellationToken)
    {
        RequireNoPayload(header);
        FragmentDetails? details = await store.StatAsync(Decode(body.Span, FragmentCodec.ReadKey), cancellationToken).ConfigureAwait(false);
        return Answer(header, frame => FragmentCodec.WriteDetails(frame, details));
    }

    private async ValueTask<FragmentAnswer> DeleteAsync(FrameHeader header, IFragmentStore store, ReadOnlyMemory<byte> body, CancellationToken cancellationToken)
    {
        RequireNoPayload(header);
        FragmentKey[] keys = Decode(body.Span, FragmentCodec.ReadKeys);

        // A fragment that was deleted may come back, when its group moves away from this drive and returns: an old delete must not take it away again.
        switch (_deletes.Enter(header.Nonce, DateTimeOffset.FromUnixTimeMilliseconds(header.UnixMilliseconds), _time.GetUtcNow()))
        {
            case ReplayOutcome.Seen:
                throw new FrameException("This request has been made before.");
            case ReplayOutcome.Full:
                return Busy();
        }

        await store.DeleteAsync(keys, cancellationToken).ConfigureAwait(false);
        return Answer(header, FragmentStatus.Ok);
    }

    private async ValueTask<FragmentAnswer> ListAsync(FrameHeader header, IFragmentStore store, ReadOnlyMemory<byte> body, CancellationToken cancellationToken)
    {
        RequireNoPayload(header);
        (IReadOnlySet<int>? groups, FragmentKey? after, int maxEntries) = Decode(body.Span, FragmentCodec.ReadListing);
        FragmentPage page = await store.ListAsync(groups, after, maxEntries, cancellationToken).ConfigureAwait(false);
        return Answer(header, frame => FragmentCodec.WritePage(frame, page));
    }

    private async ValueTask<FragmentAnswer> StatisticsAsync(FrameHeader header, IFragmentStore store, ReadOnlyMemory<byte> body, CancellationToken cancellationToken)
    {
        RequireNoPayload(header);
        new FrameReader(body.Span).RequireEnd();
        DriveStatistics statistics = await store.GetStatisticsAsync(cancellationToken).ConfigureAwait(false);
        return Answer(header, frame => FragmentCodec.WriteStatistics(frame, statistics));
    }

    private async ValueTask<FragmentAnswer> VolumesAsync(FrameHeader header, IFragmentStore store, ReadOnlyMemory<byte> body, CancellationToken cancellationToken)
    {
        RequireNoPayload(header);
        long after = Decode(body.Span, static (ref FrameReader reader) => reader.Int64());
        IReadOnlyList<SealedVolume> volumes = store is IVolumeVerifier verifier ? await verifier.ListSealedVolumesAsync(cancellationToken).ConfigureAwait(false) : [];
        return Answer(header, frame => FragmentCodec.WriteVolumes(frame, volumes.Where(volume => volume.VolumeId > after)));
    }

    private FragmentAnswer VerifyVolume(FrameHeader header, IFragmentStore store, ReadOnlyMemory<byte> body)
    {
        RequireNoPayload(header);
        VerificationQuestion question = Decode(body.Span, FragmentCodec.ReadQuestion);
        (VerificationState state, VolumeVerification? result) = store is IVolumeVerifier verifier ? _verifications.Ask(header.Drive, verifier, question) : (VerificationState.NoVolume, null);
        return Answer(header, frame => FragmentCodec.WriteVerification(frame, state, result, question.FirstDamaged));
    }

    private static void RequireNoPayload(FrameHeader header)
    {
        if (header.PayloadBytes != 0)
            throw new FrameException("This request has no payload.");
    }

    /// <summary>Of the request, or of the answer to a read.</summary>
    private static bool TryGetPayloadBytes(FrameHeader header, ReadOnlySpan<byte> body, out int payloadBytes)
    {
        payloadBytes = header.PayloadBytes;
        if (header.Request is not (FragmentRequest.Read or FragmentRequest.ReadOnce))
            return true;
        try
        {
            payloadBytes = Decode(body, FragmentCodec.ReadRead).LengthBytes;
            return true;
        }
        catch (FrameException)
        {
            return false;
        }
    }

    /// <summary>All of a request's body as one value.</summary>
    private static T Decode<T>(ReadOnlySpan<byte> body, FieldReader<T> read)
    {
        FrameReader reader = new(body);
        T value = read(ref reader);
        reader.RequireEnd();
        return value;
    }

    private delegate T FieldReader<out T>(ref FrameReader reader);

    private NodeHello Hello() => new(
        _instance, _options.ClusterId, _options.NodeId, _options.Host, [.. _drives.All.Where(drive => drive.IsLocal).Select(drive => drive.DriveId).Take(FragmentProtocol.MaxDrives)]);

    private FragmentAnswer Answer(FrameHeader request, Action<FrameWriter> write, int payloadBytes = 0) => Answer(request, FragmentStatus.Ok, write, payloadBytes);

    private FragmentAnswer Answer(FrameHeader request, FragmentStatus status, Action<FrameWriter>? write = null, int payloadBytes = 0)
    {
        FrameWriter frame = new();
        write?.Invoke(frame);
        ReadOnlyMemory<byte> sealedFrame = frame.Seal(
            request with
            {
                IsAnswer = true,
                Status = status,
                PayloadBytes = payloadBytes,
                UnixMilliseconds = _time.GetUtcNow().ToUnixTimeMilliseconds(),
                Instance = _instance,
            },
            _secret);
        return new FragmentAnswer(FragmentErrors.HttpStatusOf(status), status, frame, sealedFrame);
    }

    /// <summary>What a request holds: its place at the drive and its buffer.</summary>
    internal struct Held
    {
        private readonly FragmentServer _server;
        private readonly int _bytes;
        private readonly AlignedBuffer? _aligned;
        private readonly byte[]? _pooled;
        private Admission? _admission;

        public Held(FragmentServer server, Admission admission, int bytes)
        {
            (_server, _admission, _bytes) = (server, admission, bytes);
            TransportMetrics.ServerBytesInFlight.Add(bytes);

            // Small payloads are copied into a batch by the drive; a large one is written from where it is, so it has to be aligned.
            if (bytes > VolumeFormat.MaxPackedPayloadBytes)
                _aligned = server._buffers.Rent();
            else if (bytes > 0)
                _pooled = ArrayPool<byte>.Shared.Rent(bytes);
        }

        public readonly Memory<byte> Memory => _aligned?.Memory ?? _pooled;

        public void Release()
        {
            if (_admission is not { } admission)
                return;
            _admission = null;
            TransportMetrics.ServerBytesInFlight.Add(-_bytes);
            if (_aligned is not null)
                _server._buffers.Return(_aligned);
            if (_pooled is not null)
                ArrayPool<byte>.Shared.Return(_pooled);
            admission.Leave(_bytes);
        }
    }

    private sealed class PayloadDamagedException(string message) : Exception(message);
}

/// <summary>An answer to be sent: the frame, then the payload. Disposed of once, when both have been sent.</summary>
public sealed class FragmentAnswer : IDisposable
{
    private readonly FrameWriter? _writer;
    private bool _disposed;

    internal FragmentAnswer(int httpStatus, string text, bool retryLater)
    {
        (HttpStatus, Text, RetryLater) = (httpStatus, text, retryLater);
        Outcome = retryLater ? "busy" : "refused";
    }

    internal FragmentAnswer(int httpStatus, FragmentStatus status, FrameWriter writer, ReadOnlyMemory<byte> frame)
    {
        (HttpStatus, _writer, Frame) = (httpStatus, writer, frame);
        Outcome = status.ToString();
    }

    public int HttpStatus { get; }

    /// <summary>For people, where there is no frame: the request was refused before anything was known of it.</summary>
    public string? Text { get; }

    /// <summary>Whether the same request may find room a moment later.</summary>
    public bool RetryLater { get; }

    public ReadOnlyMemory<byte> Frame { get; }

    public ReadOnlyMemory<byte> Payload { get; internal set; }

    internal string Outcome { get; }

    internal FragmentServer.Held Held { get; set; }

    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        _writer?.Dispose();
        Held.Release();
    }
}

/// <summary>A bound on requests and bytes that refuses instead of queueing. Thread-safe.</summary>
internal sealed class Admission(int maxRequests, long maxBytes)
{
    private readonly Lock _lock = new();
    private int _requests;
    private long _bytes;

    public bool TryEnter(long bytes)
    {
        lock (_lock)
        {
            if (_requests >= maxRequests || _bytes + bytes > maxBytes)
                return false;
            _requests++;
            _bytes += bytes;
            return true;
        }
    }

    public void Leave(long bytes)
    {
        lock (_lock)
        {
            _requests--;
            _bytes -= bytes;
        }
    }
}

internal enum ReplayOutcome
{
    New,
    Seen,
    Full,
}

/// <summary>
/// The nonces of requests for as long as their time stamps are good, up to a number of them; past it nothing is let in, so that nothing has to be forgotten too early. A clock that goes back makes no
/// request good again whose nonce has been forgotten, and keeps out others only while it passes times that it has passed before. Thread-safe.
/// </summary>
/// <param name="span">How long after its time stamp a request is still looked at.</param>
internal sealed class ReplayWindow(int capacity, TimeSpan span)
{
    private const int MaxRanges = 16;
    private readonly Lock _lock = new();
    private readonly HashSet<UInt128> _seen = [];
    private readonly PriorityQueue<UInt128, DateTimeOffset> _order = new();
    private readonly List<(DateTimeOffset From, DateTimeOffset To)> _forgotten = []; // time stamps of nonces that have been, within a span of each other

    /// <param name="nonce">Of the request.</param>
    /// <param name="at">Its time stamp, which the caller has found to be good.</param>
    /// <param name="now">The time.</param>
    public ReplayOutcome Enter(UInt128 nonce, DateTimeOffset at, DateTimeOffset now)
    {
        lock (_lock)
        {
            while (_order.TryPeek(out UInt128 oldest, out DateTimeOffset stamped) && now - stamped > span)
            {
                _order.Dequeue();
                _seen.Remove(oldest);
                Forget(stamped);
            }

            if (now - at > span || _seen.Contains(nonce) || _forgotten.Exists(range => at >= range.From && at <= range.To))
                return ReplayOutcome.Seen;
            if (_order.Count >= capacity)
                return ReplayOutcome.Full;
            _seen.Add(nonce);
            _order.Enqueue(nonce, at);
            return ReplayOutcome.New;
        }
    }

    private void Forget(DateTimeOffset stamped)
    {
        int near = _forgotten.FindIndex(range => stamped >= range.From - span && stamped <= range.To + span);
        if (near >= 0)
        {
            (DateTimeOffset from, DateTimeOffset to) = _forgotten[near];
            _forgotten[near] = (stamped < from ? stamped : from, stamped > to ? stamped : to);
            return;
        }

        // A clock that is set again and again: those two are then one.
        if (_forgotten.Count == MaxRanges)
        {
            _forgotten[1] = (_forgotten[0].From < _forgotten[1].From ? _forgotten[0].From : _forgotten[1].From, _forgotten[0].To > _forgotten[1].To ? _forgotten[0].To : _forgotten[1].To);
            _forgotten.RemoveAt(0);
        }

        _forgotten.Add((stamped, stamped));
    }
}
