using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace ObjectStore.Storage.ErasureCoding;

/// <summary>
/// Multiplication by a constant as two look-ups of sixteen entries: c × x = c × (low nibble of x) + c × (high nibble of x shifted up). (Plank, Greenan and Miller, "Screaming Fast Galois
/// Field Arithmetic Using Intel SIMD Instructions", FAST 2013.)
/// </summary>
internal static class NibbleTables
{
    /// <summary>Sixteen products for the low nibble, then sixteen for the high one.</summary>
    public const int Bytes = 32;

    public static void Write(byte coefficient, Span<byte> table)
    {
        for (int nibble = 0; nibble < 16; nibble++)
        {
            table[nibble] = GaloisField.Multiply(coefficient, (byte)nibble);
            table[16 + nibble] = GaloisField.Multiply(coefficient, (byte)(nibble << 4));
        }
    }
}

/// <summary>64 bytes at a time in two AVX2 vectors: eight registers for the sums, four for the source's nibbles, two for the tables, one for the mask.</summary>
internal readonly unsafe struct Nibbles256 : IBlockArithmetic<Nibbles256.Block, Nibbles256.Source>
{
    public struct Block
    {
        public Vector256<byte> A, B;
    }

    public struct Source
    {
        public Vector256<byte> LowA, HighA, LowB, HighB;
    }

    public static bool IsSupported => Avx2.IsSupported;

    public static int BlockBytes => 64;

    public static int TableBytes => NibbleTables.Bytes;

    public static void WriteTable(byte coefficient, Span<byte> table) => NibbleTables.Write(coefficient, table);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Source Load(byte* source)
    {
        Vector256<byte> a = Vector256.Load(source), b = Vector256.Load(source + 32), nibble = Vector256.Create((byte)0x0F);
        Source block;
        block.LowA = a & nibble;
        block.HighA = (a.AsUInt16() >> 4).AsByte() & nibble;
        block.LowB = b & nibble;
        block.HighB = (b.AsUInt16() >> 4).AsByte() & nibble;
        return block;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Prefetch(byte* source) => Sse.Prefetch0(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Block MultiplyAdd(Block sum, Source source, byte* table)
    {
        Vector256<byte> low = Avx2.BroadcastVector128ToVector256(table), high = Avx2.BroadcastVector128ToVector256(table + 16);
        sum.A ^= Avx2.Shuffle(low, source.LowA) ^ Avx2.Shuffle(high, source.HighA);
        sum.B ^= Avx2.Shuffle(low, source.LowB) ^ Avx2.Shuffle(high, source.HighB);
        return sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Block sum, byte* destination)
    {
        sum.A.Store(destination);
        sum.B.Store(destination + 32);
    }
}

/// <summary>
/// 32 bytes at a time in two 128-bit vectors: TBL on Arm64, PSHUFB on x64. The two differ only for indices above 15, which a nibble never is; so what runs on Arm
/// is, but for that one instruction, tested on x64 as well.
/// </summary>
internal readonly unsafe struct Nibbles128 : IBlockArithmetic<Nibbles128.Block, Nibbles128.Source>
{
    public struct Block
    {
        public Vector128<byte> A, B;
    }

    public struct Source
    {
        public Vector128<byte> LowA, HighA, LowB, HighB;
    }

    public static bool IsSupported => AdvSimd.Arm64.IsSupported || Ssse3.IsSupported;

    public static string Name => AdvSimd.Arm64.IsSupported ? "Arm64" : "SSSE3";

    public static int BlockBytes => 32;

    public static int TableBytes => NibbleTables.Bytes;

    public static void WriteTable(byte coefficient, Span<byte> table) => NibbleTables.Write(coefficient, table);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Source Load(byte* source)
    {
        Vector128<byte> a = Vector128.Load(source), b = Vector128.Load(source + 16), nibble = Vector128.Create((byte)0x0F);
        Source block;
        block.LowA = a & nibble;
        block.HighA = (a.AsUInt16() >> 4).AsByte() & nibble;
        block.LowB = b & nibble;
        block.HighB = (b.AsUInt16() >> 4).AsByte() & nibble;
        return block;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Prefetch(byte* source)
    {
        if (Sse.IsSupported)
            Sse.Prefetch0(source);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Block MultiplyAdd(Block sum, Source source, byte* table)
    {
        Vector128<byte> low = Vector128.Load(table), high = Vector128.Load(table + 16);
        sum.A ^= LookUp(low, source.LowA) ^ LookUp(high, source.HighA);
        sum.B ^= LookUp(low, source.LowB) ^ LookUp(high, source.HighB);
        return sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Block sum, byte* destination)
    {
        sum.A.Store(destination);
        sum.B.Store(destination + 16);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<byte> LookUp(Vector128<byte> table, Vector128<byte> indices)
        => AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.VectorTableLookup(table, indices) : Ssse3.Shuffle(table, indices);
}
