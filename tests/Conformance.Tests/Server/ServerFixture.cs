using System.Diagnostics;
using System.Net.Sockets;
using ObjectStore.S3.Signing;

[assembly: AssemblyFixture(typeof(ObjectStore.Conformance.Tests.Server.ServerFixture))]

namespace ObjectStore.Conformance.Tests.Server;

/// <summary>
/// The server under test: the Silo executable of the same build as a child process, on a free loopback port, over a temporary data folder. Started once
/// for all tests, killed by its process id at the end. OBJECTSTORE_TEST_ENDPOINT (with OBJECTSTORE_ACCESS_KEY and OBJECTSTORE_SECRET_KEY) runs the
/// suite against a server that is already there instead.
/// </summary>
public sealed class ServerFixture : IAsyncLifetime
{
    private static readonly TimeSpan StartTimeout = TimeSpan.FromSeconds(30);

    private readonly StringBuilder _log = new();
    private Process? _process;
    private string? _data;

    /// <summary>http://127.0.0.1:port</summary>
    public Uri Endpoint { get; private set; } = null!;

    /// <summary>The key that the server knows.</summary>
    public string AccessKey { get; private set; } = "conformance";

    /// <summary>Its secret.</summary>
    public string SecretKey { get; private set; } = "conformance-secret-key";

    /// <summary>An SDK client; thread-safe, shared by all tests.</summary>
    public AmazonS3Client S3 { get; private set; } = null!;

    /// <summary>A signer for requests that the SDK would not make.</summary>
    public SigV4Signer Signer { get; private set; } = null!;

    /// <summary>Raw requests.</summary>
    public RawClient Raw { get; private set; } = null!;

    /// <summary>Starts the server.</summary>
    public async ValueTask InitializeAsync()
    {
        string? endpoint = Environment.GetEnvironmentVariable("OBJECTSTORE_TEST_ENDPOINT");
        if (endpoint is null)
        {
            Endpoint = new Uri($"http://127.0.0.1:{FreePort()}");
            Start();
        }
        else
        {
            Endpoint = new Uri(endpoint);
            AccessKey = Required("OBJECTSTORE_ACCESS_KEY");
            SecretKey = Required("OBJECTSTORE_SECRET_KEY");
        }

        await WaitUntilHealthy();
        Signer = new SigV4Signer(AccessKey, SecretKey);
        Raw = new RawClient(this);
        S3 = CreateClient();
    }

    /// <summary>An SDK client of its own, after changes to the usual configuration.</summary>
    public AmazonS3Client CreateClient(Action<AmazonS3Config>? configure = null)
    {
        AmazonS3Config config = new()
        {
            ServiceURL = Endpoint.ToString(),
            ForcePathStyle = true,
            AuthenticationRegion = "us-east-1",
            MaxErrorRetry = 0,
            UseHttp = true,
        };
        configure?.Invoke(config);
        return new AmazonS3Client(AccessKey, SecretKey, config);
    }

    /// <summary>True when the server answers 200 on /health.</summary>
    public async Task<bool> IsHealthyAsync()
    {
        using HttpClient client = new() { Timeout = TimeSpan.FromSeconds(5) };
        try
        {
            using HttpResponseMessage response = await client.GetAsync(new Uri(Endpoint, "/health"));
            return response.StatusCode == HttpStatusCode.OK;
        }
        catch (Exception exception) when (exception is HttpRequestException or TaskCanceledException)
        {
            return false;
        }
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        S3?.Dispose();
        if (_process is not null)
        {
            if (!_process.HasExited) _process.Kill();
            _process.WaitForExit();
            _process.Dispose();
        }

        if (_data is not null) Directory.Delete(_data, recursive: true);
        return ValueTask.CompletedTask;
    }

    private void Start()
    {
        // artifacts/<runtime>/bin/ObjectStore.Conformance.Tests/<configuration>/; the server may have been built in the other configuration.
        string configuration = Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory));
        string folder = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..", "..", "ObjectStore.Silo"));
        string[] candidates = [.. new[] { configuration, "release", "debug" }.Select(name => Path.Combine(folder, name, "ObjectStore.Silo.dll"))];
        string server = Array.Find(candidates, File.Exists)
            ?? throw new InvalidOperationException($"The server is not built: no {candidates[0]}. Build src/Silo first (dotnet build), in the same configuration.");
        _data = Directory.CreateTempSubdirectory("objectstore-conformance-").FullName;
        ProcessStartInfo start = new("dotnet")
        {
            ArgumentList = { server, "run", "--data", _data, "--listen", Endpoint.GetLeftPart(UriPartial.Authority) },
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["OBJECTSTORE_ACCESS_KEY"] = AccessKey;
        start.Environment["OBJECTSTORE_SECRET_KEY"] = SecretKey;
        _process = Process.Start(start)!;
        _process.OutputDataReceived += Log;
        _process.ErrorDataReceived += Log;
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    private void Log(object sender, DataReceivedEventArgs line)
    {
        lock (_log)
        {
            if (line.Data is not null && _log.Length < 1 << 20) _log.AppendLine(line.Data);
        }
    }

    private async Task WaitUntilHealthy()
    {
        Stopwatch watch = Stopwatch.StartNew();
        using PeriodicTimer poll = new(TimeSpan.FromMilliseconds(20));
        while (!await IsHealthyAsync())
        {
            if (_process is { HasExited: true } || watch.Elapsed > StartTimeout)
            {
                string state = _process is { HasExited: true } ended ? $"ended with exit code {ended.ExitCode}" : $"did not answer /health within {StartTimeout.TotalSeconds} s";
                await DisposeAsync();
                lock (_log) throw new InvalidOperationException($"The server {state}. Its output:\n{_log}");
            }

            await poll.WaitForNextTickAsync();
        }
    }

    private static string Required(string name) =>
        Environment.GetEnvironmentVariable(name) ?? throw new InvalidOperationException($"OBJECTSTORE_TEST_ENDPOINT is set, {name} is not.");

    private static int FreePort()
    {
        using Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }
}
