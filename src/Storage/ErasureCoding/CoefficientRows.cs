namespace ObjectStore.Storage.ErasureCoding;

/// <summary>
/// Rows of coefficients made ready for one kernel: for each coefficient a table of <paramref name="tableBytes"/>, in the order the kernel reads them. Rows are worked
/// on in groups of up to four, whose sums fit the registers together; within a group come the tables of the first input for each row of the group, then those of the second. Immutable.
/// </summary>
internal sealed class CoefficientRows
{
    private const int MaxRowsOfGroup = 4;

    private readonly byte[] _coefficients;

    public CoefficientRows(byte[] coefficients, int inputs, int outputs, int tableBytes, Action<byte, Span<byte>>? writeTable)
    {
        _coefficients = coefficients;
        (Inputs, Outputs, TableBytes) = (inputs, outputs, tableBytes);
        // Groups as even as can be: five rows are 3 + 2, since four and one would load the inputs as often for less use.
        Groups = new int[(outputs + MaxRowsOfGroup - 1) / MaxRowsOfGroup];
        for (int group = 0; group < Groups.Length; group++)
            Groups[group] = (outputs + group) / Groups.Length;
        Tables = new byte[inputs * outputs * tableBytes];
        if (writeTable is null)
            return;
        int table = 0, firstRow = 0;
        foreach (int rows in Groups)
        {
            for (int input = 0; input < inputs; input++)
            {
                for (int row = firstRow; row < firstRow + rows; row++)
                    writeTable(Coefficient(row, input), Tables.AsSpan(table++ * tableBytes, tableBytes));
            }

            firstRow += rows;
        }
    }

    public int Inputs { get; }

    public int Outputs { get; }

    public int TableBytes { get; }

    /// <summary>How many rows each group has, 1 to 4.</summary>
    public int[] Groups { get; }

    public byte[] Tables { get; }

    public byte Coefficient(int output, int input) => _coefficients[(output * Inputs) + input];
}
