using System.Collections.Immutable;
using System.Diagnostics;
using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;

namespace ObjectStore.Storage.Transport;

/// <summary>Settings of the way to another node. The defaults are for one data centre.</summary>
public sealed class RemoteStorageNodeOptions
{
    /// <summary>The cluster that the node must be of. Null takes any that has the secret.</summary>
    public Guid? ClusterId { get; init; }

    /// <summary>Until a connection is open. Default 2 s.</summary>
    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>How long a request may make no progress, in either direction, before the drive counts as unavailable. Default 10 s: many times a slow drive's sync.</summary>
    public TimeSpan IdleTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>The same for the question whether the node is there. Default 3 s.</summary>
    public TimeSpan HelloTimeout { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>Between two of these questions. Default 5 s.</summary>
    public TimeSpan HelloInterval { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>The same while the node does not answer. Default 1 s.</summary>
    public TimeSpan ReconnectInterval { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>How long a request that the node has no room for is tried again. Default 2 s.</summary>
    public TimeSpan BusyTimeout { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>Requests to one drive at once, each on a connection; those beyond them wait. Default 64: a drive that hangs keeps so many from its neighbours, and no more.</summary>
    public int MaxRequestsPerDrive { get; init; } = 64;

    /// <summary>Synced writes up to this share requests. Default 64 KiB: above it a request's own cost is small beside its bytes. 0 shares none.</summary>
    public int BatchBelowBytes { get; init; } = 64 << 10;

    internal void Validate()
    {
        Require(ConnectTimeout > TimeSpan.Zero && IdleTimeout > TimeSpan.Zero && HelloTimeout > TimeSpan.Zero, nameof(IdleTimeout), IdleTimeout, "time-outs are more than zero.");
        Require(HelloInterval > TimeSpan.Zero && ReconnectInterval > TimeSpan.Zero, nameof(HelloInterval), HelloInterval, "intervals are more than zero.");
        Require(BusyTimeout >= TimeSpan.Zero, nameof(BusyTimeout), BusyTimeout, "use zero or more.");
        Require(MaxRequestsPerDrive is >= 1 and <= 65_536, nameof(MaxRequestsPerDrive), MaxRequestsPerDrive, "use 1 to 65536.");
        Require(BatchBelowBytes is >= 0 and <= FragmentProtocol.MaxPayloadBytes, nameof(BatchBelowBytes), BatchBelowBytes, "use 0 to 1048576.");

        static void Require(bool holds, string setting, object value, string remedy)
        {
            if (!holds)
                throw new StorageOptionsException(setting, Convert.ToString(value, System.Globalization.CultureInfo.InvariantCulture) ?? "", remedy);
        }
    }
}

/// <summary>What a node said last of the process that it is.</summary>
/// <param name="Name">By which it goes as a node.</param>
/// <param name="Run">Another with every start of the process.</param>
/// <param name="Since">When this run was first heard of, as a timestamp of the time that the connection was given.</param>
/// <param name="AskedAt">When the question was sent that was answered last.</param>
public readonly record struct NodeRun(string Name, ulong Run, long Since, long AskedAt);

/// <summary>The node answers, and cannot be used: another secret, another cluster, another version, a clock that is wrong. Waiting does not help.</summary>
public sealed class StorageNodeRefusedException(Uri node, string reason) : StorageException($"The storage node {node} cannot be used: {reason}")
{
    public Uri Node { get; } = node;
}

/// <summary>
/// Another process whose drives are used from here. Thread-safe. One background loop ("the watch") asks every few seconds whether the node is there and what it has; while it is not,
/// every request to its drives fails at once with <see cref="DriveUnavailableException"/>, and the watch goes on until it is back.
/// </summary>
public sealed class RemoteStorageNode : IAsyncDisposable
{
    private const int TransportAttempts = 2;
    private const int InstanceAttempts = 3;
    private static readonly MediaTypeHeaderValue FrameType = new("application/vnd.objectstore.frame");
    private readonly ClusterSecret _secret;
    private readonly TimeProvider _time;
    private readonly IStorageEvents _events;
    private readonly HttpMessageInvoker _http;
    private readonly HttpMessageInvoker _helloHttp; // never behind the drives' requests
    private readonly CancellationTokenSource _stopping = new();
    private readonly SemaphoreSlim _helloing = new(1, 1);
    private readonly Lock _lock = new();
    private Task _watch = Task.CompletedTask;
    private volatile TaskCompletionSource _wake = NewSignal();
    private volatile Session? _session;
    private volatile string? _unreachable = "it has not answered yet";
    private volatile CancellationTokenSource _lost = new(); // has no timer, and is not disposed of, as others may still hold it
    private ImmutableArray<RemoteFragmentStore> _drives = [];
    private int _lastOrdinal;
    private ulong _withoutReadOnce; // the run of the node that does not know the operation; 0 is none
    private int _disposed;

    private RemoteStorageNode(Uri address, ClusterSecret secret, RemoteStorageNodeOptions options, TimeProvider time, IStorageEvents events)
    {
        options.Validate();
        (Address, _secret, Options, _time, _events) = (address, secret, options, time, events);
        _http = CreateHttp(options);
        _helloHttp = CreateHttp(options);
        TransportMetrics.NodesUnreachable.Add(1);

        // As many connections as there are requests: how many those are is bounded drive by drive.
        static HttpMessageInvoker CreateHttp(RemoteStorageNodeOptions options) => new(new SocketsHttpHandler
        {
            ConnectTimeout = options.ConnectTimeout,
            PooledConnectionIdleTimeout = TimeSpan.FromSeconds(60), // less than Kestrel keeps one
            PooledConnectionLifetime = TimeSpan.FromMinutes(15), // a name may come to mean another address
            AllowAutoRedirect = false,
            UseCookies = false,
            UseProxy = false,
            AutomaticDecompression = DecompressionMethods.None,
            MaxResponseHeadersLength = 16,
        });
    }

    public Uri Address { get; }

    /// <summary>Whether it answered when it was last asked.</summary>
    public bool IsReachable => _unreachable is null;

    /// <summary>Why it is not reachable; null where it is.</summary>
    public string? UnreachableReason => _unreachable;

    /// <summary>The node's name and machine; empty until it has answered once.</summary>
    public string NodeId => _session?.Hello.NodeId ?? "";

    public string Host => _session?.Hello.Host ?? "";

    /// <summary>Null until it has answered once.</summary>
    public NodeRun? Run => _session is { } session ? new NodeRun(session.Hello.NodeId, session.Hello.Instance, session.Since, session.AskedAt) : null;

    /// <summary>Empty until it has answered once.</summary>
    public Guid ClusterId => _session?.Hello.ClusterId ?? Guid.Empty;

    /// <summary>
    /// The drives it named last; none until it has answered once. A drive is the same object for as long as the node names it, through restarts. They belong to the node, and go with it.
    /// </summary>
    public IReadOnlyList<IFragmentStore> Drives
    {
        get
        {
            lock (_lock)
                return _drives.CastArray<IFragmentStore>();
        }
    }

    /// <summary>The drives, or whether the node is reachable, have changed. One call at a time, from the watch or a request: handlers return quickly and do not throw.</summary>
    public event Action<RemoteStorageNode>? Changed;

    internal RemoteStorageNodeOptions Options { get; }

    internal TimeProvider Time => _time;

    /// <summary>Cancelled when the node is lost; another one when it is back.</summary>
    internal CancellationToken Lost => _lost.Token;

    /// <summary>
    /// Asks the node for its drives. Where it cannot be reached the node is returned all the same, without drives, and <see cref="Changed"/> tells when it has answered: a gateway
    /// starts while a storage node is down.
    /// </summary>
    /// <param name="address">http://HOST:PORT</param>
    /// <exception cref="StorageNodeRefusedException">It answers and cannot be used.</exception>
    /// <exception cref="StorageOptionsException">A setting is out of range.</exception>
    public static async Task<RemoteStorageNode> ConnectAsync(
        Uri address, ClusterSecret secret, RemoteStorageNodeOptions? options = null, TimeProvider? time = null, IStorageEvents? events = null, CancellationToken cancellationToken = default)
    {
        RemoteStorageNode node = new(address, secret, options ?? new RemoteStorageNodeOptions(), time ?? TimeProvider.System, events ?? NoStorageEvents.Instance);
        try
        {
            await node.SayHelloAsync(seen: null, cancellationToken).ConfigureAwait(false);
        }
        catch (DriveUnavailableException)
        {
            // The watch goes on asking.
        }
        catch
        {
            await node.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        node._watch = node.WatchAsync();
        return node;
    }

    /// <summary>Ends what is under way with <see cref="DriveUnavailableException"/> and closes the connections.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        await _stopping.CancelAsync().ConfigureAwait(false);
        await _watch.ConfigureAwait(false);
        foreach (RemoteFragmentStore drive in _drives)
            await drive.CloseAsync().ConfigureAwait(false);
        if (_unreachable is not null)
            TransportMetrics.NodesUnreachable.Add(-1);
        _http.Dispose();
        _helloHttp.Dispose();
    }

    /// <summary>
    /// Sends one request and receives its answer, with bounded retries. The payloads are in use until this completes.
    /// </summary>
    /// <param name="body">The frame's body; sealed anew for every attempt.</param>
    /// <param name="destination">Receives the answer's payload, which must have its length.</param>
    /// <param name="tickets">Where the request holds tickets: the run of the node that made them. In another run they mean nothing, and the request is not sent.</param>
    /// <exception cref="StorageException">What the node says, or <see cref="DriveUnavailableException"/>.</exception>
    internal async ValueTask<RemoteAnswer> SendAsync(
        FragmentRequest request, Guid drive, FrameWriter body, RequestPayload payload, Memory<byte> destination, int? tickets, CancellationToken cancellationToken)
    {
        long started = Stopwatch.GetTimestamp();
        string outcome = "Failed";
        using Activity? activity = TransportMetrics.StartClient(request, drive, Address);
        try
        {
            RemoteAnswer answer = await SendWithRetriesAsync(request, drive, body, payload, destination, tickets, cancellationToken).ConfigureAwait(false);
            outcome = nameof(FragmentStatus.Ok);
            TransportMetrics.ClientBytes.Add(payload.LengthBytes + destination.Length, TransportMetrics.Operation(request));
            return answer;
        }
        catch (Exception e)
        {
            outcome = e is StorageException ? e.GetType().Name : e is OperationCanceledException ? "Cancelled" : "Failed";
            activity?.SetStatus(ActivityStatusCode.Error, e.Message);
            throw;
        }
        finally
        {
            TransportMetrics.ClientDuration.Record(Stopwatch.GetElapsedTime(started).TotalSeconds, TransportMetrics.Operation(request), TransportMetrics.Outcome(outcome));
        }
    }

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    internal static UInt128 NewNonce()
    {
        // Not from an injected source: one that could be predicted would let an answer be prepared for it.
        Span<byte> bytes = stackalloc byte[16];
        RandomNumberGenerator.Fill(bytes);
        return BitConverter.ToUInt128(bytes);
    }

    private async ValueTask<RemoteAnswer> SendWithRetriesAsync(
        FragmentRequest request, Guid drive, FrameWriter body, RequestPayload payload, Memory<byte> destination, int? tickets, CancellationToken cancellationToken)
    {
        long busySince = 0;
        int busyRetries = 0;
        int transportFailures = 0, otherInstances = 0;
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (_unreachable is { } reason || _session is not { } session)
                throw Unavailable(drive, _unreachable ?? "it has not answered yet", cause: DriveUnavailableCause.NoAnswer);
            if (tickets is { } ordinal && ordinal != session.Ordinal)
                throw Unavailable(drive, "it was started anew since the write; whether that is durable is not known");
            FragmentRequest sent = request == FragmentRequest.ReadOnce && Volatile.Read(ref _withoutReadOnce) == session.Hello.Instance ? FragmentRequest.Read : request;
            try
            {
                RemoteAnswer answer = await SendOnceAsync(sent, drive, session.Hello.Instance, body, payload, destination, Options.IdleTimeout, cancellationToken).ConfigureAwait(false);
                if (answer.Header.Status == FragmentStatus.Ok)
                {
                    answer.Ordinal = session.Ordinal;
                    return answer;
                }

                using (answer)
                {
                    // Every request may be made twice, so an answer that says nothing was done is a reason to.
                    if (answer.Header.Status == FragmentStatus.OtherInstance && ++otherInstances < InstanceAttempts)
                        await LearnAsync(session, drive, cancellationToken).ConfigureAwait(false);
                    else if (answer.Header.Status == FragmentStatus.PayloadDamaged && ++transportFailures < TransportAttempts)
                        TransportMetrics.ClientRetries.Add(1, TransportMetrics.Operation(request), TransportMetrics.Outcome("damaged"));
                    else if (answer.Header.Status == FragmentStatus.OtherInstance)
                        throw Unavailable(drive, "it is being restarted");
                    else
                        throw answer.ReadError(drive, Address.Authority);
                }
            }
            catch (NodeBusyException)
            {
                // The node's queues empty within milliseconds: come back soon at first, then ever later, never in step with others.
                busySince = busySince == 0 ? _time.GetTimestamp() : busySince;
                if (_time.GetElapsedTime(busySince) >= Options.BusyTimeout)
                    throw Unavailable(drive, $"it has no room for more requests since {Options.BusyTimeout.TotalSeconds:0.#} s", cause: DriveUnavailableCause.NoRoom);
                TransportMetrics.ClientRetries.Add(1, TransportMetrics.Operation(request), TransportMetrics.Outcome("busy"));
                double pause = Math.Min(250, 5 << Math.Min(busyRetries++, 6)) * (0.5 + ((double)(ulong)NewNonce() / ulong.MaxValue / 2));
                await Task.Delay(TimeSpan.FromMilliseconds(pause), _time, cancellationToken).ConfigureAwait(false);
            }
            catch (FrameException e)
            {
                // Signed, so it is the node's own word; another attempt would bring the same.
                throw Unavailable(drive, $"it gives answers that cannot be: {e.Message}", e);
            }
            catch (NodeTransportException e) when (e.IsUnknownPath && sent == FragmentRequest.ReadOnce)
            {
                // The node is of a build that lacks the operation: a read gives the same bytes. Nobody has signed this answer, but whoever forged it would only have made a read of one that
                // leaves the node's memory alone.
                Volatile.Write(ref _withoutReadOnce, session.Hello.Instance);
            }
            catch (NodeTransportException e) when (e.IsUnknownPath && request == FragmentRequest.Volumes)
            {
                // Nobody has signed this answer either: who forges it can keep volumes from being verified as a whole, and nothing else.
                throw new UnknownOperationException();
            }
            catch (NodeTransportException e)
            {
                // A pooled connection may have died with an earlier run of the node; a new one tells. A node that does not answer in time would not do so the second time.
                if (!e.IsTimeout && ++transportFailures < TransportAttempts)
                {
                    TransportMetrics.ClientRetries.Add(1, TransportMetrics.Operation(request), TransportMetrics.Outcome("transport"));
                    continue;
                }

                _wake.TrySetResult();
                throw Unavailable(drive, e.Message, e.InnerException, DriveUnavailableCause.NoAnswer);
            }
        }
    }

    private async ValueTask LearnAsync(Session seen, Guid drive, CancellationToken cancellationToken)
    {
        try
        {
            await SayHelloAsync(seen, cancellationToken).ConfigureAwait(false);
        }
        catch (StorageException e)
        {
            throw Unavailable(drive, _unreachable ?? e.Message, e);
        }
    }

    /// <exception cref="NodeBusyException">503.</exception>
    /// <exception cref="NodeTransportException">No answer, or none that can be believed.</exception>
    /// <exception cref="OperationCanceledException">By the caller.</exception>
    private async ValueTask<RemoteAnswer> SendOnceAsync(
        FragmentRequest request, Guid drive, ulong instance, FrameWriter body, RequestPayload payload, Memory<byte> destination, TimeSpan idleTimeout, CancellationToken cancellationToken)
    {
        UInt128 nonce = NewNonce();
        FrameHeader header = new(false, request, FragmentStatus.Ok, 0, payload.LengthBytes, _time.GetUtcNow().ToUnixTimeMilliseconds(), nonce, instance, drive);
        ReadOnlyMemory<byte> frame = body.Seal(header, _secret);
        using IdleTimer timer = new(idleTimeout, _time, cancellationToken, _stopping.Token);
        try
        {
            using HttpRequestMessage message = new(HttpMethod.Post, new Uri(Address, FragmentProtocol.PathOf(request, drive)))
            {
                Version = HttpVersion.Version11,
                VersionPolicy = HttpVersionPolicy.RequestVersionExact,
                Content = new RequestContent(frame, payload, timer),
            };
            message.Content.Headers.ContentType = FrameType;
            using HttpResponseMessage response = await (request == FragmentRequest.Hello ? _helloHttp : _http).SendAsync(message, timer.Token).ConfigureAwait(false);
            timer.Progress();
            if (response.StatusCode == HttpStatusCode.ServiceUnavailable)
                throw new NodeBusyException();
            if (response.Content.Headers.ContentType?.MediaType != FrameType.MediaType)
                throw await RefusalAsync(response, timer.Token).ConfigureAwait(false);
            using Stream stream = await response.Content.ReadAsStreamAsync(timer.Token).ConfigureAwait(false);
            return await ReceiveAsync(stream, header, destination, timer).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            throw new OperationCanceledException(cancellationToken);
        }
        catch (OperationCanceledException e)
        {
            throw _stopping.IsCancellationRequested
                ? new NodeTransportException("the connection to it has been closed", isTimeout: true, e)
                : new NodeTransportException($"it has not answered for {idleTimeout.TotalSeconds:0.###} s", isTimeout: true, e);
        }
        catch (Exception e) when (e is HttpRequestException or IOException or FrameException or ObjectDisposedException)
        {
            throw new NodeTransportException(e.Message, isTimeout: false, e);
        }
    }

    /// <summary>An answer without a frame, or with one that is not from a holder of the secret, is nobody's word: it can only say that the node is of no use.</summary>
    private static async ValueTask<NodeTransportException> RefusalAsync(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        byte[] text = new byte[256];
        using Stream stream = await response.Content.ReadAsStreamAsync(cancellationToken).ConfigureAwait(false);
        int read = await stream.ReadAtLeastAsync(text, text.Length, throwOnEndOfStream: false, cancellationToken).ConfigureAwait(false);
        string said = new([.. System.Text.Encoding.UTF8.GetString(text, 0, read).Trim().Where(c => !char.IsControl(c))]);
        return new NodeTransportException($"it answered {(int)response.StatusCode}: {said}", isTimeout: false, null) { IsRefusal = (int)response.StatusCode is >= 400 and < 500, IsUnknownPath = response.StatusCode == HttpStatusCode.NotFound };
    }

    private async ValueTask<RemoteAnswer> ReceiveAsync(Stream stream, FrameHeader request, Memory<byte> destination, IdleTimer timer)
    {
        RemoteAnswer answer = new();
        try
        {
            await answer.ReceiveFrameAsync(stream, timer.Token).ConfigureAwait(false);
            timer.Progress();
            FrameHeader header = answer.Header;
            if (!FrameHeader.IsIntact(answer.Frame.Span))
                throw new FrameException("The checksum of the answer's frame does not match.");
            if (!FrameHeader.Verify(answer.Frame.Span, _secret))
                throw new FrameException("The answer is not signed with this cluster's secret.");
            if (!header.IsAnswer || header.Request != request.Request || header.Drive != request.Drive || header.Nonce != request.Nonce)
                throw new FrameException("The answer is one to another request.");
            if (header.Status != FragmentStatus.Ok)
                return answer;
            if (header.PayloadBytes != destination.Length)
                throw new FrameException("The answer has not the length that was asked for.");
            await ReceivePayloadAsync(stream, answer, destination, timer).ConfigureAwait(false);
            return answer;
        }
        catch
        {
            answer.Dispose();
            throw;
        }
    }

    /// <summary>Receives straight into the destination; each chunk is verified as soon as it is whole, while it is in the processor's cache.</summary>
    private static async ValueTask ReceivePayloadAsync(Stream stream, RemoteAnswer answer, Memory<byte> destination, IdleTimer timer)
    {
        if (destination.IsEmpty)
            return;
        int received = 0, verified = 0;
        while (received < destination.Length)
        {
            int read = await stream.ReadAsync(destination[received..], timer.Token).ConfigureAwait(false);
            if (read == 0)
                throw new FrameException("The answer ends early.");
            received += read;
            timer.Progress();
            while (received - verified >= FragmentProtocol.ChunkBytes || (received == destination.Length && verified < received))
            {
                int chunk = Math.Min(FragmentProtocol.ChunkBytes, received - verified);
                if (Crc64Nvme.Compute(destination.Span.Slice(verified, chunk)) != answer.ChunkChecksum(verified / FragmentProtocol.ChunkBytes))
                    throw new FrameException($"The checksum of the chunk at {verified} does not match: it was damaged on the way.");
                verified += chunk;
            }
        }
    }

    internal DriveUnavailableException Unavailable(Guid drive, string reason, Exception? inner = null, DriveUnavailableCause cause = DriveUnavailableCause.Unknown)
        => new(drive, $"its node {Address.Authority}: {reason}", inner) { Cause = cause };

    /// <summary>Learns of the node's run and drives. Callers that come together share one request.</summary>
    /// <param name="seen">The session that was found out of date; where there is a newer one already nothing is done.</param>
    /// <exception cref="DriveUnavailableException">No answer.</exception>
    /// <exception cref="StorageNodeRefusedException">An answer that makes the node unusable.</exception>
    private async ValueTask SayHelloAsync(Session? seen, CancellationToken cancellationToken)
    {
        await _helloing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (seen is not null && !ReferenceEquals(seen, _session))
                return;
            using FrameWriter body = new();
            try
            {
                long askedAt = _time.GetTimestamp();
                using RemoteAnswer answer = await SendOnceAsync(FragmentRequest.Hello, Guid.Empty, 0, body, default, default, Options.HelloTimeout, cancellationToken).ConfigureAwait(false);
                if (answer.Header.Status != FragmentStatus.Ok)
                    throw answer.ReadError(Guid.Empty, Address.Authority);
                NodeHello hello = FragmentCodec.ReadHello(answer.Body, answer.Header.Instance);
                if (Options.ClusterId is { } cluster && hello.ClusterId != cluster)
                    throw new StorageNodeRefusedException(Address, $"it is of cluster {hello.ClusterId}, not of {cluster}.");
                Accept(hello, askedAt);
            }
            catch (NodeBusyException) when (_session is not null)
            {
                // It is there; that is what was asked.
            }
            catch (NodeBusyException e)
            {
                throw Unavailable(Guid.Empty, "it has no room for more requests", e);
            }
            catch (FrameException e)
            {
                throw Unavailable(Guid.Empty, e.Message, e);
            }
            catch (NodeTransportException e) when (e.IsRefusal)
            {
                throw new StorageNodeRefusedException(Address, e.Message);
            }
            catch (NodeTransportException e)
            {
                throw Unavailable(Guid.Empty, e.Message, e.InnerException);
            }
        }
        catch (StorageException e)
        {
            Lose(e is StorageNodeRefusedException ? e.Message : e.InnerException?.Message ?? e.Message);
            throw;
        }
        finally
        {
            _helloing.Release();
        }
    }

    private void Accept(NodeHello hello, long askedAt)
    {
        bool changed, back;
        ImmutableArray<RemoteFragmentStore> drives;
        lock (_lock)
        {
            Session? known = _session?.Hello is { } last && last.Instance == hello.Instance && last.NodeId == hello.NodeId ? _session : null;
            if (_session?.Hello.Instance != hello.Instance)
                _lastOrdinal = (_lastOrdinal + 1) & RemoteFragmentStore.OrdinalMask;
            ImmutableArray<RemoteFragmentStore> before = _drives;
            _drives = [.. hello.Drives.Distinct().Select(id => before.FirstOrDefault(drive => drive.DriveId == id) ?? new RemoteFragmentStore(this, id))];
            drives = _drives;
            _session = new Session(hello, _lastOrdinal, known?.Since ?? _time.GetTimestamp(), askedAt);
            back = _unreachable is not null;
            if (back)
                _lost = new CancellationTokenSource();
            _unreachable = null;
            changed = back || !before.SequenceEqual(drives);
        }

        if (back)
        {
            TransportMetrics.NodesUnreachable.Add(-1);
            foreach (RemoteFragmentStore drive in drives)
                _events.DriveAvailableAgain(drive.DriveId);
        }

        if (changed)
            Changed?.Invoke(this);
    }

    private void Lose(string reason)
    {
        CancellationTokenSource waiting;
        ImmutableArray<RemoteFragmentStore> drives;
        lock (_lock)
        {
            bool lost = _unreachable is null;
            _unreachable = reason;
            if (!lost)
                return;
            drives = _drives;
            waiting = _lost;
        }

        waiting.Cancel();
        TransportMetrics.NodesUnreachable.Add(1);
        foreach (RemoteFragmentStore drive in drives)
            _events.DriveUnavailable(drive.DriveId, $"its node {Address.Authority}: {reason}");
        Changed?.Invoke(this);
    }

    /// <summary>The watch: asks in intervals, and at once when a request has failed.</summary>
    private async Task WatchAsync()
    {
        while (!_stopping.IsCancellationRequested)
        {
            await _wake.Task.WaitAsync(IsReachable ? Options.HelloInterval : Options.ReconnectInterval, _time, _stopping.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (_stopping.IsCancellationRequested)
                return;
            _wake = NewSignal();
            try
            {
                await SayHelloAsync(seen: null, _stopping.Token).ConfigureAwait(false);
            }
            catch (Exception e) when (e is StorageException or OperationCanceledException)
            {
                // Told to the events by Lose; the next round asks again.
            }
            catch (Exception e)
            {
                // Unforeseen. The watch must outlive it, and the node is of no use until it has answered well.
                Lose(e.Message);
            }
        }
    }

    private sealed record Session(NodeHello Hello, int Ordinal, long Since, long AskedAt);
}

/// <summary>What follows a request's frame. <paramref name="Many"/> is null where there is one.</summary>
internal readonly record struct RequestPayload(ReadOnlyMemory<byte> One, ReadOnlyMemory<byte>[]? Many, int LengthBytes)
{
    public RequestPayload(ReadOnlyMemory<byte> one)
        : this(one, null, one.Length)
    {
    }
}

/// <summary>Writes frame and payload straight from the caller's memory to the connection.</summary>
internal sealed class RequestContent(ReadOnlyMemory<byte> frame, RequestPayload payload, IdleTimer timer) : HttpContent
{
    // Large enough for one call to the kernel to be worth it, small enough to see that the peer still takes bytes.
    private const int PieceBytes = 256 << 10;

    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => SerializeToStreamAsync(stream, context, CancellationToken.None);

    protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
    {
        await stream.WriteAsync(frame, cancellationToken).ConfigureAwait(false);
        if (payload.Many is null)
        {
            await WriteAsync(stream, payload.One, cancellationToken).ConfigureAwait(false);
            return;
        }

        foreach (ReadOnlyMemory<byte> one in payload.Many)
            await WriteAsync(stream, one, cancellationToken).ConfigureAwait(false);
    }

    protected override bool TryComputeLength(out long length)
    {
        length = frame.Length + payload.LengthBytes;
        return true;
    }

    private async ValueTask WriteAsync(Stream stream, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        while (!bytes.IsEmpty)
        {
            ReadOnlyMemory<byte> piece = bytes[..Math.Min(bytes.Length, PieceBytes)];
            await stream.WriteAsync(piece, cancellationToken).ConfigureAwait(false);
            timer.Progress();
            bytes = bytes[piece.Length..];
        }
    }
}

/// <summary>Cancels when nothing has moved for a while, when the caller cancels, or when the node is disposed of. Progress may be told from any thread.</summary>
internal sealed class IdleTimer : IDisposable
{
    private readonly TimeSpan _timeout;
    private readonly CancellationTokenSource _source;
    private readonly CancellationTokenRegistration _caller;
    private readonly CancellationTokenRegistration _stopping;

    public IdleTimer(TimeSpan timeout, TimeProvider time, CancellationToken caller, CancellationToken stopping)
    {
        _timeout = timeout;
        _source = new CancellationTokenSource(timeout, time);
        _caller = caller.UnsafeRegister(static source => ((CancellationTokenSource)source!).Cancel(), _source);
        _stopping = stopping.UnsafeRegister(static source => ((CancellationTokenSource)source!).Cancel(), _source);
    }

    public CancellationToken Token => _source.Token;

    public void Progress() => _source.CancelAfter(_timeout);

    public void Dispose()
    {
        // The registrations first: disposing of them waits for a cancellation that is under way.
        _caller.Dispose();
        _stopping.Dispose();
        _source.Dispose();
    }
}

/// <summary>The node is of a build that does not know the operation.</summary>
internal sealed class UnknownOperationException() : Exception("The node does not know the operation.");

/// <summary>The node has no room at the moment; the request was not looked at.</summary>
internal sealed class NodeBusyException() : Exception("The node is busy.");

/// <summary>No answer, or none that can be believed. Whether the request was carried out is not known.</summary>
internal sealed class NodeTransportException(string message, bool isTimeout, Exception? inner) : Exception(message, inner)
{
    public bool IsTimeout { get; } = isTimeout;

    public bool IsRefusal { get; init; }

    /// <summary>There is nothing at the request's path, and it was not looked at.</summary>
    public bool IsUnknownPath { get; init; }
}
