using System.Collections.Concurrent;
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
        Assert.SkipWhen(signal == PosixSignal.SIGINT && IsInterruptIgnored(), "SIGINT is ignored here and so by every process that is started, as a shell does for what it runs in the background");
        await using HostProcess host = await HostProcess.StartAsync(_folder["data"], Keys);
        using S3Client client = new(host.Endpoint, Keys);
        Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket")).Status);
        host.Signal(signal);
        Assert.Equal(0, await host.ExitAsync());
        Assert.Empty(host.Errors);
        Assert.DoesNotContain("fail:", host.Output, StringComparison.Ordinal);
    }

    private static bool IsInterruptIgnored()
    {
        const string ignored = "SigIgn:";
        string? mask = OperatingSystem.IsLinux() ? File.ReadLines("/proc/self/status").FirstOrDefault(line => line.StartsWith(ignored, StringComparison.Ordinal)) : null;
        return mask is not null && (Convert.ToUInt64(mask[ignored.Length..].Trim(), 16) & 2) != 0;
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

        // What stops after the requests had its own time, and closed in order.
        await again.StopAsync();
        Assert.DoesNotContain("did not stop cleanly", again.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("torn", again.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Sigterm_WithDrivesThatVanishedUnderLoad_EndsInOrder_AndLosesNothing()
    {
        string[] more = ["--drives", _folder["d{1...6}"], "--scheme", "STANDARD=3/3+2", "--down-out-after", "1"];
        byte[] large = new byte[400_000];
        new Random(3).NextBytes(large);
        ConcurrentDictionary<string, byte[]> stored = [];
        await using (HostProcess host = await HostProcess.StartAsync(_folder["data"], Keys, more))
        {
            using S3Client setup = new(host.Endpoint, Keys);
            Assert.Equal(HttpStatusCode.OK, (await setup.PutAsync("/bucket")).Status);
            using CancellationTokenSource written = new();
            Task[] writers = [.. Enumerable.Range(0, 4).Select(writer => Task.Run(async () =>
            {
                using S3Client client = new(host.Endpoint, Keys);
                for (int i = 0; ; i++)
                {
                    string key = $"/bucket/{writer}-{i}";
                    byte[] body = i % 3 == 0 ? large : large[..(10_000 + i)];
                    try
                    {
                        // Until the host takes no more.
                        if ((await client.PutAsync(key, body)).Status == HttpStatusCode.OK) stored[key] = body;
                        if (stored.Count >= 40) await written.CancelAsync();
                    }
                    catch (HttpRequestException)
                    {
                        return;
                    }
                }
            }))];
            await Task.Delay(Timeout.InfiniteTimeSpan, written.Token).WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken).ContinueWith(_ => { }, TaskScheduler.Default);
            Assert.True(stored.Count >= 40, host.Output);
            foreach (string drive in new[] { "d2", "d5" }) Directory.Delete(_folder[drive], recursive: true);
            host.Signal(PosixSignal.SIGTERM);
            Assert.Equal(0, await host.ExitAsync());
            Assert.Empty(host.Errors);
            await Task.WhenAll(writers);
        }

        await using HostProcess again = await HostProcess.StartAsync(_folder["data"], Keys, more);
        using S3Client reader = new(again.Endpoint, Keys);
        foreach ((string key, byte[] body) in stored) Assert.Equal(body, (await reader.GetAsync(key)).Body);
        await again.StopAsync();
        Assert.DoesNotContain("did not stop cleanly", again.Output, StringComparison.Ordinal);
        Assert.Equal(4, again.Output.Split(", 0 records and 0 bytes replayed").Length - 1);
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
