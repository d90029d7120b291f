using System.Diagnostics;
using System.Net.Sockets;
using ObjectStore.LoadGenerator.Http;
using ObjectStore.LoadGenerator.Measurement;
using ObjectStore.LoadGenerator.Workloads;

namespace ObjectStore.LoadGenerator;

/// <summary>One run: preload, warm-up, the measured phase, the report.</summary>
public sealed class LoadRun(LoadOptions options)
{
    private const long MaxErrors = 1000;
    private const int ThreadStackBytes = 512 * 1024;
    private static readonly TimeSpan SampleInterval = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan BeginInterval = TimeSpan.FromMilliseconds(10);

    private readonly BodyHashes _hashes = new(options);
    private long _sequence;
    private long _measuredFrom;
    private long _deadline;
    private long _errorCount;

    private sealed class ConnectionTally
    {
        public readonly LatencyHistogram Latencies = new();
        public readonly Dictionary<string, long> Errors = [];
        public long Operations;
        public long BytesSent;
        public long BytesReceived;
        public long KeysListed;
        public long Verified;
        public long Mismatches;
        public int Reconnects;
        public long LastEnd;
    }

    /// <summary>Runs to the end. Throws IOException or SocketException when the server cannot be reached or the preload fails.</summary>
    public RunReport Run()
    {
        long preloadStart = Stopwatch.GetTimestamp();
        CreateBucket();
        if (options.Preload && options.Mode is not (LoadMode.Put or LoadMode.Multipart)) Preload();
        double preloadSeconds = Stopwatch.GetElapsedTime(preloadStart).TotalSeconds;

        ConnectionTally[] tallies = new ConnectionTally[options.Connections];
        BeginAt(options.BeginFile is null ? Stopwatch.GetTimestamp() + Ticks(options.Warmup) : long.MaxValue);
        Thread[] threads = new Thread[options.Connections];
        for (int i = 0; i < threads.Length; i++)
        {
            int index = i;
            tallies[i] = new ConnectionTally();
            threads[i] = new Thread(() => Drive(index, tallies[index]), ThreadStackBytes) { IsBackground = true };
        }

        foreach (Thread thread in threads) thread.Start();
        if (options.Warmup > TimeSpan.Zero) Thread.Sleep(options.Warmup);
        if (options.BeginFile is not null)
        {
            while (!File.Exists(options.BeginFile) && threads.Any(thread => thread.IsAlive)) Thread.Sleep(BeginInterval);
            BeginAt(Stopwatch.GetTimestamp());
        }

        double generatorCpu = GeneratorCpuSeconds();
        ProcessUsage? before = ReadServer();
        long started = Volatile.Read(ref _measuredFrom);
        long maxResident = before?.ResidentBytes ?? 0;
        foreach (Thread thread in threads)
        {
            while (!thread.Join(SampleInterval)) maxResident = Math.Max(maxResident, ReadServer()?.ResidentBytes ?? 0);
        }

        generatorCpu = GeneratorCpuSeconds() - generatorCpu;
        ProcessUsage? after = ReadServer();
        long ended = Math.Max(started + 1, tallies.Max(tally => tally.LastEnd));
        return Report(tallies, preloadSeconds, (ended - started) / (double)Stopwatch.Frequency, generatorCpu, before, after, maxResident);
    }

    // The end first: what begins between the two is not measured.
    private void BeginAt(long timestamp)
    {
        Volatile.Write(ref _deadline, timestamp == long.MaxValue ? long.MaxValue : timestamp + Ticks(options.Duration));
        Volatile.Write(ref _measuredFrom, timestamp);
    }

    private void CreateBucket()
    {
        using S3Connection connection = new(options.Endpoint, options.Identity, options.Timeout);
        OperationResult result = new ObjectClient(options, _hashes, connection, -1).CreateBucket();
        if (result.Error is not null) throw new IOException($"Creating bucket {options.Bucket}: {result.Error}");
    }

    private void Preload()
    {
        long next = 0;
        string? failure = null;
        Thread[] threads = new Thread[(int)Math.Min(options.PreloadConnections, options.Keys)];
        for (int i = 0; i < threads.Length; i++)
        {
            int index = i;
            threads[i] = new Thread(() =>
            {
                using S3Connection connection = new(options.Endpoint, options.Identity, options.Timeout);
                ObjectClient client = new(options, _hashes, connection, index);
                long number;
                while (Volatile.Read(ref failure) is null && (number = Interlocked.Increment(ref next) - 1) < options.Keys)
                {
                    try
                    {
                        OperationResult result = client.Put(number);
                        if (result.Error is not null) failure = result.Error;
                    }
                    catch (Exception exception) when (exception is SocketException or IOException)
                    {
                        failure = exception.Message;
                    }
                }
            }, ThreadStackBytes)
            { IsBackground = true };
            threads[i].Start();
        }

        foreach (Thread thread in threads) thread.Join();
        if (failure is not null) throw new IOException($"Preloading {options.Keys} objects: {failure}");
    }

    private void Drive(int index, ConnectionTally tally)
    {
        using S3Connection connection = new(options.Endpoint, options.Identity, options.Timeout);
        ObjectClient client = new(options, _hashes, connection, index);
        OperationChooser chooser = new(options, client, index);
        while (true)
        {
            long start = Stopwatch.GetTimestamp();
            if (start >= Volatile.Read(ref _deadline) || (!options.KeepGoing && Volatile.Read(ref _errorCount) >= MaxErrors)) break;
            long sequence = Interlocked.Increment(ref _sequence) - 1;
            if (sequence >= options.Count) break;
            long receivedBefore = connection.BodyBytesReceived;
            OperationResult result;
            try
            {
                result = chooser.Next(sequence);
            }
            catch (SocketException exception)
            {
                connection.Close();
                result = new OperationResult { Error = $"socket {exception.SocketErrorCode}" };
            }
            catch (IOException exception)
            {
                connection.Close();
                result = new OperationResult { Error = $"protocol {exception.Message}" };
            }

            long end = Stopwatch.GetTimestamp();
            if (result.Error is not null || result.IsMismatch) Interlocked.Increment(ref _errorCount);
            if (start < Volatile.Read(ref _measuredFrom)) continue;
            tally.LastEnd = end;
            if (result.Error is not null)
            {
                tally.Errors[result.Error] = tally.Errors.GetValueOrDefault(result.Error) + 1;
                continue;
            }

            tally.Operations++;
            tally.Latencies.Record(end - start);
            tally.BytesSent += result.BytesSent;
            tally.BytesReceived += connection.BodyBytesReceived - receivedBefore;
            tally.KeysListed += result.KeysListed;
            if (result.IsVerified) tally.Verified++;
            if (result.IsMismatch) tally.Mismatches++;
        }

        tally.Reconnects = Math.Max(0, connection.Connects - 1);
    }

    private RunReport Report(
        ConnectionTally[] tallies, double preloadSeconds, double seconds, double generatorCpu, ProcessUsage? before, ProcessUsage? after, long maxResident)
    {
        LatencyHistogram latencies = new();
        SortedDictionary<string, long> errors = new(StringComparer.Ordinal);
        foreach (ConnectionTally tally in tallies)
        {
            latencies.Add(tally.Latencies);
            foreach ((string error, long count) in tally.Errors) errors[error] = errors.GetValueOrDefault(error) + count;
        }

        long operations = tallies.Sum(tally => tally.Operations);
        long sent = tallies.Sum(tally => tally.BytesSent);
        long received = tallies.Sum(tally => tally.BytesReceived);
        long keysListed = tallies.Sum(tally => tally.KeysListed);
        double? serverCpu = after?.CpuSeconds - before?.CpuSeconds;
        long errorCount = errors.Values.Sum();
        return new RunReport
        {
            Label = options.Label,
            Mode = options.Mode.ToString().ToLowerInvariant(),
            SizeBytes = options.SizeBytes,
            Connections = options.Connections,
            Keys = options.Keys,
            Distinct = options.Distinct,
            Payload = options.SignsPayload ? "signed" : "unsigned",
            Seed = options.Seed,
            PreloadSeconds = Round(preloadSeconds),
            Seconds = Round(seconds),
            Operations = operations,
            OpsPerSecond = Round(operations / seconds),
            MbPerSecond = Round((sent + received) / seconds / 1e6),
            BytesSent = sent,
            BytesReceived = received,
            KeysListed = keysListed,
            KeysPerSecond = Round(keysListed / seconds),
            LatencyMeanUs = Round(latencies.Count == 0 ? 0 : latencies.SumNanoseconds / latencies.Count / 1000),
            LatencyP50Us = Round(latencies.Microseconds(0.5)),
            LatencyP90Us = Round(latencies.Microseconds(0.9)),
            LatencyP99Us = Round(latencies.Microseconds(0.99)),
            LatencyP999Us = Round(latencies.Microseconds(0.999)),
            LatencyMaxUs = Round(latencies.MaxNanoseconds / 1000.0),
            Verified = tallies.Sum(tally => tally.Verified),
            Mismatches = tallies.Sum(tally => tally.Mismatches),
            ErrorCount = errorCount,
            Errors = errors,
            Reconnects = tallies.Sum(tally => tally.Reconnects),
            GeneratorCpuSeconds = Round(generatorCpu),
            GeneratorCpuUsPerOp = Round(operations == 0 ? 0 : generatorCpu * 1e6 / operations),
            ServerCpuSeconds = serverCpu is { } cpu ? Round(cpu) : null,
            ServerCpuUsPerOp = serverCpu is { } perOp && operations > 0 ? Round(perOp * 1e6 / operations) : null,
            ServerRssBytes = after?.ResidentBytes,
            ServerRssMaxSampledBytes = after is null ? null : Math.Max(maxResident, after.Value.ResidentBytes),
            ServerPeakRssBytes = after?.PeakResidentBytes,
            Stopped = errorCount >= MaxErrors && !options.KeepGoing ? "errors" : operations + errorCount >= options.Count ? "count" : "duration",
        };
    }

    private ProcessUsage? ReadServer() => options.ServerProcessId > 0 ? ProcessUsage.Read(options.ServerProcessId) : null;

    private static double GeneratorCpuSeconds() => Environment.CpuUsage.TotalTime.TotalSeconds;

    private static long Ticks(TimeSpan time) => (long)(time.TotalSeconds * Stopwatch.Frequency);

    private static double Round(double value) => Math.Round(value, 3);
}
