using ObjectStore.Storage.Integrity;

namespace ObjectStore.Storage.Fragments;

/// <summary>The checksums that go with a payload. For payloads that were made or verified in this process: what comes from outside brings its own.</summary>
public static class FragmentChecksums
{
    /// <summary>CRC-64/NVME of each 64 KiB of the payload; the last chunk may be shorter, and a payload of no bytes has none.</summary>
    public static ulong[] Of(ReadOnlySpan<byte> payload) => ChunkChecksums.Compute(payload);
}
