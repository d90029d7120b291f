using ObjectStore.Maintenance.Repair;
using ObjectStore.Storage.Compaction;
using ObjectStore.Storage.Fragments;

namespace ObjectStore.Maintenance.Compaction;

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
        IReadOnlyList<VolumeInfo> volumes = await drive.ListVolumesAsync(cancellationToken).ConfigureAwait(false);
        Storage.Compaction.CompactionOptions options = new()
        {
            GarbageRatio = minimumGarbageRatio,
            BytesPerSecond = 0,
            MaxVolumes = 1,
            LastVolumeId = volumes.Max(volume => (long?)volume.VolumeId),
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
                    await damage.TellAsync(damaged, CancellationToken.None).ConfigureAwait(false);
                damaged.Clear();
            }

            total = new CompactionResult(total.Volumes + report.VolumesEmptied, total.CopiedBytes + report.BytesMoved, total.FreedBytes + report.FreedBytes);
            if (report.VolumesEmptied == 0)
                return total;
            await pace(report.BytesMoved, cancellationToken).ConfigureAwait(false);
        }
    }
}
