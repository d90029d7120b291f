using System.Buffers.Binary;
using System.Globalization;

namespace ObjectStore.Storage.Extents;

/// <summary>
/// Names the stored bytes of one part. Time-ordered (the layout of a UUIDv7: 48 bits of Unix milliseconds, then random), so
/// that inserts in a drive's index and in metadata are local. Never reused, and never derived from what a client sends.
/// </summary>
public readonly record struct ExtentId(UInt128 Value) : IComparable<ExtentId>
{
    public const int SizeBytes = 16;

    /// <summary>When the id was made, in Unix milliseconds.</summary>
    public long CreatedUnixMs => (long)(ulong)(Value >> 80);

    /// <summary>The least id that is made at this time: every one made before it is less.</summary>
    public static ExtentId FirstAt(DateTimeOffset time) => new((UInt128)(ulong)Math.Max(0, time.ToUnixTimeMilliseconds()) << 80);

    public int CompareTo(ExtentId other) => Value.CompareTo(other.Value);

    /// <summary>Big-endian, so that byte order is time order.</summary>
    public void WriteTo(Span<byte> destination) => BinaryPrimitives.WriteUInt128BigEndian(destination, Value);

    public static ExtentId ReadFrom(ReadOnlySpan<byte> source) => new(BinaryPrimitives.ReadUInt128BigEndian(source));

    public override string ToString() => Value.ToString("x32", CultureInfo.InvariantCulture);

    public static bool TryParse(ReadOnlySpan<char> text, out ExtentId id)
    {
        bool parsed = UInt128.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out UInt128 value) && text.Length == 32;
        id = new ExtentId(value);
        return parsed;
    }
}

/// <summary>Makes extent ids. Thread-safe. Ids made in one process ascend strictly even within one millisecond.</summary>
/// <param name="time">The clock; when it steps back the last millisecond seen is kept.</param>
/// <param name="nextRandom">64 random bits a call; called under the factory's lock, so it need not be thread-safe itself.</param>
public sealed class ExtentIdFactory(TimeProvider time, Func<ulong> nextRandom)
{
    private readonly Lock _lock = new();
    private long _lastMilliseconds;
    private uint _counter;

    public ExtentId Next()
    {
        lock (_lock)
        {
            long now = Math.Max(time.GetUtcNow().ToUnixTimeMilliseconds(), _lastMilliseconds);
            ulong random = nextRandom();
            if (now != _lastMilliseconds)
            {
                _lastMilliseconds = now;
                _counter = (uint)(random & 0x3FF);
            }
            else if (++_counter > 0xFFF)
            {
                _lastMilliseconds = ++now;
                _counter = 0;
            }

            ulong upper = ((ulong)now << 16) | 0x7000 | _counter;
            ulong lower = 0x8000_0000_0000_0000 | (nextRandom() >> 2);
            return new ExtentId(new UInt128(upper, lower));
        }
    }
}
