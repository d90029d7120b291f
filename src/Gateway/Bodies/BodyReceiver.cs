using System.Buffers;
using System.IO.Pipelines;
using System.Security.Cryptography;
using Microsoft.AspNetCore.Http;
using ObjectStore.Gateway.Objects;
using ObjectStore.S3.Checksums;
using ObjectStore.S3.Errors;
using ObjectStore.S3.Signing;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Gateway;

/// <summary>What was received and proved: the MD5 and the checksum are of exactly the bytes that were stored.</summary>
internal readonly record struct ReceivedBody(long LengthBytes, Grains.ETag ETag, ChecksumValue? Checksum);

/// <summary>
/// Receives one object body: takes off the aws-chunked framing, hashes as the bytes pass, and at the end holds them against everything the request said of
/// them: length, payload hash, chunk signatures, Content-MD5, checksum header or trailer. Nothing may be committed before
/// it has returned. Bounded memory; one instance per request.
/// </summary>
internal sealed class BodyReceiver : IDisposable
{
    /// <summary>The largest body of one PUT or one part: 5 GiB. Source: "Amazon S3 multipart upload limits".</summary>
    public const long MaxBytes = 5L << 30;

    /// <summary>Bodies up to this size are gathered in one buffer and stored in one call.</summary>
    public const int BufferedLimitBytes = 128 * 1024;

    private readonly S3Request _request;
    private readonly RequestChecksum _expected;
    private readonly AwsChunkedDecoder? _decoder;
    private readonly IncrementalHash _md5;
    private readonly IncrementalHash? _sha256;
    private readonly IncrementalChecksum? _checksum;
    private long _received;

    /// <summary>Reads the request's claims about its body. Throws S3's error for a claim that is malformed or missing.</summary>
    /// <param name="request">The verified request.</param>
    /// <param name="computeAlgorithm">The algorithm to compute where the request itself names none (that of its multipart upload), or null.</param>
    public BodyReceiver(S3Request request, ChecksumAlgorithm? computeAlgorithm = null)
    {
        _request = request;
        if (!RequestChecksum.TryRead(request.Header, out _expected, out S3Error? error)) throw new S3Exception(error!);
        PayloadMode mode = request.Signature.PayloadMode;
        long? declared = request.Http.Request.ContentLength;
        if (mode.IsStreaming())
        {
            string? decoded = request.Header("x-amz-decoded-content-length");
            if (decoded is null) throw new S3Exception(S3ErrorCode.MissingContentLength);
            if (!long.TryParse(decoded, System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out long length))
            {
                throw new S3Exception(S3Error.InvalidArgument("The decoded content length is not a number.", "x-amz-decoded-content-length", decoded));
            }

            LengthBytes = length;
        }
        else
        {
            LengthBytes = declared ?? throw new S3Exception(S3ErrorCode.MissingContentLength);
        }

        if (LengthBytes > MaxBytes)
        {
            throw new S3Exception(new S3Error(S3ErrorCode.EntityTooLarge)
                .WithDetail("ProposedSize", LengthBytes.ToString(System.Globalization.CultureInfo.InvariantCulture))
                .WithDetail("MaxSizeAllowed", MaxBytes.ToString(System.Globalization.CultureInfo.InvariantCulture)));
        }

        Algorithm = _expected.Algorithm ?? computeAlgorithm;
        if (_expected.IsTrailer && !mode.HasTrailer()) throw new S3Exception(S3Error.InvalidRequest("x-amz-trailer needs a payload that ends with a trailer."));
        _md5 = IncrementalHash.CreateHash(HashAlgorithmName.MD5);
        if (mode == PayloadMode.Sha256) _sha256 = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        if (Algorithm is { } algorithm) _checksum = new IncrementalChecksum(algorithm);
        if (mode.IsStreaming())
        {
            string[] trailers = request.Header("x-amz-trailer")?.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries) ?? [];
            _decoder = new AwsChunkedDecoder(request.Signature, LengthBytes, trailers);
        }
    }

    /// <summary>The object bytes to come.</summary>
    public long LengthBytes { get; }

    /// <summary>The checksum algorithm that is computed, or null.</summary>
    public ChecksumAlgorithm? Algorithm { get; }

    /// <summary>Receives the body and stores it as one extent. When it returns the bytes are durable and proved; when it throws nothing of them is visible.</summary>
    public async Task<(ReceivedBody Body, ExtentLayout Layout)> StoreAsync(ExtentDescriptor descriptor)
    {
        IExtentStore extents = _request.Services.Extents;
        CancellationToken aborted = _request.Aborted;
        if (LengthBytes <= BufferedLimitBytes)
        {
            using GatewayServices.BufferTicket admitted = await _request.Services.AdmitBufferAsync(aborted);
            byte[] buffer = ArrayPool<byte>.Shared.Rent((int)LengthBytes);
            try
            {
                int filled = 0;
                await foreach (ReadOnlyMemory<byte> piece in ReadAsync(aborted))
                {
                    piece.Span.CopyTo(buffer.AsSpan(filled));
                    filled += piece.Length;
                }

                ReceivedBody body = Prove();
                return (body, await extents.WriteAsync(descriptor, buffer.AsMemory(0, filled), aborted));
            }
            finally
            {
                ArrayPool<byte>.Shared.Return(buffer);
            }
        }

        using GatewayServices.StreamTicket ticket = _request.Services.AdmitStream();
        await using IExtentWriter writer = extents.CreateExtent(descriptor, LengthBytes);
        await foreach (ReadOnlyMemory<byte> piece in ReadAsync(aborted))
        {
            await writer.AppendAsync(piece, aborted);
        }

        ReceivedBody proved = Prove();
        return (proved, await writer.CompleteAsync(aborted));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _decoder?.Dispose();
        _md5.Dispose();
        _sha256?.Dispose();
        _checksum?.Dispose();
    }

    /// <summary>The object's bytes as they come, hashed. Each piece is valid until the next is asked for.</summary>
    private async IAsyncEnumerable<ReadOnlyMemory<byte>> ReadAsync([System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        PipeReader reader = _request.Http.Request.BodyReader;
        while (true)
        {
            ReadResult result = await reader.ReadAsync(cancellationToken);
            if (result.IsCanceled) throw new OperationCanceledException(cancellationToken);
            try
            {
                foreach (ReadOnlyMemory<byte> segment in result.Buffer)
                {
                    ReadOnlyMemory<byte> rest = segment;
                    while (!rest.IsEmpty)
                    {
                        ReadOnlyMemory<byte> payload = TakePayload(ref rest);
                        if (payload.IsEmpty) continue;
                        Append(payload.Span);
                        yield return payload;
                    }
                }
            }
            finally
            {
                // Also when the decoder or the consumer fails: a read that is not advanced leaves the connection unusable without a word.
                reader.AdvanceTo(result.Buffer.End);
            }

            if (result.IsCompleted) break;
        }

        _decoder?.EndOfInput();
        if (_received != LengthBytes) throw new S3Exception(S3ErrorCode.IncompleteBody);
        GatewayMetrics.BytesReceived(_received);
    }

    private ReadOnlyMemory<byte> TakePayload(ref ReadOnlyMemory<byte> input)
    {
        ReadOnlyMemory<byte> all = input;
        if (_decoder is null)
        {
            input = default;
            return all;
        }

        DecodeStatus status = _decoder.Decode(all.Span, out int consumed, out ReadOnlySpan<byte> payload);
        int length = status == DecodeStatus.Payload ? payload.Length : 0;
        int offset = 0;
        if (length > 0)
        {
            // The decoder hands out a slice of what it was given; the same slice as memory.
            all.Span.Overlaps(payload, out offset);
        }

        input = all[consumed..];
        return all.Slice(offset, length);
    }

    private void Append(ReadOnlySpan<byte> bytes)
    {
        _received += bytes.Length;
        if (_received > LengthBytes) throw new S3Exception(S3ErrorCode.IncompleteBody);
        _md5.AppendData(bytes);
        _sha256?.AppendData(bytes);
        _checksum?.Append(bytes);
    }

    private ReceivedBody Prove()
    {
        Span<byte> md5 = stackalloc byte[16];
        _md5.GetHashAndReset(md5);
        if (_sha256 is not null)
        {
            Span<byte> sha256 = stackalloc byte[32];
            _sha256.GetHashAndReset(sha256);
            if (!_request.Signature.PayloadHash.FixedTimeEquals(sha256)) throw new S3Exception(S3ErrorCode.XAmzContentSHA256Mismatch);
        }

        if (_expected.ContentMd5 is { } contentMd5 && !md5.SequenceEqual(contentMd5)) throw new S3Exception(S3ErrorCode.BadDigest);
        ChecksumValue? computed = _checksum?.Finish();
        ChecksumValue? expected = _expected.Expected;
        if (_expected.IsTrailer && Algorithm is { } algorithm)
        {
            if (!_decoder!.TryGetTrailer(algorithm.HeaderName(), out string? text)) throw new S3Exception(S3ErrorCode.MalformedTrailerError);
            if (!RequestChecksum.TryParseTrailer(algorithm, text, out ChecksumValue trailer, out S3Error? error)) throw new S3Exception(error!);
            expected = trailer;
        }

        if (expected is { } value && RequestChecksum.Verify(value, computed!.Value) is { } mismatch) throw new S3Exception(mismatch);
        return new ReceivedBody(_received, Grains.ETag.FromMd5(md5), computed);
    }
}
