using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Integrity;

/// <summary>The CRC-64/NVME of each 64 KiB of a payload.</summary>
internal static class ChunkChecksums
{
    public static ulong[] Compute(ReadOnlySpan<byte> payload)
    {
        var checksums = new ulong[VolumeFormat.ChunkCount(payload.Length)];
        for (int chunk = 0; chunk < checksums.Length; chunk++)
        {
            int at = chunk * VolumeFormat.ChunkBytes;
            checksums[chunk] = Crc64Nvme.Compute(payload.Slice(at, Math.Min(VolumeFormat.ChunkBytes, payload.Length - at)));
        }

        return checksums;
    }
}
