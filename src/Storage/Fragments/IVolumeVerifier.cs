using ObjectStore.Storage.Compaction;

namespace ObjectStore.Storage.Fragments;

/// <summary>A sealed volume of a drive.</summary>
/// <param name="LengthBytes">Of its log: what a verification reads.</param>
public readonly record struct SealedVolume(long VolumeId, long LengthBytes);

/// <summary>
/// A drive whose sealed volumes have a file checksum: it covers what the fragments' checksums do not, such as records that were deleted since and room between them. Thread-safe.
/// Errors are those of <see cref="IFragmentStore"/>.
/// </summary>
public interface IVolumeVerifier
{
    /// <summary>By id, ascending. None where the drive's node is of a build that cannot verify them.</summary>
    ValueTask<IReadOnlyList<SealedVolume>> ListSealedVolumesAsync(CancellationToken cancellationToken = default);

    /// <summary>
    /// Reads a whole volume: a sealed one is compared, as it is on the medium, with the checksum in its footer, and in any case each record with its own checksums. Damaged fragments that are valid
    /// are listed and, where the drive is, reported by <see cref="IStorageEvents.FragmentCorrupt"/>.
    /// </summary>
    /// <param name="bytesPerSecond">Reads no faster than this; 0 has no limit.</param>
    /// <returns>Null where there is no such volume.</returns>
    ValueTask<VolumeVerification?> VerifyVolumeAsync(long volumeId, long bytesPerSecond = 0, CancellationToken cancellationToken = default);
}
