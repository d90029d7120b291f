using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;
using ObjectStore.LoadGenerator.Content;
using ObjectStore.LoadGenerator.Http;

namespace ObjectStore.LoadGenerator.Workloads;

/// <summary>What one operation did. <see cref="Error"/> is null on success.</summary>
public record struct OperationResult
{
    /// <summary>Bytes of object content sent.</summary>
    public long BytesSent;

    /// <summary>Keys that a list page held.</summary>
    public int KeysListed;

    /// <summary>True when the received bytes were compared.</summary>
    public bool IsVerified;

    /// <summary>True when they were not what was put.</summary>
    public bool IsMismatch;

    /// <summary>"404 NoSuchKey", "500", … or null.</summary>
    public string? Error;
}

/// <summary>Body hashes, one per distinct body of the run, computed once. Thread-safe.</summary>
public sealed class BodyHashes(LoadOptions options)
{
    private readonly byte[]?[] _hashes = new byte[]?[options.Distinct];

    /// <summary>Writes the hex SHA-256 of the body with this identity.</summary>
    public ReadOnlySpan<byte> Get(ulong identity, StampedContent content, Span<byte> scratch)
    {
        if (options.Distinct == 0) return Compute(identity, content, scratch);
        byte[]? hash = Volatile.Read(ref _hashes[identity]);
        if (hash is null)
        {
            hash = Compute(identity, content, scratch).ToArray();
            Volatile.Write(ref _hashes[identity], hash);
        }

        return hash;
    }

    private ReadOnlySpan<byte> Compute(ulong identity, StampedContent content, Span<byte> hex)
    {
        Span<byte> digest = stackalloc byte[32];
        if (options.SizeBytes <= StampedContent.BlockBytes)
        {
            SHA256.HashData(content.Block(identity, 0, options.SizeBytes), digest);
        }
        else
        {
            using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            for (long at = 0; at < options.SizeBytes; at += StampedContent.BlockBytes) hash.AppendData(content.Block(identity, at, options.SizeBytes - at));
            hash.GetHashAndReset(digest);
        }

        Convert.TryToHexStringLower(digest, hex, out _);
        return hex[..64];
    }
}

/// <summary>
/// The requests of one connection: builds keys, sends, checks the answer. Not thread-safe; one instance per connection.
/// </summary>
public sealed class ObjectClient
{
    private const int ReceiveBufferBytes = 256 * 1024;
    private const int KeyDigits = 10;

    private readonly LoadOptions _options;
    private readonly BodyHashes _hashes;
    private readonly StampedContent _content;
    private readonly byte[] _path;
    private readonly byte[] _receive = new byte[ReceiveBufferBytes];
    private readonly byte[] _hex = new byte[64];
    private readonly Random _random;

    /// <summary>Creates the client of connection <paramref name="index"/>.</summary>
    public ObjectClient(LoadOptions options, BodyHashes hashes, S3Connection connection, int index)
    {
        _options = options;
        _hashes = hashes;
        Connection = connection;
        _content = new StampedContent(options.Seed);
        _path = Encoding.ASCII.GetBytes($"/{options.Bucket}/{EscapePath(options.Prefix)}{new string('0', KeyDigits)}");
        _random = new Random(Seeds.Derive(options.Seed, index, 17));
    }

    /// <summary>The connection.</summary>
    public S3Connection Connection { get; }

    /// <summary>Percent-encodes a key or prefix as SigV4 does, slashes kept.</summary>
    public static string EscapePath(string key) => string.Join('/', key.Split('/').Select(Uri.EscapeDataString));

    /// <summary>PUT of the object with this number.</summary>
    public OperationResult Put(long number)
    {
        ulong identity = _options.Identify(number);
        ReadOnlySpan<byte> hash = _options.SignsPayload ? _hashes.Get(identity, _content, _hex) : RequestSigner.UnsignedPayload;
        Connection.Begin("PUT"u8, Path(number), default, hash, _options.SizeBytes);
        SendContent(identity, 0, _options.SizeBytes);
        return Finish(Connection.ReadHead(), 200, new OperationResult { BytesSent = _options.SizeBytes });
    }

    /// <summary>GET of the whole object.</summary>
    public OperationResult Get(long number)
    {
        ResponseHead head = Connection.Send("GET"u8, Path(number), default, RequestSigner.EmptySha256, default, hasBody: false);
        return ReceiveContent(head, 200, number, 0, _options.SizeBytes);
    }

    /// <summary>GET of a random range.</summary>
    public OperationResult GetRange(long number)
    {
        long length = Math.Min(_options.RangeBytes, _options.SizeBytes);
        long offset = _random.NextInt64(_options.SizeBytes - length + 1);
        Span<byte> header = stackalloc byte[64];
        "Range: bytes="u8.CopyTo(header);
        int at = 13;
        Utf8Formatter.TryFormat(offset, header[at..], out int written);
        at += written;
        header[at++] = (byte)'-';
        Utf8Formatter.TryFormat(offset + length - 1, header[at..], out written);
        at += written;
        "\r\n"u8.CopyTo(header[at..]);
        ResponseHead head = Connection.Send("GET"u8, Path(number), default, RequestSigner.EmptySha256, default, hasBody: false, header[..(at + 2)]);
        return ReceiveContent(head, 206, number, offset, length);
    }

    /// <summary>HEAD of the object.</summary>
    public OperationResult Head(long number)
    {
        ResponseHead head = Connection.Send("HEAD"u8, Path(number), default, RequestSigner.EmptySha256, default, hasBody: false);
        OperationResult result = Finish(head, 200, default);
        if (result.Error is null && head.ContentLength != _options.SizeBytes) result.IsMismatch = true;
        return result;
    }

    /// <summary>DELETE of the object.</summary>
    public OperationResult Delete(long number) =>
        Finish(Connection.Send("DELETE"u8, Path(number), default, RequestSigner.EmptySha256, default, hasBody: false), 204, default);

    /// <summary>Creates the bucket; one that is there is fine.</summary>
    public OperationResult CreateBucket()
    {
        ResponseHead head = Connection.Send(
            "PUT"u8, Encoding.ASCII.GetBytes($"/{_options.Bucket}"), default, RequestSigner.EmptySha256, default, hasBody: true);
        return head.Status == 409 ? Finish(head, 409, default) : Finish(head, 200, default);
    }

    /// <summary>A multipart upload of the object with this number, from its creation to its completion.</summary>
    public OperationResult Multipart(long number)
    {
        ulong identity = _options.Identify(number);
        byte[] path = Path(number).ToArray();
        ResponseHead head = Connection.Send("POST"u8, path, "uploads="u8, RequestSigner.EmptySha256, default, hasBody: true);
        if (head.Status != 200) return Finish(head, 200, default);
        string? uploadId = Xml.Element(Connection.ReadAll(), "UploadId");
        if (uploadId is null) return new OperationResult { Error = "200 without UploadId" };
        string escapedId = Uri.EscapeDataString(uploadId);
        StringBuilder complete = new("<CompleteMultipartUpload>");
        Connection.KeepETag = true;
        long offset = 0;
        for (int part = 1; offset < _options.SizeBytes || part == 1; part++)
        {
            long length = Math.Min(_options.PartBytes, _options.SizeBytes - offset);
            byte[] query = Encoding.ASCII.GetBytes($"partNumber={part}&uploadId={escapedId}");
            Connection.Begin("PUT"u8, path, query, RequestSigner.UnsignedPayload, length);
            SendContent(identity, offset, length);
            OperationResult result = Finish(Connection.ReadHead(), 200, default);
            if (result.Error is not null) return result;
            complete.Append(System.Globalization.CultureInfo.InvariantCulture, $"<Part><PartNumber>{part}</PartNumber><ETag>{Connection.ETag}</ETag></Part>");
            offset += length;
        }

        byte[] body = Encoding.ASCII.GetBytes(complete.Append("</CompleteMultipartUpload>").ToString());
        head = Connection.Send("POST"u8, path, Encoding.ASCII.GetBytes($"uploadId={escapedId}"), RequestSigner.UnsignedPayload, body, hasBody: true);
        if (head.Status != 200) return Finish(head, 200, default);

        // S3 may answer 200 and then report an error in the body.
        string? code = Xml.Element(Connection.ReadAll(), "Code");
        return new OperationResult { BytesSent = _options.SizeBytes, Error = code is null ? null : $"200 {code}" };
    }

    /// <summary>One page of a listing. Returns the token of the next page in <paramref name="token"/>, empty at the end.</summary>
    public OperationResult List(ref string token)
    {
        string continuation = token.Length == 0 ? "" : $"continuation-token={Uri.EscapeDataString(token)}&";
        string query = $"{continuation}list-type=2&max-keys={_options.MaxKeys}&prefix={Uri.EscapeDataString(_options.Prefix)}";
        ResponseHead head = Connection.Send("GET"u8, Encoding.ASCII.GetBytes($"/{_options.Bucket}"), Encoding.ASCII.GetBytes(query), RequestSigner.EmptySha256, default, hasBody: false);
        if (head.Status != 200) return Finish(head, 200, default);
        int length = 0;
        int count;
        while ((count = Connection.ReadBody(ListBuffer(length))) > 0) length += count;
        ReadOnlySpan<byte> body = _list.AsSpan(0, length);
        token = Xml.Element(body, "NextContinuationToken") ?? "";
        return new OperationResult { KeysListed = body.Count("<Key>"u8) };
    }

    private byte[] _list = new byte[64 * 1024];

    private Span<byte> ListBuffer(int used)
    {
        if (used == _list.Length) Array.Resize(ref _list, _list.Length * 2);
        return _list.AsSpan(used);
    }

    private ReadOnlySpan<byte> Path(long number)
    {
        for (int i = 1; i <= KeyDigits; i++)
        {
            _path[^i] = (byte)('0' + (number % 10));
            number /= 10;
        }

        return _path;
    }

    private void SendContent(ulong identity, long offset, long length)
    {
        if (length == 0)
        {
            Connection.SendBody(default);
            return;
        }

        // Parts need not begin at a block of the content.
        int within = (int)(offset % StampedContent.BlockBytes);
        offset -= within;
        length += within;
        while (length > 0)
        {
            ReadOnlySpan<byte> block = _content.Block(identity, offset, length);
            Connection.SendBody(block[within..]);
            within = 0;
            offset += block.Length;
            length -= block.Length;
        }
    }

    private OperationResult ReceiveContent(in ResponseHead head, int expectedStatus, long number, long offset, long length)
    {
        if (head.Status != expectedStatus) return Finish(head, expectedStatus, default);
        bool verify = _options.VerifyPercent >= 100 || (_options.VerifyPercent > 0 && _random.NextDouble() * 100 < _options.VerifyPercent);
        ulong identity = _options.Identify(number);
        long received = 0;
        bool matches = true;
        if (verify)
        {
            int count;
            while ((count = Connection.ReadBody(_receive)) > 0)
            {
                matches &= received + count <= length && _content.Matches(identity, offset + received, _receive.AsSpan(0, count));
                received += count;
            }
        }
        else
        {
            long before = Connection.BodyBytesReceived;
            Connection.Drain(_receive, _options.DiscardInKernel);
            received = Connection.BodyBytesReceived - before;
        }

        return new OperationResult { IsVerified = verify, IsMismatch = received != length || !matches };
    }

    private OperationResult Finish(in ResponseHead head, int expectedStatus, OperationResult result)
    {
        if (head.Status == expectedStatus)
        {
            Connection.Drain(_receive);
            return result;
        }

        string? code = Xml.Element(Connection.ReadAll(), "Code");
        return new OperationResult { Error = code is null ? head.Status.ToString(System.Globalization.CultureInfo.InvariantCulture) : $"{head.Status} {code}" };
    }
}
