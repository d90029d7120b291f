using System.Security.Cryptography;
using ObjectStore.S3.Checksums;
using ObjectStore.S3.Errors;
using ObjectStore.S3.Signing;
using ObjectStore.S3.Xml;

namespace ObjectStore.Gateway;

/// <summary>Receives an XML body whole, within a limit, and verifies what the request said of it.</summary>
internal static class XmlBody
{
    /// <summary>Reads the body; empty where there is none. Throws S3's error where it is too long, broken off or not what was signed.</summary>
    public static Task<ReadOnlyMemory<byte>> ReadAsync(S3Request request, int maxBytes) => ReadAsync(request, maxBytes, checksumIsOfBody: true);

    /// <summary>The same for CompleteMultipartUpload, whose x-amz-checksum-* headers speak of the object and not of the body.</summary>
    public static Task<ReadOnlyMemory<byte>> ReadWithoutChecksumAsync(S3Request request, int maxBytes) => ReadAsync(request, maxBytes, checksumIsOfBody: false);

    private static async Task<ReadOnlyMemory<byte>> ReadAsync(S3Request request, int maxBytes, bool checksumIsOfBody)
    {
        long? declared = request.Http.Request.ContentLength;
        if (declared > maxBytes + 64 * 1024) throw new S3Exception(S3ErrorCode.MaxMessageLengthExceeded);
        using GatewayServices.DocumentTicket admitted = request.Services.AdmitDocument();

        // It grows with what arrives, not with what is promised.
        using MemoryStream raw = new();
        byte[] buffer = new byte[16 * 1024];
        while (true)
        {
            int read = await request.Http.Request.Body.ReadAsync(buffer, request.Aborted);
            if (read == 0) break;
            admitted.Add(read);
            raw.Write(buffer, 0, read);
            if (raw.Length > maxBytes + 64 * 1024) throw new S3Exception(S3ErrorCode.MaxMessageLengthExceeded);
        }

        return Verify(request, raw.GetBuffer().AsMemory(0, (int)raw.Length), maxBytes, checksumIsOfBody);
    }

    private static ReadOnlyMemory<byte> Verify(S3Request request, ReadOnlyMemory<byte> body, int maxBytes, bool checksumIsOfBody)
    {
        RequestChecksum expected = default;
        S3Error? error;
        if (checksumIsOfBody && !RequestChecksum.TryRead(request.Header, out expected, out error)) throw new S3Exception(error!);
        ChecksumValue? value = expected.Expected;
        if (request.Signature.PayloadMode.IsStreaming())
        {
            if (!long.TryParse(request.Header("x-amz-decoded-content-length"), out long length)) throw new S3Exception(S3ErrorCode.MissingContentLength);
            if (length < 0 || length > maxBytes) throw new S3Exception(S3ErrorCode.MaxMessageLengthExceeded);
            string[] trailers = request.Header("x-amz-trailer")?.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries) ?? [];
            using AwsChunkedDecoder decoder = new(request.Signature, length, trailers);
            byte[] decoded = new byte[Math.Min(length, body.Length)];
            int filled = 0;
            ReadOnlySpan<byte> rest = body.Span;
            while (!rest.IsEmpty)
            {
                DecodeStatus status = decoder.Decode(rest, out int consumed, out ReadOnlySpan<byte> payload);
                if (status == DecodeStatus.Payload)
                {
                    if (filled + payload.Length > decoded.Length) throw new S3Exception(S3ErrorCode.IncompleteBody);
                    payload.CopyTo(decoded.AsSpan(filled));
                    filled += payload.Length;
                }

                rest = rest[consumed..];
            }

            decoder.EndOfInput();
            body = decoded;
            if (expected.IsTrailer && expected.Algorithm is { } trailing)
            {
                if (!decoder.TryGetTrailer(trailing.HeaderName(), out string? text)) throw new S3Exception(S3ErrorCode.MalformedTrailerError);
                if (!RequestChecksum.TryParseTrailer(trailing, text, out ChecksumValue parsed, out error)) throw new S3Exception(error!);
                value = parsed;
            }
        }
        else if (request.Signature.PayloadMode == PayloadMode.Sha256 && !request.Signature.PayloadHash.FixedTimeEquals(SHA256.HashData(body.Span)))
        {
            throw new S3Exception(S3ErrorCode.XAmzContentSHA256Mismatch);
        }

        if (body.Length > maxBytes) throw new S3Exception(S3ErrorCode.MaxMessageLengthExceeded);
        if (expected.ContentMd5 is { } md5 && !MD5.HashData(body.Span).AsSpan().SequenceEqual(md5)) throw new S3Exception(S3ErrorCode.BadDigest);
        if (value is { } sum)
        {
            using IncrementalChecksum checksum = new(sum.Algorithm);
            checksum.Append(body.Span);
            if (RequestChecksum.Verify(sum, checksum.Finish()) is { } mismatch) throw new S3Exception(mismatch);
        }

        return body;
    }
}
