using ObjectStore.Storage.Extents;

namespace ObjectStore.Storage;

/// <summary>
/// What the data plane tells its host. Called from writer, index and request threads: implementations return quickly and do not throw.
/// </summary>
public interface IStorageEvents
{
    void VolumePoisoned(Guid driveId, long volumeId, Exception cause) { }
    void VolumeSealed(Guid driveId, long volumeId, long lengthBytes) { }
    void VolumeDeleted(Guid driveId, long volumeId, long freedBytes) { }
    void DriveFull(Guid driveId, long freeBytes, long headroomBytes) { }
    void DriveHasSpaceAgain(Guid driveId, long freeBytes) { }
    void FragmentCorrupt(Guid driveId, long volumeId, long offsetBytes, ExtentId extent, int block, int shard, string reason) { }

    /// <summary>
    /// Recovery met damaged bytes where the log says synced data was, or with intact records behind them; or compaction could not read all tombstones of the volume, then told of its whole log.
    /// </summary>
    void VolumeCorrupt(Guid driveId, long volumeId, long offsetBytes, long lengthBytes) { }

    /// <summary>A volume was written by a newer build. It is left alone and its fragments cannot be read; the drive's other volumes serve.</summary>
    void VolumeOfNewerFormat(Guid driveId, long volumeId, uint format, uint newestKnown) { }

    /// <summary>A volume's file that the index knows is gone. Its fragments are missing.</summary>
    void VolumeMissing(Guid driveId, long volumeId, long liveFragments) { }

    /// <summary>Recovery dropped bytes behind the last intact record of a volume.</summary>
    void TornTailDropped(Guid driveId, long volumeId, long offsetBytes, long lengthBytes) { }

    /// <summary>Recovery passed over bytes that are no intact record, with intact ones behind them, where nothing says that they had been synced: a write that was torn before it was acknowledged.</summary>
    void TornRangeVoided(Guid driveId, long volumeId, long offsetBytes, long lengthBytes) { }
    void IndexRebuildStarted(Guid driveId, string reason) { }

    /// <summary>The index could not be written, or not be read where a synced change needed it; in the latter case it is rebuilt at the next start. Volumes are not touched.</summary>
    void IndexWriteFailed(Guid driveId, Exception cause) { }

    /// <summary>The start waits for the recovery of this drive, as no other has come up.</summary>
    /// <param name="steps">Volumes and records looked at so far.</param>
    void RecoveryGoesOn(string path, Guid? driveId, long steps) { }
    void RecoveryFinished(Guid driveId, RecoveryReport report) { }

    /// <summary>A folder that was named as a drive is not used; the others are.</summary>
    void DriveSetAside(string path, Guid? driveId, string reason) { }

    /// <summary>A drive that was in use does not answer or keeps failing; it is left out until it answers again.</summary>
    void DriveUnavailable(Guid driveId, string reason) { }
    void DriveAvailableAgain(Guid driveId) { }

    /// <summary>A drive of this process is in use again.</summary>
    /// <param name="path">The folder that it is served from now.</param>
    /// <param name="copyOf">The folder that had the drive when this one was set aside as a second with it; null where it was not. Either the drive has moved, or this is a copy and may be behind.</param>
    void DriveReopened(Guid driveId, string path, string? copyOf) { }

    /// <summary>Two nodes that answer have one drive, so that one of them has a copy; that of <paramref name="asideNode"/> is not used.</summary>
    void DriveNamedTwice(Guid driveId, string usedNode, string asideNode) { }

    /// <summary>Two nodes that answer are two processes and go by one name; the one at <paramref name="asideAddress"/> is not used.</summary>
    void NodeNamedTwice(string name, string usedAddress, string asideAddress) { }

    /// <summary>The drive of a node that had been set aside as a copy is used: no other names it any more.</summary>
    void DriveMoved(Guid driveId, string node) { }

    /// <summary>A block was rebuilt for a reader from other shards.</summary>
    void BlockReconstructed(ExtentId extent, int block, ShardSet missing) { }

    /// <summary>An extent reached its quorum without these shards, which repair will make.</summary>
    void DegradedWrite(ExtentId extent, ShardSet missing) { }

    /// <summary>New extents of a storage class get a narrower scheme than asked for, since there are too few drives.</summary>
    void SchemeNarrowed(string storageClass, Scheme asked, Scheme used, int drives) { }

    /// <summary>The drive's file system refuses O_DIRECT; writes go through the page cache.</summary>
    void DirectIoUnavailable(Guid driveId, string path) { }
}

/// <summary>What opening a drive found.</summary>
public sealed record RecoveryReport(int Volumes, long ReplayedRecords, long ReplayedBytes, long CorruptRegions, long TornBytes, bool RebuiltIndex, TimeSpan Duration)
{
    /// <summary>Records of fragments among those replayed, also of ones that a tombstone has taken away since.</summary>
    public long Fragments { get; init; }

    /// <summary>Records of tombstones among those replayed.</summary>
    public long Tombstones { get; init; }
}

public sealed class NoStorageEvents : IStorageEvents
{
    public static NoStorageEvents Instance { get; } = new();
}
