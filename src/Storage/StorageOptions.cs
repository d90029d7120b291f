using ObjectStore.Storage.Extents;

namespace ObjectStore.Storage;

/// <summary>Settings of the data plane. Validated when the store opens.</summary>
public sealed class StorageOptions
{
    /// <summary>The folders of this node's drives, one or more. A folder that does not exist is made.</summary>
    public IReadOnlyList<string> DrivePaths { get; init; } = [];

    /// <summary>The cluster this node belongs to. A drive of another cluster is refused. Null takes the drives' own, or a new one.</summary>
    public Guid? ClusterId { get; init; }

    /// <summary>Whether an empty folder may become a new drive. Off, an unmounted drive is refused instead of found empty.</summary>
    public bool FormatNewDrives { get; init; } = true;

    /// <summary>Default 4 GiB: few files for a drive of tens of terabytes, and quick to compact.</summary>
    public long VolumeSizeBytes { get; init; } = 4L << 30;

    /// <summary>Which scheme a new extent gets, by storage class and length. It is narrowed to the drives there are.</summary>
    public SchemePolicy Schemes { get; init; } = SchemePolicy.Default;

    /// <summary>Bytes of an extent per block where it is stored in copies; a multiple of 64 KiB up to 1 MiB. Default 1 MiB, at which O_DIRECT writes reach the drive's rate.</summary>
    public int BlockSizeBytes { get; init; } = 1 << 20;

    /// <summary>
    /// Bytes of each shard of an erasure-coded block, which so has k times this; a multiple of 64 KiB up to 1 MiB. Default 512 KiB: long enough for the drive's rate, and a block of
    /// k + m shards still fits a core's caches in parts.
    /// </summary>
    public int ShardSizeBytes { get; init; } = 512 << 10;

    /// <summary>Volume writers of each drive. 0 is one per core, at most 4.</summary>
    public int WritersPerDrive { get; init; }

    /// <summary>Blocks of one extent on their way to the drive at once.</summary>
    public int MaxBlocksInFlightPerExtent { get; init; } = 4;

    /// <summary>
    /// Bytes of buffers that all writers of extents hold together, those on their way to drives included, before further ones wait. The first shard of each extent comes on top,
    /// and one block.
    /// </summary>
    public long WriteBufferBytes { get; init; } = 512L << 20;

    /// <summary>Bytes of buffers that repair holds at once.</summary>
    public long RepairBufferBytes { get; init; } = 128L << 20;

    /// <summary>How long a request waits for buffers before it is told to come again.</summary>
    public TimeSpan BufferPatience { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Bytes of buffers on their way to one drive at which writes do without it, where it has four times as many as the others and the quorum can be reached without it.</summary>
    public long DriveBacklogBytes { get; init; } = 64L << 20;

    /// <summary>Age of a drive's oldest unanswered operation at which it counts as hanging: writes do without it where they can, reads try it last.</summary>
    public TimeSpan SlowDriveAfter { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>How long a drive that failed to answer is left alone before one operation tries it again.</summary>
    public TimeSpan DriveProbeInterval { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>The longest that a write which has its quorum waits for the fragments that lag; usually twice what 95 % of writes take. What is late then is handed to repair.</summary>
    public TimeSpan WriteLinger { get; init; } = TimeSpan.FromMilliseconds(500);

    /// <summary>How long a write waits for its quorum, and a delete for each drive.</summary>
    public TimeSpan WriteTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How long a read waits for a block when every other way has been tried.</summary>
    public TimeSpan ReadTimeout { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>A read is hedged when it takes longer than this times the 95th percentile of the drive's latest reads.</summary>
    public double HedgeFactor { get; init; } = 3;

    /// <summary>No read is hedged sooner.</summary>
    public TimeSpan HedgeFloor { get; init; } = TimeSpan.FromMilliseconds(20);

    /// <summary>Bytes waiting for one writer before callers wait.</summary>
    public long WriterQueueBytes { get; init; } = 32L << 20;

    /// <summary>Bytes of block buffers that readers hold at once before further ones wait.</summary>
    public long ReadBufferBytes { get; init; } = 256L << 20;

    /// <summary>
    /// Bytes of buffers that reads hold beyond <see cref="ReadBufferBytes"/> for what they read in place of fragments that are late, missing or damaged. While there is no room for more, one that is
    /// late is waited for, and what is missing has its turn.
    /// </summary>
    public long SubstituteBufferBytes { get; init; } = 128L << 20;

    /// <summary>Free space never used for volumes. Null is the larger of 256 MiB and 1 % of the drive, kept for index and compaction.</summary>
    public long? HeadroomBytes { get; init; }

    /// <summary>Index entries held in memory before they are written. The hard bound is four times this.</summary>
    public int IndexFlushEntries { get; init; } = 32 * 1024;

    /// <summary>Bytes appended to volumes before the index is brought up to date: bounds what recovery reads.</summary>
    public long IndexFlushBytes { get; init; } = 64L << 20;

    /// <summary>The longest the index lags behind.</summary>
    public TimeSpan IndexFlushInterval { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Fragment locations kept in memory per drive for reads. About 120 bytes each.</summary>
    public int LocationCacheEntries { get; init; } = 128 * 1024;

    /// <summary>Placement groups of each width of the cluster map. Fixed for the life of a cluster.</summary>
    public int PlacementGroups { get; init; } = Placement.MapPlanner.DefaultGroupCount;

    /// <summary>Whether volumes are written with O_DIRECT where the file system allows it.</summary>
    public bool DirectIo { get; init; } = true;

    /// <exception cref="StorageOptionsException">A setting is out of range.</exception>
    public void Validate()
    {
        Require(DrivePaths.Count > 0, nameof(DrivePaths), "(empty)", "name at least one folder.");
        Require(DrivePaths.Select(Path.GetFullPath).Distinct().Count() == DrivePaths.Count, nameof(DrivePaths), string.Join(", ", DrivePaths), "name each folder once.");
        Require(BlockSizeBytes is >= 64 << 10 and <= 1 << 20 && BlockSizeBytes % (64 << 10) == 0, nameof(BlockSizeBytes), BlockSizeBytes, "use a multiple of 65536 up to 1048576.");
        Require(VolumeSizeBytes >= BlockSizeBytes + (64 << 10) && VolumeSizeBytes % 4096 == 0, nameof(VolumeSizeBytes), VolumeSizeBytes, "use a multiple of 4096 that holds a block and 64 KiB more.");
        Require(WritersPerDrive is >= 0 and <= 64, nameof(WritersPerDrive), WritersPerDrive, "use 0 to 64.");
        Require(MaxBlocksInFlightPerExtent is >= 1 and <= 64, nameof(MaxBlocksInFlightPerExtent), MaxBlocksInFlightPerExtent, "use 1 to 64.");
        ValidateExtents();
        Require(WriterQueueBytes >= 2 << 20, nameof(WriterQueueBytes), WriterQueueBytes, "use 2097152 or more.");
        Require(ReadBufferBytes >= 2 << 20, nameof(ReadBufferBytes), ReadBufferBytes, "use 2097152 or more.");
        Require(SubstituteBufferBytes >= 0, nameof(SubstituteBufferBytes), SubstituteBufferBytes, "use 0 or more.");
        Require(HeadroomBytes is null or >= 0, nameof(HeadroomBytes), HeadroomBytes ?? 0, "use 0 or more.");
        Require(IndexFlushEntries >= 1, nameof(IndexFlushEntries), IndexFlushEntries, "use 1 or more.");
        Require(IndexFlushBytes >= 1, nameof(IndexFlushBytes), IndexFlushBytes, "use 1 or more.");
        Require(IndexFlushInterval > TimeSpan.Zero, nameof(IndexFlushInterval), IndexFlushInterval, "use more than zero.");
        Require(LocationCacheEntries >= 16, nameof(LocationCacheEntries), LocationCacheEntries, "use 16 or more.");
        Require(PlacementGroups is >= 1 and <= 1 << 16, nameof(PlacementGroups), PlacementGroups, "use 1 to 65536.");
    }

    /// <summary>Only the settings of the extent store; for one that is given its drives.</summary>
    internal void ValidateExtents()
    {
        Require(ShardSizeBytes is >= 64 << 10 and <= 1 << 20 && ShardSizeBytes % (64 << 10) == 0, nameof(ShardSizeBytes), ShardSizeBytes, "use a multiple of 65536 up to 1048576.");
        Require(WriteBufferBytes >= 2 << 20, nameof(WriteBufferBytes), WriteBufferBytes, "use 2097152 or more.");
        Require(RepairBufferBytes >= 2 << 20, nameof(RepairBufferBytes), RepairBufferBytes, "use 2097152 or more.");
        Require(BufferPatience > TimeSpan.Zero, nameof(BufferPatience), BufferPatience, "use more than zero.");
        Require(DriveBacklogBytes >= 1 << 20, nameof(DriveBacklogBytes), DriveBacklogBytes, "use 1048576 or more.");
        Require(SlowDriveAfter > TimeSpan.Zero, nameof(SlowDriveAfter), SlowDriveAfter, "use more than zero.");
        Require(DriveProbeInterval > TimeSpan.Zero, nameof(DriveProbeInterval), DriveProbeInterval, "use more than zero.");
        Require(WriteLinger >= TimeSpan.Zero && WriteLinger < WriteTimeout, nameof(WriteLinger), WriteLinger, "use zero or more, and less than WriteTimeout.");
        Require(WriteTimeout > TimeSpan.Zero && WriteTimeout <= TimeSpan.FromHours(1), nameof(WriteTimeout), WriteTimeout, "use more than zero, up to an hour.");
        Require(ReadTimeout > TimeSpan.Zero && ReadTimeout <= TimeSpan.FromHours(1), nameof(ReadTimeout), ReadTimeout, "use more than zero, up to an hour.");
        Require(HedgeFactor is >= 1 and <= 1000, nameof(HedgeFactor), HedgeFactor, "use 1 to 1000.");
        Require(HedgeFloor > TimeSpan.Zero, nameof(HedgeFloor), HedgeFloor, "use more than zero.");
    }

    private static void Require(bool holds, string setting, object value, string remedy)
    {
        if (!holds)
            throw new StorageOptionsException(setting, Convert.ToString(value, System.Globalization.CultureInfo.InvariantCulture) ?? "", remedy);
    }
}
