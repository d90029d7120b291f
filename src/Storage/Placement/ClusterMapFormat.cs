using System.Buffers;
using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Text;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Integrity;

namespace ObjectStore.Storage.Placement;

/// <summary>Bytes that should be a cluster map are damaged, or of a newer format.</summary>
public sealed class ClusterMapFormatException(string reason, Exception? inner = null) : StorageException($"The cluster map cannot be read: {reason}.", inner);

/// <summary>A cluster map in bytes, as it is stored, sent and cached; see docs/formats/cluster-map.md. Equal maps have equal bytes.</summary>
public static class ClusterMapFormat
{
    public const int Version = 1;

    private const int HeaderBytes = 40;
    private const int ChecksumBytes = 8;
    private const ushort NoDrive = ushort.MaxValue;
    private const byte Incomplete = 0x80;
    private const int MaxSources = 0x7F;
    private const long MaxEpoch = long.MaxValue / 2; // the next ones must be numbers too

    private static readonly UTF8Encoding Utf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private static ReadOnlySpan<byte> Magic => "OSCLMAP\0"u8;

    /// <exception cref="ArgumentException">The map has more than 65,535 drives, a domain's name more than 65,535 bytes, or a slot names a drive that the map has not.</exception>
    public static byte[] Encode(ClusterMap map)
    {
        if (map.Drives.Count >= NoDrive)
            throw new ArgumentException($"A map of {map.Drives.Count} drives cannot be written; {NoDrive - 1} are the most.", nameof(map));
        var writer = new Writer();
        writer.Bytes(Magic);
        writer.UInt16(Version);
        writer.UInt16(0);
        writer.UInt32(0); // The length, when it is known.
        writer.Int64(map.Epoch);
        writer.UInt32((uint)map.Drives.Count);
        writer.UInt32((uint)map.GroupCount);
        writer.UInt32((uint)map.Widths.Count);
        writer.UInt32(0);
        Dictionary<Guid, ushort> indexes = [];
        foreach (MappedDrive drive in map.Drives)
        {
            indexes.Add(drive.Id, (ushort)indexes.Count);
            writer.Guid(drive.Id);
            writer.Int64(BitConverter.DoubleToInt64Bits(drive.Weight));
            writer.Byte(drive.IsReadable ? (byte)1 : (byte)0);
            writer.Text(drive.Domain.Region);
            writer.Text(drive.Domain.Zone);
            writer.Text(drive.Domain.Rack);
            writer.Text(drive.Domain.Host);
        }

        ushort IndexOf(Guid id) => indexes.TryGetValue(id, out ushort index) ? index : throw new ArgumentException($"A slot names drive {id}, which the map has not.", nameof(map));
        foreach (int width in map.Widths)
        {
            writer.Byte((byte)width);
            for (int group = 0; group < map.GroupCount; group++)
            {
                foreach (GroupSlot slot in map.SlotsOf(new PlacementGroupId(width, group)))
                {
                    // Beyond 127 the oldest are left out; so many times no slot moves before it is filled.
                    Guid[] held = [.. slot.Sources, .. slot.Absent];
                    int sources = Math.Min(held.Length, MaxSources);
                    writer.UInt16(slot.Drive is { } drive ? IndexOf(drive) : NoDrive);
                    writer.Byte((byte)(sources | (slot.IsComplete ? 0 : Incomplete)));
                    foreach (Guid source in held.AsSpan(0, sources))
                        writer.UInt16(IndexOf(source));
                    if (!slot.IsComplete)
                        writer.Int64(slot.Since);
                }
            }
        }

        return writer.Finish();
    }

    /// <exception cref="ClusterMapFormatException">The bytes are damaged or of a newer format.</exception>
    public static ClusterMap Decode(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length < HeaderBytes + ChecksumBytes || !bytes[..Magic.Length].SequenceEqual(Magic))
            throw new ClusterMapFormatException("the bytes do not begin as one does");
        int version = BinaryPrimitives.ReadUInt16LittleEndian(bytes[8..]);
        if (version != Version)
            throw new ClusterMapFormatException($"its format is version {version}; this build knows version {Version}");
        if (BinaryPrimitives.ReadUInt32LittleEndian(bytes[12..]) != bytes.Length)
            throw new ClusterMapFormatException($"it is cut off or has more behind it: {bytes.Length} bytes of {BinaryPrimitives.ReadUInt32LittleEndian(bytes[12..])}");
        if (BinaryPrimitives.ReadUInt64LittleEndian(bytes[^ChecksumBytes..]) != Crc64Nvme.Compute(bytes[..^ChecksumBytes]))
            throw new ClusterMapFormatException("its checksum does not match");
        try
        {
            return Read(new Reader(bytes[16..^ChecksumBytes]));
        }
        catch (Exception e) when (e is ArgumentException or InvalidDataException)
        {
            // The checksum is right, so a writer went wrong.
            throw new ClusterMapFormatException($"its content contradicts itself: {e.Message}", e);
        }
    }

    private static ClusterMap Read(Reader reader)
    {
        long epoch = reader.Int64();
        int driveCount = (int)reader.UInt32(), groupCount = (int)reader.UInt32(), widthCount = (int)reader.UInt32();
        _ = reader.UInt32();
        if (driveCount is < 0 or >= NoDrive || groupCount is < 1 or > PlacementGroupId.MaxIndex + 1 || widthCount is < 0 or > Scheme.MaxShards)
            throw new InvalidDataException($"{driveCount} drives, {groupCount} groups of {widthCount} widths");
        if (epoch is < 1 or > MaxEpoch)
            throw new InvalidDataException($"epoch {epoch}");
        var drives = new MappedDrive[driveCount];
        HashSet<Guid> ids = [];
        for (int drive = 0; drive < driveCount; drive++)
        {
            Guid id = reader.Guid();
            double weight = BitConverter.Int64BitsToDouble(reader.Int64());
            bool isReadable = reader.Byte() != 0;
            if (!(weight >= 0) || double.IsInfinity(weight) || !ids.Add(id))
                throw new InvalidDataException($"drive {id} is named twice, or has the weight {weight}");
            drives[drive] = new MappedDrive(id, weight, new FailureDomain(reader.Text(), reader.Text(), reader.Text(), reader.Text()), isReadable);
        }

        MappedDrive DriveAt(int index) => index < driveCount ? drives[index] : throw new InvalidDataException($"drive {index} of {driveCount}");
        var tables = new Dictionary<int, ImmutableArray<ImmutableArray<GroupSlot>>>();
        for (int table = 0; table < widthCount; table++)
        {
            int width = reader.Byte();
            var groups = ImmutableArray.CreateBuilder<ImmutableArray<GroupSlot>>(groupCount);
            for (int group = 0; group < groupCount; group++)
            {
                var slots = ImmutableArray.CreateBuilder<GroupSlot>(width);
                for (int number = 0; number < width; number++)
                {
                    ushort drive = reader.UInt16();
                    byte state = reader.Byte();
                    ImmutableArray<Guid> sources = [], absent = [];
                    for (int source = 0; source < (state & MaxSources); source++)
                    {
                        MappedDrive held = DriveAt(reader.UInt16());
                        if (held.IsReadable)
                            sources = sources.Add(held.Id);
                        else
                            absent = absent.Add(held.Id);
                    }

                    bool isComplete = (state & Incomplete) == 0;
                    slots.Add(new GroupSlot(drive == NoDrive ? null : DriveAt(drive).Id, sources, isComplete) { Since = isComplete ? 0 : reader.Int64(), Absent = absent });
                }

                groups.Add(slots.MoveToImmutable());
            }

            tables.Add(width, groups.MoveToImmutable());
        }

        if (!reader.IsAtEnd)
            throw new InvalidDataException("bytes are left");
        return new ClusterMap(epoch, drives, tables, groupCount);
    }

    private sealed class Writer
    {
        private readonly ArrayBufferWriter<byte> _buffer = new(64 << 10);

        public void Bytes(ReadOnlySpan<byte> value) => _buffer.Write(value);

        public void Byte(byte value) => _buffer.Write([value]);

        public void UInt16(ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(Take(2), value);

        public void UInt32(uint value) => BinaryPrimitives.WriteUInt32LittleEndian(Take(4), value);

        public void Int64(long value) => BinaryPrimitives.WriteInt64LittleEndian(Take(8), value);

        public void Guid(Guid value) => value.TryWriteBytes(Take(16), bigEndian: true, out _);

        public void Text(string value)
        {
            int bytes = Utf8.GetByteCount(value);
            if (bytes > ushort.MaxValue)
                throw new ArgumentException("The name of a failure domain is longer than 65,535 bytes.", nameof(value));
            UInt16((ushort)bytes);
            Utf8.GetBytes(value, Take(bytes));
        }

        public byte[] Finish()
        {
            byte[] bytes = new byte[_buffer.WrittenCount + ChecksumBytes];
            _buffer.WrittenSpan.CopyTo(bytes);
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(12), (uint)bytes.Length);
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(_buffer.WrittenCount), Crc64Nvme.Compute(bytes.AsSpan(0, _buffer.WrittenCount)));
            return bytes;
        }

        private Span<byte> Take(int bytes)
        {
            Span<byte> span = _buffer.GetSpan(bytes)[..bytes];
            _buffer.Advance(bytes);
            return span;
        }
    }

    private ref struct Reader(ReadOnlySpan<byte> bytes)
    {
        private ReadOnlySpan<byte> _left = bytes;

        public readonly bool IsAtEnd => _left.IsEmpty;

        public byte Byte() => Take(1)[0];

        public ushort UInt16() => BinaryPrimitives.ReadUInt16LittleEndian(Take(2));

        public uint UInt32() => BinaryPrimitives.ReadUInt32LittleEndian(Take(4));

        public long Int64() => BinaryPrimitives.ReadInt64LittleEndian(Take(8));

        public Guid Guid() => new(Take(16), bigEndian: true);

        public string Text() => Utf8.GetString(Take(UInt16()));

        private ReadOnlySpan<byte> Take(int bytes)
        {
            if (bytes > _left.Length)
                throw new InvalidDataException("it ends too soon");
            ReadOnlySpan<byte> taken = _left[..bytes];
            _left = _left[bytes..];
            return taken;
        }
    }
}
