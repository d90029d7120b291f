using System.Buffers.Binary;
using System.Text;
using ObjectStore.Grains;

namespace ObjectStore.Metadata.Records;

/// <summary>Reads what <see cref="RecordWriter"/> wrote. Every length is checked against the bytes that are there; anything amiss is a <see cref="MetadataRecordException"/>.</summary>
internal ref struct RecordReader
{
    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private readonly ReadOnlySpan<byte> _record;
    private int _position;

    /// <summary>Checks kind, version and checksum.</summary>
    internal RecordReader(ReadOnlySpan<byte> record, byte kind, byte newestVersion, string what)
    {
        // The version comes before the checksum: what a newer binary wrote is to be called that, even if its checksum is another one.
        if (record.Length < 6 || record[0] != kind)
        {
            throw new MetadataRecordException($"The {what} record is damaged: it does not begin as one.");
        }

        if (record[1] == 0 || record[1] > newestVersion)
        {
            throw new MetadataRecordException($"The {what} record has version {record[1]}; this binary reads up to {newestVersion}. Run the newer ObjectStore, or restore the backup from before the upgrade.");
        }

        if (BinaryPrimitives.ReadUInt32LittleEndian(record[^4..]) != Crc32C.Of(record[..^4]))
        {
            throw new MetadataRecordException($"The {what} record is damaged: its checksum does not match.");
        }

        _record = record[..^4];
        _position = 2;
    }

    internal readonly int Remaining => _record.Length - _position;

    internal byte Byte()
    {
        if (_position >= _record.Length)
        {
            throw Truncated();
        }

        return _record[_position++];
    }

    internal ulong Number()
    {
        ulong value = 0;
        for (int shift = 0; shift < 64; shift += 7)
        {
            byte b = Byte();
            if (shift == 63 && b > 1)
            {
                break;
            }

            value |= (ulong)(b & 0x7F) << shift;
            if (b < 0x80)
            {
                return value;
            }
        }

        throw new MetadataRecordException("A metadata record is damaged: a number is too long.");
    }

    internal long Signed()
    {
        ulong value = Number();
        return (long)(value >> 1) ^ -(long)(value & 1);
    }

    internal int SignedInt32()
    {
        long value = Signed();
        return value is >= int.MinValue and <= int.MaxValue ? (int)value : throw new MetadataRecordException("A metadata record is damaged: a number is out of range.");
    }

    /// <summary>A number of things that each take at least so many bytes: more than can be there is refused before anything is allocated.</summary>
    internal int Count(int leastBytesEach)
    {
        ulong count = Number();
        return count <= (ulong)(Remaining / leastBytesEach) ? (int)count : throw Truncated();
    }

    internal (ulong High, ulong Low) Id()
    {
        (ulong High, ulong Low) id = Ids.Read(Take(16));
        return id;
    }

    internal ETag ETag()
    {
        (ulong high, ulong low) = Id();
        ulong parts = Number();
        return parts <= int.MaxValue ? new ETag(high, low, (int)parts) : throw new MetadataRecordException("A metadata record is damaged: a part count is out of range.");
    }

    internal string Text()
    {
        ReadOnlySpan<byte> bytes = Take(Count(1));
        try
        {
            return StrictUtf8.GetString(bytes);
        }
        catch (DecoderFallbackException fault)
        {
            throw new MetadataRecordException("A metadata record is damaged: a text is not UTF-8.", fault);
        }
    }

    /// <summary>Nothing may be left over.</summary>
    internal readonly void End()
    {
        if (Remaining != 0)
        {
            throw new MetadataRecordException("A metadata record is damaged: there are bytes behind its end.");
        }
    }

    private ReadOnlySpan<byte> Take(int byteCount)
    {
        if (byteCount > Remaining)
        {
            throw Truncated();
        }

        ReadOnlySpan<byte> taken = _record.Slice(_position, byteCount);
        _position += byteCount;
        return taken;
    }

    private static MetadataRecordException Truncated() => new("A metadata record is damaged: it ends too early.");
}
