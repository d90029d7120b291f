using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using ObjectStore.LoadGenerator.Content;
using ObjectStore.LoadGenerator.Http;
using ObjectStore.LoadGenerator.Workloads;

namespace ObjectStore.KillTest;

/// <summary>An answer whose body was read.</summary>
public readonly record struct Answer(int Status, string? Code, long ContentLength, string ETag, byte[] Body);

/// <summary>The S3 requests that the test makes. Not thread-safe; throws SocketException or IOException when the server goes away.</summary>
public sealed class S3Client : IDisposable
{
    private const int PieceBytes = 64 * 1024;
    private const int SignedBodyLimit = 1 << 20;
    private const int PauseMs = 50;

    private static long _slowDowns;

    private readonly S3Connection _connection;
    private readonly string _bucket;
    private readonly byte[] _piece = new byte[PieceBytes];
    private readonly byte[] _expected = new byte[PieceBytes];

    public S3Client(S3Endpoint endpoint, SigningIdentity identity, string bucket)
    {
        _connection = new S3Connection(endpoint, identity, TimeSpan.FromSeconds(60)) { KeepETag = true };
        _bucket = bucket;
    }

    /// <summary>Answers of 503 SlowDown that all clients have met.</summary>
    public static long SlowDowns => Interlocked.Read(ref _slowDowns);

    /// <summary>For how long a request that is answered 503 SlowDown is repeated; not at all unless set.</summary>
    public TimeSpan Patience { get; init; }

    /// <summary>A request with a body in memory, or none.</summary>
    public Answer Send(string method, string key, string query, byte[]? body = null) => Repeat(() => SendOnce(method, key, query, body));

    /// <summary>PUT of a part of a generated stream: a whole object, or one part of an upload.</summary>
    public Answer PutContent(string key, string query, ulong stream, long offset, long sizeBytes) => Repeat(() => PutContentOnce(key, query, stream, offset, sizeBytes));

    /// <summary>
    /// GET of a whole object, compared with each candidate stream at once. Returns the answer without its body, and how long the object was; each
    /// candidate that does not match is set to null.
    /// </summary>
    public Answer GetAndCompare(string key, ulong?[] candidates, out long sizeBytes)
    {
        long size = 0;
        Answer answer = Repeat(() => GetAndCompareOnce(key, candidates, out size));
        sizeBytes = size;
        return answer;
    }

    public void Dispose() => _connection.Dispose();

    private Answer Repeat(Func<Answer> send)
    {
        long began = Stopwatch.GetTimestamp();
        while (true)
        {
            Answer answer = send();
            if (answer.Status != 503 || answer.Code is not (null or "SlowDown")) return answer; // a HEAD has no body that says so
            Interlocked.Increment(ref _slowDowns);
            if (Stopwatch.GetElapsedTime(began) >= Patience) return answer;
            Thread.Sleep(PauseMs);
        }
    }

    private Answer SendOnce(string method, string key, string query, byte[]? body)
    {
        ReadOnlySpan<byte> hash = body is null or { Length: 0 } ? RequestSigner.EmptySha256 : Encoding.ASCII.GetBytes(Convert.ToHexStringLower(SHA256.HashData(body)));
        ResponseHead head = _connection.Send(Encoding.ASCII.GetBytes(method), Path(key), Encoding.ASCII.GetBytes(query), hash, body, hasBody: body is not null);
        return Read(head);
    }

    private Answer PutContentOnce(string key, string query, ulong stream, long offset, long sizeBytes)
    {
        if (sizeBytes <= SignedBodyLimit)
        {
            byte[] body = new byte[sizeBytes];
            RandomContent.Fill(stream, offset, body);
            return SendOnce("PUT", key, query, body);
        }

        _connection.Begin("PUT"u8, Path(key), Encoding.ASCII.GetBytes(query), RequestSigner.UnsignedPayload, sizeBytes);
        for (long at = 0; at < sizeBytes; at += PieceBytes)
        {
            Span<byte> piece = _piece.AsSpan(0, (int)Math.Min(PieceBytes, sizeBytes - at));
            RandomContent.Fill(stream, offset + at, piece);
            _connection.SendBody(piece);
        }

        return Read(_connection.ReadHead());
    }

    private Answer GetAndCompareOnce(string key, ulong?[] candidates, out long sizeBytes)
    {
        sizeBytes = 0;
        ResponseHead head = _connection.Send("GET"u8, Path(key), default, RequestSigner.EmptySha256, default, hasBody: false);
        if (head.Status != 200) return Read(head);
        int filled = 0;
        while (true)
        {
            int count = _connection.ReadBody(_piece.AsSpan(filled));
            filled += count;
            if (filled < PieceBytes && count > 0) continue;
            for (int i = 0; i < candidates.Length; i++)
            {
                if (candidates[i] is not { } stream) continue;
                RandomContent.Fill(stream, sizeBytes, _expected.AsSpan(0, filled));
                if (!_expected.AsSpan(0, filled).SequenceEqual(_piece.AsSpan(0, filled))) candidates[i] = null;
            }

            sizeBytes += filled;
            filled = 0;
            if (count == 0) return new Answer(200, null, head.ContentLength, _connection.ETag, []);
        }
    }

    private byte[] Path(string key) => Encoding.ASCII.GetBytes(key.Length == 0 ? $"/{_bucket}" : $"/{_bucket}/{ObjectClient.EscapePath(key)}");

    private Answer Read(in ResponseHead head)
    {
        string etag = _connection.ETag;
        byte[] body = _connection.ReadAll();
        string? code = body.Length > 0 ? Xml.Element(body, "Code") : null;
        return new Answer(head.Status, code, head.ContentLength, etag, body);
    }
}
