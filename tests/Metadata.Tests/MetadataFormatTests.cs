using ObjectStore.Grains;
using ObjectStore.Metadata.Sqlite;
using SQLitePCL;

namespace ObjectStore.Metadata.Tests;

/// <summary>The golden content of docs/formats/metadata.md: what SQL alone makes, the store reads, and what the store makes has the same schema.</summary>
public sealed class MetadataFormatTests
{
    private static readonly BucketId Bucket = new(77);

    [Fact]
    public async Task NewDatabase_HasTheGoldenSchema()
    {
        await using TemporaryMetadataStore made = await TemporaryMetadataStore.OpenAsync();
        string golden = Path.Combine(made.Directory, "golden.db"), path = made.Store.DatabasePath;
        await made.Store.DisposeAsync();
        Execute(golden, File.ReadAllText(Golden));
        foreach (string sql in (string[])
        [
            "PRAGMA application_id", "SELECT max(version) FROM schema_version",
            "SELECT t.name, t.sql LIKE '%WITHOUT ROWID', c.cid, c.name, c.type, c.\"notnull\", c.dflt_value, c.pk FROM sqlite_master t JOIN pragma_table_xinfo(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' ORDER BY t.name, c.cid",
            "SELECT t.name, i.name, i.\"unique\", i.origin, k.seqno, k.name, k.\"desc\" FROM sqlite_master t JOIN pragma_index_list(t.name) i JOIN pragma_index_xinfo(i.name) k WHERE t.type = 'table' AND k.key = 1 AND t.name NOT LIKE 'sqlite_%' ORDER BY i.name, k.seqno",
            "SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%' ORDER BY name",
        ])
        {
            Assert.Equal(Query(golden, sql), Query(path, sql));
        }
    }

    [Fact]
    public async Task GoldenDatabase_IsRead_AndWrittenTo()
    {
        await using TemporaryMetadataStore made = await TemporaryMetadataStore.OpenAsync();
        await made.Store.DisposeAsync();
        File.Delete(made.Store.DatabasePath);
        Execute(made.Store.DatabasePath, File.ReadAllText(Golden));
        await made.ReopenAsync();
        SqliteMetadataStore store = made.Store;
        Assert.Equal(new BucketInfo(Bucket, "photos", "owner", "eu-1", 1_700_000_000_000), await store.GetBucketAsync("photos"));
        IndexRange[] ranges = [.. await store.ListRangesAsync(Bucket)];
        Assert.Equal([1, 2], ranges.Select(range => range.RangeId));
        ObjectVersion rich = RecordCodecTests.Rich(), newest = (await store.ReadNewestAsync(Bucket, "a/b"))!;
        Assert.Equal((rich.VersionId, rich.SizeBytes, rich.ETag), (newest.VersionId, newest.SizeBytes, newest.ETag));
        Assert.Equal(rich.Parts, newest.Parts);
        ListPage page = await store.ListAsync(Bucket, ranges[0], new ListQuery([], [], [], false, 10));
        ListEntry listed = Assert.Single(page.Entries);
        Assert.Equal((rich.SizeBytes, rich.ETag, "GLACIER_IR"), (listed.SizeBytes, listed.ETag, listed.StorageClass));
        UploadInfo upload = (await store.GetUploadAsync(rich.VersionId))!;
        Assert.Equal(RecordCodecTests.RichUpload().Key, upload.Key);
        Assert.Equal(1_700_000_000_456, Assert.Single(await store.ListPartsAsync(rich.VersionId, 0, 10)).LastModifiedUnixMs);
        Assert.Equal(new ExtentGarbage(11, rich.Parts[0], 2), Assert.Single(await store.ListGarbageAsync(1_700_000_000_789, 10)));
        RepairEntry repair = Assert.Single(await store.ListRepairsAsync(1_700_000_000_002, 10));
        Assert.Equal((4, 6, 1), (repair.RepairId, repair.Attempts, repair.Record.Spare));
        Assert.Equal([1], Assert.Single(await store.ListCursorsAsync("repair/")).Value);

        // Epochs and ids go on from where they are.
        Assert.Equal(6, (await store.AcquireRangeAsync(Bucket, 1))!.Epoch);
        Assert.Equal(new BucketId(78), (await store.CreateBucketAsync("next", "o", "r", 1)).Bucket.Id);
    }

    private static string Golden => Path.Combine(AppContext.BaseDirectory, "golden", "metadata.sql");

    private static void Execute(string path, string sql)
    {
        Batteries_V2.Init();
        Assert.Equal(raw.SQLITE_OK, raw.sqlite3_open(path, out sqlite3 connection));
        using (connection) Assert.Equal(raw.SQLITE_OK, raw.sqlite3_exec(connection, sql));
    }

    private static List<string> Query(string path, string sql)
    {
        List<string> rows = [];
        Assert.Equal(raw.SQLITE_OK, raw.sqlite3_open(path, out sqlite3 connection));
        using (connection)
        {
            int prepared = raw.sqlite3_prepare_v2(connection, sql, out sqlite3_stmt statement);
            Assert.True(prepared == raw.SQLITE_OK, raw.sqlite3_errmsg(connection).utf8_to_string());
            using (statement)
            {
                while (raw.sqlite3_step(statement) == raw.SQLITE_ROW)
                    rows.Add(string.Join(' ', Enumerable.Range(0, raw.sqlite3_column_count(statement)).Select(column => raw.sqlite3_column_text(statement, column).utf8_to_string())));
            }
        }

        Assert.NotEmpty(rows);
        return rows;
    }
}
