using ObjectStore.Silo.Tests.Transport;
using ObjectStore.Storage;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Transport;

namespace ObjectStore.Silo.Tests.Hosting;

/// <summary>The role storage as a process: what it serves is there after it was killed, and it refuses what it must.</summary>
public sealed class StorageNodeTests : IDisposable
{
    private const string Secret = "0123456789abcdef0123456789abcdef";
    private readonly TemporaryFolder _folder = new();
    private readonly HttpClient _http = new();

    public StorageNodeTests() => WriteSecret(UnixFileMode.UserRead | UnixFileMode.UserWrite);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private string SecretFile => _folder["secret"];

    public void Dispose()
    {
        _http.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public async Task StorageNode_Killed_HasWhatItAcknowledged_AndItsClientFindsItAgain()
    {
        string[] drives = ["--drives", _folder["d{1...3}"]];
        HostProcess host = await HostProcess.StartStorageAsync(_folder["data"], SecretFile, 0, drives);
        await using RemoteStorageNode node = await RemoteStorageNode.ConnectAsync(host.Endpoint, ClusterSecret.Load(SecretFile), ServedDrives.Quick(), null, null, Token);
        Assert.Equal(3, node.Drives.Count);
        Assert.Equal(ClusterSecret.Parse(Secret).DerivedClusterId, node.ClusterId);
        FragmentWrite[] fragments = [.. Enumerable.Range(0, 30).Select(i => Make.Copy(i * 20_000))];
        await Task.WhenAll(fragments.Select((fragment, i) => node.Drives[i % 3].WriteAsync(fragment, sync: true, Token).AsTask()));

        string health = await _http.GetStringAsync(new Uri(host.Endpoint, "/health"), Token);
        Assert.Contains("\"status\":\"ready\"", health, StringComparison.Ordinal);
        Assert.All(node.Drives, drive => Assert.Contains(drive.DriveId.ToString("N"), health, StringComparison.Ordinal));
        Assert.Contains("objectstore_transport_server_duration", await _http.GetStringAsync(new Uri(host.Endpoint, "/metrics"), Token), StringComparison.Ordinal);
        Assert.DoesNotContain(Secret, host.Output + host.Errors, StringComparison.Ordinal);

        TaskCompletionSource back = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await host.KillAsync();
        await Assert.ThrowsAsync<DriveUnavailableException>(async () => await node.Drives[0].GetStatisticsAsync(Token));
        node.Changed += changed =>
        {
            if (changed.IsReachable) back.TrySetResult();
        };
        int port = host.Endpoint.Port;
        await host.DisposeAsync();
        await using HostProcess again = await HostProcess.StartStorageAsync(_folder["data"], SecretFile, port, drives);
        await back.Task.WaitAsync(TimeSpan.FromSeconds(20), Token);
        for (int i = 0; i < fragments.Length; i++)
        {
            byte[] read = new byte[fragments[i].Payload.Length];
            await node.Drives[i % 3].ReadAsync(Make.Address(fragments[i]), 0, read, Token);
            Assert.Equal(fragments[i].Payload.ToArray(), read);
        }

        await again.StopAsync();
    }

    [Fact]
    public async Task SecretThatOthersCanRead_IsRefused()
    {
        WriteSecret(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead);
        Assert.Contains("chmod 600", await RefusesAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task SecretThatIsTooShort_IsRefusedWithoutIt()
    {
        await File.WriteAllTextAsync(SecretFile, "tooshort", Token);
        string line = await RefusesAsync();
        Assert.Contains("16", line, StringComparison.Ordinal);
        Assert.DoesNotContain("tooshort", line, StringComparison.Ordinal);
    }

    [Fact]
    public async Task SecretThatIsNotThere_IsRefused()
    {
        File.Delete(SecretFile);
        Assert.Contains("the cluster secret cannot be read", await RefusesAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task DataFolderOfAnotherCluster_IsRefused()
    {
        await using (HostProcess host = await HostProcess.StartStorageAsync(_folder["data"], SecretFile)) await host.StopAsync();
        Guid other = Guid.NewGuid();
        Assert.Contains($"--cluster-id says {other}", await RefusesAsync("--cluster-id", other.ToString()), StringComparison.Ordinal);
    }

    private async Task<string> RefusesAsync(params string[] more)
    {
        await using HostProcess host = HostProcess.Launch(
            ["run", "--roles", "storage", "--data", _folder["data"], "--data-listen", "http://127.0.0.1:0", "--cluster-secret-file", SecretFile, .. more], null);
        Assert.Equal(1, await host.ExitAsync());
        string errors = host.Errors.TrimEnd('\n');
        Assert.StartsWith("objectstore: ", errors, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', errors);
        return errors;
    }

    private void WriteSecret(UnixFileMode mode)
    {
        File.WriteAllText(SecretFile, Secret + "\n");
        if (!OperatingSystem.IsWindows()) File.SetUnixFileMode(SecretFile, mode);
    }
}
