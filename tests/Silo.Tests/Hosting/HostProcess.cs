using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.RegularExpressions;

namespace ObjectStore.Silo.Tests.Hosting;

/// <summary>
/// The Silo executable of the same build as a child process. Disposal kills it, by its process id, if it still runs. What it wrote is read line by line; waits
/// are for a line or for its end, under a deadline.
/// </summary>
internal sealed partial class HostProcess : IAsyncDisposable
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(30);

    private readonly Process _process;
    private readonly StringBuilder _output = new();
    private readonly StringBuilder _errors = new();
    private readonly TaskCompletionSource<Uri> _serving = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _bannerEnd = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Task _read;

    private HostProcess(Process process)
    {
        _process = process;
        _read = Task.WhenAll(ReadAsync(process.StandardOutput, _output), ReadAsync(process.StandardError, _errors));
    }

    /// <summary>Where it serves, from the banner; set once started.</summary>
    public Uri Endpoint { get; private set; } = null!;

    /// <summary>What it wrote to stdout until now.</summary>
    public string Output
    {
        get
        {
            lock (_output) return _output.ToString();
        }
    }

    /// <summary>What it wrote to stderr until now.</summary>
    public string Errors
    {
        get
        {
            lock (_errors) return _errors.ToString();
        }
    }

    /// <summary>The access key and the secret that the banner shows.</summary>
    public (string AccessKey, string Secret) PrintedKeys => (AccessKeyLine().Match(Output).Groups[1].Value, SecretLine().Match(Output).Groups[1].Value);

    /// <summary>What the banner says the start took.</summary>
    public TimeSpan StartDuration => TimeSpan.FromMilliseconds(int.Parse(StartedLine().Match(Output).Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture));

    /// <summary>Starts the executable with these words, whatever comes of it.</summary>
    public static HostProcess Launch(IEnumerable<string> arguments, (string AccessKey, string Secret)? keys = null)
    {
        ProcessStartInfo start = new("dotnet") { RedirectStandardOutput = true, RedirectStandardError = true };
        start.ArgumentList.Add(FindExecutable());
        foreach (string argument in arguments) start.ArgumentList.Add(argument);
        start.Environment.Remove("OBJECTSTORE_ACCESS_KEY");
        start.Environment.Remove("OBJECTSTORE_SECRET_KEY");
        start.Environment.Remove("OBJECTSTORE_CLUSTER_SECRET");
        if (keys is { } pair) (start.Environment["OBJECTSTORE_ACCESS_KEY"], start.Environment["OBJECTSTORE_SECRET_KEY"]) = pair;
        return new HostProcess(Process.Start(start)!);
    }

    /// <summary>Starts a server over a data folder on a free port with small volumes, and waits until it says that it serves.</summary>
    public static Task<HostProcess> StartAsync(string data, (string AccessKey, string Secret)? keys = null, params string[] more) =>
        StartAsync(Launch(["run", "--data", data, "--listen", "http://127.0.0.1:0", "--volume-size", "16MiB", "--headroom", "8MiB", .. more], keys));

    /// <summary>The same with the role storage, on the given port.</summary>
    public static Task<HostProcess> StartStorageAsync(string data, string secretFile, int port = 0, params string[] more) =>
        StartAsync(Launch(
            ["run", "--roles", "storage", "--data", data, "--data-listen", $"http://127.0.0.1:{port}", "--cluster-secret-file", secretFile, "--volume-size", "16MiB", "--headroom", "8MiB", .. more], null));

    /// <summary>Ends it as a power cut does, but for the page cache.</summary>
    public async Task KillAsync()
    {
        _process.Kill();
        await _process.WaitForExitAsync();
    }

    /// <summary>Waits for its end and the end of its output; the exit code.</summary>
    public async Task<int> ExitAsync()
    {
        using CancellationTokenSource deadline = new(Deadline);
        await _process.WaitForExitAsync(deadline.Token);
        await _read.WaitAsync(deadline.Token);
        return _process.ExitCode;
    }

    /// <summary>Asks it to stop.</summary>
    public void Signal(PosixSignal signal) => Assert.Equal(0, Kill(_process.Id, signal switch { PosixSignal.SIGTERM => 15, PosixSignal.SIGINT => 2, _ => throw new ArgumentOutOfRangeException(nameof(signal)) }));

    /// <summary>SIGTERM and its end, which must be clean.</summary>
    public async Task StopAsync()
    {
        Signal(PosixSignal.SIGTERM);
        Assert.Equal(0, await ExitAsync());
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited) _process.Kill();
        await _process.WaitForExitAsync();
        _process.Dispose();
    }

    private static async Task<HostProcess> StartAsync(HostProcess host)
    {
        try
        {
            host.Endpoint = await host._serving.Task.WaitAsync(Deadline);
            await host._bannerEnd.Task.WaitAsync(Deadline);
            return host;
        }
        catch (Exception e)
        {
            await host.DisposeAsync();
            throw new InvalidOperationException($"The host did not start.\n{host.Output}\n{host.Errors}", e);
        }
    }

    private static string FindExecutable()
    {
        // artifacts/<runtime>/bin/ObjectStore.Silo.Tests/<configuration>/; the project builds the host into the same configuration.
        string configuration = Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory));
        string path = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..", "..", "ObjectStore.Silo", configuration, "ObjectStore.Silo.dll"));
        return File.Exists(path) ? path : throw new InvalidOperationException($"The host is not built: no {path}.");
    }

    private async Task ReadAsync(StreamReader reader, StringBuilder all)
    {
        while (await reader.ReadLineAsync() is { } line)
        {
            lock (all) all.Append(line).Append('\n');
            if (ServesLine().Match(line) is { Success: true } serves) _serving.TrySetResult(new Uri(serves.Groups[1].Value));
            if (line == "Ctrl-C stops it.") _bannerEnd.TrySetResult();
        }

        _serving.TrySetException(new InvalidOperationException("An output of the host ended."));
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int pid, int signal);

    [GeneratedRegex("^ObjectStore serves (?:S3|drives) at (http://[^ ]+) ")]
    private static partial Regex ServesLine();

    [GeneratedRegex("started in ([0-9]+) ms")]
    private static partial Regex StartedLine();

    [GeneratedRegex("AWS_ACCESS_KEY_ID=(.+)")]
    private static partial Regex AccessKeyLine();

    [GeneratedRegex("AWS_SECRET_ACCESS_KEY=(.+)")]
    private static partial Regex SecretLine();
}

/// <summary>A folder that is gone after the test.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("objectstore-silo-").FullName;

    public string this[string name] => System.IO.Path.Combine(Path, name);

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
