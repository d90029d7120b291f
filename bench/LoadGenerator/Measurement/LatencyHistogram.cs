using System.Diagnostics;
using System.Numerics;

namespace ObjectStore.LoadGenerator.Measurement;

/// <summary>
/// Counts durations in buckets whose width is 1/128 of their value, so that every quantile is right to 0.8 % from a nanosecond to hours, in 58 KiB.
/// Source: the layout of HdrHistogram. Not thread-safe; one per connection, merged at the end.
/// </summary>
public sealed class LatencyHistogram
{
    private const int SubBits = 7;
    private const int SubBuckets = 1 << SubBits;

    private static readonly double NanosecondsPerTick = 1e9 / Stopwatch.Frequency;

    private readonly long[] _counts = new long[(64 - SubBits + 1) * SubBuckets];

    /// <summary>How many durations were counted.</summary>
    public long Count { get; private set; }

    /// <summary>The longest, in nanoseconds.</summary>
    public long MaxNanoseconds { get; private set; }

    /// <summary>The sum, in nanoseconds.</summary>
    public double SumNanoseconds { get; private set; }

    /// <summary>Counts one duration, given in Stopwatch ticks.</summary>
    public void Record(long stopwatchTicks)
    {
        long nanoseconds = Math.Max(0, (long)(stopwatchTicks * NanosecondsPerTick));
        _counts[Bucket((ulong)nanoseconds)]++;
        Count++;
        SumNanoseconds += nanoseconds;
        if (nanoseconds > MaxNanoseconds) MaxNanoseconds = nanoseconds;
    }

    /// <summary>Adds another histogram's counts.</summary>
    public void Add(LatencyHistogram other)
    {
        for (int i = 0; i < _counts.Length; i++) _counts[i] += other._counts[i];
        Count += other.Count;
        SumNanoseconds += other.SumNanoseconds;
        MaxNanoseconds = Math.Max(MaxNanoseconds, other.MaxNanoseconds);
    }

    /// <summary>The duration, in microseconds, that a share of <paramref name="quantile"/> (0–1) does not exceed.</summary>
    public double Microseconds(double quantile)
    {
        if (Count == 0) return 0;
        long rank = Math.Max(1, (long)Math.Ceiling(quantile * Count));
        long seen = 0;
        for (int i = 0; i < _counts.Length; i++)
        {
            seen += _counts[i];
            if (seen >= rank) return Math.Min(UpperBound(i), MaxNanoseconds) / 1000.0;
        }

        return MaxNanoseconds / 1000.0;
    }

    private static int Bucket(ulong value)
    {
        int shift = Math.Max(0, 63 - SubBits - BitOperations.LeadingZeroCount(value));
        return (shift * SubBuckets) + (int)(value >> shift);
    }

    private static double UpperBound(int bucket)
    {
        int shift = Math.Max(0, (bucket / SubBuckets) - 1);
        return ((double)(bucket - (shift * SubBuckets)) + 1) * Math.Pow(2, shift) - 1;
    }
}
