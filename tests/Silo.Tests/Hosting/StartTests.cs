using System.Net;
using System.Net.Sockets;

namespace ObjectStore.Silo.Tests.Hosting;

/// <summary>Starts that succeed: keys, data that is found again, ports.</summary>
public sealed class StartTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task FirstStart_PrintsAWorkingKeyPairOnce_AndKeepsItForItsOwnerOnly()
    {
        await using HostProcess host = await HostProcess.StartAsync(_folder["data"]);
        (string accessKey, string secret) = host.PrintedKeys;
        Assert.Equal((20, 40), (accessKey.Length, secret.Length));
        Assert.Equal(2, host.Output.Split(secret).Length);
        if (!OperatingSystem.IsWindows()) Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(_folder["data/credentials.json"]));
        using S3Client client = new(host.Endpoint, host.PrintedKeys);
        Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket")).Status);
    }

    [Fact]
    public async Task SecondStart_PrintsNoKey_AndFindsTheObjectAgain()
    {
        (string, string) keys;
        byte[] body = new byte[300_000];
        new Random(1).NextBytes(body);
        await using (HostProcess first = await HostProcess.StartAsync(_folder["data"]))
        {
            keys = first.PrintedKeys;
            using S3Client client = new(first.Endpoint, keys);
            Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket")).Status);
            Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket/large", body)).Status);
            Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket/small", [1, 2, 3])).Status);
            await first.StopAsync();
        }

        await using HostProcess second = await HostProcess.StartAsync(_folder["data"]);
        Assert.DoesNotContain("AWS_", second.Output, StringComparison.Ordinal);
        using S3Client again = new(second.Endpoint, keys);
        Assert.Equal(body, (await again.GetAsync("/bucket/large")).Body);
        Assert.Equal(new byte[] { 1, 2, 3 }, (await again.GetAsync("/bucket/small")).Body);
        await second.StopAsync();
        Assert.Empty(second.Errors);
    }

    [Fact]
    public async Task KilledHost_LosesNothingThatItAcknowledged()
    {
        (string, string) keys = ("killed", "killed-secret-key");
        await using (HostProcess first = await HostProcess.StartAsync(_folder["data"], keys))
        {
            using S3Client client = new(first.Endpoint, keys);
            Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket")).Status);
            Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket/key", "kept"u8.ToArray())).Status);
        }

        await using HostProcess second = await HostProcess.StartAsync(_folder["data"], keys);
        using S3Client again = new(second.Endpoint, keys);
        Assert.Equal("kept", (await again.GetAsync("/bucket/key")).Text);
    }

    [Fact]
    public async Task KeysOfTheEnvironment_ReplaceTheStoredOnes_AndAreNeitherPrintedNorStored()
    {
        await using HostProcess host = await HostProcess.StartAsync(_folder["data"], ("from-outside", "secret-from-outside"));
        using S3Client client = new(host.Endpoint, ("from-outside", "secret-from-outside"));
        Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket")).Status);
        using S3Client wrong = new(host.Endpoint, ("from-outside", "another-secret"));
        Assert.Equal(HttpStatusCode.Forbidden, (await wrong.PutAsync("/bucket2")).Status);
        Assert.DoesNotContain("secret-from-outside", host.Output, StringComparison.Ordinal);
        Assert.False(File.Exists(_folder["data/credentials.json"]));
    }

    [Fact]
    public async Task PortZero_TakesAFreePort_WhichTheBannerNames()
    {
        await using HostProcess host = await HostProcess.StartAsync(_folder["data"]);
        Assert.NotEqual(0, host.Endpoint.Port);
        using TcpClient client = new();
        await client.ConnectAsync(IPAddress.Loopback, host.Endpoint.Port, TestContext.Current.CancellationToken);
        Assert.True(client.Connected);
    }

    [Fact]
    public async Task SeveralDrives_EachHoldADriveOfTheNode()
    {
        await using HostProcess host = await HostProcess.StartAsync(_folder["data"], null, "--drives", _folder["d{1...3}"]);
        using S3Client client = new(host.Endpoint, host.PrintedKeys);
        Answer health = await client.SendUnsignedAsync(HttpMethod.Get, "/health");
        Assert.Equal(4, health.Text.Split("\"state\":\"Healthy\"").Length);
        Assert.All(new[] { "d1", "d2", "d3" }, name => Assert.NotEmpty(Directory.GetFileSystemEntries(_folder[name])));
    }

    [Fact]
    public async Task Start_TakesLessThanTwoSeconds()
    {
        // The best of three: a busy machine says nothing about the program.
        TimeSpan best = TimeSpan.MaxValue;
        for (int i = 0; i < 3 && best > TimeSpan.FromSeconds(2); i++)
        {
            await using HostProcess host = await HostProcess.StartAsync(_folder["data"]);
            if (host.StartDuration < best) best = host.StartDuration;
        }

        Assert.True(best < TimeSpan.FromSeconds(2), $"{best} for an empty store");
    }
}
