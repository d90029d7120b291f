using ObjectStore.Storage.Extents;

namespace ObjectStore.Storage.ErasureCoding;

/// <summary>
/// The rows that make shards out of data shards: the identity for the data themselves, and for the parity a Cauchy matrix.
///
/// The Cauchy matrix is C[i, j] = 1 / (x_i + y_j) with x_i = k + i and y_j = j, which are all different as long as k + m is at most 256. Every square submatrix of it is
/// invertible (Cauchy's determinant; Blömer et al., "An XOR-Based Erasure-Resilient Coding Scheme", ICSI TR-95-048, 1995), which is just what it takes for any k of the k + m
/// shards to give the data back. Multiplying a row or a column by a non-zero constant changes no submatrix's rank, so rows and columns are scaled until the first
/// parity row and the first column are all ones: P[i, j] = C[i, j] · C[0, 0] / (C[i, 0] · C[0, j]). The first parity is then the plain XOR of the data, and with k = 1
/// every parity is a copy. These coefficients are part of the on-disk format.
/// </summary>
internal static class CodingMatrix
{
    /// <summary>m rows of k coefficients, row after row.</summary>
    public static byte[] ParityRows(Scheme scheme)
    {
        int k = scheme.DataShards;
        var rows = new byte[scheme.ParityShards * k];
        for (int i = 0; i < scheme.ParityShards; i++)
        {
            for (int j = 0; j < k; j++)
            {
                byte numerator = GaloisField.Multiply(Cauchy(i, j), Cauchy(0, 0));
                byte denominator = GaloisField.Multiply(Cauchy(i, 0), Cauchy(0, j));
                rows[(i * k) + j] = GaloisField.Multiply(numerator, GaloisField.Inverse(denominator));
            }
        }

        return rows;

        byte Cauchy(int i, int j) => GaloisField.Inverse((byte)((k + i) ^ j));
    }

    /// <summary>For each wanted shard, ascending, the k coefficients that make it out of the shards in <paramref name="sources"/>, ascending.</summary>
    /// <param name="scheme">The code.</param>
    /// <param name="parityRows">What <see cref="ParityRows"/> gives for it.</param>
    /// <param name="sources">Exactly k shards.</param>
    /// <param name="wanted">The shards to make.</param>
    public static byte[] ReconstructionRows(Scheme scheme, byte[] parityRows, ShardSet sources, ShardSet wanted)
    {
        int k = scheme.DataShards;
        var made = new byte[k * k];
        int row = 0;
        foreach (int shard in sources)
            ShardRow(shard).CopyTo(made.AsSpan(row++ * k));
        // Sources = made × data, hence data = made⁻¹ × sources and shard = row × made⁻¹ × sources.
        byte[] inverse = Invert(made, k);
        var rows = new byte[wanted.Count * k];
        row = 0;
        foreach (int shard in wanted)
        {
            byte[] coefficients = ShardRow(shard);
            for (int column = 0; column < k; column++)
            {
                byte sum = 0;
                for (int i = 0; i < k; i++)
                    sum ^= GaloisField.Multiply(coefficients[i], inverse[(i * k) + column]);
                rows[(row * k) + column] = sum;
            }

            row++;
        }

        return rows;

        byte[] ShardRow(int shard)
        {
            var coefficients = new byte[k];
            if (shard < k)
                coefficients[shard] = 1;
            else
                parityRows.AsSpan((shard - k) * k, k).CopyTo(coefficients);
            return coefficients;
        }
    }

    /// <summary>The inverse of a size × size matrix, by Gauss–Jordan elimination. <paramref name="matrix"/> is used up.</summary>
    /// <exception cref="InvalidOperationException">The matrix is singular, which no choice of rows of the code is.</exception>
    private static byte[] Invert(byte[] matrix, int size)
    {
        var inverse = new byte[size * size];
        for (int i = 0; i < size; i++)
            inverse[(i * size) + i] = 1;
        for (int column = 0; column < size; column++)
        {
            int pivot = column;
            while (pivot < size && matrix[(pivot * size) + column] == 0)
                pivot++;
            if (pivot == size)
                throw new InvalidOperationException("The rows of the erasure code are not independent.");
            SwapRows(pivot, column);
            byte scale = GaloisField.Inverse(matrix[(column * size) + column]);
            for (int i = 0; i < size; i++)
            {
                matrix[(column * size) + i] = GaloisField.Multiply(matrix[(column * size) + i], scale);
                inverse[(column * size) + i] = GaloisField.Multiply(inverse[(column * size) + i], scale);
            }

            for (int row = 0; row < size; row++)
            {
                byte factor = matrix[(row * size) + column];
                if (row == column || factor == 0)
                    continue;
                for (int i = 0; i < size; i++)
                {
                    matrix[(row * size) + i] ^= GaloisField.Multiply(factor, matrix[(column * size) + i]);
                    inverse[(row * size) + i] ^= GaloisField.Multiply(factor, inverse[(column * size) + i]);
                }
            }
        }

        return inverse;

        void SwapRows(int a, int b)
        {
            for (int i = 0; a != b && i < size; i++)
            {
                (matrix[(a * size) + i], matrix[(b * size) + i]) = (matrix[(b * size) + i], matrix[(a * size) + i]);
                (inverse[(a * size) + i], inverse[(b * size) + i]) = (inverse[(b * size) + i], inverse[(a * size) + i]);
            }
        }
    }
}
