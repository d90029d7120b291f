using System.Diagnostics;
using System.Text.Json;

namespace ObjectStore.Benchmarks;

/// <summary>The outcome of one benchmark, as the JSON line on stdout.</summary>
public sealed record BenchmarkResult(
    string Name, double NanosecondsPerOperation, double NanosecondsMin, double NanosecondsMax, double OperationsPerSecond, double? MbPerSecond,
    double BytesAllocatedPerOperation, long OperationsPerSample, int Samples)
{
    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    /// <summary>The JSON line, without the line end.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, Json);
}

/// <summary>
/// Measures by Stopwatch: warms up until tiered compilation has settled, then takes samples of equal length and reports their median. Allocation is that
/// of the whole process, so work on other threads counts.
/// </summary>
public sealed class Harness(TimeSpan warmup, TimeSpan sample, int samples)
{
    /// <summary>Measures one benchmark.</summary>
    public BenchmarkResult Measure(Benchmark benchmark)
    {
        benchmark.Setup();
        try
        {
            long operations = 1;
            double perOperation = 0;
            long start = Stopwatch.GetTimestamp();
            while (Stopwatch.GetElapsedTime(start) < warmup)
            {
                perOperation = Time(benchmark, operations) / operations;
                operations = Math.Clamp((long)(sample.TotalSeconds / Math.Max(perOperation, 1e-10)), 1, operations * 10);
            }

            double[] seconds = new double[samples];
            long allocated = GC.GetTotalAllocatedBytes(precise: true);
            for (int i = 0; i < samples; i++) seconds[i] = Time(benchmark, operations) / operations;
            allocated = GC.GetTotalAllocatedBytes(precise: true) - allocated;
            Array.Sort(seconds);
            double median = seconds[samples / 2];
            return new BenchmarkResult(
                benchmark.Name, Nanoseconds(median), Nanoseconds(seconds[0]), Nanoseconds(seconds[^1]), Math.Round(1 / median),
                benchmark.BytesPerOperation > 0 ? Math.Round(benchmark.BytesPerOperation / median / 1e6, 1) : null,
                Math.Round(allocated / (double)(operations * samples), 1), operations, samples);
        }
        finally
        {
            benchmark.Cleanup();
        }
    }

    private static double Time(Benchmark benchmark, long operations)
    {
        long start = Stopwatch.GetTimestamp();
        benchmark.Run(operations);
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    private static double Nanoseconds(double seconds) => Math.Round(seconds * 1e9, 2);
}
