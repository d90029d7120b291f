using ObjectStore.EmbeddedRuntime.Reminders;
using ObjectStore.EmbeddedRuntime.State;
using ObjectStore.Tests;

namespace ObjectStore.EmbeddedRuntime.Tests;

/// <summary>The golden content of docs/formats/grains.md: what SQL alone makes, the store reads, and what the store makes is the same.</summary>
public sealed class GrainStoreFormatTests : IDisposable
{
    private readonly TestFolder _folder = new();
    private readonly string _path;

    public GrainStoreFormatTests() => _path = _folder.Database;

    public void Dispose() => _folder.Dispose();

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task GoldenFile_IsRead_AndItsETagsGoOn()
    {
        SqliteFile.Execute(_path, Golden());
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
        SqliteFile.Execute(golden, Golden());
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
            Assert.Equal(SqliteFile.Query(golden, sql), SqliteFile.Query(_path, sql));
        }

        Assert.Equal("2", SqliteFile.Query(_path, "SELECT last FROM etag_sequence"));
        Assert.Equal("1 2", SqliteFile.Query(_path, "SELECT (SELECT etag FROM grain_state), (SELECT etag FROM reminder)"));
    }

    private static string Golden()
    {
        using Stream stream = typeof(GrainStoreFormatTests).Assembly.GetManifestResourceStream("golden.grains.sql") ?? throw new FileNotFoundException("grains.sql");
        using StreamReader reader = new(stream);
        return reader.ReadToEnd();
    }
}
