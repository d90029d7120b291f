using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Placement;

namespace ObjectStore.Storage.Extents;

/// <summary>
/// What makes fragments self-describing: written into every fragment's record, so that indexes and metadata can be recovered
/// from volumes. The memory of <paramref name="KeyUtf8"/> must stay unchanged until the write completes.
/// </summary>
/// <param name="PlacementGroup">Chosen by the store when the scheme is known; callers leave it 0.</param>
/// <param name="KeyUtf8">At most 1,024 bytes.</param>
/// <param name="PartNumber">0 to 65,535; 0 where the object has no parts.</param>
public sealed record ExtentDescriptor(ExtentId Id, int PlacementGroup, long BucketId, ReadOnlyMemory<byte> KeyUtf8, UInt128 Version, int PartNumber)
{
    public const int MaxKeyBytes = 1024;

    /// <summary>Names the schemes of a new extent; see <see cref="SchemePolicy"/>. Not stored with the fragments.</summary>
    public string StorageClass { get; init; } = SchemePolicy.Standard;
}

/// <summary>All that metadata keeps of an extent: primitives only, no drive and no volume.</summary>
public sealed record ExtentLayout(ExtentId Id, int PlacementGroup, int SchemeId, int BlockSizeBytes, long LengthBytes)
{
    /// <summary>An extent of no bytes still has one block, of length zero: its record describes it.</summary>
    public int BlockCount => LengthBytes == 0 ? 1 : checked((int)((LengthBytes + BlockSizeBytes - 1) / BlockSizeBytes));
}

/// <summary>
/// The data plane as one process sees it: extents in, extents out. Thread-safe. Of every block of an acknowledged write the quorum of its scheme has been synced to as many drives, and
/// what lacks has been recorded durably for repair.
/// Errors, all <see cref="StorageException"/>: of writes <see cref="WriteQuorumException"/>, and <see cref="DriveFullException"/> where that is all that keeps it from the quorum; of
/// reads <see cref="ExtentLostException"/> and <see cref="ExtentUnavailableException"/>; of deletes <see cref="DriveUnavailableException"/>; <see cref="BuffersBusyException"/> and, where
/// the cluster map is too old, or not known at all, and no newer one can be had, <see cref="PlacementUnavailableException"/> of all.
/// </summary>
public interface IExtentStore : IAsyncDisposable
{
    IClusterMap ClusterMap { get; }

    ExtentIdFactory Ids { get; }

    /// <summary>Begins an extent whose bytes arrive as a stream.</summary>
    /// <param name="expectedLengthBytes">A hint that sizes the buffer; the extent may end up longer or shorter.</param>
    /// <exception cref="PlacementUnavailableException">No map is known yet, or it has no drive that takes writes.</exception>
    IExtentWriter CreateExtent(ExtentDescriptor descriptor, long? expectedLengthBytes = null);

    /// <summary>
    /// Writes a whole extent, durably. The caller owns <paramref name="bytes"/> and must leave it unchanged until the task
    /// completes. Cancelled, the extent is abandoned.
    /// </summary>
    ValueTask<ExtentLayout> WriteAsync(ExtentDescriptor descriptor, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken = default);

    /// <summary>Opens [offsetBytes, offsetBytes + lengthBytes) of an extent. Nothing is read yet.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The range leaves the extent.</exception>
    IExtentReader OpenRead(ExtentLayout layout, long offsetBytes, long lengthBytes);

    /// <summary>
    /// The short way for an extent that is one chunk: fills <paramref name="destination"/>, which must hold at least
    /// LengthBytes, without blocking and without an allocation. False where the extent is longer than one chunk or its bytes are not in
    /// memory, or where anything is amiss with them: use <see cref="OpenRead"/> then, which finds another way or says what is wrong.
    /// </summary>
    bool TryReadSmall(ExtentLayout layout, Span<byte> destination);

    /// <summary>Deletes an extent, durably, from every drive that the map names for it. Idempotent: an extent that is not there is deleted.</summary>
    /// <exception cref="DriveUnavailableException">A drive did not answer and may still have fragments; to be tried again.</exception>
    ValueTask DeleteAsync(ExtentLayout layout, CancellationToken cancellationToken = default);

    /// <summary>One entry a drive of this process.</summary>
    IReadOnlyList<DriveStatistics> GetStatistics();
}

/// <summary>
/// Takes the bytes of one extent. Used by one caller at a time. The pattern: GetMemory, fill, Advance, FlushIfFullAsync, repeat;
/// then CompleteAsync. Disposed without completion the extent is abandoned: never visible, its bytes are garbage.
/// </summary>
public interface IExtentWriter : IAsyncDisposable
{
    /// <summary>Bytes taken so far.</summary>
    long LengthBytes { get; }

    /// <summary>
    /// The rest of the current shard's buffer, one byte or more. Call <see cref="FlushIfFullAsync"/> after every Advance: a
    /// full block has no room.
    /// </summary>
    Memory<byte> GetMemory();

    void Advance(int bytes);

    /// <summary>
    /// Hands a full block to its drives, and takes the next buffer. Completes at once while neither is due; waits where too many
    /// blocks of this extent are on their way, or buffers are short. Throws when an earlier block of this extent has failed.
    /// </summary>
    ValueTask FlushIfFullAsync(CancellationToken cancellationToken = default);

    /// <summary>The quorum of every block is on disk, synced, when this returns, and what lacks is recorded. After an exception only disposal is allowed.</summary>
    ValueTask<ExtentLayout> CompleteAsync(CancellationToken cancellationToken = default);
}

/// <summary>
/// Reads one range of one extent, in order. Used by one caller at a time. Bytes are verified against their chunk's CRC before
/// they are handed out.
/// </summary>
public interface IExtentReader : IAsyncDisposable
{
    /// <summary>Bytes of the range not yet handed out.</summary>
    long RemainingBytes { get; }

    /// <summary>
    /// Fills as much of <paramref name="destination"/> as is ready; 0 at the end of the range. With 64 KiB or more of room the bytes are read
    /// straight into it, with less they are copied through a chunk buffer. Completes synchronously where the bytes are in the page cache.
    /// On an exception the content of <paramref name="destination"/> is undefined and must not be sent.
    /// </summary>
    /// <exception cref="ExtentLostException">Every drive answered, and too few fragments are intact.</exception>
    /// <exception cref="ExtentUnavailableException">Too few fragments can be read now.</exception>
    ValueTask<int> ReadAsync(Memory<byte> destination, CancellationToken cancellationToken = default);

    /// <summary>
    /// The next verified bytes in a buffer of the reader's, up to one shard; empty at the end of the range. Valid until the next call on
    /// this reader. What is not in memory comes through the kernel's readahead.
    /// </summary>
    ValueTask<ReadOnlyMemory<byte>> ReadNextAsync(CancellationToken cancellationToken = default);
}
