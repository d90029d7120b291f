using System.Net;
using System.Text.Json;
using ObjectStore.Silo.Tests.Hosting;

namespace ObjectStore.Silo.Tests.Configuration;

/// <summary>The golden files of docs/formats/data-folder.md, against the executable. A change here is a change of format: raise its version.</summary>
public sealed class DataFolderFormatTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task FirstStart_WritesTheGoldenFiles()
    {
        await using (HostProcess host = await HostProcess.StartAsync(_folder["data"])) await host.StopAsync();
        string format = await File.ReadAllTextAsync(_folder["data/objectstore.json"], Stop);
        string cluster = JsonDocument.Parse(format).RootElement.GetProperty("clusterId").GetString()!;
        Assert.Equal(Golden("objectstore.json"), format.Replace(cluster, "00010203-0405-0607-0809-0a0b0c0d0e0f", StringComparison.Ordinal));
        string credentials = await File.ReadAllTextAsync(_folder["data/credentials.json"], Stop);
        JsonElement pair = JsonDocument.Parse(credentials).RootElement;
        (string accessKey, string secret) = (pair.GetProperty("accessKey").GetString()!, pair.GetProperty("secretKey").GetString()!);
        Assert.Matches("^OS[A-Z2-7]{18}$", accessKey);
        Assert.Matches("^[A-Za-z0-9]{40}$", secret);
        Assert.Equal(
            Golden("credentials.json"),
            credentials.Replace(accessKey, "OSGOLDENGOLDENGOLDEN", StringComparison.Ordinal).Replace(secret, "GoldenGoldenGoldenGoldenGoldenGoldenGold", StringComparison.Ordinal));
        Assert.Empty(Directory.GetFiles(_folder["data"], "*.new"));
    }

    [Fact]
    public async Task Start_OnTheGoldenFiles_UsesThemAndLeavesThemAsTheyAre()
    {
        Directory.CreateDirectory(_folder["data"]);
        foreach (string name in (string[])["objectstore.json", "credentials.json"]) await File.WriteAllTextAsync(_folder[$"data/{name}"], Golden(name), Stop);
        await using (HostProcess host = await HostProcess.StartAsync(_folder["data"]))
        {
            using S3Client client = new(host.Endpoint, ("OSGOLDENGOLDENGOLDEN", "GoldenGoldenGoldenGoldenGoldenGoldenGold"));
            Assert.Equal(HttpStatusCode.OK, (await client.PutAsync("/bucket")).Status);
            await host.StopAsync();
        }

        foreach (string name in (string[])["objectstore.json", "credentials.json"]) Assert.Equal(Golden(name), await File.ReadAllTextAsync(_folder[$"data/{name}"], Stop));
        string drive = await File.ReadAllTextAsync(Assert.Single(Directory.GetFiles(_folder["data/drives"], "drive.json", SearchOption.AllDirectories)), Stop);
        Assert.Equal("00010203-0405-0607-0809-0a0b0c0d0e0f", JsonDocument.Parse(drive).RootElement.GetProperty("clusterId").GetString());
    }

    [Theory]
    [InlineData("objectstore.json", "\"ObjectStore\"", "\"Other\"", "another product")]
    [InlineData("objectstore.json", "\"version\": 1", "\"version\": 2", "format 2")]
    [InlineData("objectstore.json", "\"version\": 1", "\"version\": 0", "damaged")]
    [InlineData("objectstore.json", "00010203-0405-0607-0809-0a0b0c0d0e0f", "00000000-0000-0000-0000-000000000000", "damaged")]
    [InlineData("objectstore.json", "}", "", "damaged")]
    [InlineData("credentials.json", "secretKey", "secret", "damaged")]
    [InlineData("credentials.json", "}", "", "damaged")]
    public async Task Start_OnAnotherFile_IsRefused(string name, string golden, string changed, string said)
    {
        Directory.CreateDirectory(_folder["data"]);
        await File.WriteAllTextAsync(_folder[$"data/{name}"], Golden(name).Replace(golden, changed, StringComparison.Ordinal), Stop);
        await using HostProcess host = HostProcess.Launch(["run", "--data", _folder["data"], "--listen", "http://127.0.0.1:0"]);
        Assert.Equal(1, await host.ExitAsync());
        Assert.Contains(said, host.Errors, StringComparison.Ordinal);
        Assert.DoesNotContain("GoldenGolden", host.Errors, StringComparison.Ordinal);
    }

    private static string Golden(string name)
    {
        using Stream stream = typeof(DataFolderFormatTests).Assembly.GetManifestResourceStream($"golden.{name}") ?? throw new FileNotFoundException(name);
        using StreamReader reader = new(stream);
        return reader.ReadToEnd().TrimEnd(); // the program writes no newline at the end
    }
}
