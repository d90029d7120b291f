using System.Buffers;
using System.IO.Pipelines;
using Microsoft.AspNetCore.Http;
using ObjectStore.Grains;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Gateway.Objects;

/// <summary>Streams the bytes of a version, part by part, verified before they go out.</summary>
internal static class ObjectBody
{
    private const int SmallLimitBytes = 64 * 1024;

    /// <summary>
    /// Sends a range. The first bytes are read and verified before the status line goes out, so that a lost or corrupt fragment
    /// there is an error document; later ones break the connection.
    /// </summary>
    public static async Task SendAsync(S3Request request, ObjectVersion version, long offset, long length)
    {
        IExtentStore extents = request.Services.Extents;
        PipeWriter output = request.Http.Response.BodyWriter;
        if (version.Parts.Length == 1 && length == version.SizeBytes && length <= SmallLimitBytes)
        {
            byte[] buffer = ArrayPool<byte>.Shared.Rent((int)length);
            try
            {
                if (extents.TryReadSmall(version.Parts[0].ToExtent(), buffer))
                {
                    await output.WriteAsync(buffer.AsMemory(0, (int)length), request.Aborted);
                    GatewayMetrics.BytesSent(length);
                    return;
                }
            }
            finally
            {
                ArrayPool<byte>.Shared.Return(buffer);
            }
        }

        await foreach (ReadOnlyMemory<byte> piece in ReadAsync(extents, version, offset, length, request.Aborted))
        {
            FlushResult flushed = await output.WriteAsync(piece, request.Aborted);
            if (flushed.IsCompleted || flushed.IsCanceled) throw new OperationCanceledException(request.Aborted);
        }

        GatewayMetrics.BytesSent(length);
    }

    /// <summary>The bytes of a range, in order. Each piece is valid until the next is asked for.</summary>
    public static async IAsyncEnumerable<ReadOnlyMemory<byte>> ReadAsync(
        IExtentStore extents, ObjectVersion version, long offset, long length, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        foreach (PartLayout part in version.Parts)
        {
            if (length == 0) yield break;
            if (offset >= part.LengthBytes)
            {
                offset -= part.LengthBytes;
                continue;
            }

            long take = Math.Min(part.LengthBytes - offset, length);
            await using IExtentReader reader = extents.OpenRead(part.ToExtent(), offset, take);
            while (true)
            {
                ReadOnlyMemory<byte> piece = await reader.ReadNextAsync(cancellationToken);
                if (piece.IsEmpty) break;
                yield return piece;
            }

            offset = 0;
            length -= take;
        }

        // The record's parts and its size disagree: the record is damaged, which is never "end of object".
        if (length != 0) throw new InvalidDataException($"The parts of version {version.VersionId} end {length} bytes before its size.");
    }
}
