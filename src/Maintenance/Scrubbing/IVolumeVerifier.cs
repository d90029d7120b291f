using ObjectStore.Storage.Fragments;

namespace ObjectStore.Maintenance.Scrubbing;

/// <summary>A sealed volume of a drive.</summary>
public readonly record struct SealedVolume(long VolumeId, long LengthBytes);

/// <summary>What a sealed volume's file was found to be.</summary>
/// <param name="IsIntact">Whether all of its bytes match the checksum it was sealed with.</param>
/// <param name="BytesRead">Bytes read to say so.</param>
/// <param name="Problem">What is wrong, for people; null where nothing is.</param>
public readonly record struct VolumeVerdict(bool IsIntact, long BytesRead, string? Problem)
{
    /// <summary>Live fragments in it that are damaged; null is none.</summary>
    public IReadOnlyList<FragmentEntry>? Damaged { get; init; }
}

/// <summary>
/// A drive whose sealed volumes have a file checksum: it covers what the fragments' checksums do not, such as records that were deleted since and room between them. Thread-safe.
/// </summary>
public interface IVolumeVerifier
{
    /// <summary>By id, ascending.</summary>
    IReadOnlyList<SealedVolume> ListSealedVolumes();

    /// <summary>Reads a volume's file and compares it with its checksum. Null where there is no such volume any more, or it is sealed no longer.</summary>
    /// <param name="pace">Awaited after so many bytes were read, with their number.</param>
    ValueTask<VolumeVerdict?> VerifyVolumeAsync(long volumeId, Func<long, CancellationToken, ValueTask> pace, CancellationToken cancellationToken = default);
}
