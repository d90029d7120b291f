using System.Text.RegularExpressions;
using SQLitePCL;

namespace ObjectStore.Tests;

/// <summary>
/// A database as SQL alone makes and sees it, for golden files. Other test projects compile this file by a link:
/// <c>&lt;Compile Include="../EmbeddedRuntime.Tests/SqliteFile.cs" Link="SqliteFile.cs" /&gt;</c>.
/// </summary>
internal static partial class SqliteFile
{
    public static void Execute(string path, string sql)
    {
        using sqlite3 connection = Open(path);
        Check(raw.sqlite3_exec(connection, sql), connection);
    }

    /// <summary>Rows as text, at least one, with every run of white space one space.</summary>
    public static string Query(string path, string sql)
    {
        List<string> rows = [];
        using sqlite3 connection = Open(path);
        Check(raw.sqlite3_prepare_v2(connection, sql, out sqlite3_stmt statement), connection);
        using (statement)
        {
            while (raw.sqlite3_step(statement) == raw.SQLITE_ROW)
                rows.Add(string.Join(' ', Enumerable.Range(0, raw.sqlite3_column_count(statement)).Select(column => raw.sqlite3_column_text(statement, column).utf8_to_string())));
        }

        Assert.NotEmpty(rows);
        return WhiteSpace().Replace(string.Join('\n', rows), " ");
    }

    private static sqlite3 Open(string path)
    {
        Batteries_V2.Init();
        Assert.Equal(raw.SQLITE_OK, raw.sqlite3_open(path, out sqlite3 connection));
        return connection;
    }

    private static void Check(int result, sqlite3 connection) => Assert.True(result == raw.SQLITE_OK, raw.sqlite3_errmsg(connection).utf8_to_string());

    [GeneratedRegex(@"\s+")]
    private static partial Regex WhiteSpace();
}
