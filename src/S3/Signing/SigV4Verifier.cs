using System.Buffers;
using System.Collections.Concurrent;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text;
using ObjectStore.S3.Errors;
using ObjectStore.S3.Routing;

namespace ObjectStore.S3.Signing;

/// <summary>
/// Verifies Signature Version 4 on a request, from the Authorization header or a presigned query. Thread-safe. Allocates nothing
/// on the usual path: header signature, known access key, signing key in the cache.
/// Source: "Authenticating Requests (AWS Signature Version 4)", Amazon S3 API Reference.
/// </summary>
public sealed class SigV4Verifier
{
    private const int MaxAmzHeaders = 128;
    private const int MaxPresignedSeconds = 604800;

    private static readonly SearchValues<char> RegionCharacters =
        SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.");

    private readonly ICredentialStore _credentials;
    private readonly TimeProvider _time;
    private readonly SigV4Options _options;
    private readonly ConcurrentDictionary<string, SigningScope> _scopes = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, SigningScope>.AlternateLookup<ReadOnlySpan<char>> _scopeByCredential;
    private int _scopeCount;

    /// <summary>Creates a verifier.</summary>
    public SigV4Verifier(ICredentialStore credentials, TimeProvider time, SigV4Options? options = null)
    {
        _credentials = credentials;
        _time = time;
        _options = options ?? new SigV4Options();
        _scopeByCredential = _scopes.GetAlternateLookup<ReadOnlySpan<char>>();
    }

    /// <summary>What the request claims about its own signature.</summary>
    private ref struct Claims
    {
        public bool IsPresigned;
        public ReadOnlySpan<char> Credential;
        public ReadOnlySpan<char> AccessKey;
        public ReadOnlySpan<char> Scope;
        public ReadOnlySpan<char> Date;
        public ReadOnlySpan<char> Region;
        public ReadOnlySpan<char> SignedHeaders;
        public ReadOnlySpan<char> Signature;
        public DateTime SignedAt;
        public int ExpiresSeconds;
        public string? SessionToken;
        public string? ContentSha256;
    }

    [InlineArray(MaxAmzHeaders)]
    private struct NameList
    {
        private string _first;
    }

    /// <summary>True when the request carries no signature of any kind: a request S3 calls anonymous.</summary>
    public static bool IsAnonymous(in SigV4Request request) =>
        string.IsNullOrEmpty(request.Headers.GetValue("authorization", 0)) && !HasQuerySignature(request.RawQuery);

    /// <summary>
    /// Verifies one request. Every refusal is a typed result; nothing is thrown for what a client sent. An anonymous request is AccessDenied.
    /// </summary>
    public SigV4Result Verify(in SigV4Request request)
    {
        string? authorization = request.Headers.GetValue("authorization", 0);
        bool inQuery = HasQuerySignature(request.RawQuery);
        if (string.IsNullOrEmpty(authorization) && !inQuery) return new SigV4Result(new S3Error(S3ErrorCode.AccessDenied));
        if (!string.IsNullOrEmpty(authorization) && inQuery)
        {
            return new SigV4Result(S3Error.InvalidArgument(
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified",
                "Authorization", authorization));
        }

        Claims claims = default;
        S3Error? error = inQuery ? ReadQuery(request.RawQuery, ref claims) : ReadHeader(authorization, request.Headers, ref claims);
        error ??= SplitCredential(ref claims);
        error ??= CheckTime(claims);
        if (error is not null) return new SigV4Result(error);

        error = ReadPayloadMode(claims, request.Headers, out PayloadMode payloadMode, out Sha256Digest payloadHash, out ReadOnlySpan<char> payloadText);
        error ??= CheckSignedHeaders(claims, request.Headers);
        if (error is not null) return new SigV4Result(error);

        error = FindScope(claims, out SigningScope? scope, out bool isCached);
        if (error is not null) return new SigV4Result(error);

        error = CheckSignature(request, claims, payloadText, scope!, out Sha256Digest signature);
        if (error is not null) return new SigV4Result(error);

        // Only now: keys for scopes that nobody can sign for must not push out those in use.
        if (!isCached) Remember(claims.Credential.ToString(), scope!);
        return new SigV4Result(scope!, claims.SignedAt, payloadMode, payloadHash, signature, claims.IsPresigned);
    }

    private static bool HasQuerySignature(ReadOnlySpan<char> rawQuery)
    {
        if (!rawQuery.IsEmpty && rawQuery[0] == '?') rawQuery = rawQuery[1..];
        if (rawQuery.IsEmpty) return false;
        bool signature = false;
        bool accessKeyId = false;
        QueryString.Enumerator parameters = new(rawQuery);
        while (parameters.MoveNext())
        {
            ReadOnlySpan<char> name = parameters.Current.RawName;
            if (name is "X-Amz-Algorithm" or "X-Amz-Signature" or "X-Amz-Credential") return true;
            signature |= name is "Signature";
            accessKeyId |= name is "AWSAccessKeyId";
        }

        return signature && accessKeyId;
    }

    private static S3Error? ReadHeader(ReadOnlySpan<char> authorization, ISigV4Headers headers, ref Claims claims)
    {
        authorization = authorization.Trim(" \t");
        int end = authorization.IndexOfAny(' ', '\t');
        ReadOnlySpan<char> algorithm = end < 0 ? authorization : authorization[..end];
        if (!algorithm.SequenceEqual(SigV4Canonical.Algorithm)) return RefuseAlgorithm(algorithm);
        ReadOnlySpan<char> rest = end < 0 ? default : authorization[end..];
        foreach (Range range in rest.Split(','))
        {
            ReadOnlySpan<char> part = rest[range].Trim(" \t");
            int equals = part.IndexOf('=');
            if (equals < 0) continue;
            ReadOnlySpan<char> value = part[(equals + 1)..].Trim(" \t");
            switch (part[..equals].TrimEnd(" \t"))
            {
                case "Credential": claims.Credential = value; break;
                case "SignedHeaders": claims.SignedHeaders = value; break;
                case "Signature": claims.Signature = value; break;
            }
        }

        if (claims.Credential.IsEmpty) return HeaderMalformed("missing Credential.");
        if (claims.SignedHeaders.IsEmpty) return HeaderMalformed("missing SignedHeaders.");
        if (claims.Signature.IsEmpty) return HeaderMalformed("missing Signature.");
        claims.SessionToken = headers.GetValue("x-amz-security-token", 0);
        claims.ContentSha256 = headers.GetValue("x-amz-content-sha256", 0);
        if (claims.ContentSha256 is null) return S3Error.InvalidRequest("Missing required header for this request: x-amz-content-sha256");
        string? date = headers.GetValue("x-amz-date", 0);
        if (date is not null && SigV4Canonical.TryParseTimestamp(date, out claims.SignedAt)) return null;
        if (date is null)
        {
            date = headers.GetValue("date", 0);
            if (date is not null && SigV4Canonical.TryParseTimestamp(date, out claims.SignedAt)) return null;
            if (DateTime.TryParseExact(
                date, "r", CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out claims.SignedAt)) return null;
        }

        return new S3Error(S3ErrorCode.AccessDenied, "AWS authentication requires a valid Date or x-amz-date header");
    }

    private static S3Error? ReadQuery(ReadOnlySpan<char> rawQuery, ref Claims claims)
    {
        if (!QueryString.TryParse(rawQuery.ToString(), out QueryString query, out S3Error? error)) return error;
        string? algorithm = query.Get("X-Amz-Algorithm");
        if (algorithm is null && query.Has("AWSAccessKeyId")) return RefuseAlgorithm("AWS");
        string? credential = query.Get("X-Amz-Credential");
        string? signature = query.Get("X-Amz-Signature");
        string? date = query.Get("X-Amz-Date");
        string? signedHeaders = query.Get("X-Amz-SignedHeaders");
        string? expires = query.Get("X-Amz-Expires");
        if (algorithm is null || credential is null || signature is null || date is null || signedHeaders is null || expires is null)
        {
            return QueryMalformed(
                "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.");
        }

        if (algorithm == "AWS4-ECDSA-P256-SHA256") return RefuseAlgorithm(algorithm);
        if (algorithm != SigV4Canonical.Algorithm) return QueryMalformed("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256\"");
        claims.IsPresigned = true;
        claims.Credential = credential;
        claims.Signature = signature;
        claims.SignedHeaders = signedHeaders;
        claims.SessionToken = query.Get("X-Amz-Security-Token");
        claims.ContentSha256 = query.Get("X-Amz-Content-Sha256");
        if (!SigV4Canonical.TryParseTimestamp(date, out claims.SignedAt))
        {
            return QueryMalformed("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"");
        }

        if (!int.TryParse(expires, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out claims.ExpiresSeconds))
        {
            return QueryMalformed("X-Amz-Expires should be a number");
        }

        if (claims.ExpiresSeconds < 0) return QueryMalformed("X-Amz-Expires must be non-negative");
        if (claims.ExpiresSeconds == 0) return QueryMalformed("X-Amz-Expires must be at least one second");
        return claims.ExpiresSeconds > MaxPresignedSeconds
            ? QueryMalformed("X-Amz-Expires must be less than a week (in seconds) that is 604800 seconds")
            : null;
    }

    /// <summary>Splits "key/date/region/s3/aws4_request" from the right, because an access key may hold a slash.</summary>
    private S3Error? SplitCredential(ref Claims claims)
    {
        ReadOnlySpan<char> credential = claims.Credential;
        int terminal = credential.LastIndexOf('/');
        int service = terminal <= 0 ? -1 : credential[..terminal].LastIndexOf('/');
        int region = service <= 0 ? -1 : credential[..service].LastIndexOf('/');
        int date = region <= 0 ? -1 : credential[..region].LastIndexOf('/');
        if (date <= 0)
        {
            return Malformed(claims, "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".");
        }

        claims.AccessKey = credential[..date];
        claims.Scope = credential[(date + 1)..];
        claims.Date = credential[(date + 1)..region];
        claims.Region = credential[(region + 1)..service];
        if (credential[(terminal + 1)..] is not "aws4_request") return Malformed(claims, "incorrect terminal; this endpoint uses \"aws4_request\".");
        if (credential[(service + 1)..terminal] is not "s3") return Malformed(claims, "incorrect service; this endpoint belongs to \"s3\".");
        if (claims.Date.Length != 8 || claims.Date.ContainsAnyExceptInRange('0', '9'))
        {
            return Malformed(claims, $"incorrect date format \"{claims.Date}\". This date in the credential must be in the format \"yyyyMMdd\".");
        }

        if (_options.Region.Length > 0 && !claims.Region.SequenceEqual(_options.Region))
        {
            return Malformed(claims, $"the region '{claims.Region}' is wrong; expecting '{_options.Region}'").WithDetail("Region", _options.Region);
        }

        if (claims.Region.Length is 0 or > 64 || claims.Region.ContainsAnyExcept(RegionCharacters)) return Malformed(claims, "the region is not well-formed.");
        Span<char> signedDate = stackalloc char[8];
        claims.SignedAt.TryFormat(signedDate, out _, "yyyyMMdd", CultureInfo.InvariantCulture);
        return claims.Date.SequenceEqual(signedDate)
            ? null
            : Malformed(claims, $"Invalid credential date \"{claims.Date}\". This date is not the same as X-Amz-Date: \"{signedDate}\".");
    }

    private S3Error? CheckTime(in Claims claims)
    {
        DateTime now = _time.GetUtcNow().UtcDateTime;
        TimeSpan age = now - claims.SignedAt;
        if (!claims.IsPresigned)
        {
            if (age.Duration() <= _options.AllowedClockSkew) return null;
            return new S3Error(S3ErrorCode.RequestTimeTooSkewed)
                .WithDetail("RequestTime", Timestamp(claims.SignedAt))
                .WithDetail("ServerTime", Iso8601(now))
                .WithDetail("MaxAllowedSkewMilliseconds", ((long)_options.AllowedClockSkew.TotalMilliseconds).ToString(CultureInfo.InvariantCulture));
        }

        if (-age > _options.AllowedClockSkew)
        {
            return new S3Error(S3ErrorCode.AccessDenied, "Request is not yet valid")
                .WithDetail("X-Amz-Date", Timestamp(claims.SignedAt))
                .WithDetail("ServerTime", Iso8601(now));
        }

        if (age <= TimeSpan.FromSeconds(claims.ExpiresSeconds)) return null;
        return new S3Error(S3ErrorCode.AccessDenied, "Request has expired")
            .WithDetail("X-Amz-Expires", claims.ExpiresSeconds.ToString(CultureInfo.InvariantCulture))
            .WithDetail("Expires", Iso8601(claims.SignedAt.AddSeconds(claims.ExpiresSeconds)))
            .WithDetail("ServerTime", Iso8601(now));
    }

    private static S3Error? ReadPayloadMode(
        in Claims claims, ISigV4Headers headers, out PayloadMode mode, out Sha256Digest hash, out ReadOnlySpan<char> text)
    {
        hash = default;
        mode = PayloadMode.Unsigned;
        string value = claims.ContentSha256 ?? headers.GetValue("x-amz-content-sha256", 0) ?? "UNSIGNED-PAYLOAD";
        text = value;
        switch (value)
        {
            case "UNSIGNED-PAYLOAD": return null;
            case "STREAMING-UNSIGNED-PAYLOAD-TRAILER": mode = PayloadMode.StreamingUnsignedTrailer; return null;
            case "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": mode = PayloadMode.StreamingSigned; return null;
            case "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": mode = PayloadMode.StreamingSignedTrailer; return null;
            case "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD" or "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER":
                return S3Error.NotImplemented("Signature Version 4A (ECDSA) is not supported.");
        }

        mode = PayloadMode.Sha256;
        if (value.Length == 64 && Convert.FromHexString(value, hash, out _, out _) == OperationStatus.Done) return null;
        return S3Error.InvalidArgument(
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
            "x-amz-content-sha256", value);
    }

    /// <summary>
    /// Host and every x-amz-* header present must be signed; otherwise one who can alter a request in flight could add, say, an ACL to it.
    /// </summary>
    private static S3Error? CheckSignedHeaders(in Claims claims, ISigV4Headers headers)
    {
        if (!IsSigned(claims.SignedHeaders, "host")) return NotSigned("host");
        NameList names = default;
        int count = headers.CopyAmzHeaderNames(names);
        if (count > MaxAmzHeaders) return new S3Error(S3ErrorCode.RequestHeaderSectionTooLarge);
        for (int i = 0; i < count; i++)
        {
            if (IsSigned(claims.SignedHeaders, names[i])) continue;

            // The hash of a presigned request's body is signed as the last line of the canonical request, header or not.
            if (claims.IsPresigned && names[i].Equals("x-amz-content-sha256", StringComparison.OrdinalIgnoreCase)) continue;
            return NotSigned(names[i].ToLowerInvariant());
        }

        return null;

        static S3Error NotSigned(string name) =>
            new S3Error(S3ErrorCode.AccessDenied, "There were headers present in the request which were not signed").WithDetail("HeadersNotSigned", name);
    }

    private static bool IsSigned(ReadOnlySpan<char> signedHeaders, ReadOnlySpan<char> name)
    {
        while (!signedHeaders.IsEmpty)
        {
            int end = signedHeaders.IndexOf(';');
            ReadOnlySpan<char> candidate = end < 0 ? signedHeaders : signedHeaders[..end];
            if (candidate.Equals(name, StringComparison.OrdinalIgnoreCase)) return true;
            signedHeaders = end < 0 ? default : signedHeaders[(end + 1)..];
        }

        return false;
    }

    /// <summary>The credential store decides on every request, so a revoked or rotated key stops at once; the cache only saves the derivation.</summary>
    private S3Error? FindScope(in Claims claims, out SigningScope? scope, out bool isCached)
    {
        isCached = _scopeByCredential.TryGetValue(claims.Credential, out scope);
        string accessKey = isCached ? scope!.AccessKey : claims.AccessKey.ToString();
        if (!_credentials.TryGetSecret(accessKey, out SecretKey? secret))
        {
            return new S3Error(S3ErrorCode.InvalidAccessKeyId).WithDetail("AWSAccessKeyId", accessKey);
        }

        if (claims.SessionToken is not null || secret.SessionToken is not null)
        {
            if (claims.SessionToken is null || secret.SessionToken is null || !FixedTimeEquals(claims.SessionToken, secret.SessionToken))
            {
                return new S3Error(S3ErrorCode.InvalidToken);
            }
        }

        if (secret.ExpiresAt is { } end && end <= _time.GetUtcNow()) return new S3Error(S3ErrorCode.ExpiredToken);
        if (isCached && scope!.Secret.Equals(secret)) return null;
        isCached = false;
        byte[] signingKey = new byte[32];
        secret.DeriveSigningKey(claims.Date, claims.Region, "s3", signingKey);
        scope = new SigningScope(accessKey, claims.Date.ToString(), claims.Region.ToString(), "s3", secret, signingKey);
        return null;
    }

    private static bool FixedTimeEquals(string left, string right) =>
        CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(left), Encoding.UTF8.GetBytes(right));

    private void Remember(string credential, SigningScope scope)
    {
        // Full means a new day or many new keys; starting over costs each key in use four HMACs.
        if (Volatile.Read(ref _scopeCount) >= _options.SigningKeyCacheSize)
        {
            _scopes.Clear();
            Volatile.Write(ref _scopeCount, 0);
        }

        if (!_scopes.ContainsKey(credential)) Interlocked.Increment(ref _scopeCount);
        _scopes[credential] = scope;
    }

    private static S3Error? CheckSignature(
        in SigV4Request request, in Claims claims, ReadOnlySpan<char> payloadText, SigningScope scope, out Sha256Digest signature)
    {
        signature = default;
        bool wellFormed = claims.Signature.Length == 64 && Convert.FromHexString(claims.Signature, signature, out _, out _) == OperationStatus.Done;
        Span<byte> timestamp = stackalloc byte[16];
        SigV4Canonical.FormatTimestamp(claims.SignedAt, timestamp);
        Utf8Buffer canonical = new(stackalloc byte[2048]);
        Utf8Buffer stringToSign = new(stackalloc byte[256]);
        try
        {
            Sha256Digest expected = default;
            if (!SigV4Canonical.TryAppendRequest(ref canonical, request, claims.SignedHeaders, payloadText, pathAsSent: false))
            {
                return new S3Error(S3ErrorCode.InvalidURI);
            }

            SigV4Canonical.Sign(ref stringToSign, timestamp, claims.Scope, canonical.Written, scope.SigningKey, expected);
            if (wellFormed && CryptographicOperations.FixedTimeEquals(expected, signature)) return null;

            S3Error error = new S3Error(S3ErrorCode.SignatureDoesNotMatch)
                .WithDetail("AWSAccessKeyId", scope.AccessKey)
                .WithDetail("StringToSign", Encoding.UTF8.GetString(stringToSign.Written))
                .WithDetail("SignatureProvided", claims.Signature.ToString())
                .WithDetail("CanonicalRequest", Encoding.UTF8.GetString(canonical.Written));
            if (!wellFormed) return error;

            // Some clients sign the path exactly as they send it (%2F kept, other characters unescaped). It names the same object, so
            // accepting it gives nothing away.
            canonical.Clear();
            stringToSign.Clear();
            SigV4Canonical.TryAppendRequest(ref canonical, request, claims.SignedHeaders, payloadText, pathAsSent: true);
            SigV4Canonical.Sign(ref stringToSign, timestamp, claims.Scope, canonical.Written, scope.SigningKey, expected);
            return CryptographicOperations.FixedTimeEquals(expected, signature) ? null : error;
        }
        finally
        {
            canonical.Dispose();
            stringToSign.Dispose();
        }
    }

    private static S3Error RefuseAlgorithm(ReadOnlySpan<char> algorithm) => algorithm switch
    {
        "AWS" => S3Error.InvalidRequest("The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."),
        "AWS4-ECDSA-P256-SHA256" => S3Error.NotImplemented("Signature Version 4A (ECDSA) is not supported."),
        _ => S3Error.InvalidArgument("Unsupported Authorization Type", "Authorization", algorithm.ToString()),
    };

    private static S3Error Malformed(in Claims claims, string why) => claims.IsPresigned ? QueryMalformed($"Error parsing the X-Amz-Credential parameter; {why}") : HeaderMalformed(why);

    private static S3Error HeaderMalformed(string why) => new(S3ErrorCode.AuthorizationHeaderMalformed, $"The authorization header is malformed; {why}");

    private static S3Error QueryMalformed(string message) => new(S3ErrorCode.AuthorizationQueryParametersError, message);

    private static string Timestamp(DateTime utc) => utc.ToString("yyyyMMdd'T'HHmmss'Z'", CultureInfo.InvariantCulture);

    private static string Iso8601(DateTime utc) => utc.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);
}
