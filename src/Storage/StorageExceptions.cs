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

/// <summary>What is known of why a drive is not available.</summary>
public enum DriveUnavailableCause
{
    Unknown,

    /// <summary>Its node answers, and has no room for more requests of this kind.</summary>
    NoRoom,

    /// <summary>There is no answer from it or its node, and others that ask get none either.</summary>
    NoAnswer,
}

/// <summary>The drive does not answer: it hangs, fails its input and output, was set aside, or its node cannot be reached. Nothing is said of what it holds.</summary>
public sealed class DriveUnavailableException(Guid driveId, string reason, Exception? inner = null)
    : StorageException($"Drive {driveId} is not available: {reason}.", inner)
{
    public Guid DriveId { get; } = driveId;

    public DriveUnavailableCause Cause { get; init; }
}

/// <summary>
/// Fewer fragments than the write quorum could be made durable. Nothing is acknowledged; what was written is garbage. The cause is the first drive's error.
/// </summary>
public sealed class WriteQuorumException(ExtentId extent, int durable, int quorum, Exception? cause)
    : StorageException($"Only {durable} fragments of extent {extent} could be stored; {quorum} are needed.", cause)
{
    public ExtentId Extent { get; } = extent;
}

/// <summary>Fewer than k fragments of a block can be read at this moment, because drives do not answer. The extent is not lost; the read may be tried again.</summary>
public sealed class ExtentUnavailableException(ExtentId extent, int block, int readable, int needed, Exception? cause)
    : StorageException($"Block {block} of extent {extent} cannot be read now: {readable} of the {needed} fragments needed can be reached.", cause)
{
    public ExtentId Extent { get; } = extent;
    public int Block { get; } = block;
}

/// <summary>Every drive answered, and fewer than k fragments of a block are intact: its bytes are lost. The causes are the fragments' errors.</summary>
public sealed class ExtentLostException(ExtentId extent, int block, int intact, int needed, Exception? cause)
    : StorageException($"Block {block} of extent {extent} is lost: {intact} of the {needed} fragments needed are intact.", cause)
{
    public ExtentId Extent { get; } = extent;
    public int Block { get; } = block;
}

/// <summary>The cluster map has no groups for an extent, and its owner does not give them now: it cannot be reached, or has no drive that takes writes. Nothing is lost; try again.</summary>
public sealed class PlacementUnavailableException(string reason, Exception? inner = null)
    : StorageException($"The cluster map has no placement groups for this extent yet: {reason}.", inner);

/// <summary>All buffers of the data plane have been in use for too long: there are more requests than memory. Try again later.</summary>
public sealed class BuffersBusyException(long capacityBytes)
    : StorageException($"All {capacityBytes} bytes of buffers are in use.");

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
