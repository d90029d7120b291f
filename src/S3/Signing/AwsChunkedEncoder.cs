using System.Buffers;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace ObjectStore.S3.Signing;

/// <summary>
/// Writes a body in aws-chunked framing as a client does, chunk after chunk. Not thread-safe; one instance per body.
/// </summary>
public sealed class AwsChunkedEncoder
{
    private readonly ChunkSignatureChain? _chain;

    /// <summary>Creates an encoder; <paramref name="seed"/> is null for a body without chunk signatures.</summary>
    public AwsChunkedEncoder(SigV4Seed? seed) => _chain = seed is { } value ? new ChunkSignatureChain(value.Scope, value.SignedAt, value.Signature) : null;

    /// <summary>Writes one chunk. S3 wants every chunk but the last to have at least 8 KiB.</summary>
    public void WriteChunk(ReadOnlySpan<byte> data, IBufferWriter<byte> output)
    {
        if (data.IsEmpty) throw new ArgumentException("An empty chunk ends the body; use Finish.", nameof(data));
        WriteHeader(data, output);
        output.Write(data);
        output.Write("\r\n"u8);
    }

    /// <summary>Writes the last chunk and the trailers, and ends the body.</summary>
    public void Finish(IBufferWriter<byte> output, params ReadOnlySpan<(string Name, string Value)> trailers)
    {
        WriteHeader(default, output);
        StringBuilder canonical = new();
        foreach ((string name, string value) in trailers)
        {
            canonical.Append(name).Append(':').Append(value).Append('\n');
            output.Write(Encoding.UTF8.GetBytes($"{name}:{value}\r\n"));
        }

        if (_chain is not null && trailers.Length > 0)
        {
            Sha256Digest signature = _chain.NextTrailer(SHA256.HashData(Encoding.UTF8.GetBytes(canonical.ToString())));
            output.Write(Encoding.ASCII.GetBytes($"x-amz-trailer-signature:{Convert.ToHexStringLower(signature)}\r\n"));
        }

        output.Write("\r\n"u8);
    }

    private void WriteHeader(ReadOnlySpan<byte> data, IBufferWriter<byte> output)
    {
        string header = data.Length.ToString("x", CultureInfo.InvariantCulture);
        if (_chain is not null)
        {
            Sha256Digest signature = _chain.NextChunk(SHA256.HashData(data));
            header += $";chunk-signature={Convert.ToHexStringLower(signature)}";
        }

        output.Write(Encoding.ASCII.GetBytes(header + "\r\n"));
    }
}
