using ObjectStore.Maintenance.Compaction;
using ObjectStore.Maintenance.Repair;
using ObjectStore.Maintenance.Scrubbing;
using ObjectStore.Storage.Compaction;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Index;

namespace ObjectStore.Maintenance;

/// <summary>Compacts a drive of this process one volume at a time, so that the pace is kept between volumes.</summary>
/// <param name="drive">The drive.</param>
/// <param name="damage">Told of what is found damaged, durably, before the next step; null where nobody here can repair it, and the scrub finds it.</param>
public sealed class LocalDriveCompaction(LocalFragmentStore drive, FoundDamage? damage = null) : ICompactableDrive
{
    // Of more the scrub tells.
    private const int MaxDamaged = 65_536;

    public Guid DriveId => drive.DriveId;

    /// <inheritdoc/>
    public async ValueTask<CompactionResult> CompactAsync(double minimumGarbageRatio, Func<long, CancellationToken, ValueTask> pace, CancellationToken cancellationToken = default)
    {
        var damaged = new List<FragmentEntry>();
        Storage.Compaction.CompactionOptions options = new()
        {
            GarbageRatio = minimumGarbageRatio,
            BytesPerSecond = 0,
            MaxVolumes = 1,
            LastVolumeId = drive.ListVolumes().Max(volume => (long?)volume.VolumeId),
            OnDamaged = entry =>
            {
                lock (damaged)
                {
                    if (damaged.Count < MaxDamaged)
                        damaged.Add(entry);
                }
            },
        };
        CompactionResult total = default;
        while (true)
        {
            CompactionReport report;
            try
            {
                report = await drive.CompactAsync(options, cancellationToken).ConfigureAwait(false);
            }
            finally
            {
                // Also of a run that failed: it does not look at the same volume again before its fragments have changed.
                if (damaged.Count > 0 && damage is not null)
                    await damage.TellAsync(DriveId, damaged, CancellationToken.None).ConfigureAwait(false);
                damaged.Clear();
            }

            total = new CompactionResult(total.Volumes + report.VolumesEmptied, total.CopiedBytes + report.BytesMoved, total.FreedBytes + report.FreedBytes);
            if (report.VolumesEmptied == 0)
                return total;
            await pace(report.BytesMoved, cancellationToken).ConfigureAwait(false);
        }
    }
}

/// <summary>Verifies the volumes of a drive of this process.</summary>
/// <param name="bytesPerSecond">The rate at the moment a volume is begun; null is no limit.</param>
internal sealed class LocalVolumeVerifier(LocalFragmentStore drive, Func<double?> bytesPerSecond) : IVolumeVerifier
{
    /// <inheritdoc/>
    public IReadOnlyList<SealedVolume> ListSealedVolumes()
        => [.. drive.ListVolumes().Where(volume => volume.State == VolumeState.Sealed).OrderBy(volume => volume.VolumeId).Select(volume => new SealedVolume(volume.VolumeId, volume.LogBytes))];

    /// <summary>Keeps the rate by itself; the pace hears nothing.</summary>
    public async ValueTask<VolumeVerdict?> VerifyVolumeAsync(long volumeId, Func<long, CancellationToken, ValueTask> pace, CancellationToken cancellationToken = default)
    {
        long rate = bytesPerSecond() is { } limit ? Math.Max(1, (long)limit) : 0;
        if (await drive.VerifyVolumeAsync(volumeId, rate, cancellationToken).ConfigureAwait(false) is not { ChecksumMatches: { } matches } verification)
            return null;
        bool intact = matches && verification.Damaged.Count == 0;
        return new VolumeVerdict(
            intact, verification.BytesRead, intact ? null : matches ? $"{verification.Damaged.Count} fragments are damaged" : $"it is not what was sealed; {verification.Damaged.Count} live fragments are damaged")
        {
            Damaged = verification.Damaged,
        };
    }
}
