using System.Diagnostics;
using System.Net.Sockets;
using System.Text.Json;
using ObjectStore.LoadGenerator;
using ObjectStore.LoadGenerator.Http;

namespace ObjectStore.KillTest;

/// <summary>The outcome, as the JSON line on stdout.</summary>
public sealed record KillTestReport(
    bool Passed, ulong Seed, int Rounds, int Workers, int Keys, long AcknowledgedRequests, int UnacknowledgedFoundNew, int UnacknowledgedFoundOld, int UploadsChecked,
    double StartMedianMs, double StartMaxMs, double FirstRequestMaxMs, int? StopExitCode, double Seconds, IReadOnlyList<string> Failures, string? Data)
{
    /// <summary>What was disturbed; null where nothing was.</summary>
    public DisturbanceReport? Disturbance { get; init; }

    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    /// <summary>The JSON line, without the line end.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, Json);
}

/// <summary>All rounds of the kill test, over one data folder: what survives one kill must survive all later ones.</summary>
public sealed class KillTestRun(KillTestOptions options)
{
    private const string Bucket = "kill-test";
    private const int MinLoadMs = 20;
    private const int SmallBelowBytes = 128 << 10;
    private const int ReportedFailures = 20;

    private readonly SigningIdentity _identity = new("killtest", "killtest-secret-key");
    private readonly KeyModel[] _keys = [.. Enumerable.Range(0, options.Keys).Select(index => new KeyModel(index))];
    private readonly List<string> _failures = [];
    private readonly List<double> _startMs = [];
    private readonly List<double> _firstRequestMs = [];
    private long _acknowledged;
    private int _foundNew;
    private int _foundOld;
    private int _uploads;

    /// <summary>Runs until a round fails or all have passed.</summary>
    public KillTestReport Run()
    {
        string server = options.Server ?? ServerProcess.FindBuilt()
            ?? throw new ArgumentException("The server is not built: build ObjectStore.Silo in the same configuration, or name it with --server.");
        string folder = options.Data ?? Directory.CreateTempSubdirectory("objectstore-kill-").FullName;
        string data = Path.Combine(folder, "data");
        string log = Path.Combine(folder, "server.log");
        Directory.CreateDirectory(data);
        int port = ServerProcess.FreePort();
        S3Endpoint endpoint = S3Endpoint.Parse($"http://127.0.0.1:{port}", allowRemote: false);
        Console.Error.WriteLine($"seed {options.Seed}, data {folder}, server {server}");
        Stopwatch watch = Stopwatch.StartNew();
        int round = 0;
        int? exitCode = null;
        ServerProcess? process = null;
        string[] more = options.Drives > 1 ? ["--drives", Path.Combine(folder, "drives", $"{{1...{options.Drives}}}")] : [];
        if (options.VolumeSize is { } size) more = [.. more, "--volume-size", size];
        using Disturber? disturber = options.Disturb == Disturbance.None ? null : new Disturber(options, Path.Combine(folder, "drives"), port, Path.Combine(data, "admin.token"));
        ServerProcess Start(params string[] arguments) => ServerProcess.Start(server, data, port, _identity.AccessKey, _identity.SecretKey, log, [.. more, .. arguments]);
        DisturbanceReport? disturbance = null;
        try
        {
            process = Start(disturber?.ServerArguments ?? []);
            CreateBucket(endpoint);
            while (round < options.Rounds && _failures.Count == 0)
            {
                round++;
                Random random = new(Seeds.Derive(options.Seed, round));
                int loadMs = random.Next(MinLoadMs, Math.Max(MinLoadMs + 1, (int)options.MaxLoad.TotalMilliseconds));
                disturber?.Prepare(random);
                long acknowledged = LoadAndKill(process, endpoint, round, () =>
                {
                    if (disturber is null) Thread.Sleep(loadMs);
                    else disturber.DisturbUntil(TimeSpan.FromMilliseconds(loadMs), random);
                });
                process.Dispose();
                disturber?.BeforeStart();
                process = Start(disturber?.ServerArguments ?? []);
                _startMs.Add(process.StartTime.TotalMilliseconds);
                if (process.StartTime > options.StartLimit) _failures.Add($"the start took {process.StartTime.TotalMilliseconds:f0} ms; allowed are {options.StartLimit!.Value.TotalMilliseconds:f0} ms");
                FirstRequest(endpoint);
                Verifier verifier = new(options, endpoint, _identity, Bucket, _keys);
                verifier.Run(round);
                _failures.AddRange(verifier.Failures);
                _foundNew += verifier.ResolvedNew;
                _foundOld += verifier.ResolvedOld;
                _uploads += verifier.Uploads;
                Console.Error.WriteLine(
                    $"round {round}: killed after {loadMs} ms, {acknowledged} acknowledged, start {_startMs[^1]:f0} ms, in flight {verifier.ResolvedNew} new + {verifier.ResolvedOld} old, " +
                    $"{verifier.Uploads} open uploads, {_keys.Count(key => key.Acknowledged.Exists)} objects{(disturber is null ? "" : $"; {disturber.Said}")}{(_failures.Count > 0 ? ", FAILED" : "")}");
            }

            if (disturber is not null && _failures.Count == 0)
            {
                disturber.MakeWhole();
                Verify(endpoint, "whole again");
                int stopped = process.Stop() ?? -1;
                process.Dispose();
                if (stopped != 0) _failures.Add($"SIGTERM of the whole server: {stopped}");
                ProveWhole(disturber, endpoint, arguments => process = Start(arguments));
                process = Start(disturber.ServerArguments);
            }

            disturbance = disturber?.Report;

            exitCode = process.Stop();
            if (exitCode != 0) _failures.Add(exitCode is null ? "SIGTERM did not end the server within 30 s" : $"SIGTERM ended the server with exit code {exitCode}");
        }
        catch (Exception exception) when (exception is InvalidOperationException or IOException or SocketException or HttpRequestException or TaskCanceledException)
        {
            disturbance = disturber?.Report;
            _failures.Add(exception.Message);
        }
        finally
        {
            process?.Dispose();
        }

        bool passed = _failures.Count == 0;
        foreach (string failure in _failures.Take(ReportedFailures)) Console.Error.WriteLine($"FAILED: {failure}");
        bool keep = options.Keep || !passed || options.Data is not null;
        if (!keep) Directory.Delete(folder, recursive: true);
        _startMs.Sort();
        return new KillTestReport(
            passed, options.Seed, round, options.Workers, options.Keys, _acknowledged, _foundNew, _foundOld, _uploads,
            _startMs.Count == 0 ? 0 : Math.Round(_startMs[_startMs.Count / 2], 1), Math.Round(_startMs.DefaultIfEmpty().Max(), 1),
            Math.Round(_firstRequestMs.DefaultIfEmpty().Max(), 1), exitCode, Math.Round(watch.Elapsed.TotalSeconds, 1), [.. _failures.Take(ReportedFailures)],
            keep ? folder : null)
        { Disturbance = disturbance };
    }

    /// <summary>Every two drives of the pool are taken away in turn, and all objects read; then every three, and those that are stored 6+3 throughout.</summary>
    private void ProveWhole(Disturber disturber, S3Endpoint endpoint, Func<string[], ServerProcess> start)
    {
        foreach (int count in new[] { 2, 3 })
        {
            KeyModel[] keys = count == 2 ? _keys : [.. _keys.Where(key => IsLargeThroughout(key.Acknowledged.SizeBytes))];
            foreach (string[] away in disturber.Drives.Chunk(count).Where(chunk => chunk.Length == count))
            {
                if (_failures.Count > 0) return;
                disturber.TakeAway(away);
                using (ServerProcess process = start([.. disturber.ServerArguments, "--down-out-after", "86400"]))
                {
                    Verify(endpoint, $"without drives {string.Join(", ", away.Select(Path.GetFileName))}", keys);
                    process.Kill();
                }

                disturber.PutBack(away);
            }
        }
    }

    /// <summary>Parts and whole objects from 128 KiB on are 6+3; an upload has parts of 5 MiB and a last one.</summary>
    private static bool IsLargeThroughout(long sizeBytes) => sizeBytes >= SmallBelowBytes && (sizeBytes % Worker.PartBytes == 0 || sizeBytes % Worker.PartBytes >= SmallBelowBytes);

    private void Verify(S3Endpoint endpoint, string when, KeyModel[]? keys = null)
    {
        Verifier verifier = new(options, endpoint, _identity, Bucket, keys ?? _keys);
        verifier.ReadAll();
        _failures.AddRange(verifier.Failures.Select(failure => $"{when}: {failure}"));
        Console.Error.WriteLine($"{when}: {(keys ?? _keys).Length} keys read{(verifier.Failures.Count > 0 ? ", FAILED" : "")}");
    }

    /// <param name="wait">Until the kill is to come.</param>
    private long LoadAndKill(ServerProcess process, S3Endpoint endpoint, int round, Action wait)
    {
        bool stopped = false, killing = false;
        Worker[] workers = new Worker[options.Workers];
        Thread[] threads = new Thread[workers.Length];
        for (int i = 0; i < workers.Length; i++)
        {
            int index = i;
            KeyModel[] owned = [.. _keys.Where(key => key.Index % options.Workers == index)];
            workers[i] = new Worker(options, endpoint, _identity, Bucket, owned, new Random(Seeds.Derive(options.Seed, round, index)));
            threads[i] = new Thread(() => workers[index].Run(() => Volatile.Read(ref stopped), () => Volatile.Read(ref killing)));
            threads[i].Start();
        }

        try
        {
            wait();
        }
        finally
        {
            if (process.HasExited) _failures.Add("the server ended by itself under load");
            Volatile.Write(ref killing, true);
            process.Kill();
            Volatile.Write(ref stopped, true);
            foreach (Thread thread in threads) thread.Join();
        }

        foreach (Worker worker in workers)
        {
            if (worker.Unexpected is not null) _failures.Add(worker.Unexpected);
        }

        long acknowledged = workers.Sum(worker => worker.Acknowledged);
        _acknowledged += acknowledged;
        return acknowledged;
    }

    private void CreateBucket(S3Endpoint endpoint)
    {
        using S3Client client = new(endpoint, _identity, Bucket);
        Answer answer = client.Send("PUT", "", "", []);
        if (answer.Status is not (200 or 409)) throw new InvalidOperationException($"Creating the bucket: {answer.Status} {answer.Code}");
    }

    private void FirstRequest(S3Endpoint endpoint)
    {
        long start = Stopwatch.GetTimestamp();
        using S3Client client = new(endpoint, _identity, Bucket);
        Answer answer = client.Send("HEAD", "", "");
        _firstRequestMs.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
        if (answer.Status != 200) _failures.Add($"HEAD of the bucket after the start answers {answer.Status}");
    }
}
