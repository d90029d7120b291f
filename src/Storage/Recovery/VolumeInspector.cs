using System.Buffers.Binary;
using System.Globalization;
using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Recovery;

/// <summary>The header of a volume file, from the first of its copies that is sound.</summary>
public sealed record InspectedVolumeHeader(Guid ClusterId, Guid DriveId, long VolumeId, ulong Generation, long CapacityBytes, DateTimeOffset Created);

/// <summary>One record of a volume, decoded. Fields that its kind does not have are zero.</summary>
/// <param name="Kind">fragment, tombstone, close, void or footer.</param>
/// <param name="Intact">Whether every chunk of the payload matches its checksum. The header always does: what has a damaged one is no record.</param>
/// <param name="TombstoneEntries">Copies of fragments that a tombstone takes away.</param>
public sealed record InspectedRecord(
    long OffsetBytes, long LengthBytes, string Kind, bool Intact, ExtentId Extent, int Block, int Shard, int SchemeId, int PlacementGroup, long BucketId, ReadOnlyMemory<byte> KeyUtf8,
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
/// <param name="HeaderProblem">Null where both copies are sound.</param>
/// <param name="EndBytes">Where the log ends.</param>
/// <param name="TornBytes">Bytes behind the last intact record that are none: what a crash cut off, or what is being written at this moment.</param>
/// <param name="CorruptRegions">Bytes that are no record where synced records were.</param>
/// <param name="TornRegions">Bytes among records that were never acknowledged: writes that a crash tore, which recovery has not sealed off yet.</param>
/// <param name="Truncated">There is no footer, and the file is shorter than it was made.</param>
public sealed record VolumeInspection(
    string Path, long FileBytes, InspectedVolumeHeader? Header, string? HeaderProblem, long Records, long DamagedRecords, long EndBytes, long TornBytes,
    IReadOnlyList<(long OffsetBytes, long LengthBytes)> CorruptRegions, IReadOnlyList<(long OffsetBytes, long LengthBytes)> TornRegions, FileChecksumState FileChecksum,
    bool Truncated)
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
        bool named = long.TryParse(System.IO.Path.GetFileNameWithoutExtension(path), NumberStyles.None, CultureInfo.InvariantCulture, out long id);
        VolumeHeader? header = ReadHeader(file, named ? id : null, out string? problem);
        InspectedVolumeHeader? shown = header is null ? null : Show(header);
        onHeader(shown, problem);
        if (header is null)
            return new VolumeInspection(path, file.LengthBytes, null, problem, 0, 0, 0, 0, [], [], FileChecksumState.NotSealed, Truncated: false);

        var scanner = new VolumeScanner(file, header, window);
        var head = new byte[RecordHeader.MaxBytes];
        var footer = new byte[16];
        long footerOffset = -1, records = 0, damaged = 0;
        ScanResult result = scanner.Scan(VolumeFormat.LogStart, (pending, record, intact) =>
        {
            cancellationToken.ThrowIfCancellationRequested();
            records++;
            damaged += intact ? 0 : 1;
            if (record.Kind == RecordKind.Footer && intact && file.Read(record.Offset + record.PayloadOffset, footer, default, ReadCaching.Fill) == footer.Length)
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
        return new VolumeInspection(path, file.LengthBytes, shown, problem, records, damaged, result.EndOffset, result.TornBytes, Show(result.CorruptRegions), Show(result.Voids), checksum, truncated);
    }

    /// <summary>The header from the first of its copies that is sound, and what is wrong with either; null where neither is: without a generation no record can be told from stale bytes.</summary>
    internal static VolumeHeader? ReadHeader(ReadOnlyVolumeFile file, long? expectedId, out string? problem)
    {
        VolumeHeader? header = null;
        uint? otherFormat = null;
        int sound = 0;
        bool zeros = true;
        var page = new byte[VolumeFormat.PageBytes];
        for (int at = 0; at < VolumeFormat.LogStart; at += page.Length)
        {
            page.AsSpan().Clear();
            try
            {
                file.Read(at, page, default, ReadCaching.Fill);
            }
            catch (IOException)
            {
                // The other copy is there for this.
                zeros = false;
                continue;
            }

            zeros &= page.AsSpan().IndexOfAnyExcept((byte)0) < 0;
            otherFormat ??= VolumeHeader.OtherFormat(page);
            if (!VolumeHeader.TryDecode(page, out VolumeHeader read) || (header is not null && read != header))
                continue;
            header = read;
            sound++;
        }

        problem = header is null && file.LengthBytes < VolumeFormat.LogStart ? "the file is shorter than its header"
            : header is null && otherFormat is { } format ? $"it is of format {format}; this build reads format {VolumeHeader.FormatVersion}"
            : header is null && zeros ? "the header is all zeros: the volume was never finished"
            : header is null ? "both copies of the header are damaged, and without one no record can be read"
            : expectedId is { } id && header.VolumeId != id ? $"the file is named {id} and the header says volume {header.VolumeId}"
            : sound * VolumeFormat.PageBytes < VolumeFormat.LogStart ? "one of the two copies of the header is damaged"
            : null;
        return header;
    }

    private static List<(long OffsetBytes, long LengthBytes)> Show(IReadOnlyList<VolumeRange> ranges) => [.. ranges.Select(range => (range.Start, range.End - range.Start))];

    private static byte[] ReadKey(ReadOnlyVolumeFile file, in RecordHeader record, byte[] head)
    {
        if (record.KeyBytes == 0)
            return [];
        Span<byte> bytes = head.AsSpan(0, record.HeaderBytes);
        return file.Read(record.Offset, bytes, default, ReadCaching.Fill) == bytes.Length ? record.Key(bytes).ToArray() : [];
    }

    private static InspectedVolumeHeader Show(VolumeHeader header)
        => new(header.ClusterId, header.DriveId, header.VolumeId, header.Generation, header.CapacityBytes, Time(header.CreatedUnixMilliseconds));

    private static InspectedRecord Show(in RecordHeader record, byte[] key, bool intact, int tombstones)
        => new(
            record.Offset, record.RecordBytes, NameOf(record.Kind), intact, record.Extent, record.Block, record.Shard, record.SchemeId, record.PlacementGroup, record.BucketId, key,
            record.Version, record.PartNumber, record.PayloadBytes, record.BlockSizeBytes, record.BlockLengthBytes, Time(record.CreatedUnixMilliseconds), tombstones);

    private static string NameOf(RecordKind kind) => kind switch
    {
        RecordKind.Fragment => "fragment",
        RecordKind.Copy => "copy",
        RecordKind.Tombstone => "tombstone",
        RecordKind.Close => "close",
        RecordKind.Footer => "footer",
        RecordKind.Void => "void",
        _ => $"kind {(int)kind}",
    };

    /// <summary>A checksum says that a writer wrote it, not that its clock was sane.</summary>
    private static DateTimeOffset Time(long unixMilliseconds)
        => DateTimeOffset.FromUnixTimeMilliseconds(Math.Clamp(unixMilliseconds, 0, DateTimeOffset.MaxValue.ToUnixTimeMilliseconds()));
}
