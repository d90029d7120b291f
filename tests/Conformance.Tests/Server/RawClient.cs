using System.Net.Sockets;
using System.Xml.Linq;
using ObjectStore.S3.Signing;

namespace ObjectStore.Conformance.Tests.Server;

/// <summary>An answer read to its end.</summary>
public sealed record RawAnswer(int Status, IReadOnlyDictionary<string, string> Headers, byte[] Body)
{
    /// <summary>The body as text.</summary>
    public string Text => Encoding.UTF8.GetString(Body);

    /// <summary>The Code of an S3 error document; empty when the body is none.</summary>
    public string Code
    {
        get
        {
            if (Body.Length == 0) return "";
            XElement root = XDocument.Parse(Text).Root!;
            return root.Name.LocalName == "Error" ? root.Elements().First(element => element.Name.LocalName == "Code").Value : "";
        }
    }
}

/// <summary>A request to be signed and then, perhaps, spoilt.</summary>
public sealed record RawRequest(string Method, string Path, string Query = "")
{
    /// <summary>What is sent as the body; null for none.</summary>
    public byte[]? Body { get; init; }

    /// <summary>x-amz-content-sha256; null for the body's own hash.</summary>
    public string? ContentSha256 { get; init; }

    /// <summary>Headers that are signed.</summary>
    public IReadOnlyList<(string Name, string Value)> Headers { get; init; } = [];

    /// <summary>Content-Length, when it is not the body's.</summary>
    public long? DeclaredLength { get; init; }

    /// <summary>When the request is signed, relative to now.</summary>
    public TimeSpan ClockOffset { get; init; }

    /// <summary>Changes the headers after signing.</summary>
    public Action<SigV4HeaderList>? Spoil { get; init; }

    /// <summary>False for a request that carries its signature in the query, or none.</summary>
    public bool IsSigned { get; init; } = true;

    /// <summary>Makes the body once the seed signature is known: a body of signed chunks.</summary>
    public Func<SigV4Seed, byte[]>? ChunkedBody { get; init; }
}

/// <summary>Sends requests byte by byte over a socket of their own, so that nothing corrects them on the way.</summary>
public sealed class RawClient(ServerFixture server)
{
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(20);

    /// <summary>Sends a request and reads the answer to its end.</summary>
    public async Task<RawAnswer> SendAsync(RawRequest request)
    {
        using CancellationTokenSource deadline = new(Timeout);
        using TcpClient client = new();
        await client.ConnectAsync(server.Endpoint.Host, server.Endpoint.Port, deadline.Token);
        await using NetworkStream stream = client.GetStream();
        (byte[] head, byte[] body) = Build(request);
        try
        {
            await stream.WriteAsync(head, deadline.Token);
            await stream.WriteAsync(body, deadline.Token);

            // Nothing more will come: a server that waits for the rest of a short body must see the end.
            if (request.DeclaredLength > body.Length) client.Client.Shutdown(SocketShutdown.Send);
        }
        catch (IOException)
        {
            // The server may answer and close before the end of the body; its answer is what counts.
        }

        return await ReadAnswerAsync(stream, request.Method == "HEAD", deadline.Token);
    }

    /// <summary>Sends a request and returns the head of the answer as it came, interim answers included.</summary>
    public async Task<string> SendAndReadRawAsync(RawRequest request)
    {
        using CancellationTokenSource deadline = new(Timeout);
        using TcpClient client = new();
        await client.ConnectAsync(server.Endpoint.Host, server.Endpoint.Port, deadline.Token);
        NetworkStream stream = client.GetStream();
        (byte[] head, byte[] body) = Build(request);
        await stream.WriteAsync(head, deadline.Token);
        await stream.WriteAsync(body, deadline.Token);
        using StreamReader reader = new(stream, Encoding.ASCII);
        StringBuilder answer = new();
        string? line;
        while (!string.IsNullOrEmpty(line = await reader.ReadLineAsync(deadline.Token))) answer.Append(line).Append("\r\n");
        return answer.ToString();
    }

    /// <summary>Sends the head and part of the body, and then resets the connection.</summary>
    public async Task SendAndVanishAsync(RawRequest request, int bodyBytes)
    {
        using CancellationTokenSource deadline = new(Timeout);
        using TcpClient client = new();
        await client.ConnectAsync(server.Endpoint.Host, server.Endpoint.Port, deadline.Token);
        (byte[] head, byte[] body) = Build(request);
        NetworkStream stream = client.GetStream();
        await stream.WriteAsync(head, deadline.Token);
        await stream.WriteAsync(body.AsMemory(0, bodyBytes), deadline.Token);
        client.Client.Close(0);
    }

    /// <summary>The head and body as they go on the wire.</summary>
    public (byte[] Head, byte[] Body) Build(RawRequest request)
    {
        SigV4HeaderList headers = new();
        headers.Add("Host", server.Endpoint.Authority);
        foreach ((string name, string value) in request.Headers) headers.Add(name, value);
        byte[] body = request.Body ?? [];
        if (request.IsSigned)
        {
            string hash = request.ContentSha256 ?? SigV4Signer.HashPayload(body);
            SigV4Seed seed = server.Signer.SignHeaders(request.Method, request.Path, request.Query, headers, hash, DateTimeOffset.UtcNow + request.ClockOffset);
            if (request.ChunkedBody is not null) body = request.ChunkedBody(seed);
        }

        if (request.Body is not null || request.ChunkedBody is not null)
        {
            headers.Add("Content-Length", (request.DeclaredLength ?? body.Length).ToString(System.Globalization.CultureInfo.InvariantCulture));
        }

        headers.Add("Connection", "close");
        request.Spoil?.Invoke(headers);
        StringBuilder head = new($"{request.Method} {request.Path}{(request.Query.Length > 0 ? "?" : "")}{request.Query} HTTP/1.1\r\n");
        foreach ((string name, string value) in headers.Entries) head.Append(name).Append(": ").Append(value).Append("\r\n");
        return (Encoding.UTF8.GetBytes(head.Append("\r\n").ToString()), body);
    }

    private static async Task<RawAnswer> ReadAnswerAsync(NetworkStream stream, bool isHead, CancellationToken cancellationToken)
    {
        using MemoryStream received = new();
        byte[] buffer = new byte[16 * 1024];
        int count;
        try
        {
            while ((count = await stream.ReadAsync(buffer, cancellationToken)) > 0) received.Write(buffer, 0, count);
        }
        catch (IOException) when (received.Length > 0)
        {
            // A reset behind the answer.
        }

        byte[] all = received.ToArray();
        int end = all.AsSpan().IndexOf("\r\n\r\n"u8);
        if (end < 0) throw new IOException($"The server closed the connection without an answer ({all.Length} bytes).");
        string[] lines = Encoding.ASCII.GetString(all, 0, end).Split("\r\n");
        Dictionary<string, string> headers = new(StringComparer.OrdinalIgnoreCase);
        foreach (string line in lines.Skip(1)) headers[line[..line.IndexOf(':')]] = line[(line.IndexOf(':') + 1)..].Trim();
        byte[] body = all[(end + 4)..];
        if (headers.TryGetValue("Transfer-Encoding", out string? encoding) && encoding == "chunked" && !isHead) body = Unchunk(body);
        return new RawAnswer(int.Parse(lines[0].Split(' ')[1], System.Globalization.CultureInfo.InvariantCulture), headers, body);
    }

    private static byte[] Unchunk(ReadOnlySpan<byte> body)
    {
        using MemoryStream result = new();
        while (true)
        {
            int line = body.IndexOf("\r\n"u8);
            int size = Convert.ToInt32(Encoding.ASCII.GetString(body[..line]), 16);
            if (size == 0) return result.ToArray();
            result.Write(body.Slice(line + 2, size));
            body = body[(line + 2 + size + 2)..];
        }
    }
}
