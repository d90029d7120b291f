using System.Buffers;
using System.Buffers.Binary;
using System.Numerics;
using System.Text;
using ObjectStore.Grains;

namespace ObjectStore.Metadata.Records;

/// <summary>Writes one binary record: kind, version, body, CRC-32C (docs/formats/metadata.md). Rents its buffer; dispose it.</summary>
internal ref struct RecordWriter
{
    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private byte[] _buffer;
    private int _length;

    internal RecordWriter(byte kind, byte version)
    {
        _buffer = ArrayPool<byte>.Shared.Rent(512);
        _length = 0;
        Byte(kind);
        Byte(version);
    }

    internal void Byte(byte value)
    {
        Reserve(1);
        _buffer[_length++] = value;
    }

    internal void Number(ulong value)
    {
        Reserve(10);
        while (value >= 0x80)
        {
            _buffer[_length++] = (byte)(value | 0x80);
            value >>= 7;
        }

        _buffer[_length++] = (byte)value;
    }

    /// <summary>A number that may be below zero: zigzag, so that small ones of either sign are short.</summary>
    internal void Signed(long value) => Number((ulong)((value << 1) ^ (value >> 63)));

    internal void Id(ulong high, ulong low)
    {
        Reserve(16);
        Ids.Write(_buffer.AsSpan(_length), high, low);
        _length += 16;
    }

    internal void ETag(ETag etag)
    {
        Id(etag.High, etag.Low);
        Number((ulong)(uint)etag.PartCount);
    }

    internal void Text(string value)
    {
        int byteCount = StrictUtf8.GetByteCount(value);
        Number((ulong)byteCount);
        Reserve(byteCount);
        _length += StrictUtf8.GetBytes(value, _buffer.AsSpan(_length));
    }

    /// <summary>Ends the record with its checksum.</summary>
    internal byte[] Finish()
    {
        Reserve(4);
        BinaryPrimitives.WriteUInt32LittleEndian(_buffer.AsSpan(_length), Crc32C.Of(_buffer.AsSpan(0, _length)));
        return _buffer.AsSpan(0, _length + 4).ToArray();
    }

    internal void Dispose()
    {
        ArrayPool<byte>.Shared.Return(_buffer);
        _buffer = [];
    }

    private void Reserve(int byteCount)
    {
        if (_buffer.Length - _length >= byteCount)
        {
            return;
        }

        byte[] larger = ArrayPool<byte>.Shared.Rent(Math.Max(_buffer.Length * 2, _length + byteCount));
        _buffer.AsSpan(0, _length).CopyTo(larger);
        ArrayPool<byte>.Shared.Return(_buffer);
        _buffer = larger;
    }
}

/// <summary>CRC-32C (Castagnoli) as iSCSI has it, RFC 3720 appendix B.4.</summary>
internal static class Crc32C
{
    internal static uint Of(ReadOnlySpan<byte> data)
    {
        uint crc = uint.MaxValue;
        while (data.Length >= 8)
        {
            crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt64LittleEndian(data));
            data = data[8..];
        }

        foreach (byte b in data)
        {
            crc = BitOperations.Crc32C(crc, b);
        }

        return ~crc;
    }
}
