using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using ObjectStore.S3.Routing;

namespace ObjectStore.S3.Signing;

/// <summary>
/// Signs requests as a client does: the load generator, the data centre SDK and the tests use it. Keeps the signing key of the current day.
/// Thread-safe.
/// </summary>
public sealed class SigV4Signer
{
    private readonly string _accessKey;
    private readonly SecretKey _secret;
    private readonly string _region;
    private SigningScope? _scope;

    /// <summary>Creates a signer for one access key and region.</summary>
    public SigV4Signer(string accessKey, string secret, string region = "us-east-1")
    {
        _accessKey = accessKey;
        _secret = new SecretKey(secret);
        _region = region;
    }

    /// <summary>The SHA-256 of a body as x-amz-content-sha256 wants it.</summary>
    public static string HashPayload(ReadOnlySpan<byte> body) => Convert.ToHexStringLower(SHA256.HashData(body));

    /// <summary>
    /// Signs by header: sets x-amz-date, x-amz-content-sha256 and Authorization in <paramref name="headers"/>, which must already hold Host. Signs every
    /// header that is in the list.
    /// </summary>
    /// <param name="method">The HTTP method.</param>
    /// <param name="rawPath">The percent-encoded path as it will be sent.</param>
    /// <param name="rawQuery">The percent-encoded query as it will be sent.</param>
    /// <param name="headers">The headers to sign; changed.</param>
    /// <param name="contentSha256">The hex SHA-256 of the body, or one of the constants of <see cref="PayloadModes.HeaderValue"/>.</param>
    /// <param name="now">The time of signing.</param>
    /// <returns>The scope and seed signature, for the chunks of a streaming body.</returns>
    public SigV4Seed SignHeaders(string method, string rawPath, string rawQuery, SigV4HeaderList headers, string contentSha256, DateTimeOffset now)
    {
        DateTime utc = now.UtcDateTime;
        SigningScope scope = ScopeOf(utc);
        headers["authorization"] = null;
        headers["x-amz-date"] = utc.ToString("yyyyMMdd'T'HHmmss'Z'", CultureInfo.InvariantCulture);
        headers["x-amz-content-sha256"] = contentSha256;
        string signedHeaders = SignedHeaders(headers);
        Sha256Digest signature = Sign(method, rawPath, rawQuery, headers, signedHeaders, contentSha256, utc, scope);
        headers["authorization"] =
            $"AWS4-HMAC-SHA256 Credential={_accessKey}/{scope.Scope}, SignedHeaders={signedHeaders}, Signature={Convert.ToHexStringLower(signature)}";
        return new SigV4Seed(scope, utc, signature);
    }

    /// <summary>Signs by query: returns the whole raw query of a URL that stays valid for <paramref name="validity"/>, 1 s to 7 days.</summary>
    public string Presign(
        string method, string rawPath, string rawQuery, SigV4HeaderList headers, TimeSpan validity, DateTimeOffset now, string contentSha256 = "UNSIGNED-PAYLOAD")
    {
        DateTime utc = now.UtcDateTime;
        SigningScope scope = ScopeOf(utc);
        string signedHeaders = SignedHeaders(headers);
        StringBuilder query = new(rawQuery);
        if (query.Length > 0) query.Append('&');
        query.Append("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=");
        query.Append(PercentEncoding.EncodeToString($"{_accessKey}/{scope.Scope}", keepSlash: false));
        query.Append(CultureInfo.InvariantCulture, $"&X-Amz-Date={utc:yyyyMMdd'T'HHmmss'Z'}&X-Amz-Expires={(long)validity.TotalSeconds}");
        query.Append("&X-Amz-SignedHeaders=").Append(PercentEncoding.EncodeToString(signedHeaders, keepSlash: false));
        Sha256Digest signature = Sign(method, rawPath, query.ToString(), headers, signedHeaders, contentSha256, utc, scope);
        return query.Append("&X-Amz-Signature=").Append(Convert.ToHexStringLower(signature)).ToString();
    }

    private static string SignedHeaders(SigV4HeaderList headers) => string.Join(';', headers.Entries
        .Select(header => header.Key.ToLowerInvariant())
        .Distinct()
        .Order(StringComparer.Ordinal));

    private static Sha256Digest Sign(
        string method, string rawPath, string rawQuery, SigV4HeaderList headers, string signedHeaders, string contentSha256, DateTime utc, SigningScope scope)
    {
        SigV4Request request = new() { Method = method, RawPath = rawPath, RawQuery = rawQuery, Headers = headers };
        Span<byte> timestamp = stackalloc byte[16];
        SigV4Canonical.FormatTimestamp(utc, timestamp);
        Utf8Buffer canonical = new(stackalloc byte[2048]);
        Utf8Buffer stringToSign = new(stackalloc byte[256]);
        try
        {
            if (!SigV4Canonical.TryAppendRequest(ref canonical, request, signedHeaders, contentSha256, pathAsSent: false))
            {
                throw new ArgumentException("The path or query is not well percent-encoded.", nameof(rawPath));
            }

            Sha256Digest signature = default;
            SigV4Canonical.Sign(ref stringToSign, timestamp, scope.Scope, canonical.Written, scope.SigningKey, signature);
            return signature;
        }
        finally
        {
            canonical.Dispose();
            stringToSign.Dispose();
        }
    }

    private SigningScope ScopeOf(DateTime utc)
    {
        string date = utc.ToString("yyyyMMdd", CultureInfo.InvariantCulture);
        SigningScope? scope = Volatile.Read(ref _scope);
        if (scope is not null && scope.Date == date) return scope;
        byte[] signingKey = new byte[32];
        _secret.DeriveSigningKey(date, _region, "s3", signingKey);
        scope = new SigningScope(_accessKey, date, _region, "s3", _secret, signingKey);
        Volatile.Write(ref _scope, scope);
        return scope;
    }
}

/// <summary>Where the chain of chunk signatures begins: the scope, time and signature of the request that carries the chunks.</summary>
public readonly record struct SigV4Seed(SigningScope Scope, DateTime SignedAt, Sha256Digest Signature);
