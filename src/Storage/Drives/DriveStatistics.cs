namespace ObjectStore.Storage.Drives;

public enum DriveState
{
    Healthy,

    /// <summary>Refuses writes until space returns.</summary>
    Full,

    /// <summary>Volumes have been poisoned since the drive was opened; it still takes writes.</summary>
    Degraded,
    Closed,

    /// <summary>The drive's folder is gone or cannot be read; capacity and free space are unknown and reported as 0.</summary>
    Unavailable,
}

/// <summary>A drive at one moment. LiveBytes + GarbageBytes is what records occupy; the rest of the volumes is preallocated room.</summary>
public sealed record DriveStatistics(
    Guid DriveId,
    string Path,
    DriveState State,
    long CapacityBytes,
    long FreeBytes,
    long LiveBytes,
    long GarbageBytes,
    long LiveFragments,
    int Volumes,
    int SealedVolumes,
    int PoisonedVolumes,
    long QueuedBytes)
{
    /// <summary>What the volumes' logs take with headers and with the padding of each synced batch to whole pages; compaction packs it. 0 where it is not known.</summary>
    public long LogBytes { get; init; }
}
