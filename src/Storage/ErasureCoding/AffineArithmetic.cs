using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace ObjectStore.Storage.ErasureCoding;

/// <summary>
/// Multiplication by a constant as an 8 × 8 bit matrix, for GF2P8AFFINEQB. (GF2P8MULB knows only the polynomial 0x11B of AES; the matrix serves any.)
/// Result bit i is the parity of (matrix byte 7 − i AND source byte): Intel SDM volume 2, "GF2P8AFFINEQB".
/// </summary>
internal static class AffineMatrix
{
    public const int Bytes = 8;

    public static void Write(byte coefficient, Span<byte> table)
    {
        ulong matrix = 0;
        for (int column = 0; column < 8; column++)
        {
            byte product = GaloisField.Multiply(coefficient, (byte)(1 << column));
            for (int row = 0; row < 8; row++)
                matrix |= (ulong)((product >> row) & 1) << ((8 * (7 - row)) + column);
        }

        BinaryPrimitives.WriteUInt64LittleEndian(table, matrix);
    }
}

/// <summary>256 bytes at a time in four 512-bit vectors: sixteen of the 32 registers for the sums, four for the source, one for the matrix.</summary>
internal readonly unsafe struct Gfni512 : IBlockArithmetic<Gfni512.Block, Gfni512.Block>
{
    public struct Block
    {
        public Vector512<byte> A, B, C, D;
    }

    public static bool IsSupported => Gfni.V512.IsSupported && Vector512.IsHardwareAccelerated;

    public static int BlockBytes => 256;

    public static int TableBytes => AffineMatrix.Bytes;

    public static void WriteTable(byte coefficient, Span<byte> table) => AffineMatrix.Write(coefficient, table);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Block Load(byte* source)
    {
        Block block;
        block.A = Vector512.Load(source);
        block.B = Vector512.Load(source + 64);
        block.C = Vector512.Load(source + 128);
        block.D = Vector512.Load(source + 192);
        return block;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Prefetch(byte* source)
    {
        Sse.Prefetch0(source);
        Sse.Prefetch0(source + 64);
        Sse.Prefetch0(source + 128);
        Sse.Prefetch0(source + 192);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Block MultiplyAdd(Block sum, Block source, byte* table)
    {
        Vector512<byte> matrix = Vector512.Create(*(ulong*)table).AsByte();
        sum.A ^= Gfni.V512.GaloisFieldAffineTransform(source.A, matrix, 0);
        sum.B ^= Gfni.V512.GaloisFieldAffineTransform(source.B, matrix, 0);
        sum.C ^= Gfni.V512.GaloisFieldAffineTransform(source.C, matrix, 0);
        sum.D ^= Gfni.V512.GaloisFieldAffineTransform(source.D, matrix, 0);
        return sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Block sum, byte* destination)
    {
        sum.A.Store(destination);
        sum.B.Store(destination + 64);
        sum.C.Store(destination + 128);
        sum.D.Store(destination + 192);
    }
}

/// <summary>64 bytes at a time in two 256-bit vectors, so that sixteen registers are enough.</summary>
internal readonly unsafe struct Gfni256 : IBlockArithmetic<Gfni256.Block, Gfni256.Block>
{
    public struct Block
    {
        public Vector256<byte> A, B;
    }

    public static bool IsSupported => Gfni.V256.IsSupported;

    public static int BlockBytes => 64;

    public static int TableBytes => AffineMatrix.Bytes;

    public static void WriteTable(byte coefficient, Span<byte> table) => AffineMatrix.Write(coefficient, table);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Block Load(byte* source)
    {
        Block block;
        block.A = Vector256.Load(source);
        block.B = Vector256.Load(source + 32);
        return block;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Prefetch(byte* source) => Sse.Prefetch0(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Block MultiplyAdd(Block sum, Block source, byte* table)
    {
        Vector256<byte> matrix = Vector256.Create(*(ulong*)table).AsByte();
        sum.A ^= Gfni.V256.GaloisFieldAffineTransform(source.A, matrix, 0);
        sum.B ^= Gfni.V256.GaloisFieldAffineTransform(source.B, matrix, 0);
        return sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Block sum, byte* destination)
    {
        sum.A.Store(destination);
        sum.B.Store(destination + 32);
    }
}
