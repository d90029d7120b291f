using System.Security.Cryptography;
using System.Text;

namespace ObjectStore.S3.Signing;

/// <summary>
/// The chain of signatures of a chunked body: each is computed over the one before it, so no chunk can be dropped, repeated or moved.
/// Source: "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks", Amazon S3 API Reference.
/// </summary>
internal sealed class ChunkSignatureChain
{
    private const int MaxScopeLength = 128;

    private readonly byte[] _signingKey;
    private readonly byte[] _timestampAndScope;
    private Sha256Digest _previous;

    public ChunkSignatureChain(SigningScope scope, DateTime signedAt, in Sha256Digest seed)
    {
        _signingKey = scope.SigningKey;
        _timestampAndScope = Encoding.UTF8.GetBytes($"{signedAt.ToString("yyyyMMdd'T'HHmmss'Z'", System.Globalization.CultureInfo.InvariantCulture)}\n{scope.Scope}\n");
        _previous = seed;
    }

    /// <summary>The signature of the next chunk, whose data hashes to <paramref name="dataHash"/>; it becomes the previous one.</summary>
    public Sha256Digest NextChunk(ReadOnlySpan<byte> dataHash)
    {
        Utf8Buffer text = new(stackalloc byte[256 + MaxScopeLength]);
        text.Append("AWS4-HMAC-SHA256-PAYLOAD\n"u8);
        text.Append(_timestampAndScope);
        text.AppendHex(_previous);
        text.Append((byte)'\n');
        text.Append(SigV4Canonical.EmptySha256Hex);
        text.Append((byte)'\n');
        text.AppendHex(dataHash);
        return Finish(ref text);
    }

    /// <summary>The signature of the trailers, whose canonical form hashes to <paramref name="trailerHash"/>.</summary>
    public Sha256Digest NextTrailer(ReadOnlySpan<byte> trailerHash)
    {
        Utf8Buffer text = new(stackalloc byte[256 + MaxScopeLength]);
        text.Append("AWS4-HMAC-SHA256-TRAILER\n"u8);
        text.Append(_timestampAndScope);
        text.AppendHex(_previous);
        text.Append((byte)'\n');
        text.AppendHex(trailerHash);
        return Finish(ref text);
    }

    private Sha256Digest Finish(ref Utf8Buffer text)
    {
        HMACSHA256.HashData(_signingKey, text.Written, _previous);
        text.Dispose();
        return _previous;
    }
}
