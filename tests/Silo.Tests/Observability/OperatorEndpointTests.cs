using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using ObjectStore.S3.Signing;
using ObjectStore.Silo.Tests.Hosting;

namespace ObjectStore.Silo.Tests.Observability;

/// <summary>One running host for the tests of this class.</summary>
public sealed class RunningHost : IAsyncLifetime
{
    private readonly TemporaryFolder _folder = new();

    internal (string AccessKey, string Secret) Keys { get; } = ("operator", "operator-secret-key");

    internal HostProcess Host { get; private set; } = null!;

    internal S3Client Client { get; private set; } = null!;

    internal string AdminToken { get; private set; } = "";

    internal string DrivePath => _folder["data/drives/1"];

    public async ValueTask InitializeAsync()
    {
        Host = await HostProcess.StartAsync(_folder["data"], Keys);
        Client = new S3Client(Host.Endpoint, Keys);
        AdminToken = (await File.ReadAllTextAsync(_folder["data/admin.token"])).Trim();
    }

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await Host.DisposeAsync();
        _folder.Dispose();
    }
}

/// <summary>What an operator asks, beside what S3 clients ask under the same names.</summary>
public sealed class OperatorEndpointTests(RunningHost running) : IClassFixture<RunningHost>
{
    private S3Client Client => running.Client;

    [Theory]
    [InlineData("/health")]
    [InlineData("/health/ready")]
    public async Task Ready_TellsOfEachDrive(string path)
    {
        Answer answer = await Client.SendUnsignedAsync(HttpMethod.Get, path);
        Assert.Equal(HttpStatusCode.OK, answer.Status);
        using JsonDocument json = JsonDocument.Parse(answer.Body);
        Assert.Equal("ready", json.RootElement.GetProperty("status").GetString());
        JsonElement drive = Assert.Single(json.RootElement.GetProperty("drives").EnumerateArray());
        Assert.Equal("Healthy", drive.GetProperty("state").GetString());
        Assert.True(drive.GetProperty("freeBytes").GetInt64() > 0);
    }

    [Fact]
    public async Task Live_Answers()
    {
        Answer answer = await Client.SendUnsignedAsync(HttpMethod.Get, "/health/live");
        Assert.Equal((HttpStatusCode.OK, "live\n"), (answer.Status, answer.Text));
    }

    [Theory]
    [InlineData("/health")]
    [InlineData("/health/live")]
    [InlineData("/health/ready")]
    [InlineData("/metrics")]
    public async Task Head_HasNoBody(string path)
    {
        Answer answer = await Client.SendUnsignedAsync(HttpMethod.Head, path);
        Assert.Equal((HttpStatusCode.OK, 0), (answer.Status, answer.Body.Length));
    }

    [Fact]
    public async Task Metrics_AreInPrometheusTextFormat_AndCountRequests()
    {
        Assert.Equal(HttpStatusCode.OK, (await Client.PutAsync("/counted")).Status);
        Answer answer = await Client.SendUnsignedAsync(HttpMethod.Get, "/metrics");
        Assert.Equal((HttpStatusCode.OK, "text/plain; version=0.0.4; charset=utf-8"), (answer.Status, answer.ContentType));
        Assert.Contains("# TYPE http_server_request_duration_seconds histogram\n", answer.Text, StringComparison.Ordinal);
        Assert.Contains("http_server_request_duration_seconds_count{s3_operation=\"CreateBucket\",http_response_status_code=\"200\"}", answer.Text, StringComparison.Ordinal);
        Assert.Contains("process_cpu_seconds_total ", answer.Text, StringComparison.Ordinal);
        Assert.All(answer.Text.Split('\n', StringSplitOptions.RemoveEmptyEntries), line => Assert.Matches(@"^(# (HELP|TYPE) \w+ .+|\w+(\{.+\})? -?[0-9.eE+-]+)$", line));

        // A family is declared once, and its series follow it.
        string[] declared = [.. answer.Text.Split('\n').Where(line => line.StartsWith("# TYPE ", StringComparison.Ordinal)).Select(line => line.Split(' ')[2])];
        Assert.Equal(declared.Distinct(), declared);
    }

    [Theory]
    [InlineData("/health")]
    [InlineData("/metrics")]
    public async Task BucketOfAnEndpointsName_IsReachableWhenSigned(string bucket)
    {
        Assert.Equal(HttpStatusCode.OK, (await Client.PutAsync(bucket)).Status);
        foreach (string key in new[] { "/live", "/ready", "/other" })
        {
            Assert.Equal(HttpStatusCode.OK, (await Client.PutAsync(bucket + key, Encoding.UTF8.GetBytes(key))).Status);
            Assert.Equal(key, (await Client.GetAsync(bucket + key)).Text);
            Assert.Equal(key, (await Client.SendUnsignedAsync(HttpMethod.Get, Client.Presign(bucket + key))).Text);
        }

        Answer listing = await Client.GetAsync(bucket);
        Assert.Contains("<Key>ready</Key>", listing.Text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/health?list-type=2")]
    [InlineData("/metrics/")]
    [InlineData("/health/other")]
    public async Task UnsignedRequest_ForAnythingElse_IsS3s(string path)
    {
        Answer answer = await Client.SendUnsignedAsync(HttpMethod.Get, path);
        Assert.Equal(HttpStatusCode.Forbidden, answer.Status);
        Assert.Contains("<Code>AccessDenied</Code>", answer.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task UnsignedPut_OfAnEndpointsName_IsRefused() =>
        Assert.Equal(HttpStatusCode.Forbidden, (await Client.SendUnsignedAsync(HttpMethod.Put, "/health")).Status);

    [Fact]
    public async Task RefusedBody_LeavesTheConnectionUsable_AndTheLogWithoutFaults()
    {
        Assert.Equal(HttpStatusCode.OK, (await Client.PutAsync("/refusals")).Status);
        using TcpClient connection = new();
        await connection.ConnectAsync(running.Host.Endpoint.Host, running.Host.Endpoint.Port, TestContext.Current.CancellationToken);
        NetworkStream stream = connection.GetStream();

        // A bad chunk signature is found in the middle of the body: the rest of it must not be taken for the next request.
        byte[] body = new byte[20_000];
        (SigV4HeaderList headers, SigV4Seed seed) = Client.Sign(
            "PUT", "/refusals/key", "", [], "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", ("x-amz-decoded-content-length", "20000"), ("Content-Encoding", "aws-chunked"));
        System.Buffers.ArrayBufferWriter<byte> framed = new();
        AwsChunkedEncoder encoder = new(seed);
        encoder.WriteChunk(body, framed);
        encoder.Finish(framed);
        byte[] spoilt = framed.WrittenSpan.ToArray();
        spoilt[10_000] ^= 1;
        Assert.Contains(" 403 ", await ExchangeAsync(stream, "PUT /refusals/key", headers, spoilt), StringComparison.Ordinal);

        SigV4HeaderList wrong = Client.Sign("PUT", "/refusals/key", "", "another body"u8.ToArray()).Headers;
        Assert.Contains(" 400 ", await ExchangeAsync(stream, "PUT /refusals/key", wrong, "spoilt body!"u8.ToArray()), StringComparison.Ordinal);
        Assert.Contains(" 404 ", await ExchangeAsync(stream, "GET /refusals/key", Client.Sign("GET", "/refusals/key", "", []).Headers, []), StringComparison.Ordinal);
        Assert.DoesNotContain("fail:", running.Host.Output, StringComparison.Ordinal);
    }

    /// <summary>Sends a request on a connection that goes on, and reads the answer; its status line.</summary>
    private static async Task<string> ExchangeAsync(NetworkStream stream, string line, SigV4HeaderList headers, byte[] body)
    {
        using CancellationTokenSource deadline = new(TimeSpan.FromSeconds(20));
        StringBuilder head = new(line + " HTTP/1.1\r\n");
        foreach ((string name, string value) in headers.Entries) head.Append(name).Append(": ").Append(value).Append("\r\n");
        if (body.Length > 0) head.Append($"Content-Length: {body.Length}\r\n");
        await stream.WriteAsync(Encoding.ASCII.GetBytes(head.Append("\r\n").ToString()), deadline.Token);
        await stream.WriteAsync(body, deadline.Token);
        StringBuilder answer = new();
        byte[] one = new byte[1];
        while (!answer.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal))
        {
            await stream.ReadExactlyAsync(one, deadline.Token);
            answer.Append((char)one[0]);
        }

        string[] lines = answer.ToString().Split("\r\n");
        string length = lines.First(header => header.StartsWith("Content-Length:", StringComparison.OrdinalIgnoreCase)).Split(':')[1];
        await stream.ReadExactlyAsync(new byte[int.Parse(length, System.Globalization.CultureInfo.InvariantCulture)], deadline.Token);
        return lines[0];
    }
}
