using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace ObjectStore.KillTest;

/// <summary>The server under test as a child process.</summary>
public sealed partial class ServerProcess : IDisposable
{
    private const int SigTerm = 15;
    private static readonly TimeSpan GiveUp = TimeSpan.FromSeconds(60);

    private readonly Process _process;
    private readonly StreamWriter _log;
    private readonly bool _isWrapped;

    private ServerProcess(Process process, StreamWriter log, bool isWrapped)
    {
        _process = process;
        _log = log;
        _isWrapped = isWrapped;
    }

    /// <summary>From the start of the process to the first 200 on /health.</summary>
    public TimeSpan StartTime { get; private set; }

    /// <summary>The server's dll that the same build has put beside this program, or null.</summary>
    public static string? FindBuilt()
    {
        // artifacts/<runtime>/bin/ObjectStore.KillTest/<configuration>/
        string configuration = Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory));
        string path = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..", "..", "ObjectStore.Silo", configuration, "ObjectStore.Silo.dll"));
        return File.Exists(path) ? path : null;
    }

    /// <summary>A port of the loopback interface that is free at the moment.</summary>
    public static int FreePort()
    {
        using Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }

    /// <summary>Starts the server and waits until /health answers 200. Throws InvalidOperationException when it ends or takes a minute.</summary>
    public static ServerProcess Start(string server, string data, int port, string accessKey, string secretKey, string logFile, params ReadOnlySpan<string> moreArguments)
    {
        bool isAssembly = server.EndsWith(".dll", StringComparison.OrdinalIgnoreCase);
        ProcessStartInfo start = new(isAssembly ? "dotnet" : server)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        if (isAssembly) start.ArgumentList.Add(server);
        foreach (string argument in new[] { "run", "--data", data, "--listen", $"http://127.0.0.1:{port}" }) start.ArgumentList.Add(argument);
        foreach (string argument in moreArguments) start.ArgumentList.Add(argument);
        start.Environment["OBJECTSTORE_ACCESS_KEY"] = accessKey;
        start.Environment["OBJECTSTORE_SECRET_KEY"] = secretKey;
        StreamWriter log = new(logFile, append: true) { AutoFlush = true };
        Stopwatch watch = Stopwatch.StartNew();
        Process process = Process.Start(start) ?? throw new InvalidOperationException($"{server} did not start.");
        ServerProcess result = new(process, log, !isAssembly);
        DataReceivedEventHandler write = (_, line) =>
        {
            if (line.Data is null) return;
            lock (log)
            {
                if (!result._logClosed) log.WriteLine(line.Data);
            }
        };
        process.OutputDataReceived += write;
        process.ErrorDataReceived += write;
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        try
        {
            while (!IsHealthy(port))
            {
                if (process.HasExited) throw new InvalidOperationException($"The server ended with exit code {process.ExitCode} while starting; see {logFile}.");
                if (watch.Elapsed > GiveUp) throw new InvalidOperationException($"The server did not answer /health within {GiveUp.TotalSeconds} s; see {logFile}.");
                Thread.Sleep(2);
            }
        }
        catch
        {
            result.Kill();
            result.Dispose();
            throw;
        }

        result.StartTime = watch.Elapsed;
        return result;
    }

    private bool _logClosed;

    /// <summary>kill -9, and waits until the process is gone.</summary>
    public void Kill()
    {
        if (_process.HasExited) return;
        _process.Kill(entireProcessTree: _isWrapped);
        _process.WaitForExit();
    }

    /// <summary>True when the process has ended by itself.</summary>
    public bool HasExited => _process.HasExited;

    /// <summary>SIGTERM; returns the exit code, or null when the server did not end within 30 s and had to be killed.</summary>
    public int? Stop()
    {
        if (SendSignal(_process.Id, SigTerm) == 0 && _process.WaitForExit(TimeSpan.FromSeconds(30))) return _process.ExitCode;
        Kill();
        return null;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Kill();
        lock (_log)
        {
            _logClosed = true;
            _log.Dispose();
        }

        _process.Dispose();
    }

    private static bool IsHealthy(int port)
    {
        try
        {
            using Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { ReceiveTimeout = 2000, SendTimeout = 2000 };
            socket.Connect(new IPEndPoint(IPAddress.Loopback, port));
            socket.Send("GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"u8);
            Span<byte> answer = stackalloc byte[12];
            int length = 0;
            while (length < answer.Length)
            {
                int count = socket.Receive(answer[length..]);
                if (count == 0) return false;
                length += count;
            }

            return answer.SequenceEqual("HTTP/1.1 200"u8);
        }
        catch (SocketException)
        {
            return false;
        }
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int SendSignal(int processId, int signal);
}
