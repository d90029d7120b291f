using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Aes = System.Runtime.Intrinsics.Arm.Aes;

namespace ObjectStore.Storage.Integrity;

/// <summary>
/// CRC-64/NVME: reflected polynomial 0x9A6C9329AC4BC9B5, initial value and final XOR all ones, check("123456789") = 0xAE8B14860A799888.
/// (NVM Express NVM Command Set Specification; also S3's x-amz-checksum-crc64nvme.) Self-contained so that another project can link this file.
/// Folds with carry-less multiplication as in Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ"
/// (Intel, 2009), in its reflected form; the fold constants are computed from the polynomial at start.
/// </summary>
internal static class Crc64Nvme
{
    private const ulong Polynomial = 0x9A6C9329AC4BC9B5;

    private static readonly ulong[] Tables = BuildTables();

    // x^(8·2^i) modulo the polynomial, reflected: what appending 2^i zero bytes multiplies a remainder by.
    private static readonly ulong[] ZeroBytePowers = BuildZeroBytePowers();

    // Fold constants for a distance of D bytes: the pair (x^(8D+63), x^(8D-1)) modulo the polynomial, reflected. The one-bit
    // shortfall makes up for the bit by which a product of two reflected 64-bit values is displaced.
    private static readonly Vector128<ulong> Fold16 = FoldConstants(16);
    private static readonly Vector128<ulong> Fold32 = FoldConstants(32);
    private static readonly Vector128<ulong> Fold48 = FoldConstants(48);
    private static readonly Vector128<ulong> Fold64 = FoldConstants(64);
    private static readonly Vector128<ulong> Fold128 = FoldConstants(128);
    private static readonly Vector128<ulong> Fold256 = FoldConstants(256);

    /// <summary>Whether this processor multiplies without carries: PCLMULQDQ on x64, PMULL on Arm64 (part of its AES extension).</summary>
    internal static bool HasVectorMultiply => Pclmulqdq.IsSupported || Aes.IsSupported;

    /// <summary>The checksum of <paramref name="data"/>.</summary>
    public static ulong Compute(ReadOnlySpan<byte> data) => Append(0, data);

    /// <summary>The checksum of A followed by <paramref name="data"/>, from the checksum of A (0 for an empty A).</summary>
    public static ulong Append(ulong checksum, ReadOnlySpan<byte> data)
    {
        ulong state = ~checksum;
        if (data.Length >= 512 && Pclmulqdq.V512.IsSupported)
            state = Update512(state, ref data);
        else if (data.Length >= 128 && HasVectorMultiply)
            state = Update128(state, ref data);
        if (data.Length >= 32 && HasVectorMultiply)
            state = UpdateShort(state, ref data);
        return ~UpdateScalar(state, data);
    }

    /// <summary>The checksum of A followed by B, from the checksums of both and B's length.</summary>
    public static ulong Combine(ulong checksumA, ulong checksumB, long lengthBytesB)
    {
        ulong shifted = checksumA;
        for (int bit = 0; lengthBytesB >> bit != 0; bit++)
        {
            if (((lengthBytesB >> bit) & 1) != 0)
                shifted = Multiply(shifted, ZeroBytePowers[bit]);
        }

        return shifted ^ checksumB;
    }

    internal static ulong AppendScalar(ulong checksum, ReadOnlySpan<byte> data) => ~UpdateScalar(~checksum, data);

    internal static ulong AppendVector128(ulong checksum, ReadOnlySpan<byte> data)
    {
        ulong state = ~checksum;
        if (data.Length >= 128)
            state = Update128(state, ref data);
        if (data.Length >= 32)
            state = UpdateShort(state, ref data);
        return ~UpdateScalar(state, data);
    }

    private static ulong Update512(ulong state, ref ReadOnlySpan<byte> data)
    {
        ref byte source = ref MemoryMarshal.GetReference(data);
        nuint offset = 256;
        nuint end = (nuint)data.Length;
        Vector512<ulong> a0 = Load512(ref source, 0) ^ Vector512.CreateScalar(state);
        Vector512<ulong> a1 = Load512(ref source, 64);
        Vector512<ulong> a2 = Load512(ref source, 128);
        Vector512<ulong> a3 = Load512(ref source, 192);
        Vector512<ulong> fold256 = Vector512.Create(Vector256.Create(Fold256, Fold256), Vector256.Create(Fold256, Fold256));
        for (; offset + 256 <= end; offset += 256)
        {
            a0 = FoldOnto(a0, fold256, Load512(ref source, offset));
            a1 = FoldOnto(a1, fold256, Load512(ref source, offset + 64));
            a2 = FoldOnto(a2, fold256, Load512(ref source, offset + 128));
            a3 = FoldOnto(a3, fold256, Load512(ref source, offset + 192));
        }

        Vector512<ulong> fold64 = Vector512.Create(Vector256.Create(Fold64, Fold64), Vector256.Create(Fold64, Fold64));
        a1 = FoldOnto(a0, fold64, a1);
        a2 = FoldOnto(a1, fold64, a2);
        a3 = FoldOnto(a2, fold64, a3);
        for (; offset + 64 <= end; offset += 64)
            a3 = FoldOnto(a3, fold64, Load512(ref source, offset));

        Vector256<ulong> low = a3.GetLower();
        Vector256<ulong> high = a3.GetUpper();
        Vector128<ulong> folded = FoldOnto(low.GetLower(), Fold48, FoldOnto(low.GetUpper(), Fold32, FoldOnto(high.GetLower(), Fold16, high.GetUpper())));
        data = data[(int)offset..];
        return Reduce(folded);
    }

    private static ulong Update128(ulong state, ref ReadOnlySpan<byte> data)
    {
        ref byte source = ref MemoryMarshal.GetReference(data);
        nuint offset = 128;
        nuint end = (nuint)data.Length;
        Vector128<ulong> a0 = Load128(ref source, 0) ^ Vector128.CreateScalar(state);
        Vector128<ulong> a1 = Load128(ref source, 16), a2 = Load128(ref source, 32), a3 = Load128(ref source, 48);
        Vector128<ulong> a4 = Load128(ref source, 64), a5 = Load128(ref source, 80), a6 = Load128(ref source, 96), a7 = Load128(ref source, 112);
        Vector128<ulong> fold128 = Fold128;
        for (; offset + 128 <= end; offset += 128)
        {
            a0 = FoldOnto(a0, fold128, Load128(ref source, offset));
            a1 = FoldOnto(a1, fold128, Load128(ref source, offset + 16));
            a2 = FoldOnto(a2, fold128, Load128(ref source, offset + 32));
            a3 = FoldOnto(a3, fold128, Load128(ref source, offset + 48));
            a4 = FoldOnto(a4, fold128, Load128(ref source, offset + 64));
            a5 = FoldOnto(a5, fold128, Load128(ref source, offset + 80));
            a6 = FoldOnto(a6, fold128, Load128(ref source, offset + 96));
            a7 = FoldOnto(a7, fold128, Load128(ref source, offset + 112));
        }

        Vector128<ulong> fold64 = Fold64;
        a4 = FoldOnto(a0, fold64, a4);
        a5 = FoldOnto(a1, fold64, a5);
        a6 = FoldOnto(a2, fold64, a6);
        a7 = FoldOnto(a3, fold64, a7);
        a7 = FoldOnto(a4, Fold48, FoldOnto(a5, Fold32, FoldOnto(a6, Fold16, a7)));
        data = data[(int)offset..];
        return Reduce(a7);
    }

    private static ulong UpdateShort(ulong state, ref ReadOnlySpan<byte> data)
    {
        ref byte source = ref MemoryMarshal.GetReference(data);
        nuint offset = 16;
        nuint end = (nuint)data.Length;
        Vector128<ulong> folded = Load128(ref source, 0) ^ Vector128.CreateScalar(state);
        for (; offset + 16 <= end; offset += 16)
            folded = FoldOnto(folded, Fold16, Load128(ref source, offset));
        data = data[(int)offset..];
        return Reduce(folded);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<ulong> Load512(ref byte source, nuint offset) => Vector512.LoadUnsafe(ref source, offset).AsUInt64();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<ulong> Load128(ref byte source, nuint offset) => Vector128.LoadUnsafe(ref source, offset).AsUInt64();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<ulong> FoldOnto(Vector512<ulong> value, Vector512<ulong> constants, Vector512<ulong> next)
        => Vector512.Xor(Vector512.Xor(Pclmulqdq.V512.CarrylessMultiply(value, constants, 0x00), Pclmulqdq.V512.CarrylessMultiply(value, constants, 0x11)), next);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<ulong> FoldOnto(Vector128<ulong> value, Vector128<ulong> constants, Vector128<ulong> next)
        => MultiplyLower(value, constants) ^ MultiplyUpper(value, constants) ^ next;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<ulong> MultiplyLower(Vector128<ulong> a, Vector128<ulong> b)
        => Aes.IsSupported ? Aes.PolynomialMultiplyWideningLower(a.GetLower(), b.GetLower()) : Pclmulqdq.CarrylessMultiply(a, b, 0x00);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<ulong> MultiplyUpper(Vector128<ulong> a, Vector128<ulong> b)
        => Aes.IsSupported ? Aes.PolynomialMultiplyWideningUpper(a, b) : Pclmulqdq.CarrylessMultiply(a, b, 0x11);

    /// <summary>The state after the 16 bytes that the folded value stands for.</summary>
    private static ulong Reduce(Vector128<ulong> folded)
    {
        Span<byte> bytes = stackalloc byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, folded.GetElement(0));
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[8..], folded.GetElement(1));
        return UpdateScalar(0, bytes);
    }

    private static ulong UpdateScalar(ulong state, ReadOnlySpan<byte> data)
    {
        ref ulong tables = ref MemoryMarshal.GetArrayDataReference(Tables);
        while (data.Length >= 8)
        {
            ulong word = state ^ BinaryPrimitives.ReadUInt64LittleEndian(data);
            state = Unsafe.Add(ref tables, (nint)((7 * 256) + (word & 0xFF)))
                ^ Unsafe.Add(ref tables, (nint)((6 * 256) + ((word >> 8) & 0xFF)))
                ^ Unsafe.Add(ref tables, (nint)((5 * 256) + ((word >> 16) & 0xFF)))
                ^ Unsafe.Add(ref tables, (nint)((4 * 256) + ((word >> 24) & 0xFF)))
                ^ Unsafe.Add(ref tables, (nint)((3 * 256) + ((word >> 32) & 0xFF)))
                ^ Unsafe.Add(ref tables, (nint)((2 * 256) + ((word >> 40) & 0xFF)))
                ^ Unsafe.Add(ref tables, (nint)((1 * 256) + ((word >> 48) & 0xFF)))
                ^ Unsafe.Add(ref tables, (nint)(word >> 56));
            data = data[8..];
        }

        foreach (byte value in data)
            state = Unsafe.Add(ref tables, (nint)((byte)state ^ value)) ^ (state >> 8);
        return state;
    }

    private static ulong[] BuildTables()
    {
        var tables = new ulong[8 * 256];
        for (int value = 0; value < 256; value++)
        {
            ulong remainder = (ulong)value;
            for (int bit = 0; bit < 8; bit++)
                remainder = (remainder & 1) != 0 ? (remainder >> 1) ^ Polynomial : remainder >> 1;
            tables[value] = remainder;
        }

        for (int table = 1; table < 8; table++)
        {
            for (int value = 0; value < 256; value++)
            {
                ulong previous = tables[((table - 1) * 256) + value];
                tables[(table * 256) + value] = tables[(byte)previous] ^ (previous >> 8);
            }
        }

        return tables;
    }

    private static ulong[] BuildZeroBytePowers()
    {
        var powers = new ulong[63];
        powers[0] = PowerOfX(8);
        for (int i = 1; i < powers.Length; i++)
            powers[i] = Multiply(powers[i - 1], powers[i - 1]);
        return powers;
    }

    private static Vector128<ulong> FoldConstants(int distanceBytes) => Vector128.Create(PowerOfX((8 * distanceBytes) + 63), PowerOfX((8 * distanceBytes) - 1));

    /// <summary>x^exponent modulo the polynomial; reflected, so that bit 63 is the coefficient of x^0.</summary>
    private static ulong PowerOfX(int exponent)
    {
        ulong value = 1UL << 63;
        for (int i = 0; i < exponent; i++)
            value = (value & 1) != 0 ? (value >> 1) ^ Polynomial : value >> 1;
        return value;
    }

    /// <summary>The product modulo the polynomial of two reflected polynomials.</summary>
    private static ulong Multiply(ulong a, ulong b)
    {
        ulong product = 0;
        for (int bit = 63; bit >= 0; bit--)
        {
            if (((a >> bit) & 1) != 0)
                product ^= b;
            b = (b & 1) != 0 ? (b >> 1) ^ Polynomial : b >> 1;
        }

        return product;
    }
}
