using System.Text.RegularExpressions;
using ObjectStore.EmbeddedRuntime.Reminders;
using ObjectStore.EmbeddedRuntime.State;
using SQLitePCL;

namespace ObjectStore.EmbeddedRuntime.Tests;

/// <summary>The golden content of docs/formats/grains.md: what SQL alone makes, the store reads, and what the store makes is the same.</summary>
public sealed partial class GrainStoreFormatTests : IDisposable
{
    private readonly TestFolder _folder = new();
    private readonly string _path;

    public GrainStoreFormatTests() => _path = _folder.Database;

    public void Dispose() => _folder.Dispose();

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task GoldenFile_IsRead_AndItsETagsGoOn()
    {
        Execute(_path, Golden());
        using SqliteGrainStore store = SqliteGrainStore.Open(_path);
        GrainStateKey key = new("account", "account", "a");
        GrainStateRecord record = (await store.ReadAsync(key, Stop))!.Value;
        Assert.Equal("{\"Balance\":7}"u8.ToArray(), record.Payload);
        Assert.Equal("40", record.ETag);
        ReminderRecord reminder = Assert.Single(await store.ReadAllAsync(Stop));
        Assert.Equal(new ReminderRecord("account", "a", "sweep", new DateTime(639000000000000000, DateTimeKind.Utc), TimeSpan.FromHours(1), "41"), reminder);
        Assert.Equal(new GrainStateResult(true, "42"), await store.WriteAsync(key, "{}"u8.ToArray(), "40", Stop));
    }

    [Fact]
    public async Task NewFile_HasTheGoldenSchemaAndRows()
    {
        string golden = _path + "-golden";
        Execute(golden, Golden());
        using (SqliteGrainStore store = SqliteGrainStore.Open(_path))
        {
            await store.WriteAsync(new GrainStateKey("account", "account", "a"), "{\"Balance\":7}"u8.ToArray(), null, Stop);
            await store.UpsertAsync(new ReminderRecord("account", "a", "sweep", new DateTime(639000000000000000, DateTimeKind.Utc), TimeSpan.FromHours(1), ""), Stop);
        }

        foreach (string sql in (string[])
        [
            "PRAGMA application_id", "PRAGMA user_version", "PRAGMA journal_mode", "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name",
            "SELECT grain_type, state_name, grain_key, hex(payload), typeof(payload), typeof(etag) FROM grain_state", "SELECT grain_type, grain_key, name, start_ticks, period_ticks, typeof(etag) FROM reminder",
        ])
        {
            Assert.Equal(Query(golden, sql), Query(_path, sql));
        }

        Assert.Equal("2", Query(_path, "SELECT last FROM etag_sequence"));
        Assert.Equal("1 2", Query(_path, "SELECT (SELECT etag FROM grain_state), (SELECT etag FROM reminder)"));
    }

    private static void Execute(string path, string sql)
    {
        Batteries_V2.Init();
        Assert.Equal(raw.SQLITE_OK, raw.sqlite3_open(path, out sqlite3 connection));
        using (connection) Assert.Equal(raw.SQLITE_OK, raw.sqlite3_exec(connection, sql));
    }

    /// <summary>Rows as text, with every run of white space one space.</summary>
    private static string Query(string path, string sql)
    {
        List<string> rows = [];
        Assert.Equal(raw.SQLITE_OK, raw.sqlite3_open(path, out sqlite3 connection));
        using (connection)
        {
            Assert.Equal(raw.SQLITE_OK, raw.sqlite3_prepare_v2(connection, sql, out sqlite3_stmt statement));
            using (statement)
            {
                while (raw.sqlite3_step(statement) == raw.SQLITE_ROW)
                    rows.Add(string.Join(' ', Enumerable.Range(0, raw.sqlite3_column_count(statement)).Select(column => raw.sqlite3_column_text(statement, column).utf8_to_string())));
            }
        }

        Assert.NotEmpty(rows);
        return WhiteSpace().Replace(string.Join('\n', rows), " ");
    }

    private static string Golden()
    {
        using Stream stream = typeof(GrainStoreFormatTests).Assembly.GetManifestResourceStream("golden.grains.sql") ?? throw new FileNotFoundException("grains.sql");
        using StreamReader reader = new(stream);
        return reader.ReadToEnd();
    }

    [GeneratedRegex(@"\s+")]
    private static partial Regex WhiteSpace();
}
