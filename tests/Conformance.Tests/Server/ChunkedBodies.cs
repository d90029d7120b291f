using System.Buffers;
using ObjectStore.S3.Signing;

namespace ObjectStore.Conformance.Tests.Server;

/// <summary>Makes requests whose bodies are in aws-chunked framing.</summary>
public static class ChunkedBodies
{
    private const int ChunkBytes = 64 * 1024;

    /// <summary>A PUT in chunks of 64 KiB.</summary>
    public static RawRequest Put(string path, byte[] body, bool signed, (string Name, string Value)? trailer, Action<byte[]>? spoilBody = null)
    {
        List<(string, string)> headers =
        [
            ("Content-Encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", body.Length.ToString(System.Globalization.CultureInfo.InvariantCulture)),
        ];
        if (trailer is { } named) headers.Add(("x-amz-trailer", named.Name));
        return new RawRequest("PUT", path)
        {
            Headers = headers,
            ContentSha256 = (signed, trailer is not null) switch
            {
                (true, true) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
                (true, false) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
                _ => "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            },
            ChunkedBody = seed =>
            {
                ArrayBufferWriter<byte> output = new();
                AwsChunkedEncoder encoder = new(signed ? seed : null);
                for (int at = 0; at < body.Length; at += ChunkBytes) encoder.WriteChunk(body.AsSpan(at, Math.Min(ChunkBytes, body.Length - at)), output);
                if (trailer is { } value) encoder.Finish(output, value);
                else encoder.Finish(output);
                byte[] framed = output.WrittenSpan.ToArray();
                spoilBody?.Invoke(framed);
                return framed;
            },
        };
    }
}
