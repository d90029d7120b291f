using System.Diagnostics;
using System.Net.Sockets;
using System.Text.Json;
using ObjectStore.KillTest;
using ObjectStore.LoadGenerator;
using ObjectStore.LoadGenerator.Http;

namespace ObjectStore.LossTest;

/// <summary>The outcome, as the JSON line on stdout.</summary>
public sealed record LossTestReport(
    bool Passed, ulong Seed, int Rounds, int Drives, int Lost, int Objects, long ObjectBytes, long Reads, long Writes, long SlowDowns,
    double RepairMedianSeconds, double RepairMaxSeconds, double RefillMedianSeconds, double Seconds, long FailureCount, IReadOnlyList<string> Failures, string? Data)
{
    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    /// <summary>The JSON line, without the line end.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, Json);
}

/// <summary>All rounds, over one data folder and one set of objects.</summary>
public sealed class LossTestRun(LossTestOptions options)
{
    private const string Bucket = "loss-test";
    private const int FillThreads = 8;
    private static readonly TimeSpan Poll = TimeSpan.FromMilliseconds(200);

    private readonly LossTestOptions _options = options;
    private readonly SigningIdentity _identity = new("losstest", "losstest-secret-key");
    private readonly ObjectSet _objects = new(options.Seed, options.Objects);
    private readonly Findings _findings = new();
    private readonly List<double> _repairSeconds = [];
    private readonly List<double> _refillSeconds = [];
    private S3Endpoint _endpoint = null!;
    private volatile string _phase = "";

    /// <summary>Runs until a round fails or all have passed.</summary>
    public LossTestReport Run()
    {
        string server = _options.Server ?? ServerProcess.FindBuilt()
            ?? throw new ArgumentException("The server is not built: build ObjectStore.Silo in the same configuration, or name it with --server.");
        string folder = _options.Data ?? Directory.CreateTempSubdirectory("objectstore-loss-").FullName;
        string data = Path.Combine(folder, "data");
        Directory.CreateDirectory(data);
        DriveFolders drives = new(Path.Combine(folder, "drives"), _options.Drives, _options.Hosts);
        string topology = drives.WriteTopology(Path.Combine(folder, "topology.json"));
        int port = ServerProcess.FreePort();
        _endpoint = S3Endpoint.Parse($"http://127.0.0.1:{port}", allowRemote: false);
        Console.Error.WriteLine($"seed {_options.Seed}, data {folder}, server {server}");
        Stopwatch watch = Stopwatch.StartNew();
        int round = 0;
        ServerProcess? process = null;
        ServerProcess Start() => ServerProcess.Start(
            server, data, port, _identity.AccessKey, _identity.SecretKey, Path.Combine(folder, "server.log"),
            "--drives", drives.Argument, "--format-new-drives", "--topology", topology, "--down-out-after", "1", "--volume-size", "256MiB", "--headroom", "64MiB", "--garbage-grace", "5",
            "--scheme", $"STANDARD={_options.Lose + 1}/6+{_options.Lose}");
        try
        {
            process = Start();
            using NodeClient node = new(port, Path.Combine(data, "admin.token"));
            Fill();
            Console.Error.WriteLine($"filled with {_objects.Count} objects after {watch.Elapsed.TotalSeconds:f0} s");
            while (round < _options.Rounds && _findings.FailureCount == 0)
            {
                round++;
                Random random = new(Seeds.Derive(_options.Seed, round));
                int[] order = Choose(drives, random);
                LossKind kind = (LossKind)(round % 3);
                using (Load load = new(this, round))
                {
                    LoseAndRepair(drives, node, order[.._options.Lose], kind, $"round {round}, first loss", random);

                    // As many again. Where the first were only damaged they have been repaired in place and all drives are still there.
                    LossKind second = random.Next(2) == 0 ? LossKind.Emptied : LossKind.Removed;
                    _phase = $"round {round}, second loss";
                    foreach (int drive in order[_options.Lose..(2 * _options.Lose)]) drives.Lose(drive, second, random);
                    VerifyAll(_phase);
                    load.Stop();
                }

                if (process.HasExited) _findings.Fail("the server ended by itself");
                Stop(process);
                process.Dispose();
                foreach (int drive in order[..(2 * _options.Lose)])
                {
                    if (kind != LossKind.Damaged || Array.IndexOf(order, drive) >= _options.Lose) drives.Replace(drive);
                }

                process = Start();
                double refill = WaitUntilWhole(node, $"round {round}, refill");
                _refillSeconds.Add(refill);
                Console.Error.WriteLine(
                    $"round {round}: lost {string.Join(',', order[.._options.Lose].Select(drive => drive + 1))} ({kind}) then {string.Join(',', order[_options.Lose..(2 * _options.Lose)].Select(drive => drive + 1))}, " +
                    $"repair {_repairSeconds[^1]:f1} s, refill {refill:f1} s, {_findings.Reads} reads, {_findings.Writes} writes, {_findings.SlowDowns} slow downs{(_findings.FailureCount > 0 ? ", FAILED" : "")}");
            }

            VerifyAll("the end");
            Stop(process);
        }
        catch (Exception exception) when (exception is InvalidOperationException or IOException or SocketException or HttpRequestException or TaskCanceledException)
        {
            _findings.Fail($"{_phase}: {exception.Message}");
        }
        finally
        {
            process?.Dispose();
        }

        bool passed = _findings.FailureCount == 0;
        foreach (string failure in _findings.Failures) Console.Error.WriteLine($"FAILED: {failure}");
        bool keep = _options.Keep || !passed || _options.Data is not null;
        if (!keep) Directory.Delete(folder, recursive: true);
        return new LossTestReport(
            passed, _options.Seed, round, _options.Drives, _options.Lose, _options.Objects, Enumerable.Range(0, _objects.Count).Sum(_objects.SizeOf), _findings.Reads, _findings.Writes, _findings.SlowDowns,
            Median(_repairSeconds), Math.Round(_repairSeconds.DefaultIfEmpty().Max(), 1), Median(_refillSeconds), Math.Round(watch.Elapsed.TotalSeconds, 1),
            _findings.FailureCount, _findings.Failures, keep ? folder : null);
    }

    private void Stop(ServerProcess process)
    {
        int? exitCode = process.Stop();
        if (exitCode != 0) _findings.Fail($"{_phase}: {(exitCode is null ? "SIGTERM did not end the server within 30 s" : $"SIGTERM ended the server with exit code {exitCode}")}");
    }

    /// <summary>The drives of this round: the first to be lost, then the second; whole hosts where hosts are lost.</summary>
    private static int[] Choose(DriveFolders drives, Random random)
    {
        int[] order = [.. Enumerable.Range(0, drives.Count)];
        random.Shuffle(order);
        return [.. order.SelectMany(drives.HostOf).Distinct()];
    }

    private void LoseAndRepair(DriveFolders drives, NodeClient node, int[] lost, LossKind kind, string phase, Random random)
    {
        _phase = phase;
        foreach (int drive in lost) drives.Lose(drive, kind, random);
        if (kind == LossKind.Damaged) node.StartScrub();
        VerifyAll(phase);
        int usable = kind == LossKind.Damaged ? _options.Drives : _options.Drives - lost.Length;
        _repairSeconds.Add(WaitUntilWhole(node, phase, usable));
        _phase = $"{phase}, repaired";
        VerifyAll(_phase);
    }

    private double WaitUntilWhole(NodeClient node, string phase, int? usableDrives = null)
    {
        _phase = $"{phase}, waiting";
        Stopwatch watch = Stopwatch.StartNew();
        int seen = 0;
        while (true)
        {
            Redundancy redundancy = node.GetRedundancy();
            seen = redundancy.IsWhole && (usableDrives is not { } usable || redundancy.UsableDrives == usable) ? seen + 1 : 0;
            if (seen >= 3)
            {
                if (node.CountLostBlocks() is var lost and > 0) _findings.Fail($"{phase}: {lost} blocks are lost");
                return watch.Elapsed.TotalSeconds;
            }

            if (_findings.FailureCount > 0) return watch.Elapsed.TotalSeconds;
            if (watch.Elapsed > _options.RepairLimit)
                throw new InvalidOperationException($"not whole after {watch.Elapsed.TotalSeconds:f0} s: {redundancy}");
            Thread.Sleep(Poll);
        }
    }

    private void Fill()
    {
        _phase = "fill";
        using (Client client = NewClient())
        {
            if (!client.CreateBucket()) return;
        }

        ForAll(FillThreads, (client, index) => client.Put(_objects.KeyOf(index), _objects.StreamOf(index), _objects.SizeOf(index), "fill"));
    }

    private void VerifyAll(string when) => ForAll(FillThreads / 2, (client, index) => client.Verify(_objects.KeyOf(index), _objects.StreamOf(index), _objects.SizeOf(index), when));

    private void ForAll(int threads, Func<Client, int, bool> action)
    {
        int next = 0;
        Run(threads, () =>
        {
            using Client client = NewClient();
            while (Interlocked.Increment(ref next) - 1 is int index && index < _objects.Count) action(client, index);
        });
    }

    private void Run(int threads, Action work)
    {
        Thread[] all = [.. Enumerable.Range(0, threads).Select(_ => new Thread(() =>
        {
            try
            {
                work();
            }
            catch (Exception exception) when (exception is IOException or SocketException)
            {
                _findings.Fail($"{_phase}: {exception.Message}");
            }
        }))];
        foreach (Thread thread in all) thread.Start();
        foreach (Thread thread in all) thread.Join();
    }

    private Client NewClient() => new(_endpoint, _identity, Bucket, _findings);

    private static double Median(List<double> values) => values.Count == 0 ? 0 : Math.Round(values.Order().ElementAt(values.Count / 2), 1);

    /// <summary>Readers of what stays and writers of what changes, until stopped.</summary>
    private sealed class Load : IDisposable
    {
        private const int KeysPerWriter = 20;
        private readonly Thread _thread;
        private volatile bool _stopped;

        public Load(LossTestRun run, int round)
        {
            int next = 0;
            int writers = run._options.Writers;
            _thread = new Thread(() => run.Run(run._options.Readers + writers, () =>
            {
                int number = Interlocked.Increment(ref next) - 1;
                Random random = new(Seeds.Derive(run._options.Seed, round, number));
                using Client client = run.NewClient();
                if (number < writers) Write(run, client, round, number, random);
                else Read(run, client, random);
            }));
            _thread.Start();
        }

        public void Stop()
        {
            _stopped = true;
            _thread.Join();
        }

        public void Dispose() => Stop();

        private void Read(LossTestRun run, Client client, Random random)
        {
            while (!_stopped)
            {
                int index = random.Next(run._objects.Count);
                client.Verify(run._objects.KeyOf(index), run._objects.StreamOf(index), run._objects.SizeOf(index), run._phase);
            }
        }

        private void Write(LossTestRun run, Client client, int round, int writer, Random random)
        {
            for (ulong generation = 1; !_stopped; generation++)
            {
                string key = $"change/{writer}/{random.Next(KeysPerWriter)}";
                ulong stream = (uint)Seeds.Derive(run._options.Seed, round, writer, (long)generation);
                long size = random.Next(random.Next(10) == 0 ? 2 << 20 : 64 << 10);
                if (random.Next(8) == 0) client.Delete(key, run._phase);
                else if (client.Put(key, stream, size, run._phase)) client.Verify(key, stream, size, $"{run._phase}, just written");
            }
        }
    }
}
