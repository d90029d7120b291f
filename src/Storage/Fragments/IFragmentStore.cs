using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Storage.Fragments;

/// <summary>One fragment to store.</summary>
/// <param name="BlockSizeBytes">Data bytes of each block of the extent but the last.</param>
/// <param name="BlockLengthBytes">Data bytes of this block; the payload has <see cref="Scheme.ShardBytes"/> of it.</param>
/// <param name="Payload">At most 1 MiB. Page-aligned memory is written from where it is.</param>
/// <param name="ChunkChecksums">CRC-64/NVME of each 64 KiB of the payload, made where the bytes came in, so that nothing on the way can change them unnoticed.</param>
public readonly record struct FragmentWrite(
    ExtentDescriptor Descriptor, Scheme Scheme, int BlockSizeBytes, int Block, int BlockLengthBytes, int Shard, ReadOnlyMemory<byte> Payload, ReadOnlyMemory<ulong> ChunkChecksums)
{
    public FragmentKey Key => new(Descriptor.Id, Block, (ushort)Shard);
}

/// <summary>What must be true of a fragment that is read: its record is checked against it, and another record in its place is corruption.</summary>
public readonly record struct FragmentAddress(FragmentKey Key, int PlacementGroup, Scheme Scheme, int PayloadBytes);

/// <summary>A fragment as a drive's index lists it.</summary>
public readonly record struct FragmentEntry(FragmentKey Key, int PlacementGroup, ushort SchemeId, int PayloadBytes);

/// <summary>All that a fragment's record says of it.</summary>
public sealed record FragmentDetails(
    FragmentKey Key, ExtentDescriptor Descriptor, Scheme Scheme, int BlockSizeBytes, int BlockLengthBytes, int PayloadBytes, DateTimeOffset Created);

/// <summary>
/// Where a write went; <see cref="IFragmentStore.SyncAsync"/> takes it. Meaningful to the store that made it, while that is open: another opening of the drive calls nothing durable on its word.
/// </summary>
/// <param name="Generation">Of the volume, and of the opening of the drive.</param>
public readonly record struct FragmentTicket(long VolumeId, ulong Generation, long EndOffset);

/// <summary>Fragments in key order. <paramref name="Next"/> goes into the next call; null at the end.</summary>
public sealed record FragmentPage(IReadOnlyList<FragmentEntry> Entries, FragmentKey? Next);

/// <summary>
/// One drive as the data plane sees it, in this process or another. Thread-safe.
///
/// Errors, all <see cref="StorageException"/>: <see cref="DriveFullException"/> and <see cref="VolumePoisonedException"/> of writes; <see cref="FragmentCorruptException"/> and
/// <see cref="FragmentMissingException"/> of reads; <see cref="DriveUnavailableException"/> where the drive, or the way to it, does not answer.
/// Cancellation is honoured until an operation is queued at the drive, and of a question (stat, list, statistics) until it is answered; memory that was passed stays in use until the task completes,
/// however it does.
/// A local drive that is given up while it hangs may keep a pin on such memory for longer: where its owner honours pins (<see cref="Buffers.AlignedBuffer"/>), and only there.
/// </summary>
public interface IFragmentStore : IAsyncDisposable
{
    Guid DriveId { get; }

    /// <summary>False while the drive is known not to answer: its node is away. One of this process that does not answer is in no directory.</summary>
    bool IsReachable => true;

    /// <summary>Whether the drive is in this process, so that reads may be tried without blocking.</summary>
    bool IsLocal { get; }

    /// <summary>
    /// Stores a fragment. With <paramref name="sync"/> it is durable when the task completes; without, it is written, and durable once
    /// <see cref="SyncAsync"/> has taken its ticket. A fragment that is there already is replaced by the new copy, which has the same bytes.
    /// </summary>
    ValueTask<FragmentTicket> WriteAsync(FragmentWrite fragment, bool sync, CancellationToken cancellationToken = default);

    /// <summary>Everything the tickets stand for is durable when this completes; <see cref="VolumePoisonedException"/> where any of it is lost.</summary>
    ValueTask SyncAsync(ReadOnlyMemory<FragmentTicket> tickets, CancellationToken cancellationToken = default);

    /// <summary>
    /// Fills <paramref name="destination"/> with the payload from <paramref name="offsetBytes"/>, verified against its chunks' checksums. The offset is a multiple of 64 KiB; the
    /// length is one too or reaches the payload's end exactly. On an exception the content of the destination is undefined.
    /// </summary>
    ValueTask ReadAsync(FragmentAddress address, int offsetBytes, Memory<byte> destination, CancellationToken cancellationToken = default);

    /// <summary>As <see cref="ReadAsync"/>, for bytes that nobody will want again soon: what is in memory is taken from there, and the rest pushes nothing out of it.</summary>
    ValueTask ReadOnceAsync(FragmentAddress address, int offsetBytes, Memory<byte> destination, CancellationToken cancellationToken = default)
        => ReadAsync(address, offsetBytes, destination, cancellationToken);

    /// <summary>As <see cref="ReadAsync"/>, without blocking and without an allocation. False where the bytes are not in this process's reach at once. Throws as ReadAsync does.</summary>
    bool TryRead(FragmentAddress address, int offsetBytes, Span<byte> destination);

    /// <summary>What the fragment's record says; null where there is no such fragment. Verifies the record's header, not the payload.</summary>
    ValueTask<FragmentDetails?> StatAsync(FragmentKey key, CancellationToken cancellationToken = default);

    /// <summary>Deletes fragments, durably. Idempotent: what is not there is deleted.</summary>
    ValueTask DeleteAsync(ReadOnlyMemory<FragmentKey> keys, CancellationToken cancellationToken = default);

    /// <summary>
    /// Lists fragments in key order, those of <paramref name="groups"/> (null: all), behind <paramref name="after"/> (null: from the start), at most <paramref name="maxEntries"/>.
    /// A fragment that was durable when the listing began and is not deleted meanwhile is listed.
    /// </summary>
    ValueTask<FragmentPage> ListAsync(IReadOnlySet<int>? groups, FragmentKey? after, int maxEntries, CancellationToken cancellationToken = default);

    ValueTask<DriveStatistics> GetStatisticsAsync(CancellationToken cancellationToken = default);
}

/// <summary>The drives that can be reached from here. Thread-safe; the set changes as drives come and go.</summary>
public interface IFragmentStoreDirectory
{
    /// <summary>Null where the drive cannot be reached from here.</summary>
    IFragmentStore? Find(Guid driveId);

    IReadOnlyCollection<IFragmentStore> All { get; }
}
