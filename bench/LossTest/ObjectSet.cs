using ObjectStore.LoadGenerator;

namespace ObjectStore.LossTest;

/// <summary>The objects that stay: key, length and bytes all follow from the seed.</summary>
public sealed class ObjectSet(ulong seed, int count)
{
    public int Count => count;

    public string KeyOf(int index) => $"stay/{index:d6}";

    public ulong StreamOf(int index) => seed * 0x9E3779B97F4A7C15 + (ulong)index * 2 + 1;

    /// <summary>6 in 10 up to 16 KiB, a quarter up to 128 KiB, then up to 1 MiB and up to 4 MiB; some empty.</summary>
    public long SizeOf(int index)
    {
        Random random = new(Seeds.Derive(seed, index));
        int limit = random.Next(100) switch { < 2 => 1, < 60 => 16 << 10, < 85 => 128 << 10, < 97 => 1 << 20, _ => 4 << 20 };
        return random.Next(limit);
    }
}
