using System.Buffers;
using System.Text;
using ObjectStore.S3.Errors;
using ObjectStore.S3.Signing;
using static ObjectStore.S3.Tests.Signing.SigningFixture;

namespace ObjectStore.S3.Tests.Signing;

public sealed class AwsChunkedDecoderTests
{
    private const string TrailerName = "x-amz-checksum-crc32c";

    [Fact]
    public void Decode_WhenChunkedExampleOfAws_DeliversThePayload()
    {
        SigV4Result request = Verifier().Verify("PUT", "/examplebucket/chunkObject.txt", "", HeaderList(
            ("Host", "s3.amazonaws.com"), ("x-amz-date", "20130524T000000Z"), ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), ("Content-Encoding", "aws-chunked"), ("x-amz-decoded-content-length", "66560"),
            ("Content-Length", "66824"),
            ("Authorization", Authorization(
                "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class",
                "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"))));
        Assert.Null(request.Error);
        byte[] body = Encoding.ASCII.GetBytes(
            "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n" + new string('a', 65536) + "\r\n" +
            "400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n" + new string('a', 1024) + "\r\n" +
            "0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n");
        Assert.Equal(66824, body.Length);
        using AwsChunkedDecoder decoder = new(request, 66560);
        Assert.Equal(new string('a', 66560), Encoding.ASCII.GetString(Drive(decoder, body, _ => int.MaxValue)));
    }

    [Theory]
    [InlineData(PayloadMode.StreamingSigned)]
    [InlineData(PayloadMode.StreamingSignedTrailer)]
    [InlineData(PayloadMode.StreamingUnsignedTrailer)]
    public void Decode_WhenSplitAtEveryByte_DeliversThePayload(PayloadMode mode)
    {
        byte[] payload = Payload(300);
        byte[] body = Encode(mode, payload, 100);
        for (int split = 0; split <= body.Length; split++)
        {
            using AwsChunkedDecoder decoder = Decoder(mode, payload.Length);
            int first = split;
            Assert.Equal(payload, Drive(decoder, body, at => at < first ? first - at : int.MaxValue));
            if (mode.HasTrailer())
            {
                Assert.True(decoder.TryGetTrailer(TrailerName, out string? value));
                Assert.Equal("sOO8/Q==", value);
            }
        }

        using AwsChunkedDecoder byteWise = Decoder(mode, payload.Length);
        Assert.Equal(payload, Drive(byteWise, body, _ => 1));
    }

    [Fact]
    public void Decode_WhenSplitAtRandom_DeliversThePayload()
    {
        int seed = Environment.TickCount;
        Random random = new(seed);
        for (int i = 0; i < 300; i++)
        {
            PayloadMode mode = (PayloadMode)random.Next((int)PayloadMode.StreamingUnsignedTrailer, (int)PayloadMode.StreamingSignedTrailer + 1);
            byte[] payload = Payload(random.Next(0, 5000));
            byte[] body = Encode(mode, payload, random.Next(1, 2000));
            using AwsChunkedDecoder decoder = Decoder(mode, payload.Length);
            Assert.True(payload.AsSpan().SequenceEqual(Drive(decoder, body, _ => random.Next(1, 700))), $"seed {seed}, round {i}");
        }
    }

    [Theory]
    [InlineData(PayloadMode.StreamingSigned)]
    [InlineData(PayloadMode.StreamingSignedTrailer)]
    public void Decode_WhenAnyByteIsChanged_NeverCompletesWithOtherContent(PayloadMode mode)
    {
        byte[] payload = Payload(300);
        byte[] body = Encode(mode, payload, 100);
        for (int at = 0; at < body.Length; at++)
        {
            byte[] corrupt = (byte[])body.Clone();
            corrupt[at] ^= 1;
            using AwsChunkedDecoder decoder = Decoder(mode, payload.Length);
            try
            {
                // Some changes mean nothing: the letter case of a trailer's name, white space.
                Assert.Equal(payload, Drive(decoder, corrupt, _ => int.MaxValue));
                Assert.True(!mode.HasTrailer() || decoder.Trailers[0].Value == "sOO8/Q==");
            }
            catch (S3Exception)
            {
                Assert.False(decoder.IsCompleted);
            }
        }
    }

    [Fact]
    public void Decode_WhenEachSignatureIsCorrupt_ThrowsSignatureDoesNotMatch()
    {
        byte[] payload = Payload(300);
        string text = Encoding.Latin1.GetString(Encode(PayloadMode.StreamingSignedTrailer, payload, 100));
        string[] markers = ["chunk-signature=", "x-amz-trailer-signature:"];
        int corrupted = 0;
        foreach (string marker in markers)
        {
            for (int at = text.IndexOf(marker, StringComparison.Ordinal); at >= 0; at = text.IndexOf(marker, at + 1, StringComparison.Ordinal))
            {
                byte[] body = Encoding.Latin1.GetBytes(text);
                int digit = at + marker.Length + 5;
                body[digit] = body[digit] == '0' ? (byte)'1' : (byte)'0';
                using AwsChunkedDecoder decoder = Decoder(PayloadMode.StreamingSignedTrailer, payload.Length);
                Assert.Same(S3ErrorCode.SignatureDoesNotMatch, Assert.Throws<S3Exception>(() => Drive(decoder, body, _ => int.MaxValue)).Error.Code);
                corrupted++;
            }
        }

        Assert.Equal(5, corrupted);
    }

    [Theory]
    [InlineData(299)]
    [InlineData(301)]
    public void Decode_WhenDecodedLengthDiffers_ThrowsIncompleteBody(int decodedLength)
    {
        byte[] body = Encode(PayloadMode.StreamingSigned, Payload(300), 100);
        using AwsChunkedDecoder decoder = Decoder(PayloadMode.StreamingSigned, decodedLength);
        Assert.Same(S3ErrorCode.IncompleteBody, Assert.Throws<S3Exception>(() => Drive(decoder, body, _ => int.MaxValue)).Error.Code);
    }

    [Fact]
    public void EndOfInput_WhenBodyIsCutAnywhere_ThrowsIncompleteBody()
    {
        byte[] body = Encode(PayloadMode.StreamingUnsignedTrailer, Payload(300), 100);
        for (int length = 0; length < body.Length; length++)
        {
            using AwsChunkedDecoder decoder = Decoder(PayloadMode.StreamingUnsignedTrailer, 300);
            byte[] cut = body[..length];
            Assert.Same(S3ErrorCode.IncompleteBody, Assert.Throws<S3Exception>(() => Drive(decoder, cut, _ => int.MaxValue)).Error.Code);
        }
    }

    [Theory]
    [InlineData("zz\r\n", "IncompleteBody")]
    [InlineData("-1\r\n", "IncompleteBody")]
    [InlineData("\r\n", "IncompleteBody")]
    [InlineData("3\nabc\r\n0\r\n\r\n", "IncompleteBody")]
    [InlineData("3\r\nabcX\n0\r\n\r\n", "IncompleteBody")]
    [InlineData("ffffffffffffffff\r\n", "IncompleteBody")]
    [InlineData("7fffffffffffffff\r\n", "EntityTooLarge")]
    [InlineData("3\r\nabc\r\n0\r\n\r\n", "MalformedTrailerError")]
    [InlineData("3\r\nabc\r\n0\r\nx-amz-checksum-sha1:a\r\n\r\n", "MalformedTrailerError")]
    [InlineData("3\r\nabc\r\n0\r\nx-amz-checksum-crc32c:a\r\nx-amz-checksum-crc32c:a\r\n\r\n", "MalformedTrailerError")]
    [InlineData("3\r\nabc\r\n0\r\nx-amz-checksum-crc32c:a\r\n\r\nmore", "IncompleteBody")]
    public void Decode_WhenFramingIsMalformed_Throws(string body, string code)
    {
        using AwsChunkedDecoder decoder = new(PayloadMode.StreamingUnsignedTrailer, 3, null, TrailerName);
        Assert.Equal(code, Assert.Throws<S3Exception>(() => Drive(decoder, Encoding.ASCII.GetBytes(body), _ => int.MaxValue)).Error.Code.Code);
    }

    [Fact]
    public void Decode_WhenChunkHeaderNeverEnds_Throws()
    {
        using AwsChunkedDecoder decoder = new(PayloadMode.StreamingUnsignedTrailer, 3, null);
        Assert.Throws<S3Exception>(() => Drive(decoder, Encoding.ASCII.GetBytes("3;" + new string('x', 5000)), _ => 100));
    }

    private static byte[] Payload(int length)
    {
        byte[] payload = new byte[length];
        for (int i = 0; i < length; i++) payload[i] = (byte)((i * 31) + (i >> 8));
        return payload;
    }

    private static SigV4Seed Seed(PayloadMode mode) =>
        new SigV4Signer(AccessKey, Secret).SignHeaders("PUT", "/k", "", HeaderList(("Host", Host)), mode.HeaderValue()!, Now);

    private static byte[] Encode(PayloadMode mode, byte[] payload, int chunkLength)
    {
        AwsChunkedEncoder encoder = new(mode.HasChunkSignatures() ? Seed(mode) : null);
        ArrayBufferWriter<byte> output = new();
        for (int at = 0; at < payload.Length; at += chunkLength) encoder.WriteChunk(payload.AsSpan(at, Math.Min(chunkLength, payload.Length - at)), output);
        if (mode.HasTrailer()) encoder.Finish(output, (TrailerName, "sOO8/Q=="));
        else encoder.Finish(output);
        return output.WrittenSpan.ToArray();
    }

    private static AwsChunkedDecoder Decoder(PayloadMode mode, int length) =>
        mode.HasTrailer() ? new AwsChunkedDecoder(mode, length, Seed(mode), TrailerName) : new AwsChunkedDecoder(mode, length, Seed(mode));

    /// <summary>Feeds the body in pieces; <paramref name="pieceAt"/> says how long the piece at an offset may be.</summary>
    private static byte[] Drive(AwsChunkedDecoder decoder, byte[] body, Func<int, int> pieceAt)
    {
        using MemoryStream payload = new();
        int at = 0;
        while (at < body.Length)
        {
            int length = Math.Min(Math.Max(pieceAt(at), 1), body.Length - at);
            ReadOnlySpan<byte> piece = body.AsSpan(at, length);
            at += length;
            while (!piece.IsEmpty)
            {
                decoder.Decode(piece, out int consumed, out ReadOnlySpan<byte> part);
                payload.Write(part);
                piece = piece[consumed..];
            }
        }

        decoder.EndOfInput();
        return payload.ToArray();
    }
}
