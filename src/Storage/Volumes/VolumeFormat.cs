using System.Buffers.Binary;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;

namespace ObjectStore.Storage.Volumes;

/// <summary>Sizes and alignments of volume files. The page for humans is docs/formats/volume.md; the two change together.</summary>
internal static class VolumeFormat
{
    public const int PageBytes = 4096;
    public const int RecordAlignmentBytes = 16;
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

/// <summary>The first page of a volume file.</summary>
internal sealed record VolumeHeader(Guid ClusterId, Guid DriveId, long VolumeId, ulong Generation, long CapacityBytes, long CreatedUnixMilliseconds)
{
    public const int FormatVersion = 1;
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
}

/// <summary>The head of a record, without the key and the chunk checksums that follow it.</summary>
internal struct RecordHeader
{
    public const int FixedBytes = 160;
    public const int MaxBytes = VolumeFormat.PageBytes;
    public const byte FormatVersion = 1;

    public RecordKind Kind;
    public int HeaderBytes;
    public int KeyBytes;
    public ushort SchemeId;
    public long RecordBytes;
    public ulong Generation;
    public long VolumeId;
    public long Offset;
    public long DurableBelow;
    public long Sequence;
    public ExtentId Extent;
    public int Block;
    public ushort Shard;
    public ushort PartNumber;
    public int PlacementGroup;
    public int ChunkBytes;
    public long BucketId;
    public UInt128 Version;
    public int PayloadOffset;
    public int PayloadBytes;
    public long CreatedUnixMilliseconds;
    public int BlockSizeBytes;
    public int BlockLengthBytes;
    public int ChunkCount;

    public static ReadOnlySpan<byte> Magic => "OSRC"u8;

    public static int MeasureHeader(int keyBytes, int chunkCount) => VolumeFormat.AlignToRecord(FixedBytes + ((keyBytes + 7) & ~7) + (chunkCount * 8));

    public readonly int ChecksumTableOffset => FixedBytes + ((KeyBytes + 7) & ~7);

    /// <summary>Writes the whole header. <paramref name="destination"/> is HeaderBytes long.</summary>
    public readonly void Encode(Span<byte> destination, ReadOnlySpan<byte> key, ReadOnlySpan<ulong> chunkChecksums)
    {
        destination = destination[..HeaderBytes];
        destination[FixedBytes..].Clear();
        Magic.CopyTo(destination);
        destination[4] = FormatVersion;
        destination[5] = (byte)Kind;
        BinaryPrimitives.WriteUInt16LittleEndian(destination[6..], 0);
        BinaryPrimitives.WriteInt32LittleEndian(destination[16..], HeaderBytes);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[20..], (ushort)KeyBytes);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[22..], SchemeId);
        BinaryPrimitives.WriteInt64LittleEndian(destination[24..], RecordBytes);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[32..], Generation);
        BinaryPrimitives.WriteInt64LittleEndian(destination[40..], VolumeId);
        BinaryPrimitives.WriteInt64LittleEndian(destination[48..], Offset);
        BinaryPrimitives.WriteInt64LittleEndian(destination[56..], DurableBelow);
        BinaryPrimitives.WriteInt64LittleEndian(destination[64..], Sequence);
        Extent.WriteTo(destination[72..]);
        BinaryPrimitives.WriteInt32LittleEndian(destination[88..], Block);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[92..], Shard);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[94..], PartNumber);
        BinaryPrimitives.WriteInt32LittleEndian(destination[96..], PlacementGroup);
        BinaryPrimitives.WriteInt32LittleEndian(destination[100..], ChunkBytes);
        BinaryPrimitives.WriteInt64LittleEndian(destination[104..], BucketId);
        BinaryPrimitives.WriteUInt128BigEndian(destination[112..], Version);
        BinaryPrimitives.WriteInt32LittleEndian(destination[128..], PayloadOffset);
        BinaryPrimitives.WriteInt32LittleEndian(destination[132..], PayloadBytes);
        BinaryPrimitives.WriteInt64LittleEndian(destination[136..], CreatedUnixMilliseconds);
        BinaryPrimitives.WriteInt32LittleEndian(destination[144..], BlockSizeBytes);
        BinaryPrimitives.WriteInt32LittleEndian(destination[148..], ChunkCount);
        BinaryPrimitives.WriteInt32LittleEndian(destination[152..], BlockLengthBytes);
        BinaryPrimitives.WriteInt32LittleEndian(destination[156..], 0);
        key.CopyTo(destination[FixedBytes..]);
        Span<byte> table = destination[ChecksumTableOffset..];
        for (int i = 0; i < ChunkCount; i++)
            BinaryPrimitives.WriteUInt64LittleEndian(table[(i * 8)..], chunkChecksums[i]);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[8..], Checksum(destination));
    }

    /// <summary>False where the bytes are no whole, intact header.</summary>
    public static bool TryDecode(ReadOnlySpan<byte> source, out RecordHeader header)
    {
        header = default;
        if (source.Length < FixedBytes || !source.StartsWith(Magic) || source[4] != FormatVersion)
            return false;
        header.Kind = (RecordKind)source[5];
        header.HeaderBytes = BinaryPrimitives.ReadInt32LittleEndian(source[16..]);
        if (header.HeaderBytes is < FixedBytes or > MaxBytes || header.HeaderBytes > source.Length
            || BinaryPrimitives.ReadUInt64LittleEndian(source[8..]) != Checksum(source[..header.HeaderBytes]))
            return false;
        header.KeyBytes = BinaryPrimitives.ReadUInt16LittleEndian(source[20..]);
        header.SchemeId = BinaryPrimitives.ReadUInt16LittleEndian(source[22..]);
        header.RecordBytes = BinaryPrimitives.ReadInt64LittleEndian(source[24..]);
        header.Generation = BinaryPrimitives.ReadUInt64LittleEndian(source[32..]);
        header.VolumeId = BinaryPrimitives.ReadInt64LittleEndian(source[40..]);
        header.Offset = BinaryPrimitives.ReadInt64LittleEndian(source[48..]);
        header.DurableBelow = BinaryPrimitives.ReadInt64LittleEndian(source[56..]);
        header.Sequence = BinaryPrimitives.ReadInt64LittleEndian(source[64..]);
        header.Extent = ExtentId.ReadFrom(source[72..]);
        header.Block = BinaryPrimitives.ReadInt32LittleEndian(source[88..]);
        header.Shard = BinaryPrimitives.ReadUInt16LittleEndian(source[92..]);
        header.PartNumber = BinaryPrimitives.ReadUInt16LittleEndian(source[94..]);
        header.PlacementGroup = BinaryPrimitives.ReadInt32LittleEndian(source[96..]);
        header.ChunkBytes = BinaryPrimitives.ReadInt32LittleEndian(source[100..]);
        header.BucketId = BinaryPrimitives.ReadInt64LittleEndian(source[104..]);
        header.Version = BinaryPrimitives.ReadUInt128BigEndian(source[112..]);
        header.PayloadOffset = BinaryPrimitives.ReadInt32LittleEndian(source[128..]);
        header.PayloadBytes = BinaryPrimitives.ReadInt32LittleEndian(source[132..]);
        header.CreatedUnixMilliseconds = BinaryPrimitives.ReadInt64LittleEndian(source[136..]);
        header.BlockSizeBytes = BinaryPrimitives.ReadInt32LittleEndian(source[144..]);
        header.ChunkCount = BinaryPrimitives.ReadInt32LittleEndian(source[148..]);
        header.BlockLengthBytes = BinaryPrimitives.ReadInt32LittleEndian(source[152..]);

        // The checksum matched, so these hold unless a writer was wrong; a reader must not index out of range even then.
        return header.KeyBytes <= ExtentDescriptor.MaxKeyBytes
            && header.ChunkCount is >= 0 and <= VolumeFormat.MaxChunks
            && header.HeaderBytes == MeasureHeader(header.KeyBytes, header.ChunkCount)
            && header.ChunkBytes == VolumeFormat.ChunkBytes
            && header.PayloadBytes is >= 0 and <= VolumeFormat.MaxBlockBytes
            && header.ChunkCount == VolumeFormat.ChunkCount(header.PayloadBytes)
            && (header.PayloadOffset == header.HeaderBytes || header.PayloadOffset == VolumeFormat.PageBytes)
            && header.RecordBytes == VolumeFormat.AlignToRecord(header.PayloadOffset + header.PayloadBytes);
    }

    /// <summary>The object's key, from the header's bytes.</summary>
    public readonly ReadOnlySpan<byte> Key(ReadOnlySpan<byte> header) => header.Slice(FixedBytes, KeyBytes);

    public readonly ulong ChunkChecksum(ReadOnlySpan<byte> header, int chunk)
        => BinaryPrimitives.ReadUInt64LittleEndian(header[(ChecksumTableOffset + (chunk * 8))..]);

    private static ulong Checksum(ReadOnlySpan<byte> header) => Crc64Nvme.Append(Crc64Nvme.Compute(header[..8]), header[16..]);
}

/// <summary>One fragment that a tombstone takes away: exactly the copy at this place.</summary>
internal readonly record struct TombstoneEntry(FragmentKey Key, long VolumeId, long Offset)
{
    public const int SizeBytes = 24;
    public const int MaxPerRecord = 4096;

    public void Encode(Span<byte> destination)
    {
        BinaryPrimitives.WriteInt32LittleEndian(destination, Key.Block);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[4..], Key.Shard);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[6..], 0);
        BinaryPrimitives.WriteInt64LittleEndian(destination[8..], VolumeId);
        BinaryPrimitives.WriteInt64LittleEndian(destination[16..], Offset);
    }

    public static TombstoneEntry Decode(ReadOnlySpan<byte> source, ExtentId extent)
        => new(
            new FragmentKey(extent, BinaryPrimitives.ReadInt32LittleEndian(source), BinaryPrimitives.ReadUInt16LittleEndian(source[4..])),
            BinaryPrimitives.ReadInt64LittleEndian(source[8..]),
            BinaryPrimitives.ReadInt64LittleEndian(source[16..]));
}

/// <summary>Where a fragment's record is, and what a listing says of it without reading it. The record ends after the payload.</summary>
internal readonly record struct FragmentLocation(long VolumeId, long Offset, int PayloadOffset, int PayloadBytes, int PlacementGroup, ushort SchemeId)
{
    public int RecordBytes => VolumeFormat.AlignToRecord(PayloadOffset + PayloadBytes);

    public bool IsSamePlaceAs(in FragmentLocation other) => VolumeId == other.VolumeId && Offset == other.Offset;
}
