namespace ObjectStore.LoadGenerator;

/// <summary>Derives seeds from seeds, the same in every process (HashCode.Combine is not).</summary>
public static class Seeds
{
    public static int Derive(ulong seed, params ReadOnlySpan<long> parts)
    {
        ulong value = seed;
        foreach (long part in parts)
        {
            // The finaliser of SplitMix64.
            value += (ulong)part * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019;
            value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
            value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
            value ^= value >> 31;
        }

        return (int)(value ^ (value >> 32));
    }
}
