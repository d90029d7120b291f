using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using ObjectStore.S3.Errors;

namespace ObjectStore.S3.Signing;

/// <summary>How a request says its body is protected: the meaning of x-amz-content-sha256.</summary>
public enum PayloadMode
{
    /// <summary>The header carries the SHA-256 of the whole body; the receiver must compare it at the end of the body.</summary>
    Sha256,

    /// <summary>UNSIGNED-PAYLOAD: the body is not covered by the signature.</summary>
    Unsigned,

    /// <summary>STREAMING-UNSIGNED-PAYLOAD-TRAILER: aws-chunked without chunk signatures, with trailers.</summary>
    StreamingUnsignedTrailer,

    /// <summary>STREAMING-AWS4-HMAC-SHA256-PAYLOAD: aws-chunked, each chunk signed.</summary>
    StreamingSigned,

    /// <summary>STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER: aws-chunked, each chunk and the trailers signed.</summary>
    StreamingSignedTrailer,
}

/// <summary>Extension methods of <see cref="PayloadMode"/>.</summary>
public static class PayloadModes
{
    /// <summary>True when the body is in aws-chunked framing and must be read through <see cref="AwsChunkedDecoder"/>.</summary>
    public static bool IsStreaming(this PayloadMode mode) => mode >= PayloadMode.StreamingUnsignedTrailer;

    /// <summary>True when every chunk carries a signature.</summary>
    public static bool HasChunkSignatures(this PayloadMode mode) => mode >= PayloadMode.StreamingSigned;

    /// <summary>True when trailing headers follow the last chunk.</summary>
    public static bool HasTrailer(this PayloadMode mode) => mode is PayloadMode.StreamingUnsignedTrailer or PayloadMode.StreamingSignedTrailer;

    /// <summary>The value of x-amz-content-sha256 that names the mode; null for <see cref="PayloadMode.Sha256"/>, whose value is the hash.</summary>
    public static string? HeaderValue(this PayloadMode mode) => mode switch
    {
        PayloadMode.Unsigned => "UNSIGNED-PAYLOAD",
        PayloadMode.StreamingUnsignedTrailer => "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        PayloadMode.StreamingSigned => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        PayloadMode.StreamingSignedTrailer => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        _ => null,
    };
}

/// <summary>A SHA-256 digest or HMAC, held by value.</summary>
[InlineArray(Length)]
public struct Sha256Digest
{
    /// <summary>The size in bytes.</summary>
    public const int Length = 32;

    private byte _first;

    /// <summary>Copies 32 bytes.</summary>
    public static Sha256Digest From(ReadOnlySpan<byte> bytes)
    {
        Sha256Digest digest = default;
        bytes[..Length].CopyTo(digest);
        return digest;
    }

    /// <summary>True when <paramref name="other"/> holds the same 32 bytes; takes the same time wherever they differ.</summary>
    public readonly bool FixedTimeEquals(ReadOnlySpan<byte> other) => CryptographicOperations.FixedTimeEquals(this, other);

    /// <summary>Lower-case hex.</summary>
    public readonly override string ToString() => Convert.ToHexStringLower(this);
}

/// <summary>What the verifier reads of a request. The spans are borrowed for the call.</summary>
public readonly ref struct SigV4Request
{
    /// <summary>The HTTP method as on the wire.</summary>
    public required ReadOnlySpan<char> Method { get; init; }

    /// <summary>The path as on the wire, percent-encoded, without the query.</summary>
    public required ReadOnlySpan<char> RawPath { get; init; }

    /// <summary>The query as on the wire, with or without the leading '?'.</summary>
    public ReadOnlySpan<char> RawQuery { get; init; }

    /// <summary>The headers.</summary>
    public required ISigV4Headers Headers { get; init; }
}

/// <summary>The key material of a verified request, from which the signatures of its chunks follow. Immutable and shared between requests.</summary>
public sealed class SigningScope
{
    internal SigningScope(string accessKey, string date, string region, string service, SecretKey secret, byte[] signingKey)
    {
        AccessKey = accessKey;
        Date = date;
        Region = region;
        Service = service;
        Scope = $"{date}/{region}/{service}/aws4_request";
        Secret = secret;
        SigningKey = signingKey;
    }

    /// <summary>The access key id that signed.</summary>
    public string AccessKey { get; }

    /// <summary>The date of the scope, yyyyMMdd.</summary>
    public string Date { get; }

    /// <summary>The region of the scope.</summary>
    public string Region { get; }

    /// <summary>The service of the scope, "s3".</summary>
    public string Service { get; }

    /// <summary>date/region/service/aws4_request, as it is signed.</summary>
    public string Scope { get; }

    internal SecretKey Secret { get; }

    internal byte[] SigningKey { get; }

    /// <inheritdoc/>
    public override string ToString() => $"{AccessKey}/{Scope}";
}

/// <summary>
/// The outcome of a verification: either <see cref="Error"/>, or who signed and how the body is protected. A success says nothing
/// about the body: the receiver still has to hold it against <see cref="PayloadHash"/> or to read it through the decoder.
/// </summary>
public readonly struct SigV4Result
{
    private readonly SigningScope? _scope;
    private readonly Sha256Digest _payloadHash;
    private readonly Sha256Digest _signature;

    internal SigV4Result(S3Error error) => Error = error;

    internal SigV4Result(SigningScope scope, DateTime signedAt, PayloadMode payloadMode, in Sha256Digest payloadHash, in Sha256Digest signature, bool isPresigned)
    {
        _scope = scope;
        SignedAt = signedAt;
        PayloadMode = payloadMode;
        _payloadHash = payloadHash;
        _signature = signature;
        IsPresigned = isPresigned;
    }

    /// <summary>Why the request is refused; null on success.</summary>
    public S3Error? Error { get; }

    /// <summary>True when the signature is genuine and timely.</summary>
    public bool IsSuccess => _scope is not null;

    /// <summary>The key material of the request. Throws InvalidOperationException on a failure.</summary>
    public SigningScope Scope => _scope ?? throw new InvalidOperationException("A request that failed verification has no signing scope.");

    /// <summary>The access key id that signed. Throws InvalidOperationException on a failure.</summary>
    public string AccessKey => Scope.AccessKey;

    /// <summary>The time that was signed, UTC, to the second.</summary>
    public DateTime SignedAt { get; }

    /// <summary>How the body is protected.</summary>
    public PayloadMode PayloadMode { get; }

    /// <summary>The SHA-256 the body must have; meaningful for <see cref="PayloadMode.Sha256"/> only.</summary>
    public Sha256Digest PayloadHash => _payloadHash;

    /// <summary>The verified signature, which seeds the chain of chunk signatures.</summary>
    public Sha256Digest Signature => _signature;

    /// <summary>True when the signature came in the query.</summary>
    public bool IsPresigned { get; }
}

/// <summary>How strict the verifier is.</summary>
public sealed class SigV4Options
{
    /// <summary>
    /// The region that a credential scope must name; empty (the default) accepts any well-formed one, because clients of a
    /// self-hosted store are seldom told its region.
    /// </summary>
    public string Region { get; init; } = "";

    /// <summary>How far the client's clock may be off, in either direction. S3 allows 15 minutes.</summary>
    public TimeSpan AllowedClockSkew { get; init; } = TimeSpan.FromMinutes(15);

    /// <summary>How many derived signing keys are kept. There is one per access key, day and region in use.</summary>
    public int SigningKeyCacheSize { get; init; } = 4096;
}
