namespace ObjectStore.Storage.Tests.ErasureCoding;

/// <summary>
/// The code once more, from its definition and by nothing but shifts and XOR: what the product's tables, matrices and kernels are held against. It shares no code with them.
/// </summary>
internal static class PlainField
{
    public static byte Multiply(byte a, byte b)
    {
        int product = 0;
        for (int bit = 0; bit < 8; bit++)
        {
            if ((b >> bit & 1) != 0)
                product ^= a << bit;
        }

        for (int bit = 14; bit >= 8; bit--)
        {
            if ((product >> bit & 1) != 0)
                product ^= 0x11D << (bit - 8);
        }

        return (byte)product;
    }

    /// <summary>By trying all.</summary>
    public static byte Inverse(byte a)
    {
        for (int candidate = 1; candidate < 256; candidate++)
        {
            if (Multiply(a, (byte)candidate) == 1)
                return (byte)candidate;
        }

        throw new DivideByZeroException();
    }

    /// <summary>The rows of all k + m shards: the identity, then 1 / (x_i + y_j) with the first row and the first column scaled to ones.</summary>
    public static byte[][] Rows(int k, int m)
    {
        var rows = new byte[k + m][];
        for (int i = 0; i < k; i++)
        {
            rows[i] = new byte[k];
            rows[i][i] = 1;
        }

        for (int i = 0; i < m; i++)
        {
            rows[k + i] = new byte[k];
            for (int j = 0; j < k; j++)
                rows[k + i][j] = Inverse((byte)((k + i) ^ j));
        }

        // Scale every column by what makes the first parity row ones, then every parity row by what makes its first element one.
        for (int j = 0; j < k && m > 0; j++)
        {
            byte scale = Inverse(rows[k][j]);
            for (int i = 0; i < m; i++)
                rows[k + i][j] = Multiply(rows[k + i][j], scale);
        }

        for (int i = 0; i < m; i++)
        {
            byte scale = Inverse(rows[k + i][0]);
            for (int j = 0; j < k; j++)
                rows[k + i][j] = Multiply(rows[k + i][j], scale);
        }

        return rows;
    }

    /// <summary>The shards of some data.</summary>
    public static byte[][] Encode(byte[][] data, int m)
    {
        byte[][] rows = Rows(data.Length, m);
        return [.. rows.Select(row => Combine(row, data))];
    }

    /// <summary>
    /// The data from k shards: solves the k equations by elimination with all the shards' bytes as right-hand sides. Null when the equations are not independent.
    /// </summary>
    public static byte[][]? Solve(int k, int m, int[] present, byte[][] shards)
    {
        byte[][] all = Rows(k, m);
        byte[][] left = [.. present.Select(shard => (byte[])all[shard].Clone())];
        byte[][] right = [.. present.Select(shard => (byte[])shards[shard].Clone())];
        for (int column = 0; column < k; column++)
        {
            int pivot = Array.FindIndex(left, column, row => row[column] != 0);
            if (pivot < 0)
                return null;
            (left[column], left[pivot]) = (left[pivot], left[column]);
            (right[column], right[pivot]) = (right[pivot], right[column]);
            byte inverse = Inverse(left[column][column]);
            Scale(left[column], inverse);
            Scale(right[column], inverse);
            for (int row = 0; row < k; row++)
            {
                byte factor = left[row][column];
                if (row == column || factor == 0)
                    continue;
                AddScaled(left[row], left[column], factor);
                AddScaled(right[row], right[column], factor);
            }
        }

        return right;
    }

    private static byte[] Combine(byte[] row, byte[][] data)
    {
        var sum = new byte[data[0].Length];
        for (int j = 0; j < row.Length; j++)
            AddScaled(sum, data[j], row[j]);
        return sum;
    }

    private static void Scale(byte[] row, byte factor)
    {
        for (int i = 0; i < row.Length; i++)
            row[i] = Multiply(row[i], factor);
    }

    private static void AddScaled(byte[] row, byte[] other, byte factor)
    {
        for (int i = 0; i < row.Length; i++)
            row[i] ^= Multiply(other[i], factor);
    }
}
