using ObjectStore.Storage.Extents;

namespace ObjectStore.Storage;

/// <summary>Every error of the data plane that a caller may have to tell apart.</summary>
public abstract class StorageException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>The drive refuses writes: less than the headroom is free. Reads and deletes go on.</summary>
public sealed class DriveFullException(Guid driveId, long freeBytes, long headroomBytes)
    : StorageException($"Drive {driveId} is full: {freeBytes} bytes free, {headroomBytes} bytes are kept free.")
{
    public Guid DriveId { get; } = driveId;
    public long FreeBytes { get; } = freeBytes;
    public long HeadroomBytes { get; } = headroomBytes;
}

/// <summary>A write or a sync of the volume failed. The fragment is not stored; writing it again goes to another volume.</summary>
public sealed class VolumePoisonedException(Guid driveId, long volumeId, Exception? inner)
    : StorageException($"Volume {volumeId} of drive {driveId} failed a write or a sync and was sealed.", inner)
{
    public Guid DriveId { get; } = driveId;
    public long VolumeId { get; } = volumeId;
}

/// <summary>A volume writer met an unforeseen fault while no volume was open. The fragment is not stored; it may be written again.</summary>
public sealed class VolumeWriterException(Guid driveId, Exception inner)
    : StorageException($"A volume writer of drive {driveId} failed: {inner.Message}", inner)
{
    public Guid DriveId { get; } = driveId;
}

/// <summary>Stored bytes do not match their checksum, or cannot be read. Never the same as missing.</summary>
public sealed class FragmentCorruptException(ExtentId extent, int block, int shard, Guid driveId, long volumeId, long offsetBytes, string reason, Exception? inner = null)
    : StorageException($"Fragment {extent}/{block}/{shard} on drive {driveId}, volume {volumeId} at {offsetBytes} is corrupt: {reason}.", inner)
{
    public ExtentId Extent { get; } = extent;
    public int Block { get; } = block;
    public int Shard { get; } = shard;
    public Guid DriveId { get; } = driveId;
    public long VolumeId { get; } = volumeId;
    public long OffsetBytes { get; } = offsetBytes;
}

/// <summary>No drive of this process holds the fragment.</summary>
public sealed class FragmentMissingException(ExtentId extent, int block, int shard)
    : StorageException($"Fragment {extent}/{block}/{shard} is on no drive of this node.")
{
    public ExtentId Extent { get; } = extent;
    public int Block { get; } = block;
    public int Shard { get; } = shard;
}

/// <summary>Another process holds the drive's lock.</summary>
public sealed class DriveInUseException(string path, Exception? inner = null)
    : StorageException($"The drive folder '{path}' is in use by another process.", inner)
{
    public string Path { get; } = path;
}

/// <summary>The drive's identity file is missing, damaged, of a newer format or of another cluster.</summary>
public sealed class DriveIdentityException(string path, string reason)
    : StorageException($"The drive folder '{path}' cannot be used: {reason}")
{
    public string Path { get; } = path;
}

/// <summary>A setting of <see cref="StorageOptions"/> is out of range.</summary>
public sealed class StorageOptionsException(string setting, string value, string remedy)
    : StorageException($"Storage setting '{setting}' is '{value}': {remedy}")
{
    public string Setting { get; } = setting;
}
