using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;

namespace ObjectStore.Silo.Tests.Transport;

/// <summary>Fragments for tests.</summary>
internal static class Make
{
    public const int ChunkBytes = 64 << 10;

    private static long _lastExtent;

    public static ulong[] Checksums(ReadOnlySpan<byte> payload)
    {
        ulong[] checksums = new ulong[(payload.Length + ChunkBytes - 1) / ChunkBytes];
        for (int i = 0; i < checksums.Length; i++) checksums[i] = Crc64Nvme.Compute(payload[(i * ChunkBytes)..Math.Min(payload.Length, (i + 1) * ChunkBytes)]);
        return checksums;
    }

    public static byte[] Bytes(int length)
    {
        byte[] bytes = new byte[length];
        new Random(length).NextBytes(bytes);
        return bytes;
    }

    /// <summary>One copy of a block of this length, of an extent of its own.</summary>
    public static FragmentWrite Copy(int lengthBytes, int group = 0x1_0003) => Of(Bytes(lengthBytes), group);

    public static FragmentWrite Of(byte[] payload, int group = 0x1_0003)
    {
        ExtentId id = new(new UInt128(0x0190_0000_0000_7000, (ulong)Interlocked.Increment(ref _lastExtent)));
        ExtentDescriptor descriptor = new(id, group, 7, "a/key ä"u8.ToArray(), new UInt128(1, 2), 9);
        return new FragmentWrite(descriptor, Scheme.SingleCopy, 1 << 20, 0, payload.Length, 0, payload, Checksums(payload));
    }

    public static FragmentAddress Address(FragmentWrite fragment) => new(fragment.Key, fragment.Descriptor.PlacementGroup, fragment.Scheme, fragment.Payload.Length);
}
