using System.Buffers.Binary;
using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Recovery;

/// <param name="EndOffset">Where the log ends: page-aligned, after the last record kept.</param>
/// <param name="TornBytes">Bytes after the end that are no intact record.</param>
/// <param name="Sealed">A footer ends the volume.</param>
/// <param name="CorruptRegions">Synced, as the log says, and no record.</param>
/// <param name="Voids">Neither synced, as far as the log says, nor intact, with intact records behind them: torn writes.</param>
internal sealed record ScanResult(long EndOffset, long Records, long TornBytes, bool Sealed, IReadOnlyList<VolumeRange> CorruptRegions, IReadOnlyList<VolumeRange> Voids);

/// <summary>
/// Reads a volume's records from a checkpoint to its end, verifying headers and payloads.
///
/// A record is only believed where it says it is: volume id, generation and offset are part of its checksum, so neither stale bytes nor a copy of a volume stored as
/// an object is taken for one. Whatever lies below the highest DurableBelow seen had been synced, so bytes there that are no record are corruption, reported and
/// stepped over; unless a void record says that an earlier recovery found them torn. Every intact record is kept, also behind a gap: it may have been acknowledged with the last batch, and
/// where it was not, it is only an orphan. A gap, or a damaged payload, that nothing proves to have been synced is torn: void. What follows the last intact record is a torn end, and
/// the log ends before it.
///
/// What the drive cannot read may have been acknowledged whatever the log proves: it is corruption, its records are kept where their headers can be read, and the log ends behind it, so that
/// nothing is ever written over it.
/// </summary>
internal sealed class VolumeScanner(IVolumeFile file, VolumeHeader header, AlignedBuffer window, ReadCaching caching = ReadCaching.Fill, int triesPerPage = 1)
{
    /// <summary>How often recovery tries a page that cannot be read: what it gives up is not in the index from then on. Others come again.</summary>
    public const int RecoveryTries = 3;

    private const int MaxPageRetries = 64;

    private readonly SortedSet<long> _unreadable = []; // offsets of pages
    private int _pageRetries;
    private long _windowStart;
    private int _windowBytes;

    /// <param name="keep">Called for each record kept: the intact ones in order, then those that were synced but whose payload no longer matches.</param>
    public ScanResult Scan(long start, Action<PendingRecord, RecordHeader, bool> keep)
    {
        long length = file.LengthBytes;
        long durableBelow = start;
        long position = start;
        long end = start;
        long records = 0;
        long tailEnd = start; // the end of the last bytes that are not zero
        bool sealedByFooter = false;
        var damaged = new List<(PendingRecord Record, RecordHeader Header)>();
        var gaps = new List<VolumeRange>();
        var known = new List<VolumeRange>(); // voids of an earlier recovery

        while (position < length)
        {
            if (TryReadRecord(position, length, out RecordHeader record, out ReadOnlySpan<byte> bytes))
            {
                bool intact = PayloadIsIntact(record, bytes);
                durableBelow = Math.Max(durableBelow, record.DurableBelow);
                PendingRecord pending = ToPending(record, bytes, intact);
                tailEnd = position + record.RecordBytes;
                if (!intact)
                {
                    // An earlier recovery may have ended the log behind the header of a torn record, so that others stand where its payload was to be.
                    damaged.Add((pending, record));
                    long within = FindRecord(position + VolumeFormat.AlignToRecord(record.HeaderBytes), tailEnd, length, ref tailEnd);
                    position = within < 0 ? position + record.RecordBytes : within;
                    continue;
                }

                position += record.RecordBytes;
                records++;
                end = position;
                keep(pending, record, true);
                if (record.Kind == RecordKind.Void)
                    ReadVoids(bytes.Slice(record.PayloadOffset, record.PayloadBytes), known);
                if (record.Kind != RecordKind.Footer)
                    continue;
                sealedByFooter = true;
                break;
            }

            long page = VolumeFormat.AlignToPage(position);
            if (page > position && IsZero(position, Math.Min(page, length)))
            {
                position = page;
                continue;
            }

            long next = FindRecord(position + (position % VolumeFormat.PageBytes == 0 ? VolumeFormat.RecordAlignmentBytes : 0), length, length, ref tailEnd);
            if (next < 0)
                break;
            gaps.Add(new VolumeRange(position, next));
            position = next;
        }

        // Only now is it known how far the log proves itself to have been synced. What is torn within the last page of the log stays there for good, behind the last record.
        long logEnd = VolumeFormat.AlignToPage(end);
        var corrupt = new List<VolumeRange>();
        var voids = new List<VolumeRange>();
        foreach ((PendingRecord record, RecordHeader recordHeader) in damaged)
        {
            var range = new VolumeRange(recordHeader.Offset, recordHeader.Offset + recordHeader.RecordBytes);
            if (known.Exists(range.Overlaps))
                continue;
            if (range.Start < durableBelow || IsUnreadable(range))
            {
                records++;
                end = Math.Max(end, range.End);
                keep(record, recordHeader, false);
            }
            else if (range.Start < logEnd)
            {
                voids.Add(range with { End = Math.Min(range.End, logEnd) });
            }
        }

        foreach (VolumeRange gap in gaps)
        {
            if (known.Exists(gap.Overlaps))
                continue;
            if (IsUnreadable(gap))
            {
                corrupt.Add(gap);
                continue;
            }

            if (gap.Start < durableBelow)
                corrupt.Add(gap with { End = Math.Min(gap.End, durableBelow) });
            if (gap.End > durableBelow && gap.Start < logEnd)
                voids.Add(new VolumeRange(Math.Max(gap.Start, durableBelow), Math.Min(gap.End, logEnd)));
        }

        if (!sealedByFooter && position < logEnd && position >= durableBelow && !IsZero(position, Math.Min(logEnd, length)) && !IsUnreadable(new VolumeRange(position, logEnd)))
            voids.Add(new VolumeRange(position, logEnd));
        long unreadableEnd = AddUnreadable(corrupt, known, start, sealedByFooter ? end : length);

        // What follows it may go on a record that begins there.
        if (unreadableEnd > end && VolumeFormat.AlignToPage(tailEnd) > unreadableEnd)
        {
            corrupt.Add(new VolumeRange(unreadableEnd, VolumeFormat.AlignToPage(tailEnd)));
            unreadableEnd = VolumeFormat.AlignToPage(tailEnd);
        }

        // Synced bytes after the last record kept may only be padding or damage; the log never grows over them.
        end = VolumeFormat.AlignToPage(Math.Max(Math.Max(end, durableBelow), unreadableEnd));
        long tornBytes = sealedByFooter ? 0 : Math.Max(0, tailEnd - end);
        return new ScanResult(end, records, tornBytes, sealedByFooter, corrupt, voids);
    }

    private bool IsUnreadable(VolumeRange range) => _unreadable.Count > 0 && _unreadable.GetViewBetween(range.Start & ~(VolumeFormat.PageBytes - 1L), range.End - 1).Count > 0;

    /// <summary>Adds what could not be read to the corrupt regions, where it is not among them; returns its end.</summary>
    private long AddUnreadable(List<VolumeRange> corrupt, List<VolumeRange> known, long from, long to)
    {
        long end = 0;
        foreach (long page in _unreadable.Where(page => page >= from && page < to))
        {
            var range = new VolumeRange(page, page + VolumeFormat.PageBytes);
            if (known.Exists(range.Overlaps))
                continue;
            end = range.End;
            if (corrupt.Exists(region => region.Start <= range.Start && region.End >= range.End))
                continue;
            if (corrupt.Count > 0 && corrupt[^1].End == range.Start)
                corrupt[^1] = corrupt[^1] with { End = range.End };
            else
                corrupt.Add(range);
        }

        return end;
    }

    /// <summary>
    /// The next record at or behind <paramref name="position"/>, whether its payload is intact or not; false at <paramref name="end"/>. Steps over what is no record. The bytes are valid until
    /// the next call.
    /// </summary>
    public bool TryNext(ref long position, long end, out RecordHeader record, out ReadOnlySpan<byte> bytes, out bool intact)
    {
        long ignored = 0;
        while (position < end)
        {
            if (TryReadRecord(position, end, out record, out bytes))
            {
                intact = PayloadIsIntact(record, bytes);
                return true;
            }

            long page = VolumeFormat.AlignToPage(position);
            if (page > position && IsZero(position, Math.Min(page, end)))
            {
                position = page;
                continue;
            }

            long next = FindRecord(position + (position % VolumeFormat.PageBytes == 0 ? VolumeFormat.RecordAlignmentBytes : 0), end, end, ref ignored);
            position = next < 0 ? end : next;
        }

        record = default;
        bytes = default;
        intact = false;
        return false;
    }

    /// <summary>Where to look next after a record that <see cref="TryNext"/> gave.</summary>
    public static long After(in RecordHeader record, bool intact) => record.Offset + (intact ? record.RecordBytes : VolumeFormat.AlignToRecord(record.HeaderBytes));

    /// <summary>Whether an intact record of the fragment stands there now.</summary>
    /// <param name="key">The fragment.</param>
    /// <param name="offset">Where.</param>
    /// <param name="recordBytes">How long the index says it is; no more is read.</param>
    /// <param name="end">Where the log ends.</param>
    public bool IsIntact(FragmentKey key, long offset, int recordBytes, long end)
    {
        _windowStart = offset & ~(VolumeFormat.PageBytes - 1L);
        _windowBytes = ReadTolerant(_windowStart, window.GetSpan()[..(int)Math.Min(window.LengthBytes, VolumeFormat.AlignToPage(offset - _windowStart + Math.Max(recordBytes, RecordHeader.MaxBytes)))]);
        return TryReadRecord(offset, end, out RecordHeader record, out ReadOnlySpan<byte> bytes) && record.IsFragment && record.FragmentKey == key && PayloadIsIntact(record, bytes);
    }

    /// <summary>CRC-64 of the file from <paramref name="start"/> to <paramref name="end"/>, appended to <paramref name="checksum"/>.</summary>
    public ulong Checksum(ulong checksum, long start, long end)
    {
        while (start < end)
        {
            ReadOnlySpan<byte> bytes = Get(start, (int)Math.Min(window.LengthBytes - VolumeFormat.PageBytes, end - start));
            if (bytes.IsEmpty)
                break; // behind the end of a file that was cut short
            checksum = Crc64Nvme.Append(checksum, bytes);
            start += bytes.Length;
        }

        return checksum;
    }

    private bool TryReadRecord(long position, long length, out RecordHeader record, out ReadOnlySpan<byte> bytes)
    {
        bytes = default;
        record = default;
        if (length - position < RecordHeader.MinBytes)
            return false;
        ReadOnlySpan<byte> head = Get(position, (int)Math.Min(RecordHeader.MaxBytes, length - position));
        if (!RecordHeader.TryDecode(head, new RecordPlace(header.Generation, header.VolumeId, position), out record) || position + record.RecordBytes > length)
            return false;
        bytes = Get(position, record.RecordBytes);
        return bytes.Length == record.RecordBytes;
    }

    private static void ReadVoids(ReadOnlySpan<byte> payload, List<VolumeRange> voids)
    {
        for (; payload.Length >= VolumeRange.SizeBytes; payload = payload[VolumeRange.SizeBytes..])
            voids.Add(new VolumeRange(BinaryPrimitives.ReadInt64LittleEndian(payload), BinaryPrimitives.ReadInt64LittleEndian(payload[8..])));
    }

    private static bool PayloadIsIntact(in RecordHeader record, ReadOnlySpan<byte> bytes)
    {
        for (int chunk = 0; chunk < record.ChunkCount; chunk++)
        {
            int at = chunk * VolumeFormat.ChunkBytes;
            int count = Math.Min(VolumeFormat.ChunkBytes, record.PayloadBytes - at);
            if (Crc64Nvme.Compute(bytes.Slice(record.PayloadOffset + at, count)) != record.ChunkChecksum(bytes, chunk))
                return false;
        }

        return true;
    }

    private static PendingRecord ToPending(in RecordHeader record, ReadOnlySpan<byte> bytes, bool intact)
    {
        if (record.Kind == RecordKind.Tombstone)
        {
            TombstoneEntry[] entries = intact ? TombstoneEntry.Decode(bytes.Slice(record.PayloadOffset, record.PayloadBytes)) : [];
            return new PendingRecord(default, default, entries, record.RecordBytes);
        }

        var location = new FragmentLocation(record.Place.VolumeId, record.Offset, record.PayloadOffset, record.PayloadBytes, record.PlacementGroup, record.SchemeId);
        return new PendingRecord(record.FragmentKey, location, null, record.RecordBytes, record.Source);
    }

    /// <summary>The next offset below <paramref name="limit"/> that holds a record of this volume, or −1.</summary>
    private long FindRecord(long position, long limit, long length, ref long tailEnd)
    {
        position = (position + VolumeFormat.RecordAlignmentBytes - 1) & ~(VolumeFormat.RecordAlignmentBytes - 1L);
        while (position < limit)
        {
            long data = file.NextData(position);
            if (data >= limit)
                return -1;
            position = Math.Max(position, data & ~(VolumeFormat.PageBytes - 1L));

            // Just to the end of what has been read: the next question about data is then put to pages that are not in memory. Preallocated room that has
            // been read counts as data.
            long windowEnd = _windowStart + _windowBytes;
            long stop = position >= _windowStart && position < windowEnd ? windowEnd : position + VolumeFormat.MaxRecordBytes;
            ReadOnlySpan<byte> bytes = Get(position, (int)(Math.Min(stop, limit) - position));
            if (bytes.IsEmpty)
                return -1; // as above
            int at = 0;
            while (at < bytes.Length)
            {
                int found = bytes[at..].IndexOf(RecordHeader.Magic);
                if (found < 0)
                    break;
                at += found;
                if ((position + at) % VolumeFormat.RecordAlignmentBytes == 0 && TryReadRecord(position + at, length, out _, out _))
                    return position + at;
                bytes = Get(position, bytes.Length);
                at++;
            }

            int last = bytes.LastIndexOfAnyExcept((byte)0);
            if (last >= 0)
                tailEnd = Math.Max(tailEnd, position + last + 1);
            position += bytes.Length; // a multiple of the record alignment, so no magic lies across two windows
        }

        return -1;
    }

    private bool IsZero(long from, long to) => Get(from, (int)(to - from)).IndexOfAnyExcept((byte)0) < 0;

    private ReadOnlySpan<byte> Get(long offset, int count)
    {
        if (offset < _windowStart || offset + count > _windowStart + _windowBytes)
        {
            _windowStart = offset & ~(VolumeFormat.PageBytes - 1L);
            _windowBytes = ReadTolerant(_windowStart, window.GetSpan());
            DriveThreads.NoteProgress();
        }

        int at = (int)(offset - _windowStart);
        return window.GetSpan()[at..Math.Min(at + count, Math.Max(at, _windowBytes))];
    }

    /// <summary>Reads, with zeros for the pages that the drive cannot read, which are remembered.</summary>
    private int ReadTolerant(long offset, Span<byte> destination)
    {
        try
        {
            return file.Read(offset, destination, default, caching);
        }
        catch (IOException e) when (!Posix.IsOfWholeDevice(e))
        {
            DriveThreads.NoteProgress();
            int done = 0;
            while (done < destination.Length && offset + done < file.LengthBytes)
            {
                Span<byte> page = destination.Slice(done, Math.Min(VolumeFormat.PageBytes, destination.Length - done));
                int read = ReadPage(offset + done, page);
                done += read;
                if (read < page.Length)
                    break;
            }

            return done;
        }
    }

    /// <summary>Tries again before it gives a page up, within a bound: a drive that is dying takes long for each.</summary>
    private int ReadPage(long offset, Span<byte> page)
    {
        if (_unreadable.Contains(offset))
        {
            // Each try may take the drive seconds.
            page.Clear();
            return page.Length;
        }

        for (int tries = 1; ; tries++)
        {
            try
            {
                int read = file.Read(offset, page, default, caching);
                DriveThreads.NoteProgress();
                return read;
            }
            catch (IOException) when (tries < triesPerPage && _pageRetries < MaxPageRetries)
            {
                DriveThreads.NoteProgress();
                _pageRetries++;
            }
            catch (IOException e) when (!Posix.IsOfWholeDevice(e))
            {
                DriveThreads.NoteProgress();
                page.Clear();
                _unreadable.Add(offset);
                return page.Length;
            }
        }
    }
}
