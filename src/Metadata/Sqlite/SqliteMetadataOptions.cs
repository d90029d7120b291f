namespace ObjectStore.Metadata.Sqlite;

/// <summary>How the embedded metadata store is opened.</summary>
public sealed class SqliteMetadataOptions
{
    /// <summary>The file name of the database in its folder.</summary>
    public const string FileName = "metadata.db";

    /// <summary>The folder of the database; made if it is not there. It belongs to one process at a time.</summary>
    public required string Directory { get; init; }

    /// <summary>
    /// The size of a database page in bytes, a power of two from 1,024 to 65,536; only a new database takes it. 4,096: every commit writes whole pages, and
    /// with keys in random order 8,192 measured a third slower.
    /// </summary>
    public int PageSizeBytes { get; init; } = 4096;

    /// <summary>How much the writer's page cache may hold, in bytes.</summary>
    public long WriterCacheBytes { get; init; } = 64L << 20;

    /// <summary>How much the page cache of each read connection may hold, in bytes.</summary>
    public long ReaderCacheBytes { get; init; } = 4L << 20;

    /// <summary>
    /// How much of the database file reads may map, in bytes; 0 reads with system calls. 0: mapping measured no faster, and a bad sector under a map
    /// kills the process where a failed read is an error of one call.
    /// </summary>
    public long MemoryMapBytes { get; init; }

    /// <summary>How many reads run at a time; further ones wait.</summary>
    public int ReadConnections { get; init; } = Math.Clamp(Environment.ProcessorCount * 2, 4, 32);

    /// <summary>How many changes may wait for the writer; further callers wait to get in.</summary>
    public int QueueCapacity { get; init; } = 4096;

    /// <summary>The write-ahead log is copied into the database from this size on, in bytes. It grows to about twice that at most.</summary>
    public long CheckpointBytes { get; init; } = 16L << 20;

    /// <summary>The database may not grow past this, in bytes; 0 for no limit but the disk.</summary>
    public long MaxDatabaseBytes { get; init; }

    /// <summary>The clock that migrations are stamped with.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Stands in for the result of a COMMIT, so that tests can see what follows a failed sync. Null runs it.</summary>
    internal Func<int?>? CommitFault { get; init; }

    /// <summary>Checks the options; the message names the setting, its value and the remedy.</summary>
    /// <exception cref="ArgumentException">One of them makes no sense.</exception>
    public void Validate()
    {
        Require(!string.IsNullOrWhiteSpace(Directory), nameof(Directory), Directory, "name a folder");
        Require(PageSizeBytes is >= 1024 and <= 65536 && int.IsPow2(PageSizeBytes), nameof(PageSizeBytes), PageSizeBytes, "use a power of two from 1024 to 65536");
        Require(WriterCacheBytes >= 1 << 20, nameof(WriterCacheBytes), WriterCacheBytes, "use 1 MiB or more");
        Require(ReaderCacheBytes >= 64 << 10, nameof(ReaderCacheBytes), ReaderCacheBytes, "use 64 KiB or more");
        Require(MemoryMapBytes >= 0, nameof(MemoryMapBytes), MemoryMapBytes, "use 0 or more");
        Require(ReadConnections is >= 1 and <= 256, nameof(ReadConnections), ReadConnections, "use 1 to 256");
        Require(QueueCapacity is >= 1 and <= 1_000_000, nameof(QueueCapacity), QueueCapacity, "use 1 to 1000000");
        Require(CheckpointBytes >= 64 << 10, nameof(CheckpointBytes), CheckpointBytes, "use 64 KiB or more");
        Require(MaxDatabaseBytes >= 0, nameof(MaxDatabaseBytes), MaxDatabaseBytes, "use 0 or more");
    }

    private static void Require(bool holds, string setting, object? value, string remedy)
    {
        if (!holds)
        {
            throw new ArgumentException($"Metadata setting {setting} is '{value}': {remedy}.");
        }
    }
}
