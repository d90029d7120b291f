using System.Buffers.Text;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace ObjectStore.LoadGenerator.Http;

/// <summary>Where the server is.</summary>
public sealed record S3Endpoint(IPEndPoint Address, string Host)
{
    /// <summary>Parses http://host:port. Only loopback addresses pass unless <paramref name="allowRemote"/> is set.</summary>
    public static S3Endpoint Parse(string text, bool allowRemote)
    {
        if (!Uri.TryCreate(text, UriKind.Absolute, out Uri? uri) || uri.Scheme != "http")
        {
            throw new ArgumentException($"--endpoint is '{text}'; it must be like http://127.0.0.1:9000.");
        }

        if (!IPAddress.TryParse(uri.DnsSafeHost, out IPAddress? address))
        {
            address = Array.Find(Dns.GetHostAddresses(uri.DnsSafeHost), candidate => candidate.AddressFamily == AddressFamily.InterNetwork)
                ?? throw new ArgumentException($"--endpoint: {uri.DnsSafeHost} has no IPv4 address.");
        }

        if (!IPAddress.IsLoopback(address) && !allowRemote)
        {
            throw new ArgumentException($"--endpoint {text} is not a loopback address; --allow-remote permits load on other machines.");
        }

        return new S3Endpoint(new IPEndPoint(address, uri.Port), uri.IsDefaultPort ? uri.Host : $"{uri.Host}:{uri.Port}");
    }
}

/// <summary>The head of one answer.</summary>
public struct ResponseHead
{
    /// <summary>The HTTP status.</summary>
    public int Status;

    /// <summary>Content-Length, or -1 when the answer names none.</summary>
    public long ContentLength;

    /// <summary>True when the server closes the connection after the answer.</summary>
    public bool CloseAfter;

    internal bool IsChunked;
}

/// <summary>
/// One HTTP/1.1 connection to an S3 server over a blocking socket, one request at a time. The caller's thread does the system calls itself, so a small
/// request costs a send, a receive and no thread hand-over. Reconnects by itself after an error. Not thread-safe.
/// </summary>
public sealed class S3Connection : IDisposable
{
    private const int MaxHeadBytes = 64 * 1024;
    private const int CoalesceBodyBytes = 128 * 1024;

    private readonly S3Endpoint _endpoint;
    private readonly RequestSigner _signer;
    private readonly TimeSpan _timeout;
    private readonly byte[] _out = new byte[16 * 1024 + CoalesceBodyBytes];
    private readonly byte[] _in = new byte[MaxHeadBytes];
    private Socket? _socket;
    private int _inStart;
    private int _inEnd;
    private int _pendingHead;
    private long _bodyRemaining;
    private bool _chunked;
    private bool _isHeadRequest;
    private bool _closeAfter;
    private bool _responseOpen;

    /// <summary>Creates a connection; it is opened by the first request.</summary>
    /// <param name="endpoint">The server.</param>
    /// <param name="identity">The signer's key.</param>
    /// <param name="timeout">How long one send or receive may take before it counts as an error.</param>
    public S3Connection(S3Endpoint endpoint, SigningIdentity identity, TimeSpan timeout)
    {
        _endpoint = endpoint;
        _signer = new RequestSigner(identity, endpoint.Host);
        _timeout = timeout;
    }

    /// <summary>How often a connection was opened.</summary>
    public int Connects { get; private set; }

    /// <summary>The entity tag of the last answer, quotes included; empty when it had none.</summary>
    public string ETag { get; private set; } = "";

    /// <summary>True to keep the ETag of each answer: it costs a string.</summary>
    public bool KeepETag { get; set; }

    /// <summary>Bytes of bodies received.</summary>
    public long BodyBytesReceived { get; private set; }

    /// <summary>Sends a request without a body, or with one that is in memory.</summary>
    public ResponseHead Send(
        ReadOnlySpan<byte> method, ReadOnlySpan<byte> path, ReadOnlySpan<byte> query, ReadOnlySpan<byte> payloadHash, ReadOnlySpan<byte> body,
        bool hasBody, ReadOnlySpan<byte> extraHeaders = default)
    {
        Begin(method, path, query, payloadHash, hasBody ? body.Length : -1, extraHeaders);
        if (hasBody) SendBody(body);
        return ReadHead();
    }

    /// <summary>Begins a request whose body the caller sends in pieces with <see cref="SendBody"/>; then <see cref="ReadHead"/>.</summary>
    public void Begin(
        ReadOnlySpan<byte> method, ReadOnlySpan<byte> path, ReadOnlySpan<byte> query, ReadOnlySpan<byte> payloadHash, long contentLength,
        ReadOnlySpan<byte> extraHeaders = default)
    {
        if (_responseOpen) throw new InvalidOperationException("The body of the previous answer has not been read.");
        if (_socket is null || _closeAfter) Connect();
        _isHeadRequest = method.SequenceEqual("HEAD"u8);
        _pendingHead = _signer.WriteHead(_out, method, path, query, payloadHash, contentLength, extraHeaders);
    }

    /// <summary>Sends a piece of the body, together with the head where it fits.</summary>
    public void SendBody(ReadOnlySpan<byte> piece)
    {
        if (_pendingHead > 0 && piece.Length <= _out.Length - _pendingHead)
        {
            piece.CopyTo(_out.AsSpan(_pendingHead));
            int length = _pendingHead + piece.Length;
            _pendingHead = 0;
            SendAll(_out.AsSpan(0, length));
            return;
        }

        FlushHead();
        SendAll(piece);
    }

    /// <summary>Reads the head of the answer. Its body must be read with <see cref="ReadBody"/> or <see cref="Drain"/>.</summary>
    public ResponseHead ReadHead()
    {
        FlushHead();
        while (true)
        {
            ResponseHead head = ReadOneHead();
            if (head.Status is >= 100 and < 200) continue;
            bool hasBody = !_isHeadRequest && head.Status is not (204 or 304);
            _chunked = hasBody && head.IsChunked;
            if (hasBody && !head.IsChunked && head.ContentLength < 0) throw new IOException("The answer has neither Content-Length nor chunked encoding.");
            _bodyRemaining = hasBody && !head.IsChunked ? head.ContentLength : 0;
            _closeAfter = head.CloseAfter;
            _responseOpen = _chunked || _bodyRemaining > 0;
            return head;
        }
    }

    /// <summary>Reads bytes of the answer's body; 0 at its end.</summary>
    public int ReadBody(Span<byte> destination, SocketFlags flags = SocketFlags.None)
    {
        if (!_responseOpen || destination.IsEmpty) return 0;
        if (_chunked && _bodyRemaining == 0 && !ReadChunkHeader())
        {
            _responseOpen = false;
            return 0;
        }

        if (destination.Length > _bodyRemaining) destination = destination[..(int)_bodyRemaining];
        int count;
        if (_inEnd > _inStart)
        {
            count = Math.Min(destination.Length, _inEnd - _inStart);
            _in.AsSpan(_inStart, count).CopyTo(destination);
            _inStart += count;
        }
        else
        {
            count = Receive(destination, flags);
            if (count == 0) throw Fail("The server closed the connection within a body.");
        }

        _bodyRemaining -= count;
        BodyBytesReceived += count;
        if (_bodyRemaining == 0)
        {
            if (_chunked) ReadLine();
            else _responseOpen = false;
        }

        return count;
    }

    /// <summary>Reads the rest of the body into nowhere.</summary>
    public void Drain(byte[] scratch, bool discardInKernel = false)
    {
        while (ReadBody(scratch, discardInKernel ? SocketFlags.Truncated : SocketFlags.None) > 0)
        {
        }
    }

    /// <summary>Reads the rest of the body as bytes; refuses more than <paramref name="limitBytes"/>.</summary>
    public byte[] ReadAll(int limitBytes = 64 * 1024 * 1024)
    {
        using MemoryStream stream = new();
        byte[] buffer = new byte[64 * 1024];
        int count;
        while ((count = ReadBody(buffer)) > 0)
        {
            if (stream.Length + count > limitBytes) throw Fail("The body is longer than expected.");
            stream.Write(buffer, 0, count);
        }

        return stream.ToArray();
    }

    /// <summary>Closes the connection; the next request opens a new one.</summary>
    public void Close()
    {
        _socket?.Dispose();
        _socket = null;
        _inStart = _inEnd = 0;
        _pendingHead = 0;
        _responseOpen = false;
    }

    /// <inheritdoc/>
    public void Dispose() => Close();

    private void Connect()
    {
        Close();
        Socket socket = new(_endpoint.Address.AddressFamily, SocketType.Stream, ProtocolType.Tcp)
        {
            NoDelay = true,
            SendTimeout = (int)_timeout.TotalMilliseconds,
            ReceiveTimeout = (int)_timeout.TotalMilliseconds,
        };
        try
        {
            socket.Connect(_endpoint.Address);
        }
        catch
        {
            socket.Dispose();
            throw;
        }

        _socket = socket;
        _closeAfter = false;
        Connects++;
    }

    private void FlushHead()
    {
        if (_pendingHead == 0) return;
        int length = _pendingHead;
        _pendingHead = 0;
        SendAll(_out.AsSpan(0, length));
    }

    private void SendAll(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty) bytes = bytes[_socket!.Send(bytes)..];
    }

    private int Receive(Span<byte> destination, SocketFlags flags = SocketFlags.None) => _socket!.Receive(destination, flags);

    private IOException Fail(string message)
    {
        Close();
        return new IOException(message);
    }

    private void Fill()
    {
        if (_inStart == _inEnd) _inStart = _inEnd = 0;
        else if (_inEnd == _in.Length)
        {
            if (_inStart == 0) throw Fail("A response head is longer than 64 KiB.");
            _in.AsSpan(_inStart, _inEnd - _inStart).CopyTo(_in);
            _inEnd -= _inStart;
            _inStart = 0;
        }

        int count = Receive(_in.AsSpan(_inEnd));
        if (count == 0) throw Fail("The server closed the connection.");
        _inEnd += count;
    }

    private ResponseHead ReadOneHead()
    {
        int length;
        while ((length = _in.AsSpan(_inStart, _inEnd - _inStart).IndexOf("\r\n\r\n"u8)) < 0) Fill();
        ReadOnlySpan<byte> text = _in.AsSpan(_inStart, length + 2);
        _inStart += length + 4;
        ResponseHead head = new() { ContentLength = -1 };
        int end = text.IndexOf("\r\n"u8);
        if (end < 12 || !text.StartsWith("HTTP/1.1 "u8) || !Utf8Parser.TryParse(text[9..12], out head.Status, out _)) throw Fail("Not an HTTP/1.1 answer.");
        if (KeepETag) ETag = "";
        text = text[(end + 2)..];
        while ((end = text.IndexOf("\r\n"u8)) >= 0)
        {
            ReadOnlySpan<byte> line = text[..end];
            text = text[(end + 2)..];
            int colon = line.IndexOf((byte)':');
            if (colon <= 0) continue;
            ReadOnlySpan<byte> value = line[(colon + 1)..].Trim((byte)' ');
            switch (colon)
            {
                case 14 when Ascii.EqualsIgnoreCase(line[..colon], "content-length"u8): Utf8Parser.TryParse(value, out head.ContentLength, out _); break;
                case 17 when Ascii.EqualsIgnoreCase(line[..colon], "transfer-encoding"u8): head.IsChunked = Ascii.EqualsIgnoreCase(value, "chunked"u8); break;
                case 10 when Ascii.EqualsIgnoreCase(line[..colon], "connection"u8): head.CloseAfter = Ascii.EqualsIgnoreCase(value, "close"u8); break;
                case 4 when KeepETag && Ascii.EqualsIgnoreCase(line[..colon], "etag"u8): ETag = Encoding.ASCII.GetString(value); break;
            }
        }

        return head;
    }

    private ReadOnlySpan<byte> ReadLine()
    {
        int length;
        while ((length = _in.AsSpan(_inStart, _inEnd - _inStart).IndexOf("\r\n"u8)) < 0) Fill();
        ReadOnlySpan<byte> line = _in.AsSpan(_inStart, length);
        _inStart += length + 2;
        return line;
    }

    /// <summary>Reads the size of the next chunk; false, with the trailers read, after the last.</summary>
    private bool ReadChunkHeader()
    {
        ReadOnlySpan<byte> line = ReadLine();
        int semicolon = line.IndexOf((byte)';');
        if (semicolon >= 0) line = line[..semicolon];
        if (!Utf8Parser.TryParse(line, out long size, out _, 'x')) throw Fail("A chunk has no size.");
        _bodyRemaining = size;
        if (size > 0) return true;
        while (ReadLine().Length > 0)
        {
        }

        return false;
    }
}
