namespace ObjectStore.Storage.Drives;

/// <summary>
/// A folder of volume files and the drive's identity: the seam at which a simulated drive takes the place of a real one. Errors are
/// <see cref="IOException"/>; no space is <see cref="NoSpaceException"/>.
/// </summary>
internal interface IDrive : IDisposable
{
    string Path { get; }

    /// <summary>Where the index database goes; null keeps it in memory.</summary>
    string? IndexPath { get; }

    long CapacityBytes { get; }

    long FreeBytes { get; }

    byte[]? ReadIdentity();

    /// <summary>Atomic and durable.</summary>
    void WriteIdentity(ReadOnlySpan<byte> content);

    /// <summary>Writes a small file, syncs it, reads it back and deletes it.</summary>
    /// <exception cref="IOException">One of the steps failed, or other bytes came back.</exception>
    void Probe(ReadOnlySpan<byte> content);

    IReadOnlyList<long> ListVolumes();

    /// <summary>Makes a volume file of the given size, reading as zeros. The name is durable when this returns.</summary>
    IVolumeFile CreateVolume(long volumeId, long sizeBytes);

    IVolumeFile OpenVolume(long volumeId);

    /// <summary>Durable when this returns. Readers that have the file open may go on reading.</summary>
    void DeleteVolume(long volumeId);
}

/// <summary>Aligned native memory that a volume writer hands to the drive.</summary>
internal readonly record struct VolumeSegment(nint Address, int LengthBytes);

/// <summary>What a read has to do with the page cache.</summary>
internal enum ReadCaching
{
    /// <summary>Through it; what was not there is there afterwards.</summary>
    Fill,

    /// <summary>From it or not at all: does not wait for the drive.</summary>
    Only,

    /// <summary>As <see cref="Only"/>, and where they are not all there nothing is read ahead: for bytes that are to leave no trace, as with <see cref="Bypass"/>.</summary>
    IfPresent,

    /// <summary>
    /// Past it, unless all the bytes are there, and where file and memory allow: whole pages into memory, and from an offset, aligned to 4,096 bytes. The rest goes through it. For bytes that nobody will want again soon:
    /// they would push out others, and read cold the cache costs a core for each 0.8 GB/s (docs/performance.md).
    /// </summary>
    Bypass,

    /// <summary>Past it whatever is there, where file and memory allow as above: what the medium says, not what was once read from it. For verification.</summary>
    Medium,
}

/// <summary>One volume file. Reads are thread-safe; writes come from one thread.</summary>
internal interface IVolumeFile : IDisposable
{
    long LengthBytes { get; }

    /// <summary>False where writes go through the page cache in any case.</summary>
    bool DirectIo { get; }

    /// <summary>Writes the segments one after another from <paramref name="offset"/>; all aligned to 4,096 bytes. All or an exception.</summary>
    /// <param name="throughCache">Leave the bytes in the page cache, for fragments likely to be read soon.</param>
    void Write(long offset, ReadOnlySpan<VolumeSegment> segments, bool throughCache);

    void Sync();

    void Truncate(long lengthBytes);

    /// <summary>
    /// Reads <paramref name="first"/> and then <paramref name="second"/> from consecutive bytes. Returns the bytes read, short only at the end of the file; −1
    /// with <see cref="ReadCaching.Only"/> and <see cref="ReadCaching.IfPresent"/> where not all the bytes are in memory.
    /// </summary>
    int Read(long offset, Span<byte> first, Span<byte> second, ReadCaching caching);

    /// <summary>
    /// Called before recovery reads from <paramref name="offset"/> to the end. Pages of preallocated room that are in memory count as data in
    /// <see cref="NextData"/>; so they are dropped, and until <see cref="EndScan"/> nothing is read ahead, or looking for the end of the log would read the whole file.
    /// </summary>
    void BeginScan(long offset);

    void EndScan();

    /// <summary>The first offset not below <paramref name="offset"/> that may hold something else than zeros; the length where there is none.</summary>
    long NextData(long offset);
}

internal sealed class NoSpaceException(string message) : IOException(message);
