using System.Buffers.Binary;

namespace ObjectStore.Grains;

/// <summary>
/// A reflected cyclic redundancy check of 32 or 64 bits whose register begins and ends inverted, and its combination: the check of two runs of
/// bytes from the checks of each. Immutable.
/// </summary>
/// <remarks>
/// A check is a polynomial over GF(2) modulo the generator, highest power in the lowest bit. Appending n bytes multiplies it by x^(8n); because
/// register and result are both inverted, the inversions cancel in <c>crc(a‖b) = crc(a)·x^(8|b|) + crc(b)</c> (M. Adler, zlib's crc32_combine).
/// </remarks>
public sealed class Crc
{
    /// <summary>CRC-32/ISO-HDLC.</summary>
    public static readonly Crc Crc32 = new(32, 0xEDB88320);

    /// <summary>CRC-32/ISCSI (Castagnoli).</summary>
    public static readonly Crc Crc32C = new(32, 0x82F63B78);

    /// <summary>CRC-64/NVME.</summary>
    public static readonly Crc Crc64Nvme = new(64, 0x9A6C9329AC4BC9B5);

    private readonly int _bits;
    private readonly ulong _polynomial;
    private readonly ulong[] _table = new ulong[256];

    private Crc(int bits, ulong polynomial)
    {
        _bits = bits;
        _polynomial = polynomial;
        for (uint i = 0; i < 256; i++)
        {
            ulong value = i;
            for (int bit = 0; bit < 8; bit++)
                value = TimesX(value);
            _table[i] = value;
        }
    }

    /// <summary>The check's size in bytes.</summary>
    public int LengthBytes => _bits / 8;

    private ulong Ones => ulong.MaxValue >> (64 - _bits);

    /// <summary>The check of some bytes.</summary>
    public ulong Compute(ReadOnlySpan<byte> data)
    {
        ulong register = Ones;
        foreach (byte value in data)
            register = _table[(byte)register ^ value] ^ (register >> 8);
        return register ^ Ones;
    }

    /// <summary>The check of two runs of bytes, one behind the other.</summary>
    /// <param name="first">The check of the first run.</param>
    /// <param name="second">The check of the second run.</param>
    /// <param name="secondLengthBytes">The second run's length in bytes.</param>
    public ulong Combine(ulong first, ulong second, long secondLengthBytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(secondLengthBytes);
        return Multiply(first, PowerOfX8(secondLengthBytes)) ^ second;
    }

    /// <summary>Reads a check as S3 writes it: big-endian.</summary>
    public ulong Read(ReadOnlySpan<byte> bytes) => _bits == 32 ? BinaryPrimitives.ReadUInt32BigEndian(bytes) : BinaryPrimitives.ReadUInt64BigEndian(bytes);

    /// <summary>Writes a check as S3 does: big-endian.</summary>
    public void Write(ulong check, Span<byte> destination)
    {
        if (_bits == 32)
            BinaryPrimitives.WriteUInt32BigEndian(destination, (uint)check);
        else
            BinaryPrimitives.WriteUInt64BigEndian(destination, check);
    }

    /// <summary>x^(8·exponent) by squaring.</summary>
    private ulong PowerOfX8(long exponent)
    {
        ulong result = 1UL << (_bits - 1); // x^0
        ulong square = 1UL << (_bits - 9); // x^8
        for (; exponent > 0; exponent >>= 1)
        {
            if ((exponent & 1) != 0)
                result = Multiply(result, square);
            square = Multiply(square, square);
        }

        return result;
    }

    private ulong Multiply(ulong a, ulong b)
    {
        ulong product = 0;
        for (ulong bit = 1UL << (_bits - 1); bit != 0; bit >>= 1)
        {
            if ((a & bit) != 0)
                product ^= b;
            b = TimesX(b);
        }

        return product;
    }

    private ulong TimesX(ulong value) => (value & 1) != 0 ? (value >> 1) ^ _polynomial : value >> 1;
}
