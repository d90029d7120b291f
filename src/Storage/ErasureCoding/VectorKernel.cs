using System.Runtime.CompilerServices;

namespace ObjectStore.Storage.ErasureCoding;

/// <summary>
/// What a vector kernel needs of a processor: to load a block of bytes of one input, to add its product with a coefficient to a sum, and to store the sum. A block is as many vectors
/// as let four sums and a source stay in registers. The methods must inline.
/// </summary>
/// <typeparam name="TBlock">A sum: <see cref="BlockBytes"/> bytes of one output. Its default is zero.</typeparam>
/// <typeparam name="TSource">The same bytes of one input, in the form that products are made from.</typeparam>
internal unsafe interface IBlockArithmetic<TBlock, TSource>
    where TBlock : struct
    where TSource : struct
{
    static abstract int BlockBytes { get; }

    static abstract int TableBytes { get; }

    /// <summary>Writes what <see cref="MultiplyAdd"/> needs to multiply by <paramref name="coefficient"/>.</summary>
    static abstract void WriteTable(byte coefficient, Span<byte> table);

    static abstract TSource Load(byte* source);

    /// <summary>Hints that the block is needed soon. It may lie beyond the buffer: a prefetch never faults.</summary>
    static abstract void Prefetch(byte* source);

    /// <summary>sum + coefficient × source.</summary>
    static abstract TBlock MultiplyAdd(TBlock sum, TSource source, byte* table);

    static abstract void Store(TBlock sum, byte* destination);
}

/// <summary>
/// The loops of the vector kernels, written once for all. Up to four outputs are summed in registers in one pass, so that every input byte is loaded once for them and every output byte is
/// stored once. The memory is what bounds the speed, and with a dozen streams the hardware's own prefetch falls behind (shards that lie a power of two apart share
/// their cache sets, too); hence a software prefetch, which is worth up to half as much again.
/// </summary>
internal sealed unsafe class VectorKernel<TArithmetic, TBlock, TSource>(string name) : CodingKernel
    where TArithmetic : struct, IBlockArithmetic<TBlock, TSource>
    where TBlock : struct
    where TSource : struct
{
    // Measured: from 512 bytes to 2 KiB there is little between them.
    private const int PrefetchDistanceBytes = 1024;

    // With more than one group of rows the inputs are read once for each: by pieces, so that all but the first time they come from the second-level cache.
    private const int PieceBytes = 16 * 1024;

    public override string Name => name;

    public override CoefficientRows Prepare(byte[] coefficients, int inputs, int outputs)
        => new(coefficients, inputs, outputs, TArithmetic.TableBytes, TArithmetic.WriteTable);

    public override void Multiply(CoefficientRows rows, byte** inputs, byte** outputs, int lengthBytes)
    {
        if (lengthBytes < TArithmetic.BlockBytes)
        {
            ScalarKernel.MultiplyBytes(rows, inputs, outputs, lengthBytes);
            return;
        }

        fixed (byte* tables = rows.Tables)
        {
            int pieceBytes = rows.Groups.Length == 1 ? lengthBytes : PieceBytes;
            for (int start = 0; start < lengthBytes;)
            {
                // The rest, when it is no whole piece, goes with the last one: no piece is shorter than a block.
                int end = lengthBytes - start < 2 * (long)pieceBytes ? lengthBytes : start + pieceBytes;
                MultiplyPiece(rows, tables, inputs, outputs, start, end);
                start = end;
            }
        }
    }

    private static void MultiplyPiece(CoefficientRows rows, byte* tables, byte** inputs, byte** outputs, int start, int end)
    {
        foreach (int group in rows.Groups)
        {
            switch (group)
            {
                case 1:
                    Multiply1(rows.Inputs, tables, inputs, outputs, start, end);
                    break;
                case 2:
                    Multiply2(rows.Inputs, tables, inputs, outputs, start, end);
                    break;
                case 3:
                    Multiply3(rows.Inputs, tables, inputs, outputs, start, end);
                    break;
                default:
                    Multiply4(rows.Inputs, tables, inputs, outputs, start, end);
                    break;
            }

            tables += rows.Inputs * group * TArithmetic.TableBytes;
            outputs += group;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply1(int inputCount, byte* tables, byte** inputs, byte** outputs, int start, int end)
    {
        for (nint at = start; at < end; at += TArithmetic.BlockBytes)
        {
            at = Math.Min(at, end - TArithmetic.BlockBytes);
            TBlock sum0 = default;
            byte* table = tables;
            for (int input = 0; input < inputCount; input++)
            {
                byte* source = inputs[input] + at;
                TArithmetic.Prefetch(source + PrefetchDistanceBytes);
                TSource block = TArithmetic.Load(source);
                sum0 = TArithmetic.MultiplyAdd(sum0, block, table);
                table += TArithmetic.TableBytes;
            }

            TArithmetic.Store(sum0, outputs[0] + at);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply2(int inputCount, byte* tables, byte** inputs, byte** outputs, int start, int end)
    {
        for (nint at = start; at < end; at += TArithmetic.BlockBytes)
        {
            at = Math.Min(at, end - TArithmetic.BlockBytes);
            TBlock sum0 = default, sum1 = default;
            byte* table = tables;
            for (int input = 0; input < inputCount; input++)
            {
                byte* source = inputs[input] + at;
                TArithmetic.Prefetch(source + PrefetchDistanceBytes);
                TSource block = TArithmetic.Load(source);
                sum0 = TArithmetic.MultiplyAdd(sum0, block, table);
                sum1 = TArithmetic.MultiplyAdd(sum1, block, table + TArithmetic.TableBytes);
                table += 2 * TArithmetic.TableBytes;
            }

            TArithmetic.Store(sum0, outputs[0] + at);
            TArithmetic.Store(sum1, outputs[1] + at);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply3(int inputCount, byte* tables, byte** inputs, byte** outputs, int start, int end)
    {
        for (nint at = start; at < end; at += TArithmetic.BlockBytes)
        {
            at = Math.Min(at, end - TArithmetic.BlockBytes);
            TBlock sum0 = default, sum1 = default, sum2 = default;
            byte* table = tables;
            for (int input = 0; input < inputCount; input++)
            {
                byte* source = inputs[input] + at;
                TArithmetic.Prefetch(source + PrefetchDistanceBytes);
                TSource block = TArithmetic.Load(source);
                sum0 = TArithmetic.MultiplyAdd(sum0, block, table);
                sum1 = TArithmetic.MultiplyAdd(sum1, block, table + TArithmetic.TableBytes);
                sum2 = TArithmetic.MultiplyAdd(sum2, block, table + (2 * TArithmetic.TableBytes));
                table += 3 * TArithmetic.TableBytes;
            }

            TArithmetic.Store(sum0, outputs[0] + at);
            TArithmetic.Store(sum1, outputs[1] + at);
            TArithmetic.Store(sum2, outputs[2] + at);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply4(int inputCount, byte* tables, byte** inputs, byte** outputs, int start, int end)
    {
        for (nint at = start; at < end; at += TArithmetic.BlockBytes)
        {
            // The last block, when the rest is no whole one, lies over the one before it and writes some of the same bytes again.
            at = Math.Min(at, end - TArithmetic.BlockBytes);
            TBlock sum0 = default, sum1 = default, sum2 = default, sum3 = default;
            byte* table = tables;
            for (int input = 0; input < inputCount; input++)
            {
                byte* source = inputs[input] + at;
                TArithmetic.Prefetch(source + PrefetchDistanceBytes);
                TSource block = TArithmetic.Load(source);
                sum0 = TArithmetic.MultiplyAdd(sum0, block, table);
                sum1 = TArithmetic.MultiplyAdd(sum1, block, table + TArithmetic.TableBytes);
                sum2 = TArithmetic.MultiplyAdd(sum2, block, table + (2 * TArithmetic.TableBytes));
                sum3 = TArithmetic.MultiplyAdd(sum3, block, table + (3 * TArithmetic.TableBytes));
                table += 4 * TArithmetic.TableBytes;
            }

            TArithmetic.Store(sum0, outputs[0] + at);
            TArithmetic.Store(sum1, outputs[1] + at);
            TArithmetic.Store(sum2, outputs[2] + at);
            TArithmetic.Store(sum3, outputs[3] + at);
        }
    }
}
