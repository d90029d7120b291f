using System.Buffers.Binary;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;

namespace ObjectStore.Storage.Volumes;

/// <summary>Sizes and alignments of volume files. The page for humans is docs/formats/volume.md; the two change together.</summary>
internal static class VolumeFormat
{
    public const int PageBytes = 4096;
    public const int RecordAlignmentBytes = 4;

    /// <summary>Where the log begins: behind the header and its copy.</summary>
    public const int LogStart = 2 * PageBytes;

    /// <summary>Room kept behind the log for a close record or void records, and the footer.</summary>
    public const int TailBytes = (MaxVoidRecords + 1) * PageBytes;

    public const int MaxVoidRecords = 3;
    public const int ChunkBytes = 64 << 10;
    public const int MaxBlockBytes = 1 << 20;
    public const int MaxChunks = MaxBlockBytes / ChunkBytes;

    /// <summary>Fragments up to this are packed; longer ones have a header page of their own so that their payload is aligned, where it is so in memory. A shard of 1 MiB on 6+3 is packed.</summary>
    public const int MaxPackedPayloadBytes = 256 << 10;

    public const int MaxRecordBytes = PageBytes + MaxBlockBytes;

    public static long AlignToPage(long value) => (value + PageBytes - 1) & ~(PageBytes - 1L);

    public static int AlignToPage(int value) => (value + PageBytes - 1) & ~(PageBytes - 1);

    public static int AlignToRecord(int value) => (value + RecordAlignmentBytes - 1) & ~(RecordAlignmentBytes - 1);

    public static int ChunkCount(int payloadBytes) => (payloadBytes + ChunkBytes - 1) / ChunkBytes;
}

/// <summary>The first page of a volume file, and the second: without it no record can be verified, so it is there twice.</summary>
internal sealed record VolumeHeader(Guid ClusterId, Guid DriveId, long VolumeId, ulong Generation, long CapacityBytes, long CreatedUnixMilliseconds)
{
    public const int FormatVersion = 2;
    private static ReadOnlySpan<byte> Magic => "OSVOLUME"u8;

    public void Encode(Span<byte> page)
    {
        page[..VolumeFormat.PageBytes].Clear();
        Magic.CopyTo(page);
        BinaryPrimitives.WriteUInt32LittleEndian(page[8..], FormatVersion);
        BinaryPrimitives.WriteUInt32LittleEndian(page[12..], VolumeFormat.PageBytes);
        ClusterId.TryWriteBytes(page[16..], bigEndian: true, out _);
        DriveId.TryWriteBytes(page[32..], bigEndian: true, out _);
        BinaryPrimitives.WriteInt64LittleEndian(page[48..], VolumeId);
        BinaryPrimitives.WriteUInt64LittleEndian(page[56..], Generation);
        BinaryPrimitives.WriteInt64LittleEndian(page[64..], CapacityBytes);
        BinaryPrimitives.WriteInt64LittleEndian(page[72..], CreatedUnixMilliseconds);
        BinaryPrimitives.WriteUInt64LittleEndian(page[4088..], Crc64Nvme.Compute(page[..4088]));
    }

    /// <summary>The version of an intact header of another format; null where it is of this one, or is damaged.</summary>
    public static uint? OtherFormat(ReadOnlySpan<byte> page)
    {
        uint version = BinaryPrimitives.ReadUInt32LittleEndian(page[8..]);
        return page.StartsWith(Magic) && version != FormatVersion && BinaryPrimitives.ReadUInt64LittleEndian(page[4088..]) == Crc64Nvme.Compute(page[..4088]) ? version : null;
    }

    public static bool TryDecode(ReadOnlySpan<byte> page, out VolumeHeader header)
    {
        header = null!;
        if (page.Length < VolumeFormat.PageBytes || !page.StartsWith(Magic) || BinaryPrimitives.ReadUInt32LittleEndian(page[8..]) != FormatVersion
            || BinaryPrimitives.ReadUInt64LittleEndian(page[4088..]) != Crc64Nvme.Compute(page[..4088]))
            return false;
        header = new VolumeHeader(
            new Guid(page.Slice(16, 16), bigEndian: true),
            new Guid(page.Slice(32, 16), bigEndian: true),
            BinaryPrimitives.ReadInt64LittleEndian(page[48..]),
            BinaryPrimitives.ReadUInt64LittleEndian(page[56..]),
            BinaryPrimitives.ReadInt64LittleEndian(page[64..]),
            BinaryPrimitives.ReadInt64LittleEndian(page[72..]));
        return true;
    }
}

internal enum RecordKind : byte
{
    Fragment = 1,
    Tombstone = 2,

    /// <summary>Written when a store closes in order: says that everything before it was synced.</summary>
    Close = 3,
    Footer = 4,

    /// <summary>Written by recovery: ranges of the log that are torn writes, never acknowledged.</summary>
    Void = 5,

    /// <summary>A fragment that compaction has copied from another place of the drive, which it names: a tombstone for that place takes the copy away too.</summary>
    Copy = 6,
}

/// <summary>Where a record stands. Not stored in it, but mixed into its checksum: anywhere else the record is not one.</summary>
internal readonly record struct RecordPlace(ulong Generation, long VolumeId, long Offset);

/// <summary>
/// The head of a record, without the key and the chunk checksums that end it. Most of a small fragment's cost is here, so numbers are varints and nothing is stored that follows from
/// something else: the place, the payload's length of a fragment (scheme and block length give it), the number of chunks.
/// </summary>
internal struct RecordHeader
{
    public const int MinBytes = 14;
    public const int MaxBytes = VolumeFormat.PageBytes;
    private const int FormatVersion = 2;
    private const int ChecksumOffset = 3;
    private const int BodyOffset = 11;
    private const int PagedFlag = 8;

    public RecordKind Kind;
    public RecordPlace Place;

    /// <summary>The payload begins at a page of its own.</summary>
    public bool IsPaged;

    /// <summary>Everything before this offset of the volume had been synced when the record was made. A page boundary.</summary>
    public long DurableBelow;
    public long CreatedUnixMilliseconds;
    public int PayloadBytes;

    // Of fragments only.
    public ExtentId Extent;
    public int Block;
    public ushort Shard;
    public ushort SchemeId;
    public ushort PartNumber;
    public int PlacementGroup;
    public long BucketId;
    public UInt128 Version;
    public int BlockSizeBytes;
    public int BlockLengthBytes;
    public int KeyBytes;

    // Of copies only.
    public long SourceVolumeId;
    public long SourceOffset;

    /// <summary>From <see cref="Measure"/>, or decoded.</summary>
    public int HeaderBytes;

    public static ReadOnlySpan<byte> Magic => [0xD5, 0x52];

    public readonly long Offset => Place.Offset;

    public readonly bool IsFragment => Kind is RecordKind.Fragment or RecordKind.Copy;

    /// <summary>Where a copy was copied from; null for any other record.</summary>
    public readonly (long VolumeId, long Offset)? Source => Kind == RecordKind.Copy ? (SourceVolumeId, SourceOffset) : null;

    public readonly int ChunkCount => VolumeFormat.ChunkCount(PayloadBytes);

    public readonly int PayloadOffset => IsPaged ? VolumeFormat.PageBytes : HeaderBytes;

    public readonly int RecordBytes => VolumeFormat.AlignToRecord(PayloadOffset + PayloadBytes);

    public readonly FragmentKey FragmentKey => new(Extent, Block, Shard);

    private readonly ulong DurablePages => (ulong)((Place.Offset / VolumeFormat.PageBytes) - (DurableBelow / VolumeFormat.PageBytes));

    private readonly ulong CreatedDelta => Zigzag(CreatedUnixMilliseconds - MillisecondsOf(Extent));

    private readonly ulong EncodedBlockSize => BlockSizeBytes % 65536 == 0 ? (ulong)(BlockSizeBytes / 65536) << 1 : ((ulong)BlockSizeBytes << 1) | 1;

    /// <summary>What the header of a fragment of this shape takes at most.</summary>
    public static int MaxHeaderBytes(int keyBytes, int chunkCount) => BodyOffset + 16 + 16 + 2 + (12 * Varint.MaxBytes) + keyBytes + (chunkCount * 8);

    /// <summary>Sets <see cref="HeaderBytes"/>; all other fields must be final.</summary>
    public void Measure()
    {
        int bytes = BodyOffset + Varint.Measure(DurablePages);
        bytes += IsFragment
            ? 2 + 16 + 16 + Varint.Measure(Shard) + Varint.Measure((uint)Block) + Varint.Measure(PartNumber) + Varint.Measure((uint)PlacementGroup) + Varint.Measure((ulong)BucketId)
                + Varint.Measure(CreatedDelta) + Varint.Measure(EncodedBlockSize) + Varint.Measure((uint)BlockLengthBytes) + Varint.Measure((uint)KeyBytes) + KeyBytes
            : Varint.Measure((ulong)CreatedUnixMilliseconds) + Varint.Measure((uint)PayloadBytes);
        if (Kind == RecordKind.Copy)
            bytes += Varint.Measure((ulong)SourceVolumeId) + Varint.Measure((ulong)SourceOffset);
        HeaderBytes = bytes + (ChunkCount * 8);
    }

    /// <summary>Writes the whole header, <see cref="HeaderBytes"/> of it.</summary>
    public readonly void Encode(Span<byte> destination, ReadOnlySpan<byte> key, ReadOnlySpan<ulong> chunkChecksums)
    {
        destination = destination[..HeaderBytes];
        Magic.CopyTo(destination);
        destination[2] = (byte)((FormatVersion << 4) | (IsPaged ? PagedFlag : 0) | (int)Kind);
        int at = BodyOffset;
        at += Varint.Write(destination[at..], DurablePages);
        if (Kind == RecordKind.Copy)
        {
            at += Varint.Write(destination[at..], (ulong)SourceVolumeId);
            at += Varint.Write(destination[at..], (ulong)SourceOffset);
        }

        if (IsFragment)
        {
            BinaryPrimitives.WriteUInt16BigEndian(destination[at..], SchemeId);
            Extent.WriteTo(destination[(at + 2)..]);
            BinaryPrimitives.WriteUInt128BigEndian(destination[(at + 18)..], Version);
            at += 34;
            at += Varint.Write(destination[at..], Shard);
            at += Varint.Write(destination[at..], (uint)Block);
            at += Varint.Write(destination[at..], PartNumber);
            at += Varint.Write(destination[at..], (uint)PlacementGroup);
            at += Varint.Write(destination[at..], (ulong)BucketId);
            at += Varint.Write(destination[at..], CreatedDelta);
            at += Varint.Write(destination[at..], EncodedBlockSize);
            at += Varint.Write(destination[at..], (uint)BlockLengthBytes);
            at += Varint.Write(destination[at..], (uint)KeyBytes);
            key.CopyTo(destination[at..]);
            at += KeyBytes;
        }
        else
        {
            at += Varint.Write(destination[at..], (ulong)CreatedUnixMilliseconds);
            at += Varint.Write(destination[at..], (uint)PayloadBytes);
        }

        for (int i = 0; i < ChunkCount; i++)
            BinaryPrimitives.WriteUInt64LittleEndian(destination[(at + (i * 8))..], chunkChecksums[i]);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[ChecksumOffset..], Checksum(Place, destination));
    }

    /// <summary>False where the bytes are no whole, intact header of this place.</summary>
    public static bool TryDecode(ReadOnlySpan<byte> source, in RecordPlace place, out RecordHeader header)
    {
        header = default;
        if (source.Length < MinBytes || !source.StartsWith(Magic) || source[2] >> 4 != FormatVersion)
            return false;
        header.Kind = (RecordKind)(source[2] & (PagedFlag - 1));
        header.IsPaged = (source[2] & PagedFlag) != 0;
        header.Place = place;
        int at = BodyOffset;
        if (!Varint.TryRead(source, ref at, out ulong durablePages) || durablePages > (ulong)(place.Offset / VolumeFormat.PageBytes))
            return false;
        header.DurableBelow = ((place.Offset / VolumeFormat.PageBytes) - (long)durablePages) * VolumeFormat.PageBytes;
        if (header.Kind == RecordKind.Copy)
        {
            if (!Varint.TryRead(source, ref at, out ulong sourceVolume) || !Varint.TryRead(source, ref at, out ulong sourceOffset))
                return false;
            (header.SourceVolumeId, header.SourceOffset) = ((long)sourceVolume, (long)sourceOffset);
        }

        if (header.IsFragment ? !header.TryDecodeFragment(source, ref at) : !header.TryDecodeOther(source, ref at))
            return false;

        // Nothing of this is believed before the checksum has matched; the bounds only keep the look at it within the bytes.
        header.HeaderBytes = at + (header.ChunkCount * 8);
        return header.HeaderBytes <= Math.Min(MaxBytes, source.Length) && BinaryPrimitives.ReadUInt64LittleEndian(source[ChecksumOffset..]) == Checksum(place, source[..header.HeaderBytes]);
    }

    /// <summary>The object's key, from the header's bytes.</summary>
    public readonly ReadOnlySpan<byte> Key(ReadOnlySpan<byte> header) => header.Slice(HeaderBytes - (ChunkCount * 8) - KeyBytes, KeyBytes);

    public readonly ulong ChunkChecksum(ReadOnlySpan<byte> header, int chunk)
        => BinaryPrimitives.ReadUInt64LittleEndian(header[(HeaderBytes - ((ChunkCount - chunk) * 8))..]);

    private bool TryDecodeFragment(ReadOnlySpan<byte> source, ref int at)
    {
        if (source.Length < at + 34)
            return false;
        SchemeId = BinaryPrimitives.ReadUInt16BigEndian(source[at..]);
        Extent = ExtentId.ReadFrom(source[(at + 2)..]);
        Version = BinaryPrimitives.ReadUInt128BigEndian(source[(at + 18)..]);
        at += 34;
        if (!Scheme.TryFromId(SchemeId, out Scheme scheme)
            || !Varint.TryRead(source, ref at, out ulong shard) || shard > ushort.MaxValue || !Varint.TryRead(source, ref at, out ulong block) || block > int.MaxValue
            || !Varint.TryRead(source, ref at, out ulong part) || part > ushort.MaxValue || !Varint.TryRead(source, ref at, out ulong group) || group > int.MaxValue
            || !Varint.TryRead(source, ref at, out ulong bucket) || !Varint.TryRead(source, ref at, out ulong created)
            || !Varint.TryRead(source, ref at, out ulong blockSize) || blockSize >> 1 > ((blockSize & 1) == 0 ? int.MaxValue / 65536UL : int.MaxValue)
            || !Varint.TryRead(source, ref at, out ulong blockLength) || blockLength > int.MaxValue - (1 << 20)
            || !Varint.TryRead(source, ref at, out ulong keyBytes) || keyBytes > ExtentDescriptor.MaxKeyBytes)
            return false;
        Shard = (ushort)shard;
        Block = (int)block;
        PartNumber = (ushort)part;
        PlacementGroup = (int)group;
        BucketId = (long)bucket;
        CreatedUnixMilliseconds = unchecked(MillisecondsOf(Extent) + (long)(created >> 1 ^ (0 - (created & 1))));
        BlockSizeBytes = (blockSize & 1) == 0 ? (int)(blockSize >> 1) * 65536 : (int)(blockSize >> 1);
        BlockLengthBytes = (int)blockLength;
        PayloadBytes = scheme.ShardBytes(BlockLengthBytes);
        KeyBytes = (int)keyBytes;
        at += KeyBytes;
        return PayloadBytes <= VolumeFormat.MaxBlockBytes;
    }

    private bool TryDecodeOther(ReadOnlySpan<byte> source, ref int at)
    {
        if (!Varint.TryRead(source, ref at, out ulong created) || !Varint.TryRead(source, ref at, out ulong payload) || payload > VolumeFormat.MaxBlockBytes)
            return false;
        CreatedUnixMilliseconds = (long)created;
        PayloadBytes = (int)payload;
        return true;
    }

    private static ulong Checksum(in RecordPlace place, ReadOnlySpan<byte> header)
    {
        Span<byte> prefix = stackalloc byte[24 + ChecksumOffset];
        BinaryPrimitives.WriteUInt64LittleEndian(prefix, place.Generation);
        BinaryPrimitives.WriteInt64LittleEndian(prefix[8..], place.VolumeId);
        BinaryPrimitives.WriteInt64LittleEndian(prefix[16..], place.Offset);
        header[..ChecksumOffset].CopyTo(prefix[24..]);
        return Crc64Nvme.Append(Crc64Nvme.Compute(prefix), header[BodyOffset..]);
    }

    private static long MillisecondsOf(ExtentId extent) => (long)(ulong)(extent.Value >> 80);

    private static ulong Zigzag(long value) => (ulong)(value << 1) ^ (ulong)(value >> 63);
}

/// <summary>One fragment that a tombstone takes away: exactly the copy at this place.</summary>
internal readonly record struct TombstoneEntry(FragmentKey Key, long VolumeId, long Offset)
{
    public const int MaxPerRecord = 4096;
    private const int MaxBytes = 1 + 16 + (4 * Varint.MaxBytes);

    /// <summary>The payload of a tombstone. An extent is named once for all entries that follow one another.</summary>
    public static byte[] Encode(ReadOnlySpan<TombstoneEntry> entries)
    {
        var bytes = new byte[entries.Length * MaxBytes];
        int at = 0;
        ExtentId? extent = null;
        foreach (TombstoneEntry entry in entries)
        {
            bool same = extent == entry.Key.Extent;
            bytes[at++] = (byte)(same ? 0 : 1);
            if (!same)
            {
                entry.Key.Extent.WriteTo(bytes.AsSpan(at));
                at += ExtentId.SizeBytes;
                extent = entry.Key.Extent;
            }

            at += Varint.Write(bytes.AsSpan(at), (uint)entry.Key.Block);
            at += Varint.Write(bytes.AsSpan(at), entry.Key.Shard);
            at += Varint.Write(bytes.AsSpan(at), (ulong)entry.VolumeId);
            at += Varint.Write(bytes.AsSpan(at), (ulong)entry.Offset / VolumeFormat.RecordAlignmentBytes);
        }

        return bytes[..at];
    }

    /// <summary>As many entries as can be made out; of an intact payload, all.</summary>
    public static TombstoneEntry[] Decode(ReadOnlySpan<byte> payload)
    {
        var entries = new List<TombstoneEntry>();
        ExtentId extent = default;
        for (int at = 0; at < payload.Length;)
        {
            if (payload[at++] == 1)
            {
                if (payload.Length - at < ExtentId.SizeBytes)
                    break;
                extent = ExtentId.ReadFrom(payload[at..]);
                at += ExtentId.SizeBytes;
            }

            if (!Varint.TryRead(payload, ref at, out ulong block) || !Varint.TryRead(payload, ref at, out ulong shard)
                || !Varint.TryRead(payload, ref at, out ulong volume) || !Varint.TryRead(payload, ref at, out ulong offset))
                break;
            entries.Add(new TombstoneEntry(new FragmentKey(extent, (int)block, (ushort)shard), (long)volume, (long)offset * VolumeFormat.RecordAlignmentBytes));
        }

        return [.. entries];
    }
}

/// <summary>A stretch of a volume.</summary>
internal readonly record struct VolumeRange(long Start, long End)
{
    public const int SizeBytes = 16;
    public const int MaxPerRecord = 240; // a void record is one page

    public bool Overlaps(VolumeRange other) => Start < other.End && other.Start < End;
}

/// <summary>Where a fragment's record is, and what a listing says of it without reading it. The record ends after the payload.</summary>
internal readonly record struct FragmentLocation(long VolumeId, long Offset, int PayloadOffset, int PayloadBytes, int PlacementGroup, ushort SchemeId)
{
    public int RecordBytes => VolumeFormat.AlignToRecord(PayloadOffset + PayloadBytes);

    public bool IsSamePlaceAs(in FragmentLocation other) => VolumeId == other.VolumeId && Offset == other.Offset;
}
