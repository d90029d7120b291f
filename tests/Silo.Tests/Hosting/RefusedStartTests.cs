using System.Net;
using System.Net.Sockets;

namespace ObjectStore.Silo.Tests.Hosting;

/// <summary>Starts that fail: exit code 1, one line on stderr that names the cause, and no stack trace anywhere.</summary>
public sealed class RefusedStartTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task SecondProcess_OnTheSameDataFolder_IsRefused()
    {
        await using HostProcess first = await HostProcess.StartAsync(_folder["data"]);
        string line = await RefusesAsync(_folder["data"]);
        Assert.Contains("is in use by another process", line, StringComparison.Ordinal);
        using S3Client client = new(first.Endpoint, first.PrintedKeys);
        Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/still-served")).Status);
    }

    [Fact]
    public async Task SecondProcess_OnTheSameDrive_IsRefused()
    {
        await using HostProcess first = await HostProcess.StartAsync(_folder["data"], null, "--drives", _folder["drive"]);
        string line = await RefusesAsync(_folder["other"], "--drives", _folder["drive"]);
        Assert.Contains(_folder["drive"], line, StringComparison.Ordinal);
    }

    [Fact]
    public async Task DriveOfAnotherCluster_IsRefused()
    {
        await using (HostProcess first = await HostProcess.StartAsync(_folder["data"], null, "--drives", _folder["drive"])) await first.StopAsync();
        string line = await RefusesAsync(_folder["other"], "--drives", _folder["drive"]);
        Assert.Contains("belongs to cluster", line, StringComparison.Ordinal);
    }

    [Fact]
    public async Task PortInUse_IsRefused()
    {
        using Socket holder = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        holder.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        holder.Listen();
        int port = ((IPEndPoint)holder.LocalEndPoint!).Port;
        string line = await RefusesAsync(_folder["data"], "--listen", $"http://127.0.0.1:{port}");
        Assert.Contains($"cannot listen on http://127.0.0.1:{port}: the port is in use", line, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AddressOfAnotherMachine_IsRefused()
    {
        string line = await RefusesAsync(_folder["data"], "--listen", "http://203.0.113.7:9000");
        Assert.Contains("cannot listen on http://203.0.113.7:9000", line, StringComparison.Ordinal);
    }

    [Fact]
    public async Task DataFolderBelowAFile_IsRefused()
    {
        await File.WriteAllTextAsync(_folder["file"], "", TestContext.Current.CancellationToken);
        Assert.Contains("cannot be written", await RefusesAsync(_folder["file/data"]), StringComparison.Ordinal);
        Assert.Contains("cannot be written", await RefusesAsync(_folder["file"]), StringComparison.Ordinal);
    }

    [Fact]
    public async Task DataFolderInAFileSystemThatTakesNoFolders_IsRefused() =>
        Assert.Contains("cannot be written", await RefusesAsync("/proc/objectstore"), StringComparison.Ordinal);

    [Fact]
    public async Task DriveBelowAFile_IsRefused()
    {
        await File.WriteAllTextAsync(_folder["file"], "", TestContext.Current.CancellationToken);
        Assert.Contains(_folder["file"], await RefusesAsync(_folder["data"], "--drives", _folder["file/drive"]), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("objectstore.json", "not json", "is damaged")]
    [InlineData("objectstore.json", "", "is damaged")]
    [InlineData("objectstore.json", "null", "is damaged")]
    [InlineData("objectstore.json", "{}", "is damaged")]
    [InlineData("objectstore.json", """{"product":"ObjectStore","version":1,"clusterId":"x"}""", "is damaged")]
    [InlineData("objectstore.json", """{"product":"Other","version":1,"clusterId":"aeb0c7e2-7f5f-4c3c-9d44-1f6f5a3f9a10"}""", "of another product")]
    [InlineData("objectstore.json", """{"product":"ObjectStore","version":2,"clusterId":"aeb0c7e2-7f5f-4c3c-9d44-1f6f5a3f9a10"}""", "has format 2; this program reads up to 1")]
    [InlineData("credentials.json", "not json", "is damaged")]
    [InlineData("credentials.json", "", "is damaged")]
    [InlineData("credentials.json", "{}", "is damaged")]
    [InlineData("credentials.json", """{"accessKey":"abc","secretKey":"short"}""", "is damaged")]
    [InlineData("metadata/metadata.db", "garbage", "metadata.db")]
#if GRAIN_RUNTIME_EMBEDDED
    [InlineData("metadata/grains.db", "garbage", "grains.db")]
#endif
    public async Task DamagedFile_IsRefusedByItsName_AndLeftAsItIs(string name, string content, string expected)
    {
        await StartOnceAsync();
        string file = _folder[$"data/{name}"];
        Assert.True(File.Exists(file));
        if (content == "garbage") content = string.Concat(Enumerable.Repeat("garbage ", 2048));
        File.Delete(file + "-wal");
        File.Delete(file + "-shm");
        await File.WriteAllTextAsync(file, content, TestContext.Current.CancellationToken);

        Assert.Contains(expected, await RefusesAsync(_folder["data"]), StringComparison.Ordinal);
        Assert.Equal(content, await File.ReadAllTextAsync(file, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task MetadataWithoutItsFormatFile_IsRefused()
    {
        await StartOnceAsync();
        File.Delete(_folder["data/objectstore.json"]);
        Assert.Contains("holds metadata but no objectstore.json", await RefusesAsync(_folder["data"]), StringComparison.Ordinal);
    }

    [Fact]
    public async Task FolderInPlaceOfAFile_IsRefused()
    {
        await StartOnceAsync();
        File.Delete(_folder["data/credentials.json"]);
        Directory.CreateDirectory(_folder["data/credentials.json"]);
        Assert.Contains("credentials.json", await RefusesAsync(_folder["data"]), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("unknown option '--colour'", "--colour", "red")]
    [InlineData("--data needs a value", "--data=")]
    [InlineData("--data needs a value", "--data")]
    [InlineData("--listen is 'https://127.0.0.1:1'", "--listen", "https://127.0.0.1:1")]
    [InlineData("VolumeSizeBytes", "--volume-size", "1000")]
    [InlineData("--log-level is 'loud'", "--log-level", "loud")]
    public async Task WrongOption_IsRefusedByItsName(string expected, params string[] options)
    {
        await using HostProcess host = HostProcess.Launch(["run", "--data", _folder["data"], "--listen", "http://127.0.0.1:0", .. options]);
        Assert.Contains(expected, await OneLineAsync(host), StringComparison.Ordinal);
    }

    [Fact]
    public async Task UnknownCommand_ExitsWithTwo()
    {
        await using HostProcess host = HostProcess.Launch(["serve"]);
        Assert.Equal(2, await host.ExitAsync());
        Assert.Equal("objectstore: unknown command 'serve'; see --help\n", host.Errors);
    }

    [Theory]
    [InlineData("--help", "Usage: objectstore run")]
    [InlineData("--version", "ObjectStore 0.")]
    public async Task Question_IsAnsweredWithZero(string option, string expected)
    {
        await using HostProcess host = HostProcess.Launch([option]);
        Assert.Equal(0, await host.ExitAsync());
        Assert.StartsWith(expected, host.Output, StringComparison.Ordinal);
    }

    private async Task StartOnceAsync()
    {
        await using HostProcess host = await HostProcess.StartAsync(_folder["data"]);
        await host.StopAsync();
    }

    private static async Task<string> RefusesAsync(string data, params string[] options)
    {
        await using HostProcess host = HostProcess.Launch(["run", "--data", data, "--listen", "http://127.0.0.1:0", "--volume-size", "16MiB", "--headroom", "8MiB", .. options]);
        return await OneLineAsync(host);
    }

    private static async Task<string> OneLineAsync(HostProcess host)
    {
        int code = await host.ExitAsync();
        Assert.True(code == 1, $"exit code {code}\n{host.Output}\n{host.Errors}");
        string line = Assert.Single(host.Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.StartsWith("objectstore: ", line, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", host.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("Exception", line, StringComparison.Ordinal);
        return line;
    }
}
