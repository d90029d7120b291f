using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace ObjectStore.S3.Checksums;

/// <summary>
/// A reflected CRC of up to 64 bits. Long inputs are folded with carry-less multiplication, short ones and other machines use eight tables.
///
/// Folding replaces a 128-bit lane by one that lies D bits further on and is congruent to it modulo the polynomial P:
/// lane·x^D ≡ high·(x^(D+64) mod P) + low·(x^D mod P). What remains, 16 bytes, is a message with the same remainder as all that came before, so
/// the tables can finish it and no reduction of another kind is needed. A product of two reflected 64-bit values is one bit short of 128, which
/// is why the constants are taken at D−1. Source: Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ
/// Instruction", Intel 2009.
///
/// Immutable; thread-safe. State is the register before the final complement, in the low bits.
/// </summary>
internal sealed class FoldingCrc
{
    private readonly int _width;
    private readonly ulong _polynomial;
    private readonly ulong[] _tables = new ulong[8 * 256];
    private readonly ulong[] _powers = new ulong[64];
    private readonly Vector128<ulong> _fold128;
    private readonly Vector128<ulong> _fold256;
    private readonly Vector128<ulong> _fold384;
    private readonly Vector128<ulong> _fold512;
    private readonly Vector128<ulong> _fold1024;
    private readonly Vector128<ulong> _fold2048;

    /// <param name="width">32 or 64.</param>
    /// <param name="reflectedPolynomial">The polynomial, bit i for x^(width−1−i), without its leading term.</param>
    public FoldingCrc(int width, ulong reflectedPolynomial)
    {
        _width = width;
        _polynomial = reflectedPolynomial;
        for (int value = 0; value < 256; value++)
        {
            ulong crc = (ulong)value;
            for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1) * _polynomial);
            _tables[value] = crc;
        }

        for (int table = 1; table < 8; table++)
        {
            for (int value = 0; value < 256; value++)
            {
                ulong previous = _tables[((table - 1) * 256) + value];
                _tables[(table * 256) + value] = (previous >> 8) ^ _tables[previous & 0xff];
            }
        }

        // _powers[n] = x^(2^n) mod P: x itself is the bit below the top one of a reflected value.
        _powers[0] = 1UL << (width - 2);
        for (int n = 1; n < _powers.Length; n++) _powers[n] = Multiply(_powers[n - 1], _powers[n - 1]);
        _fold128 = FoldConstant(128);
        _fold256 = FoldConstant(256);
        _fold384 = FoldConstant(384);
        _fold512 = FoldConstant(512);
        _fold1024 = FoldConstant(1024);
        _fold2048 = FoldConstant(2048);
    }

    /// <summary>Advances <paramref name="state"/> over <paramref name="data"/> on the fastest path of this machine.</summary>
    public ulong Update(ulong state, ReadOnlySpan<byte> data)
    {
        if (data.Length >= 512 && Pclmulqdq.V512.IsSupported && Vector512.IsHardwareAccelerated) return UpdateV512(state, data);
        if (data.Length >= 256 && Pclmulqdq.V256.IsSupported) return UpdateV256(state, data);
        if (data.Length >= 128 && Pclmulqdq.IsSupported) return UpdateV128(state, data);
        return UpdatePortable(state, data);
    }

    /// <summary>Advances by tables only; eight bytes at a time.</summary>
    public ulong UpdatePortable(ulong state, ReadOnlySpan<byte> data)
    {
        ref ulong tables = ref MemoryMarshal.GetArrayDataReference(_tables);
        while (data.Length >= 8)
        {
            ulong word = BinaryPrimitives.ReadUInt64LittleEndian(data) ^ state;
            state = Unsafe.Add(ref tables, (nint)((7 * 256) + (word & 0xff)))
                ^ Unsafe.Add(ref tables, (nint)((6 * 256) + ((word >> 8) & 0xff)))
                ^ Unsafe.Add(ref tables, (nint)((5 * 256) + ((word >> 16) & 0xff)))
                ^ Unsafe.Add(ref tables, (nint)((4 * 256) + ((word >> 24) & 0xff)))
                ^ Unsafe.Add(ref tables, (nint)((3 * 256) + ((word >> 32) & 0xff)))
                ^ Unsafe.Add(ref tables, (nint)((2 * 256) + ((word >> 40) & 0xff)))
                ^ Unsafe.Add(ref tables, (nint)(256 + ((word >> 48) & 0xff)))
                ^ Unsafe.Add(ref tables, (nint)(word >> 56));
            data = data[8..];
        }

        foreach (byte value in data) state = (state >> 8) ^ Unsafe.Add(ref tables, (nint)((state ^ value) & 0xff));
        return state;
    }

    /// <summary>512-bit path, for at least 256 bytes.</summary>
    internal ulong UpdateV512(ulong state, ReadOnlySpan<byte> data)
    {
        ref byte start = ref MemoryMarshal.GetReference(data);
        Vector512<ulong> k2048 = Vector512.Create(Vector256.Create(_fold2048, _fold2048), Vector256.Create(_fold2048, _fold2048));
        Vector512<ulong> a = Load512(ref start, 0) ^ Vector512.CreateScalar(state);
        Vector512<ulong> b = Load512(ref start, 64);
        Vector512<ulong> c = Load512(ref start, 128);
        Vector512<ulong> d = Load512(ref start, 192);
        nint offset = 256;
        nint end = data.Length;
        while (end - offset >= 256)
        {
            a = Fold(a, k2048, Load512(ref start, offset));
            b = Fold(b, k2048, Load512(ref start, offset + 64));
            c = Fold(c, k2048, Load512(ref start, offset + 128));
            d = Fold(d, k2048, Load512(ref start, offset + 192));
            offset += 256;
        }

        Vector512<ulong> k512 = Vector512.Create(Vector256.Create(_fold512, _fold512), Vector256.Create(_fold512, _fold512));
        b = Fold(a, k512, b);
        c = Fold(b, k512, c);
        d = Fold(c, k512, d);
        while (end - offset >= 64)
        {
            d = Fold(d, k512, Load512(ref start, offset));
            offset += 64;
        }

        Vector128<ulong> lane = Fold(d.GetLower().GetLower(), _fold384, Fold(d.GetLower().GetUpper(), _fold256, Fold(d.GetUpper().GetLower(), _fold128, d.GetUpper().GetUpper())));
        return Finish(lane, data[(int)offset..]);
    }

    /// <summary>256-bit path, for at least 128 bytes.</summary>
    internal ulong UpdateV256(ulong state, ReadOnlySpan<byte> data)
    {
        ref byte start = ref MemoryMarshal.GetReference(data);
        Vector256<ulong> k1024 = Vector256.Create(_fold1024, _fold1024);
        Vector256<ulong> a = Load256(ref start, 0) ^ Vector256.CreateScalar(state);
        Vector256<ulong> b = Load256(ref start, 32);
        Vector256<ulong> c = Load256(ref start, 64);
        Vector256<ulong> d = Load256(ref start, 96);
        nint offset = 128;
        nint end = data.Length;
        while (end - offset >= 128)
        {
            a = Fold(a, k1024, Load256(ref start, offset));
            b = Fold(b, k1024, Load256(ref start, offset + 32));
            c = Fold(c, k1024, Load256(ref start, offset + 64));
            d = Fold(d, k1024, Load256(ref start, offset + 96));
            offset += 128;
        }

        Vector256<ulong> k256 = Vector256.Create(_fold256, _fold256);
        d = Fold(Fold(Fold(a, k256, b), k256, c), k256, d);
        return Finish(Fold(d.GetLower(), _fold128, d.GetUpper()), data[(int)offset..]);
    }

    /// <summary>128-bit path, for at least 64 bytes.</summary>
    internal ulong UpdateV128(ulong state, ReadOnlySpan<byte> data)
    {
        ref byte start = ref MemoryMarshal.GetReference(data);
        Vector128<ulong> a = Load128(ref start, 0) ^ Vector128.CreateScalar(state);
        Vector128<ulong> b = Load128(ref start, 16);
        Vector128<ulong> c = Load128(ref start, 32);
        Vector128<ulong> d = Load128(ref start, 48);
        nint offset = 64;
        nint end = data.Length;
        while (end - offset >= 64)
        {
            a = Fold(a, _fold512, Load128(ref start, offset));
            b = Fold(b, _fold512, Load128(ref start, offset + 16));
            c = Fold(c, _fold512, Load128(ref start, offset + 32));
            d = Fold(d, _fold512, Load128(ref start, offset + 48));
            offset += 64;
        }

        return Finish(Fold(Fold(Fold(a, _fold128, b), _fold128, c), _fold128, d), data[(int)offset..]);
    }

    /// <summary>
    /// The state after first and second, from the state after each alone, both complemented at start and end: first·x^(8·length) + second.
    /// Takes a time that grows with the logarithm of the length.
    /// </summary>
    public ulong Combine(ulong first, ulong second, long secondLengthBytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(secondLengthBytes);
        UInt128 bits = (UInt128)(ulong)secondLengthBytes << 3;
        for (int n = 0; bits != 0; n++, bits >>= 1)
        {
            if ((bits & 1) != 0) first = Multiply(first, _powers[n % _powers.Length]);
        }

        return first ^ second;
    }

    private ulong Finish(Vector128<ulong> lane, ReadOnlySpan<byte> tail)
    {
        Span<byte> bytes = stackalloc byte[16];
        lane.AsByte().CopyTo(bytes);
        return UpdatePortable(UpdatePortable(0, bytes), tail);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<ulong> Fold(Vector128<ulong> lane, Vector128<ulong> constants, Vector128<ulong> next) =>
        Pclmulqdq.CarrylessMultiply(lane, constants, 0x00) ^ Pclmulqdq.CarrylessMultiply(lane, constants, 0x11) ^ next;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<ulong> Fold(Vector256<ulong> lane, Vector256<ulong> constants, Vector256<ulong> next) =>
        Pclmulqdq.V256.CarrylessMultiply(lane, constants, 0x00) ^ Pclmulqdq.V256.CarrylessMultiply(lane, constants, 0x11) ^ next;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<ulong> Fold(Vector512<ulong> lane, Vector512<ulong> constants, Vector512<ulong> next) =>
        Pclmulqdq.V512.CarrylessMultiply(lane, constants, 0x00) ^ Pclmulqdq.V512.CarrylessMultiply(lane, constants, 0x11) ^ next;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<ulong> Load128(ref byte start, nint offset) => Vector128.LoadUnsafe(ref Unsafe.Add(ref start, offset)).AsUInt64();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<ulong> Load256(ref byte start, nint offset) => Vector256.LoadUnsafe(ref Unsafe.Add(ref start, offset)).AsUInt64();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<ulong> Load512(ref byte start, nint offset) => Vector512.LoadUnsafe(ref Unsafe.Add(ref start, offset)).AsUInt64();

    /// <summary>The pair of constants that moves a lane by <paramref name="bits"/>: for its first eight bytes, which weigh x^64 more, and its last.</summary>
    private Vector128<ulong> FoldConstant(int bits) => Vector128.Create(Power(bits + 64 - 1) << (64 - _width), Power(bits - 1) << (64 - _width));

    /// <summary>x^n mod P, reflected within the width.</summary>
    private ulong Power(int n)
    {
        ulong result = 1UL << (_width - 1);
        for (int bit = 0; n != 0; bit++, n >>= 1)
        {
            if ((n & 1) != 0) result = Multiply(result, _powers[bit]);
        }

        return result;
    }

    /// <summary>The product of two reflected polynomials modulo P.</summary>
    private ulong Multiply(ulong left, ulong right)
    {
        ulong product = 0;
        for (ulong bit = 1UL << (_width - 1); bit != 0; bit >>= 1)
        {
            if ((left & bit) != 0) product ^= right;
            right = (right >> 1) ^ ((right & 1) * _polynomial);
        }

        return product;
    }
}
