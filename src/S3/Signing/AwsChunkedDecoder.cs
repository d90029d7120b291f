using System.Buffers;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using ObjectStore.S3.Errors;

namespace ObjectStore.S3.Signing;

/// <summary>What <see cref="AwsChunkedDecoder.Decode"/> needs next.</summary>
public enum DecodeStatus
{
    /// <summary>All input was consumed; feed more.</summary>
    NeedMoreInput,

    /// <summary>Payload bytes were delivered; take them and call again with the input that was not consumed.</summary>
    Payload,

    /// <summary>The body is complete and every signature in it is genuine. Nothing may follow.</summary>
    Completed,
}

/// <summary>
/// Takes the aws-chunked framing off a body, as it arrives and without copying payload. Payload is handed out before the signature of its chunk
/// can be known: a caller may write it somewhere, but must not commit anything before <see cref="DecodeStatus.Completed"/>. Feeding
/// input in other pieces gives the same payload and the same outcome. Not thread-safe; one instance per body; after an exception the decoder is dead.
/// </summary>
public sealed class AwsChunkedDecoder : IDisposable
{
    /// <summary>The largest chunk: no object may be larger in one PUT.</summary>
    public const long MaxChunkBytes = 5L * 1024 * 1024 * 1024;

    /// <summary>The longest line of a chunk header, in bytes, extensions included.</summary>
    public const int MaxChunkHeaderBytes = 1024;

    /// <summary>The most that all trailers together may take, in bytes.</summary>
    public const int MaxTrailerBytes = 8 * 1024;

    private const string TrailerSignatureName = "x-amz-trailer-signature";

    private readonly PayloadMode _mode;
    private readonly long _decodedLength;
    private readonly string[] _declaredTrailers;
    private readonly ChunkSignatureChain? _chain;
    private readonly IncrementalHash? _chunkHash;
    private readonly List<KeyValuePair<string, string>> _trailers = [];
    private readonly byte[] _line = new byte[MaxChunkHeaderBytes];
    private int _lineLength;
    private State _state = State.ChunkHeader;
    private long _chunkRemaining;
    private long _delivered;
    private int _trailerBytes;
    private bool _skippedBlankLine;
    private bool _isLastChunk;
    private bool _isTrailerSigned;
    private Sha256Digest _chunkSignature;

    private enum State
    {
        ChunkHeader,
        ChunkData,
        ChunkDataCarriageReturn,
        ChunkDataLineFeed,
        Trailers,
        Completed,
        Failed,
    }

    /// <summary>Creates a decoder for the body of a verified request.</summary>
    /// <param name="request">A successful verification whose payload mode is a streaming one; its signature seeds the chain.</param>
    /// <param name="decodedLength">The value of x-amz-decoded-content-length, in bytes.</param>
    /// <param name="declaredTrailers">The names in x-amz-trailer; a trailer of another name is refused, a declared one must come.</param>
    public AwsChunkedDecoder(in SigV4Result request, long decodedLength, params ReadOnlySpan<string> declaredTrailers)
        : this(request.PayloadMode, decodedLength, new SigV4Seed(request.Scope, request.SignedAt, request.Signature), declaredTrailers) { }

    /// <summary>Creates a decoder. <paramref name="seed"/> may be null only for a mode without chunk signatures.</summary>
    public AwsChunkedDecoder(PayloadMode mode, long decodedLength, SigV4Seed? seed, params ReadOnlySpan<string> declaredTrailers)
    {
        if (!mode.IsStreaming()) throw new ArgumentOutOfRangeException(nameof(mode), mode, "Only streaming payload modes are chunked.");
        ArgumentOutOfRangeException.ThrowIfNegative(decodedLength);
        _mode = mode;
        _decodedLength = decodedLength;
        _declaredTrailers = new string[declaredTrailers.Length];
        for (int i = 0; i < declaredTrailers.Length; i++) _declaredTrailers[i] = declaredTrailers[i].Trim().ToLowerInvariant();
        if (!mode.HasChunkSignatures()) return;
        SigV4Seed start = seed ?? throw new ArgumentNullException(nameof(seed));
        _chain = new ChunkSignatureChain(start.Scope, start.SignedAt, start.Signature);
        _chunkHash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    }

    /// <summary>True when <see cref="DecodeStatus.Completed"/> has been reported.</summary>
    public bool IsCompleted => _state == State.Completed;

    /// <summary>The payload bytes handed out so far.</summary>
    public long DeliveredBytes => _delivered;

    /// <summary>
    /// The trailers, with lower-case names, the signature left out. Verified only once the body is completed.
    /// </summary>
    public IReadOnlyList<KeyValuePair<string, string>> Trailers => _trailers;

    /// <summary>
    /// Decodes as far as the next piece of payload or the end of <paramref name="input"/>.
    /// </summary>
    /// <param name="input">Body bytes that follow those consumed so far.</param>
    /// <param name="consumed">How many of them were used, those of <paramref name="payload"/> included.</param>
    /// <param name="payload">A slice of <paramref name="input"/>; empty unless <see cref="DecodeStatus.Payload"/> is returned.</param>
    /// <exception cref="S3Exception">
    /// SignatureDoesNotMatch, IncompleteBody (malformed framing, or another length than decodedLength), MalformedTrailerError, EntityTooLarge.
    /// </exception>
    public DecodeStatus Decode(ReadOnlySpan<byte> input, out int consumed, out ReadOnlySpan<byte> payload)
    {
        payload = default;
        consumed = 0;
        while (consumed < input.Length)
        {
            ReadOnlySpan<byte> rest = input[consumed..];
            switch (_state)
            {
                case State.ChunkHeader:
                    if (!TryTakeLine(rest, ref consumed, out ReadOnlySpan<byte> header)) return DecodeStatus.NeedMoreInput;
                    BeginChunk(header);
                    break;
                case State.ChunkData:
                    int length = (int)Math.Min(_chunkRemaining, rest.Length);
                    payload = rest[..length];
                    consumed += length;
                    _delivered += length;
                    _chunkRemaining -= length;
                    _chunkHash?.AppendData(payload);
                    if (_chunkRemaining == 0)
                    {
                        CheckChunkSignature();
                        _state = State.ChunkDataCarriageReturn;
                    }

                    return DecodeStatus.Payload;
                case State.ChunkDataCarriageReturn:
                    Expect(rest[0], (byte)'\r');
                    consumed++;
                    _state = State.ChunkDataLineFeed;
                    break;
                case State.ChunkDataLineFeed:
                    Expect(rest[0], (byte)'\n');
                    consumed++;
                    _state = State.ChunkHeader;
                    break;
                case State.Trailers:
                    if (!TryTakeLine(rest, ref consumed, out ReadOnlySpan<byte> trailer)) return DecodeStatus.NeedMoreInput;
                    TakeTrailer(trailer);
                    break;
                case State.Completed:
                    throw Fail(S3ErrorCode.IncompleteBody, "The request body continues after its last chunk.");
                default:
                    throw new InvalidOperationException("The decoder has failed before.");
            }
        }

        return _state == State.Completed ? DecodeStatus.Completed : DecodeStatus.NeedMoreInput;
    }

    /// <summary>Says that no more input will come. Throws IncompleteBody unless the body is completed.</summary>
    public void EndOfInput()
    {
        // Once the trailers are signed nothing is left but an empty line, which not every client sends.
        if (_state == State.Trailers && _isTrailerSigned && _lineLength == 0) Complete();
        if (_state != State.Completed) throw Fail(S3ErrorCode.IncompleteBody);
    }

    /// <summary>The value of a trailer by its lower-case name.</summary>
    public bool TryGetTrailer(string name, [NotNullWhen(true)] out string? value)
    {
        foreach (KeyValuePair<string, string> trailer in _trailers)
        {
            if (trailer.Key != name) continue;
            value = trailer.Value;
            return true;
        }

        value = null;
        return false;
    }

    /// <summary>Frees the hash; the decoder must not be used after it.</summary>
    public void Dispose()
    {
        _state = State.Failed;
        _chunkHash?.Dispose();
    }

    /// <summary>
    /// Finds a line, without its end, in the input or in what was kept of it. Lines end with CR LF; a bare LF is accepted in trailers only, where
    /// S3's own example has one.
    /// </summary>
    private bool TryTakeLine(ReadOnlySpan<byte> rest, ref int consumed, out ReadOnlySpan<byte> line)
    {
        int lineFeed = rest.IndexOf((byte)'\n');
        int taken = lineFeed < 0 ? rest.Length : lineFeed + 1;
        if (_lineLength + taken > MaxChunkHeaderBytes) throw FailFraming("A chunk header or trailer is too long.");
        consumed += taken;
        if (_lineLength > 0 || lineFeed < 0)
        {
            rest[..taken].CopyTo(_line.AsSpan(_lineLength));
            _lineLength += taken;
            line = _line.AsSpan(0, _lineLength);
        }
        else
        {
            line = rest[..taken];
        }

        if (lineFeed < 0) return false;
        _lineLength = 0;
        line = line[..^1];
        bool hasCarriageReturn = !line.IsEmpty && line[^1] == '\r';
        if (hasCarriageReturn) line = line[..^1];
        else if (_state == State.ChunkHeader) throw FailFraming("A chunk header does not end with CR LF.");
        return true;
    }

    private void BeginChunk(ReadOnlySpan<byte> header)
    {
        int semicolon = header.IndexOf((byte)';');
        ReadOnlySpan<byte> digits = semicolon < 0 ? header : header[..semicolon];
        if (!TryParseHex(digits, out long size)) throw FailFraming("A chunk size is not a hexadecimal number.");
        if (size > MaxChunkBytes) throw Fail(S3ErrorCode.EntityTooLarge);
        if (size > _decodedLength - _delivered) throw FailFraming("The chunks hold more than x-amz-decoded-content-length.");
        if (_chain is not null) ReadChunkSignature(semicolon < 0 ? default : header[(semicolon + 1)..]);
        _chunkRemaining = size;
        if (size > 0)
        {
            _state = State.ChunkData;
            return;
        }

        _isLastChunk = true;
        CheckChunkSignature();
        if (_delivered != _decodedLength) throw Fail(S3ErrorCode.IncompleteBody);
        _state = State.Trailers;
    }

    private void ReadChunkSignature(ReadOnlySpan<byte> extension)
    {
        ReadOnlySpan<byte> prefix = "chunk-signature="u8;
        if (!extension.StartsWith(prefix)) throw FailSignature();
        extension = extension[prefix.Length..];
        if (extension.Length != 64 || Convert.FromHexString(extension, _chunkSignature, out _, out _) != OperationStatus.Done) throw FailSignature();
    }

    private void CheckChunkSignature()
    {
        if (_chain is null) return;
        Sha256Digest hash = default;
        _chunkHash!.GetHashAndReset(hash);
        Sha256Digest expected = _chain.NextChunk(hash);
        if (!CryptographicOperations.FixedTimeEquals(expected, _chunkSignature)) throw FailSignature();
    }

    private void TakeTrailer(ReadOnlySpan<byte> line)
    {
        _trailerBytes += line.Length + 2;
        if (_trailerBytes > MaxTrailerBytes) throw Fail(S3ErrorCode.MalformedTrailerError, "The trailers are too long.");
        if (line.IsEmpty)
        {
            // S3's documented example puts the signature of the trailers after an empty line; SDKs put it before.
            if (_mode == PayloadMode.StreamingSignedTrailer && _trailers.Count > 0 && !_isTrailerSigned && !_skippedBlankLine)
            {
                _skippedBlankLine = true;
                return;
            }

            Complete();
            return;
        }

        int colon = line.IndexOf((byte)':');
        if (colon <= 0 || !_mode.HasTrailer() || _isTrailerSigned) throw Fail(S3ErrorCode.MalformedTrailerError);
        string name = Encoding.UTF8.GetString(line[..colon]).Trim().ToLowerInvariant();
        string value = Encoding.UTF8.GetString(line[(colon + 1)..]).Trim();
        if (name == TrailerSignatureName && _chain is not null)
        {
            CheckTrailerSignature(value);
            return;
        }

        if (Array.IndexOf(_declaredTrailers, name) < 0 || TryGetTrailer(name, out _)) throw Fail(S3ErrorCode.MalformedTrailerError);
        _trailers.Add(new KeyValuePair<string, string>(name, value));
    }

    private void CheckTrailerSignature(string value)
    {
        StringBuilder canonical = new();
        foreach (KeyValuePair<string, string> trailer in _trailers) canonical.Append(trailer.Key).Append(':').Append(trailer.Value).Append('\n');
        Sha256Digest provided = default;
        Sha256Digest expected = _chain!.NextTrailer(SHA256.HashData(Encoding.UTF8.GetBytes(canonical.ToString())));
        if (value.Length != 64 || Convert.FromHexString(value, provided, out _, out _) != OperationStatus.Done ||
            !CryptographicOperations.FixedTimeEquals(expected, provided)) throw FailSignature();
        _isTrailerSigned = true;
    }

    private void Complete()
    {
        if (_mode == PayloadMode.StreamingSignedTrailer && !_isTrailerSigned && (_declaredTrailers.Length > 0 || _trailers.Count > 0)) throw FailSignature();
        foreach (string declared in _declaredTrailers)
        {
            if (!TryGetTrailer(declared, out _)) throw Fail(S3ErrorCode.MalformedTrailerError);
        }

        _state = State.Completed;
    }

    private void Expect(byte actual, byte expected)
    {
        if (actual != expected) throw FailFraming("A chunk does not end where its header says.");
    }

    private static bool TryParseHex(ReadOnlySpan<byte> digits, out long value)
    {
        value = 0;
        if (digits.IsEmpty || digits.Length > 16 || digits[0] == '+' || digits[0] == '-') return false;
        return long.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value) && value >= 0;
    }

    private S3Exception FailSignature() => Fail(S3ErrorCode.SignatureDoesNotMatch);

    private S3Exception FailFraming(string message) => _isLastChunk ? Fail(S3ErrorCode.MalformedTrailerError, message) : Fail(S3ErrorCode.IncompleteBody, message);

    private S3Exception Fail(S3ErrorCode code, string? message = null)
    {
        _state = State.Failed;
        return new S3Exception(code, message);
    }
}
