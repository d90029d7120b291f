namespace ObjectStore.Admin.CommandLine;

/// <summary>Columns aligned for people: text to the left, what begins with a digit in every row to the right.</summary>
internal sealed class TextTable(params string[] titles)
{
    private readonly List<string[]> _rows = [];

    public void Add(params string[] cells) => _rows.Add(cells);

    public void Print(TextWriter output, string indent = "")
    {
        int[] widths = [.. titles.Select((title, column) => _rows.Select(row => row[column].Length).Append(title.Length).Max())];
        bool[] right = [.. titles.Select((_, column) => _rows.Count > 0 && _rows.All(row => row[column].Length == 0 || char.IsAsciiDigit(row[column][0]) || row[column] == "-"))];
        Line(titles);
        foreach (string[] row in _rows) Line(row);

        void Line(string[] cells)
        {
            string line = indent + string.Join("  ", cells.Select((cell, column) => right[column] ? cell.PadLeft(widths[column]) : cell.PadRight(widths[column])));
            output.WriteLine(line.TrimEnd());
        }
    }
}
