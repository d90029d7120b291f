using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Index;

namespace ObjectStore.Storage.Compaction;

/// <summary>Which volumes are worth compacting, and how fast.</summary>
public sealed record CompactionOptions
{
    /// <summary>A volume is compacted when more than this share of its log, or of the file of one that is not written to any more, is of no use. Default 0.25: what is written again for each byte freed is at most three.</summary>
    public double GarbageRatio { get; init; } = 0.25;

    /// <summary>Bytes copied in a second; 0 has no limit. Default 64 MiB.</summary>
    public long BytesPerSecond { get; init; } = 64L << 20;

    /// <summary>Volumes emptied in one run.</summary>
    public int MaxVolumes { get; init; } = int.MaxValue;

    /// <summary>Whether volumes that are being written to are ended when they hold that much garbage. Those whose garbage is less than <see cref="MinActiveGarbageBytes"/> are not.</summary>
    public bool SealActive { get; init; } = true;

    /// <summary>
    /// Null is a sixteenth of the volume's capacity; and 64 KiB, if that is less, where nothing has been written to it for <see cref="IdleAfter"/>, or the copies of another volume would go to it and be so
    /// many that its garbage is too small a share of it. On a full drive it is always the sixteenth: a volume that takes what still fits is not ended for less.
    /// </summary>
    public long? MinActiveGarbageBytes { get; init; }

    /// <summary>As seen from one run to another. Default 30 s.</summary>
    public TimeSpan IdleAfter { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Only volumes up to this one are compacted: those that one of several runs has written are left to a later time. Null is all that are there when the run begins.</summary>
    public long? LastVolumeId { get; init; }

    /// <summary>Told of each fragment that is found damaged and stays where it is, as it is found, also by a run that fails. Called from threads of the drive; returns quickly and does not throw.</summary>
    public Action<FragmentEntry>? OnDamaged { get; init; }

    /// <exception cref="StorageOptionsException">A setting is out of range.</exception>
    public void Validate()
    {
        if (GarbageRatio is not (>= 0 and < 1))
            throw new StorageOptionsException(nameof(GarbageRatio), GarbageRatio.ToString(System.Globalization.CultureInfo.InvariantCulture), "use 0 or more and less than 1.");
        if (BytesPerSecond < 0)
            throw new StorageOptionsException(nameof(BytesPerSecond), BytesPerSecond.ToString(System.Globalization.CultureInfo.InvariantCulture), "use 0 or more.");
        if (IdleAfter < TimeSpan.Zero)
            throw new StorageOptionsException(nameof(IdleAfter), IdleAfter.ToString(), "use zero or more.");
    }
}

/// <param name="VolumesEmptied">Volumes whose live fragments have all been moved, and which are deleted.</param>
/// <param name="VolumesLeft">Volumes that keep damaged fragments until repair has replaced them.</param>
/// <param name="FreedBytes">What the deleted files took.</param>
public sealed record CompactionReport(int VolumesEmptied, int VolumesLeft, long FragmentsMoved, long BytesMoved, long FreedBytes, long CorruptFragments);

/// <summary>A volume at one moment.</summary>
/// <param name="LogBytes">Synced bytes of records and padding.</param>
/// <param name="UsefulBytes">Live records, and about what the tombstones take that are still needed.</param>
/// <param name="FileBytes">Of the file, which is preallocated while the volume is open.</param>
public sealed record VolumeInfo(long VolumeId, VolumeState State, long LogBytes, long LiveBytes, long LiveFragments, long UsefulBytes, long FileBytes)
{
    public double GarbageRatio => LogBytes == 0 ? 0 : 1 - Math.Min(1, UsefulBytes / (double)LogBytes);
}

/// <param name="ChecksumMatches">Whether a sealed volume is the one that was sealed, byte by byte; null where it is not sealed.</param>
/// <param name="BytesRead">Of the volume's log.</param>
/// <param name="Fragments">Valid fragments found intact.</param>
/// <param name="Damaged">Valid fragments that are not intact.</param>
public sealed record VolumeVerification(long VolumeId, bool? ChecksumMatches, long BytesRead, long Fragments, IReadOnlyList<FragmentEntry> Damaged);

/// <summary>Holds a background reader or writer to a rate.</summary>
internal sealed class RateLimit(long bytesPerSecond, TimeProvider time)
{
    private readonly long _began = time.GetTimestamp();
    private long _bytes;

    /// <summary>Waits until so many bytes more were due.</summary>
    public ValueTask SpendAsync(long bytes, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (bytesPerSecond == 0)
            return default;
        _bytes += bytes;
        TimeSpan ahead = TimeSpan.FromSeconds(_bytes / (double)bytesPerSecond) - time.GetElapsedTime(_began);
        return ahead > TimeSpan.FromMilliseconds(1) ? new ValueTask(Task.Delay(ahead, time, cancellationToken)) : default;
    }
}
