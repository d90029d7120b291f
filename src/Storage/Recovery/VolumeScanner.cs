using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Recovery;

/// <param name="EndOffset">Where the log ends: page-aligned, after the last record kept.</param>
/// <param name="TornBytes">Bytes after the end that are no intact record.</param>
/// <param name="Sealed">A footer ends the volume.</param>
internal sealed record ScanResult(long EndOffset, long Sequence, long Records, long TornBytes, bool Sealed, IReadOnlyList<(long Offset, long LengthBytes)> CorruptRegions);

/// <summary>
/// Reads a volume's records from a checkpoint to its end, verifying headers and payloads.
///
/// A record is only believed where it says it is: volume id, generation and its own offset must match, so neither stale bytes nor a copy of a volume stored as
/// an object is taken for one. Whatever lies below the highest DurableBelow seen had been synced, so bytes there that are no record are corruption, reported and
/// stepped over. The last batch synced has nothing behind it that says so: therefore every intact record is kept, also behind a gap, which is reported too. Where it was
/// never acknowledged it is only an orphan. What follows the last intact record is a torn end, and the log ends before it.
/// </summary>
internal sealed class VolumeScanner(IVolumeFile file, VolumeHeader header, AlignedBuffer window)
{
    private long _windowStart;
    private int _windowBytes;

    /// <param name="keep">Called for each record kept, in order. Not intact: synced, but its payload no longer matches.</param>
    public ScanResult Scan(long start, long sequence, Action<PendingRecord, RecordHeader, bool> keep)
    {
        long length = file.LengthBytes;
        long durableBelow = start;
        long position = start;
        long end = start;
        long records = 0;
        long tailEnd = start; // the end of the last bytes that are not zero
        bool sealedByFooter = false;
        var waiting = new Queue<(PendingRecord Record, RecordHeader Header, bool Intact)>();
        var gaps = new List<(long Start, long End)>();

        while (position < length)
        {
            if (TryReadRecord(position, length, out RecordHeader record, out ReadOnlySpan<byte> bytes))
            {
                bool intact = PayloadIsIntact(record, bytes);
                durableBelow = Math.Max(durableBelow, record.DurableBelow);
                if (intact)
                    durableBelow = Math.Max(durableBelow, position + record.RecordBytes); // may have been acknowledged, and so may all before it
                while (waiting.TryPeek(out (PendingRecord, RecordHeader Header, bool) oldest) && oldest.Header.Offset < durableBelow)
                    Keep(waiting.Dequeue());
                waiting.Enqueue((ToPending(record, bytes, intact), record, intact));
                position += record.RecordBytes;
                tailEnd = position;
                if (record.Kind != RecordKind.Footer || !intact)
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

            long next = FindRecord(position + (position % VolumeFormat.PageBytes == 0 ? VolumeFormat.RecordAlignmentBytes : 0), length, ref tailEnd);
            if (next < 0)
                break;
            gaps.Add((position, next));
            position = next;
        }

        // What still waits is not intact and has nothing intact behind it: torn.
        while (waiting.TryPeek(out (PendingRecord, RecordHeader Header, bool) oldest) && oldest.Header.Offset < durableBelow)
            Keep(waiting.Dequeue());
        var corrupt = new List<(long, long)>();
        foreach ((long gapStart, long gapEnd) in gaps)
        {
            if (gapStart < durableBelow)
                corrupt.Add((gapStart, gapEnd - gapStart));
        }

        // Synced bytes after the last record kept may only be padding or damage; the log never grows over them.
        end = VolumeFormat.AlignToPage(Math.Max(end, durableBelow));
        long tornBytes = sealedByFooter ? 0 : Math.Max(0, tailEnd - end);
        return new ScanResult(end, sequence, records, tornBytes, sealedByFooter, corrupt);

        void Keep((PendingRecord Record, RecordHeader Header, bool Intact) item)
        {
            records++;
            sequence = Math.Max(sequence, item.Header.Sequence);
            end = Math.Max(end, item.Header.Offset + item.Header.RecordBytes);
            keep(item.Record, item.Header, item.Intact);
        }
    }

    /// <summary>CRC-64 of the file from <paramref name="start"/> to <paramref name="end"/>, appended to <paramref name="checksum"/>.</summary>
    public ulong Checksum(ulong checksum, long start, long end)
    {
        while (start < end)
        {
            ReadOnlySpan<byte> bytes = Get(start, (int)Math.Min(window.LengthBytes - VolumeFormat.PageBytes, end - start));
            checksum = Crc64Nvme.Append(checksum, bytes);
            start += bytes.Length;
        }

        return checksum;
    }

    /// <summary>The first record of any generation of this volume id, for a volume whose header page is damaged.</summary>
    public static bool TryFindAnyRecord(IVolumeFile file, long volumeId, AlignedBuffer window, out RecordHeader found)
    {
        Span<byte> bytes = window.GetSpan();
        int read = ReadTolerant(file, 0, bytes);
        for (int at = VolumeFormat.PageBytes; at + RecordHeader.FixedBytes <= read; at += VolumeFormat.RecordAlignmentBytes)
        {
            if (RecordHeader.TryDecode(bytes[at..read], out found) && found.VolumeId == volumeId && found.Offset == at)
                return true;
        }

        found = default;
        return false;
    }

    private bool TryReadRecord(long position, long length, out RecordHeader record, out ReadOnlySpan<byte> bytes)
    {
        bytes = default;
        record = default;
        if (length - position < RecordHeader.FixedBytes)
            return false;
        ReadOnlySpan<byte> head = Get(position, (int)Math.Min(RecordHeader.MaxBytes, length - position));
        if (!RecordHeader.TryDecode(head, out record) || record.Generation != header.Generation || record.VolumeId != header.VolumeId
            || record.Offset != position || position + record.RecordBytes > length)
            return false;
        bytes = Get(position, (int)record.RecordBytes);
        return true;
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
            var entries = new TombstoneEntry[intact ? record.PayloadBytes / TombstoneEntry.SizeBytes : 0];
            for (int i = 0; i < entries.Length; i++)
                entries[i] = TombstoneEntry.Decode(bytes[(record.PayloadOffset + (i * TombstoneEntry.SizeBytes))..], record.Extent);
            return new PendingRecord(default, default, entries, (int)record.RecordBytes);
        }

        var location = new FragmentLocation(record.VolumeId, record.Offset, record.PayloadOffset, record.PayloadBytes, record.PlacementGroup, record.SchemeId);
        return new PendingRecord(new FragmentKey(record.Extent, record.Block, record.Shard), location, null, (int)record.RecordBytes);
    }

    /// <summary>The next offset that holds a record of this volume, or −1.</summary>
    private long FindRecord(long position, long length, ref long tailEnd)
    {
        position = (position + VolumeFormat.RecordAlignmentBytes - 1) & ~(VolumeFormat.RecordAlignmentBytes - 1L);
        while (position < length)
        {
            long data = file.NextData(position);
            if (data >= length)
                return -1;
            position = Math.Max(position, data & ~(VolumeFormat.PageBytes - 1L));

            // Just to the end of what has been read: the next question about data is then put to pages that are not in memory. Preallocated room that has
            // been read counts as data.
            long windowEnd = _windowStart + _windowBytes;
            long stop = position >= _windowStart && position < windowEnd ? windowEnd : position + VolumeFormat.MaxRecordBytes;
            ReadOnlySpan<byte> bytes = Get(position, (int)(Math.Min(stop, length) - position));
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
            _windowBytes = ReadTolerant(file, _windowStart, window.GetSpan());
        }

        int at = (int)(offset - _windowStart);
        return window.GetSpan()[at..Math.Min(at + count, Math.Max(at, _windowBytes))];
    }

    /// <summary>Reads, with zeros for the pages that the drive cannot read.</summary>
    private static int ReadTolerant(IVolumeFile file, long offset, Span<byte> destination)
    {
        try
        {
            return file.Read(offset, destination, default, onlyIfCached: false);
        }
        catch (IOException)
        {
            int done = 0;
            while (done < destination.Length && offset + done < file.LengthBytes)
            {
                Span<byte> page = destination.Slice(done, Math.Min(VolumeFormat.PageBytes, destination.Length - done));
                try
                {
                    int read = file.Read(offset + done, page, default, onlyIfCached: false);
                    done += read;
                    if (read < page.Length)
                        break;
                }
                catch (IOException)
                {
                    page.Clear();
                    done += page.Length;
                }
            }

            return done;
        }
    }
}
