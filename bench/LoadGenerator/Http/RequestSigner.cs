using System.Buffers;
using System.Buffers.Text;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace ObjectStore.LoadGenerator.Http;

/// <summary>Who signs, for which region and host.</summary>
public sealed record SigningIdentity(string AccessKey, string SecretKey, string Region = "us-east-1");

/// <summary>
/// Writes signed HTTP/1.1 request heads. It repeats what src/S3 can do because the generator shares its cores with the server: this one signs exactly
/// host, x-amz-content-sha256 and x-amz-date, formats the date once a second, derives the key once a day and allocates nothing.
/// Not thread-safe; one instance per connection.
/// </summary>
public sealed class RequestSigner
{
    /// <summary>The value of x-amz-content-sha256 for a body that the signature does not cover.</summary>
    public static ReadOnlySpan<byte> UnsignedPayload => "UNSIGNED-PAYLOAD"u8;

    /// <summary>The SHA-256 of nothing, in hex.</summary>
    public static ReadOnlySpan<byte> EmptySha256 => "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"u8;

    private readonly SigningIdentity _identity;
    private readonly byte[] _host;
    private readonly byte[] _canonical = new byte[16 * 1024];
    private readonly byte[] _timestamp = new byte[16];
    private readonly byte[] _signingKey = new byte[32];
    private byte[] _scope = [];
    private byte[] _credential = [];
    private long _second = -1;
    private int _day = -1;

    /// <summary>Creates a signer; <paramref name="host"/> is the value of the Host header.</summary>
    public RequestSigner(SigningIdentity identity, string host)
    {
        _identity = identity;
        _host = Encoding.ASCII.GetBytes(host);
    }

    /// <summary>Writes a whole head, the blank line included; returns its length.</summary>
    /// <param name="head">Room for the head: the path and query plus 1 KiB.</param>
    /// <param name="method">GET, PUT …</param>
    /// <param name="path">The percent-encoded path.</param>
    /// <param name="query">The percent-encoded query in canonical form: sorted by name, every parameter with '='; empty for none.</param>
    /// <param name="payloadHash">The hex SHA-256 of the body or UNSIGNED-PAYLOAD.</param>
    /// <param name="contentLength">The length of the body, or -1 for a request without one.</param>
    /// <param name="extraHeaders">Whole header lines that are not signed, such as "Range: bytes=0-9\r\n". No x-amz- headers.</param>
    public int WriteHead(
        Span<byte> head, ReadOnlySpan<byte> method, ReadOnlySpan<byte> path, ReadOnlySpan<byte> query, ReadOnlySpan<byte> payloadHash, long contentLength,
        ReadOnlySpan<byte> extraHeaders = default)
    {
        Tick();
        Writer canonical = new(_canonical);
        canonical.Write(method);
        canonical.Write("\n"u8);
        canonical.Write(path);
        canonical.Write("\n"u8);
        canonical.Write(query);
        canonical.Write("\nhost:"u8);
        canonical.Write(_host);
        canonical.Write("\nx-amz-content-sha256:"u8);
        canonical.Write(payloadHash);
        canonical.Write("\nx-amz-date:"u8);
        canonical.Write(_timestamp);
        canonical.Write("\n\nhost;x-amz-content-sha256;x-amz-date\n"u8);
        canonical.Write(payloadHash);

        Span<byte> digest = stackalloc byte[32];
        Span<byte> hex = stackalloc byte[64];
        SHA256.HashData(canonical.Written, digest);
        Convert.TryToHexStringLower(digest, hex, out _);

        Writer text = new(stackalloc byte[256]);
        text.Write("AWS4-HMAC-SHA256\n"u8);
        text.Write(_timestamp);
        text.Write("\n"u8);
        text.Write(_scope);
        text.Write("\n"u8);
        text.Write(hex);
        HMACSHA256.HashData(_signingKey, text.Written, digest);
        Convert.TryToHexStringLower(digest, hex, out _);

        Writer output = new(head);
        output.Write(method);
        output.Write(" "u8);
        output.Write(path);
        if (!query.IsEmpty)
        {
            output.Write("?"u8);
            output.Write(query);
        }

        output.Write(" HTTP/1.1\r\nHost: "u8);
        output.Write(_host);
        output.Write("\r\nx-amz-date: "u8);
        output.Write(_timestamp);
        output.Write("\r\nx-amz-content-sha256: "u8);
        output.Write(payloadHash);
        output.Write("\r\nAuthorization: AWS4-HMAC-SHA256 Credential="u8);
        output.Write(_credential);
        output.Write(", SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature="u8);
        output.Write(hex);
        if (contentLength >= 0)
        {
            output.Write("\r\nContent-Length: "u8);
            output.Write(contentLength);
        }

        output.Write("\r\n"u8);
        output.Write(extraHeaders);
        output.Write("\r\n"u8);
        return output.Length;
    }

    private void Tick()
    {
        long ticks = DateTime.UtcNow.Ticks;
        long second = ticks / TimeSpan.TicksPerSecond;
        if (second == _second) return;
        _second = second;
        DateTime now = new(ticks, DateTimeKind.Utc);
        now.TryFormat(_timestamp, out _, "yyyyMMdd'T'HHmmss'Z'", CultureInfo.InvariantCulture);
        int day = (int)(ticks / TimeSpan.TicksPerDay);
        if (day == _day) return;
        _day = day;
        string date = now.ToString("yyyyMMdd", CultureInfo.InvariantCulture);
        byte[] key = HMACSHA256.HashData(Encoding.UTF8.GetBytes("AWS4" + _identity.SecretKey), Encoding.UTF8.GetBytes(date));
        key = HMACSHA256.HashData(key, Encoding.UTF8.GetBytes(_identity.Region));
        key = HMACSHA256.HashData(key, "s3"u8);
        HMACSHA256.HashData(key, "aws4_request"u8, _signingKey);
        _scope = Encoding.UTF8.GetBytes($"{date}/{_identity.Region}/s3/aws4_request");
        _credential = Encoding.UTF8.GetBytes($"{_identity.AccessKey}/{date}/{_identity.Region}/s3/aws4_request");
    }

    private ref struct Writer(Span<byte> buffer)
    {
        private readonly Span<byte> _buffer = buffer;

        public int Length { get; private set; }

        public readonly ReadOnlySpan<byte> Written => _buffer[..Length];

        public void Write(scoped ReadOnlySpan<byte> bytes)
        {
            bytes.CopyTo(_buffer[Length..]);
            Length += bytes.Length;
        }

        public void Write(long value)
        {
            Utf8Formatter.TryFormat(value, _buffer[Length..], out int written, new StandardFormat('D'));
            Length += written;
        }
    }
}
