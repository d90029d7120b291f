namespace ObjectStore.Storage.Volumes;

/// <summary>Unsigned LEB128: seven bits a byte, lowest first, the high bit says that more follow. One form for each number: no padding.</summary>
internal static class Varint
{
    public const int MaxBytes = 10;

    public static int Measure(ulong value)
    {
        int bytes = 1;
        while ((value >>= 7) != 0)
            bytes++;
        return bytes;
    }

    public static int Write(Span<byte> destination, ulong value)
    {
        int at = 0;
        while (value >= 0x80)
        {
            destination[at++] = (byte)(value | 0x80);
            value >>= 7;
        }

        destination[at++] = (byte)value;
        return at;
    }

    /// <summary>False where the bytes end early, or are no number of 64 bits.</summary>
    public static bool TryRead(ReadOnlySpan<byte> source, ref int at, out ulong value)
    {
        value = 0;
        for (int shift = 0; shift < 70 && at < source.Length; shift += 7)
        {
            byte next = source[at++];
            if (shift == 63 && next > 1)
                return false;
            value |= (ulong)(next & 0x7F) << shift;
            if (next < 0x80)
                return next != 0 || shift == 0;
        }

        return false;
    }
}
