using System.IO.Pipelines;
using System.Xml.Linq;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using ObjectStore.S3.Signing;

namespace ObjectStore.Gateway.Tests.Fixtures;

/// <summary>A request to be signed and run through the gateway without a server.</summary>
internal sealed record Call(string Method, string Path, string Query = "")
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(20);

    public string Host { get; init; } = "127.0.0.1";

    public byte[] Body { get; init; } = [];

    /// <summary>Headers that are signed.</summary>
    public IReadOnlyList<(string Name, string Value)> Headers { get; init; } = [];

    /// <summary>x-amz-content-sha256; null for the body's own hash.</summary>
    public string? ContentSha256 { get; init; }

    /// <summary>Content-Length, where it isn't the body's.</summary>
    public long? DeclaredLength { get; init; }

    /// <summary>Makes the body of signed chunks once the seed signature is known.</summary>
    public Func<SigV4Seed, byte[]>? ChunkedBody { get; init; }

    /// <summary>The sizes of the pieces that the body arrives in, over and over; none for one piece.</summary>
    public IReadOnlyList<int> Segments { get; init; } = [];

    /// <summary>What the body ends in after its last piece, in place of its end.</summary>
    public Exception? EndsIn { get; init; }

    /// <summary>Awaited after the last piece of the body, before its end.</summary>
    public Func<Task>? Stall { get; init; }

    public async Task<Exchange> RunAsync(GatewayFixture gateway)
    {
        SigV4HeaderList signed = new();
        signed.Add("Host", Host);
        foreach ((string name, string value) in Headers) signed.Add(name, value);
        SigV4Seed seed = gateway.Signer.SignHeaders(Method, Path, Query, signed, ContentSha256 ?? SigV4Signer.HashPayload(Body), DateTimeOffset.UtcNow);
        byte[] body = ChunkedBody?.Invoke(seed) ?? Body;

        using Connection connection = new();
        DefaultHttpContext http = new(connection.Features);
        IHttpRequestFeature request = http.Features.Get<IHttpRequestFeature>()!;
        request.Method = Method;
        request.RawTarget = Query.Length == 0 ? Path : $"{Path}?{Query}";
        foreach ((string name, string value) in signed.Entries) http.Request.Headers.Append(name, value);
        if (Method is "PUT" or "POST") http.Request.ContentLength = DeclaredLength ?? body.Length;
        request.Body = new SegmentStream(body, Segments, EndsIn, Stall);
        http.Features.Set<IRequestBodyPipeFeature>(new BodyPipe(PipeReader.Create(request.Body)));

        await gateway.Gateway.HandleAsync(http).WaitAsync(Deadline);
        await connection.Response.CompleteAsync();
        return new Exchange(http.Response.StatusCode, http.Response.Headers, connection.Response.Sent, connection.IsAborted);
    }

    private sealed class BodyPipe(PipeReader reader) : IRequestBodyPipeFeature
    {
        public PipeReader Reader => reader;
    }

    /// <summary>Hands out a body in pieces of the given sizes, each after a real wait.</summary>
    private sealed class SegmentStream(byte[] body, IReadOnlyList<int> sizes, Exception? endsIn, Func<Task>? stall) : Stream
    {
        private int _at;
        private int _piece;
        private int _left;

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            await Task.Yield();
            if (_at == body.Length)
            {
                if (stall is not null) await stall();
                return endsIn is null ? 0 : throw endsIn;
            }

            if (_left == 0) _left = sizes.Count == 0 ? body.Length : sizes[_piece++ % sizes.Count];
            int count = Math.Min(Math.Min(_left, buffer.Length), body.Length - _at);
            body.AsMemory(_at, count).CopyTo(buffer);
            _at += count;
            _left -= count;
            return count;
        }

        public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) => ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException("The gateway reads asynchronously.");

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override void Flush()
        {
        }
    }
}

/// <summary>What came of a request. A clean end is one where the connection was not aborted.</summary>
internal sealed record Exchange(int Status, IHeaderDictionary Headers, byte[] Body, bool IsAborted)
{
    /// <summary>The Code of an error document; empty where the body is none.</summary>
    public string Code => Body.Length > 0 && Body[0] == '<' && Document.Name.LocalName == "Error" ? Values("Code")[0] : "";

    public XElement Document => XElement.Parse(System.Text.Encoding.UTF8.GetString(Body));

    /// <summary>The text of every element of this name, in document order.</summary>
    public string[] Values(string element) => [.. Document.Descendants().Where(found => found.Name.LocalName == element).Select(found => found.Value)];

    public string? Header(string name) => Headers.TryGetValue(name, out Microsoft.Extensions.Primitives.StringValues values) ? values.ToString() : null;
}

/// <summary>A connection's features as a server gives them: a response that starts with its first byte, and an abort that is seen.</summary>
internal sealed class Connection : IHttpRequestLifetimeFeature, IDisposable
{
    private readonly CancellationTokenSource _aborted = new();

    public Connection()
    {
        Features.Set<IHttpRequestFeature>(new HttpRequestFeature());
        Features.Set<IHttpResponseFeature>(Response);
        Features.Set<IHttpResponseBodyFeature>(Response);
        Features.Set<IHttpRequestLifetimeFeature>(this);
        RequestAborted = _aborted.Token;
    }

    public FeatureCollection Features { get; } = new();

    public StartedResponse Response { get; } = new();

    public bool IsAborted => _aborted.IsCancellationRequested;

    public CancellationToken RequestAborted { get; set; }

    public void Abort() => _aborted.Cancel();

    public void Dispose() => _aborted.Dispose();
}

/// <summary>A response whose status and headers are on the wire once a byte of its body is.</summary>
internal sealed class StartedResponse : HttpResponseFeature, IHttpResponseBodyFeature
{
    private readonly WireStream _wire = new();
    private PipeWriter? _writer;

    public override bool HasStarted => _wire.Length > 0;

    public byte[] Sent => _wire.ToArray();

    public Stream Stream => _wire;

    public PipeWriter Writer => _writer ??= PipeWriter.Create(_wire, new StreamPipeWriterOptions(leaveOpen: true));

    public void DisableBuffering()
    {
    }

    public Task StartAsync(CancellationToken cancellationToken = default) => Task.CompletedTask;

    public async Task CompleteAsync()
    {
        if (_writer is not null) await _writer.FlushAsync();
    }

    public Task SendFileAsync(string path, long offset, long? count, CancellationToken cancellationToken = default) => throw new NotSupportedException();

    /// <summary>Takes asynchronous writes only, as the server does.</summary>
    private sealed class WireStream : MemoryStream
    {
        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            cancellationToken.ThrowIfCancellationRequested();
            base.Write(buffer.Span);
            return ValueTask.CompletedTask;
        }
    }
}
