using System.Net;
using System.Net.Sockets;
using System.Text;

namespace ObjectStore.Admin.Tests.Cluster;

/// <summary>An HTTP server on loopback that answers as told, and keeps what it was asked.</summary>
internal sealed class FakeNode : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly Func<string, (int Status, string Body)> _answer;
    private readonly Task _serving;

    /// <param name="answer">From the request line's method and path to status and body.</param>
    public FakeNode(Func<string, (int Status, string Body)> answer)
    {
        _answer = answer;
        _listener.Start();
        _serving = ServeAsync();
    }

    public string Url => $"http://127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}";

    /// <summary>Method, path, token and body of each request.</summary>
    public List<(string Line, string? Token, string Body)> Requests { get; } = [];

    public async ValueTask DisposeAsync()
    {
        _listener.Stop();
        await _serving;
        _listener.Dispose();
    }

    private async Task ServeAsync()
    {
        while (true)
        {
            try
            {
                using TcpClient client = await _listener.AcceptTcpClientAsync();
                await AnswerAsync(client.GetStream());
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException or InvalidOperationException)
            {
                return;
            }
            catch (IOException)
            {
                // The client is gone.
            }
        }
    }

    private async Task AnswerAsync(NetworkStream stream)
    {
        List<byte> received = [];
        byte[] buffer = new byte[4096];
        int head;
        string text;
        while ((head = (text = Encoding.ASCII.GetString([.. received])).IndexOf("\r\n\r\n", StringComparison.Ordinal)) < 0)
        {
            int read = await stream.ReadAsync(buffer);
            if (read == 0) return;
            received.AddRange(buffer.AsSpan(0, read));
        }

        string[] lines = text[..head].Split("\r\n");
        string? Header(string name) => lines.FirstOrDefault(line => line.StartsWith(name + ":", StringComparison.OrdinalIgnoreCase))?[(name.Length + 1)..].Trim();
        int length = int.Parse(Header("Content-Length") ?? "0", System.Globalization.CultureInfo.InvariantCulture);
        while (received.Count < head + 4 + length)
        {
            int read = await stream.ReadAsync(buffer);
            if (read == 0) return;
            received.AddRange(buffer.AsSpan(0, read));
        }

        string request = string.Join(' ', lines[0].Split(' ').Take(2));
        lock (Requests) Requests.Add((request, Header("x-objectstore-admin-token"), Encoding.UTF8.GetString([.. received[(head + 4)..]])));
        (int status, string body) = _answer(request);
        byte[] bytes = Encoding.UTF8.GetBytes(body);
        string location = status is >= 300 and < 400 ? "Location: http://127.0.0.1:1/\r\n" : "";
        await stream.WriteAsync(Encoding.ASCII.GetBytes($"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {bytes.Length}\r\n{location}Connection: close\r\n\r\n"));
        await stream.WriteAsync(bytes);
    }
}
