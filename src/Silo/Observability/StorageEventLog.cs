using ObjectStore.Storage;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Silo.Observability;

/// <summary>Writes what the data plane tells to the log.</summary>
internal sealed class StorageEventLog(ILogger logger) : IStorageEvents
{
    public void VolumePoisoned(Guid driveId, long volumeId, Exception cause) =>
        logger.LogError(cause, "Volume {VolumeId} of drive {DriveId} failed a write or a sync; it is sealed and a new one begun", volumeId, driveId);

    public void VolumeSealed(Guid driveId, long volumeId, long lengthBytes) =>
        logger.LogDebug("Volume {VolumeId} of drive {DriveId} is sealed at {LengthBytes} bytes", volumeId, driveId, lengthBytes);

    public void VolumeDeleted(Guid driveId, long volumeId, long freedBytes) =>
        logger.LogInformation("Volume {VolumeId} of drive {DriveId} held garbage only and is deleted: {FreedBytes} bytes", volumeId, driveId, freedBytes);

    public void DriveFull(Guid driveId, long freeBytes, long headroomBytes) =>
        logger.LogError("Drive {DriveId} is full: {FreeBytes} bytes free, {HeadroomBytes} kept free; it takes no writes until there is space", driveId, freeBytes, headroomBytes);

    public void DriveHasSpaceAgain(Guid driveId, long freeBytes) =>
        logger.LogInformation("Drive {DriveId} has space again: {FreeBytes} bytes free", driveId, freeBytes);

    public void FragmentCorrupt(Guid driveId, long volumeId, long offsetBytes, ExtentId extent, int block, int shard, string reason) =>
        logger.LogError("Fragment {Extent}/{Block}/{Shard} in volume {VolumeId} of drive {DriveId} at {OffsetBytes} is corrupt: {Reason}", extent, block, shard, volumeId, driveId, offsetBytes, reason);

    public void VolumeCorrupt(Guid driveId, long volumeId, long offsetBytes, long lengthBytes) =>
        logger.LogError("Volume {VolumeId} of drive {DriveId} has {LengthBytes} damaged bytes at {OffsetBytes} where synced data was", volumeId, driveId, lengthBytes, offsetBytes);

    public void VolumeOfNewerFormat(Guid driveId, long volumeId, uint format, uint newestKnown) =>
        logger.LogError("Volume {VolumeId} of drive {DriveId} is of a newer version, format {Format}, and this build knows up to {NewestKnown}: it is left alone and its fragments cannot be read", volumeId, driveId, format, newestKnown);

    public void VolumeMissing(Guid driveId, long volumeId, long liveFragments) =>
        logger.LogError("Volume {VolumeId} of drive {DriveId} is gone, with {LiveFragments} fragments", volumeId, driveId, liveFragments);

    public void TornTailDropped(Guid driveId, long volumeId, long offsetBytes, long lengthBytes) =>
        logger.LogInformation("Volume {VolumeId} of drive {DriveId} ended in {LengthBytes} bytes at {OffsetBytes} that were never acknowledged; they are dropped", volumeId, driveId, lengthBytes, offsetBytes);

    public void TornRangeVoided(Guid driveId, long volumeId, long offsetBytes, long lengthBytes) =>
        logger.LogInformation("Volume {VolumeId} of drive {DriveId} has {LengthBytes} torn bytes at {OffsetBytes} that were never acknowledged; they are marked void", volumeId, driveId, lengthBytes, offsetBytes);

    public void IndexRebuildStarted(Guid driveId, string reason) => logger.LogWarning("The index of drive {DriveId} is rebuilt from its volumes: {Reason}", driveId, reason);

    public void IndexWriteFailed(Guid driveId, Exception cause) => logger.LogWarning(cause, "The index of drive {DriveId} could not be written; the volumes have everything", driveId);

    public void RecoveryFinished(Guid driveId, RecoveryReport report) => logger.LogInformation(
        "Drive {DriveId} is open: {Volumes} volumes, {ReplayedRecords} records and {ReplayedBytes} bytes replayed in {Duration}",
        driveId, report.Volumes, report.ReplayedRecords, report.ReplayedBytes, report.Duration);

    public void RecoveryGoesOn(string path, Guid? driveId, long steps)
        => logger.LogWarning("The start waits for the recovery of {Path}, as no other drive has come up: {Steps} volumes and records so far", path, steps);

    public void DriveSetAside(string path, Guid? driveId, string reason) => logger.LogError("The folder {Path} is not used as a drive: {Reason}", path, reason);

    public void DriveUnavailable(Guid driveId, string reason) => logger.LogError("Drive {DriveId} is left out: {Reason}", driveId, reason);

    public void DriveAvailableAgain(Guid driveId) => logger.LogInformation("Drive {DriveId} is in use again", driveId);

    public void DriveReopened(Guid driveId, string path, string? copyOf)
    {
        if (copyOf is null)
            logger.LogInformation("Drive {DriveId} is in use again, from {Path}", driveId, path);
        else
            logger.LogWarning(
                "Drive {DriveId} is in use again, from {Path}, which had been set aside while {CopyOf} had the drive: if it was not moved, {Path} is a copy that lacks what was written since it was made. Take one of the two away",
                driveId, path, copyOf, path);
    }

    public void DriveNamedTwice(Guid driveId, string usedNode, string asideNode) => logger.LogError(
        "Drive {DriveId} is on node {UsedNode} and on node {AsideNode}: one of the two is a copy. That of {UsedNode} is used, that of {AsideNode} is not. Take the copy out of its node's drives; a drive that was moved is used at its new place as soon as the former node has let go of it",
        driveId, usedNode, asideNode, usedNode, asideNode);

    public void NodeNamedTwice(string name, string usedAddress, string asideAddress) => logger.LogError(
        "The storage nodes at {UsedAddress} and {AsideAddress} are two processes, and both go by the name {Name}. The one at {UsedAddress} is used, the drives of the other are not. Give its machine another host name, or it another --data-listen port, and start it anew",
        usedAddress, asideAddress, name, usedAddress);

    public void DriveMoved(Guid driveId, string node) => logger.LogInformation("Drive {DriveId} is used by way of node {Node} now: no other has it any more", driveId, node);

    public void BlockReconstructed(ExtentId extent, int block, ShardSet missing) =>
        logger.LogDebug("Block {Block} of extent {Extent} was rebuilt for a reader without shards {Missing}", block, extent, missing);

    public void DegradedWrite(ExtentId extent, ShardSet missing) => logger.LogDebug("Extent {Extent} is stored without shards {Missing}, which repair makes", extent, missing);

    public void SchemeNarrowed(string storageClass, Scheme asked, Scheme used, int drives) =>
        logger.LogWarning("New objects of class {StorageClass} are stored as {Used} instead of {Asked} for want of drives (there are: {Drives})", storageClass, used, asked, drives);

    public void DirectIoUnavailable(Guid driveId, string path) =>
        logger.LogWarning("The file system of {Path} refuses direct I/O; writes of drive {DriveId} go through the page cache and are slower", path, driveId);
}
