using System.Buffers.Binary;

namespace ObjectStore.LoadGenerator.Content;

/// <summary>
/// Random bytes with random access: word n of a stream is SplitMix64 of the stream's id and n, so any range can be made, and compared, by itself.
/// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
/// </summary>
public static class RandomContent
{
    private const ulong Golden = 0x9E3779B97F4A7C15;

    /// <summary>The finaliser of SplitMix64.</summary>
    public static ulong Mix(ulong value)
    {
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
        return value ^ (value >> 31);
    }

    /// <summary>Fills <paramref name="destination"/> with the stream's bytes from <paramref name="offset"/>, a multiple of 8.</summary>
    public static void Fill(ulong stream, long offset, Span<byte> destination)
    {
        ulong state = Mix(stream + Golden) + (ulong)(offset / 8) * Golden;
        while (destination.Length >= 8)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(destination, Mix(state));
            state += Golden;
            destination = destination[8..];
        }

        ulong last = Mix(state);
        for (int i = 0; i < destination.Length; i++) destination[i] = (byte)(last >> (8 * i));
    }
}
