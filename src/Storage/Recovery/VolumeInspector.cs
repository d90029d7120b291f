using System.Buffers.Binary;
using System.Globalization;
using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Recovery;

/// <summary>The first page of a volume file, decoded.</summary>
public sealed record InspectedVolumeHeader(Guid ClusterId, Guid DriveId, long VolumeId, ulong Generation, long CapacityBytes, DateTimeOffset Created);

/// <summary>One record of a volume, decoded. Fields that its kind does not have are zero.</summary>
/// <param name="Kind">fragment, tombstone, close or footer.</param>
/// <param name="Intact">Whether every chunk of the payload matches its checksum. The header always does: what has a damaged one is no record.</param>
/// <param name="TombstoneEntries">Copies of fragments that a tombstone takes away.</param>
public sealed record InspectedRecord(
    long OffsetBytes, long LengthBytes, string Kind, bool Intact, long Sequence, ExtentId Extent, int Block, int Shard, int SchemeId, int PlacementGroup, long BucketId, ReadOnlyMemory<byte> KeyUtf8,
    UInt128 Version, int PartNumber, int PayloadBytes, int BlockSizeBytes, int BlockLengthBytes, DateTimeOffset Created, int TombstoneEntries);

/// <summary>Whether the checksum in a volume's footer is that of the file.</summary>
public enum FileChecksumState
{
    /// <summary>The volume has no footer: it is open, or was not closed in order.</summary>
    NotSealed,
    Matches,
    Mismatch,
}

/// <summary>What there is in a volume file.</summary>
/// <param name="Header">Null where it is damaged.</param>
/// <param name="HeaderProblem">Null where it is sound.</param>
/// <param name="EndBytes">Where the log ends.</param>
/// <param name="TornBytes">Bytes behind the last intact record that are none: what a crash cut off, or what is being written at this moment.</param>
/// <param name="CorruptRegions">Bytes that are no record where synced records were.</param>
/// <param name="Truncated">There is no footer, and the file is shorter than it was made.</param>
public sealed record VolumeInspection(
    string Path, long FileBytes, InspectedVolumeHeader? Header, string? HeaderProblem, long Records, long DamagedRecords, long EndBytes, long TornBytes,
    IReadOnlyList<(long OffsetBytes, long LengthBytes)> CorruptRegions, FileChecksumState FileChecksum, bool Truncated)
{
    public bool IsDamaged => HeaderProblem is not null || DamagedRecords > 0 || CorruptRegions.Count > 0 || FileChecksum == FileChecksumState.Mismatch || Truncated;
}

/// <summary>
/// Reads a volume file from end to end for people and never changes it. It believes what recovery believes, by the same scanner, and needs neither the drive nor its lock: a volume that a
/// store appends to shows a torn end at worst.
/// </summary>
public static class VolumeInspector
{
    private const int WindowBytes = 4 << 20;

    /// <summary>Reads the file in windows of 4 MiB, and once more for its checksum where it is sealed.</summary>
    /// <param name="onHeader">Called first, with the header or null, and what is wrong with it or null.</param>
    /// <param name="onRecord">Called for each record in the order of the file.</param>
    /// <exception cref="IOException">It cannot be opened. Pages that cannot be read are damage, not an error.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be read.</exception>
    public static VolumeInspection Inspect(string path, Action<InspectedVolumeHeader?, string?> onHeader, Action<InspectedRecord> onRecord, CancellationToken cancellationToken = default)
    {
        using var file = new ReadOnlyVolumeFile(path);
        using var window = new AlignedBuffer(WindowBytes);
        VolumeHeader? header = ReadHeader(file, path, window, out string? problem);
        InspectedVolumeHeader? shown = problem is null || header?.CreatedUnixMilliseconds > 0 ? Show(header!) : null;
        onHeader(shown, problem);
        if (header is null)
            return new VolumeInspection(path, file.LengthBytes, null, problem, 0, 0, 0, 0, [], FileChecksumState.NotSealed, Truncated: false);

        var scanner = new VolumeScanner(file, header, window);
        var head = new byte[RecordHeader.MaxBytes];
        var footer = new byte[32];
        long footerOffset = -1, records = 0, damaged = 0;
        ScanResult result = scanner.Scan(VolumeFormat.PageBytes, 0, (pending, record, intact) =>
        {
            cancellationToken.ThrowIfCancellationRequested();
            records++;
            damaged += intact ? 0 : 1;
            if (record.Kind == RecordKind.Footer && intact && file.Read(record.Offset + record.PayloadOffset, footer, default, onlyIfCached: false) == footer.Length)
                footerOffset = record.Offset;
            onRecord(Show(record, ReadKey(file, record, head), intact, pending.Tombstones?.Length ?? 0));
        });

        FileChecksumState checksum = FileChecksumState.NotSealed;
        if (footerOffset >= 0)
        {
            cancellationToken.ThrowIfCancellationRequested();
            bool matches = BinaryPrimitives.ReadInt64LittleEndian(footer.AsSpan(8)) == footerOffset
                && BinaryPrimitives.ReadUInt64LittleEndian(footer) == scanner.Checksum(0, 0, footerOffset);
            checksum = matches ? FileChecksumState.Matches : FileChecksumState.Mismatch;
        }

        bool truncated = !result.Sealed && file.LengthBytes < header.CapacityBytes;
        return new VolumeInspection(path, file.LengthBytes, shown, problem, records, damaged, result.EndOffset, result.TornBytes, result.CorruptRegions, checksum, truncated);
    }

    /// <summary>The header, or one made from the first record where the header is damaged; null where neither can be read.</summary>
    private static VolumeHeader? ReadHeader(ReadOnlyVolumeFile file, string path, AlignedBuffer window, out string? problem)
    {
        Span<byte> page = window.GetSpan()[..VolumeFormat.PageBytes];
        bool named = long.TryParse(System.IO.Path.GetFileNameWithoutExtension(path), NumberStyles.None, CultureInfo.InvariantCulture, out long id);
        bool read;
        try
        {
            read = file.Read(0, page, default, onlyIfCached: false) == page.Length;
        }
        catch (IOException)
        {
            read = false;
        }

        if (read && VolumeHeader.TryDecode(page, out VolumeHeader header))
        {
            problem = named && header.VolumeId != id ? $"the file is named {id} and the header says volume {header.VolumeId}" : null;
            return header;
        }

        problem = file.LengthBytes < VolumeFormat.PageBytes ? "the file is shorter than a header"
            : page.IndexOfAnyExcept((byte)0) < 0 ? "the header is all zeros: the volume was never finished"
            : VolumeHeader.OtherFormat(page) is { } format ? $"it is of format {format}; this build reads format {VolumeHeader.FormatVersion}"
            : "the header is damaged";
        if (!named || VolumeHeader.OtherFormat(page) is not null || !VolumeScanner.TryFindAnyRecord(file, id, window, out RecordHeader record))
            return null;
        problem += "; its records are read all the same";
        return new VolumeHeader(Guid.Empty, Guid.Empty, id, record.Generation, file.LengthBytes, 0);
    }

    private static byte[] ReadKey(ReadOnlyVolumeFile file, in RecordHeader record, byte[] head)
    {
        if (record.KeyBytes == 0)
            return [];
        Span<byte> bytes = head.AsSpan(0, record.HeaderBytes);
        return file.Read(record.Offset, bytes, default, onlyIfCached: false) == bytes.Length ? record.Key(bytes).ToArray() : [];
    }

    private static InspectedVolumeHeader Show(VolumeHeader header)
        => new(header.ClusterId, header.DriveId, header.VolumeId, header.Generation, header.CapacityBytes, Time(header.CreatedUnixMilliseconds));

    private static InspectedRecord Show(in RecordHeader record, byte[] key, bool intact, int tombstones)
        => new(
            record.Offset, record.RecordBytes, NameOf(record.Kind), intact, record.Sequence, record.Extent, record.Block, record.Shard, record.SchemeId, record.PlacementGroup, record.BucketId, key,
            record.Version, record.PartNumber, record.PayloadBytes, record.BlockSizeBytes, record.BlockLengthBytes, Time(record.CreatedUnixMilliseconds), tombstones);

    private static string NameOf(RecordKind kind) => kind switch
    {
        RecordKind.Fragment => "fragment",
        RecordKind.Tombstone => "tombstone",
        RecordKind.Close => "close",
        RecordKind.Footer => "footer",
        _ => $"kind {(int)kind}",
    };

    /// <summary>A checksum says that a writer wrote it, not that its clock was sane.</summary>
    private static DateTimeOffset Time(long unixMilliseconds)
        => DateTimeOffset.FromUnixTimeMilliseconds(Math.Clamp(unixMilliseconds, 0, DateTimeOffset.MaxValue.ToUnixTimeMilliseconds()));
}
