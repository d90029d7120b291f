using System.Buffers;
using Microsoft.AspNetCore.Http;
using ObjectStore.S3.Errors;
using ObjectStore.S3.Xml;

namespace ObjectStore.Gateway;

/// <summary>Writes whole responses.</summary>
internal static class S3Response
{
    /// <summary>Sends an XML document with its length.</summary>
    public static async Task XmlAsync(S3Request request, Action<IBufferWriter<byte>> write, int status = StatusCodes.Status200OK)
    {
        using PooledBufferWriter buffer = new(4096);
        write(buffer);
        await XmlAsync(request, buffer, status);
    }

    /// <summary>Sends an XML document that is already written. The buffer stays the caller's.</summary>
    public static async Task XmlAsync(S3Request request, PooledBufferWriter document, int status = StatusCodes.Status200OK)
    {
        HttpResponse response = request.Http.Response;
        response.StatusCode = status;
        response.ContentType = ResponseXml.ContentType;
        response.ContentLength = document.WrittenMemory.Length;
        await response.Body.WriteAsync(document.WrittenMemory, request.Aborted);
    }

    /// <summary>Sends a status with no body.</summary>
    public static Task Empty(S3Request request, int status = StatusCodes.Status200OK)
    {
        request.Http.Response.StatusCode = status;
        if (status != StatusCodes.Status204NoContent) request.Http.Response.ContentLength = 0;
        return Task.CompletedTask;
    }

    /// <summary>Sends an error document; a HEAD and a 304 have none.</summary>
    public static async Task ErrorAsync(HttpContext http, S3Error error, string requestId)
    {
        HttpResponse response = http.Response;
        response.StatusCode = error.Code.HttpStatus;
        if (error.Detail("ActualObjectSize") is { } size && error.Code == S3ErrorCode.InvalidRange) response.Headers.ContentRange = $"bytes */{size}";
        if (error.Code == S3ErrorCode.SlowDown || error.Code == S3ErrorCode.ServiceUnavailable) response.Headers.RetryAfter = "1";
        if (error.Code == S3ErrorCode.NotModified) return;
        if (HttpMethods.IsHead(http.Request.Method))
        {
            response.ContentLength = 0;
            return;
        }

        using PooledBufferWriter buffer = new(1024);
        ResponseXml.Error(buffer, error with { RequestId = requestId });
        response.ContentType = ResponseXml.ContentType;
        response.ContentLength = buffer.WrittenMemory.Length;
        await response.Body.WriteAsync(buffer.WrittenMemory, http.RequestAborted);
    }
}

/// <summary>A growing buffer from the shared pool. Returned to it on disposal; not thread-safe.</summary>
internal sealed class PooledBufferWriter(int initialBytes) : IBufferWriter<byte>, IDisposable
{
    private byte[] _buffer = ArrayPool<byte>.Shared.Rent(initialBytes);
    private int _length;

    public ReadOnlyMemory<byte> WrittenMemory => _buffer.AsMemory(0, _length);

    public void Advance(int count) => _length += count;

    public Memory<byte> GetMemory(int sizeHint = 0)
    {
        Reserve(sizeHint);
        return _buffer.AsMemory(_length);
    }

    public Span<byte> GetSpan(int sizeHint = 0)
    {
        Reserve(sizeHint);
        return _buffer.AsSpan(_length);
    }

    public void Dispose()
    {
        ArrayPool<byte>.Shared.Return(_buffer);
        _buffer = [];
        _length = 0;
    }

    private void Reserve(int sizeHint)
    {
        sizeHint = Math.Max(sizeHint, 1);
        if (_buffer.Length - _length >= sizeHint) return;
        byte[] larger = ArrayPool<byte>.Shared.Rent(Math.Max(_length + sizeHint, _buffer.Length * 2));
        _buffer.AsSpan(0, _length).CopyTo(larger);
        ArrayPool<byte>.Shared.Return(_buffer);
        _buffer = larger;
    }
}
