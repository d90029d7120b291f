using System.Numerics;

namespace ObjectStore.Storage.Repair;

/// <summary>How clients fare, for whoever works in the background.</summary>
public interface IForegroundLatency
{
    /// <summary>The 99th percentile of the newest thousand requests or so, none older than some seconds; null where too few came to say.</summary>
    TimeSpan? GetP99();
}

/// <summary>
/// Durations of client requests over the last seconds, kept by the quarter of a second. <see cref="Record"/> costs an interlocked increment and takes no lock; the percentile is within a
/// quarter of the true one, up to four and a half minutes. Thread-safe.
/// </summary>
/// <param name="leastRequests">Fewer than these in the window have no percentile.</param>
public sealed class ForegroundLoad(TimeProvider time, int leastRequests = ForegroundLoad.LeastRequests) : IForegroundLatency
{
    /// <summary>Seconds that the percentile covers at most.</summary>
    public const int WindowSeconds = 5;

    /// <summary>Fewer requests than this in the window say nothing about the hundredth of them that is slowest.</summary>
    public const int LeastRequests = 50;

    /// <summary>So many requests say enough: what is older than them is left out, so that a change shows at once where there are many.</summary>
    public const int EnoughRequests = 1000;

    private const int SlotsPerSecond = 4;

    // Buckets: microseconds, four to each doubling.
    private const int BucketBits = 2;
    private const int Buckets = 28 << BucketBits;

    // One more than the window: the newest is being filled.
    private readonly Slot[] _slots = [.. Enumerable.Range(0, (WindowSeconds * SlotsPerSecond) + 1).Select(_ => new Slot())];

    public void Record(TimeSpan duration)
    {
        long now = SlotNow();
        Slot slot = _slots[now % _slots.Length];
        if (Volatile.Read(ref slot.Number) != now)
            slot.BeginAs(now);
        Interlocked.Increment(ref slot.Counts[BucketOf(duration)]);
    }

    /// <inheritdoc/>
    public TimeSpan? GetP99()
    {
        Span<long> counts = stackalloc long[Buckets];
        counts.Clear();
        long now = SlotNow(), total = 0;
        for (long number = now; number > now - _slots.Length && number >= 0 && total < EnoughRequests; number--)
        {
            Slot slot = _slots[number % _slots.Length];
            if (Volatile.Read(ref slot.Number) != number)
                continue;
            for (int i = 0; i < Buckets; i++)
            {
                long count = Volatile.Read(ref slot.Counts[i]);
                counts[i] += count;
                total += count;
            }
        }

        if (total < leastRequests)
            return null;
        long above = total / 100;
        int bucket = Buckets - 1;
        for (long seen = counts[bucket]; seen <= above && bucket > 0; seen += counts[bucket])
            bucket--;
        return UpperBound(bucket);
    }

    private static int BucketOf(TimeSpan duration)
    {
        ulong micros = (ulong)Math.Max(0, duration.Ticks / TimeSpan.TicksPerMicrosecond);
        if (micros < 1 << BucketBits)
            return (int)micros;
        int exponent = BitOperations.Log2(micros);
        return Math.Min(Buckets - 1, ((exponent - BucketBits + 1) << BucketBits) | (int)(micros >> (exponent - BucketBits) & ((1 << BucketBits) - 1)));
    }

    private static TimeSpan UpperBound(int bucket)
    {
        if (bucket < 1 << BucketBits)
            return TimeSpan.FromMicroseconds(bucket + 1);
        int exponent = (bucket >> BucketBits) + BucketBits - 1;
        long part = (1 << BucketBits) | (bucket & ((1 << BucketBits) - 1));
        return TimeSpan.FromMicroseconds((part + 1) << (exponent - BucketBits));
    }

    private long SlotNow() => time.GetTimestamp() / (time.TimestampFrequency / SlotsPerSecond);

    private sealed class Slot
    {
        public readonly int[] Counts = new int[Buckets];
        public long Number = -1;
        private const long Wiping = long.MaxValue;

        /// <summary>Counts that others add while the old ones are wiped may be lost: the percentile can do without them.</summary>
        public void BeginAs(long number)
        {
            long before = Volatile.Read(ref Number);
            if (before >= number || Interlocked.CompareExchange(ref Number, Wiping, before) != before)
                return;
            Array.Clear(Counts);
            Volatile.Write(ref Number, number); // only now: under its number nobody reads the counts of a slot of long ago
        }
    }
}
