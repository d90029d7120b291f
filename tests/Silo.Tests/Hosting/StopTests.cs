using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using ObjectStore.S3.Signing;

namespace ObjectStore.Silo.Tests.Hosting;

/// <summary>Stops: what is in flight ends, what is idle doesn't hold them up.</summary>
public sealed class StopTests : IDisposable
{
    private static readonly (string, string) Keys = ("stopping", "stopping-secret-key");
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(PosixSignal.SIGTERM)]
    [InlineData(PosixSignal.SIGINT)]
    public async Task Signal_EndsAnIdleHostWithZero(PosixSignal signal)
    {
        await using HostProcess host = await HostProcess.StartAsync(_folder["data"], Keys);
        using S3Client client = new(host.Endpoint, Keys);
        Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket")).Status);
        host.Signal(signal);
        Assert.Equal(0, await host.ExitAsync());
        Assert.Empty(host.Errors);
        Assert.DoesNotContain("fail:", host.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Sigterm_LetsAnUploadInFlightEnd()
    {
        byte[] body = new byte[700_000];
        new Random(2).NextBytes(body);
        await using (HostProcess host = await HostProcess.StartAsync(_folder["data"], Keys))
        {
            using S3Client client = new(host.Endpoint, Keys);
            Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket")).Status);
            using TcpClient upload = await BeginUploadAsync(host, client, body);
            NetworkStream stream = upload.GetStream();
            await stream.WriteAsync(body.AsMemory(0, 300_000), TestContext.Current.CancellationToken);

            host.Signal(PosixSignal.SIGTERM);
            await UntilRefusedAsync(host.Endpoint.Port);
            await stream.WriteAsync(body.AsMemory(300_000), TestContext.Current.CancellationToken);

            Assert.StartsWith("HTTP/1.1 200 ", await ReadHeadAsync(stream), StringComparison.Ordinal);
            Assert.Equal(0, await host.ExitAsync());
            Assert.Empty(host.Errors);
        }

        await using HostProcess again = await HostProcess.StartAsync(_folder["data"], Keys);
        using S3Client reader = new(again.Endpoint, Keys);
        Assert.Equal(body, (await reader.GetAsync("/bucket/slow")).Body);
    }

    [Fact]
    public async Task Sigterm_WaitsForAStalledUploadNoLongerThanTheDrainTimeout()
    {
        await using (HostProcess host = await HostProcess.StartAsync(_folder["data"], Keys, "--drain-timeout", "0.5"))
        {
            using S3Client client = new(host.Endpoint, Keys);
            Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket")).Status);
            using TcpClient upload = await BeginUploadAsync(host, client, new byte[700_000]);
            host.Signal(PosixSignal.SIGTERM);
            Assert.Equal(0, await host.ExitAsync());
        }

        await using HostProcess again = await HostProcess.StartAsync(_folder["data"], Keys);
        using S3Client reader = new(again.Endpoint, Keys);
        Assert.Equal(HttpStatusCode.NotFound, (await reader.GetAsync("/bucket/slow")).Status);
    }

    /// <summary>Sends the head of a PUT and waits until the server asks for the body.</summary>
    private static async Task<TcpClient> BeginUploadAsync(HostProcess host, S3Client client, byte[] body)
    {
        TcpClient upload = new();
        await upload.ConnectAsync(IPAddress.Loopback, host.Endpoint.Port);
        SigV4HeaderList headers = client.Sign("PUT", "/bucket/slow", "", body).Headers;
        StringBuilder head = new("PUT /bucket/slow HTTP/1.1\r\n");
        foreach ((string name, string value) in headers.Entries) head.Append(name).Append(": ").Append(value).Append("\r\n");
        head.Append($"Content-Length: {body.Length}\r\nExpect: 100-continue\r\n\r\n");
        await upload.GetStream().WriteAsync(Encoding.ASCII.GetBytes(head.ToString()));
        Assert.StartsWith("HTTP/1.1 100 ", await ReadHeadAsync(upload.GetStream()), StringComparison.Ordinal);
        return upload;
    }

    private static async Task<string> ReadHeadAsync(NetworkStream stream)
    {
        using CancellationTokenSource deadline = new(TimeSpan.FromSeconds(20));
        StringBuilder head = new();
        byte[] one = new byte[1];
        while (!head.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal))
        {
            await stream.ReadExactlyAsync(one, deadline.Token);
            head.Append((char)one[0]);
        }

        return head.ToString();
    }

    private static async Task UntilRefusedAsync(int port)
    {
        using CancellationTokenSource deadline = new(TimeSpan.FromSeconds(20));
        using PeriodicTimer poll = new(TimeSpan.FromMilliseconds(10));
        while (true)
        {
            using TcpClient probe = new();
            try
            {
                await probe.ConnectAsync(IPAddress.Loopback, port, deadline.Token);
            }
            catch (SocketException)
            {
                return;
            }

            await poll.WaitForNextTickAsync(deadline.Token);
        }
    }
}
