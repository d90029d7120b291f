using ObjectStore.Grains;
using ObjectStore.Metadata.Sqlite;
using ObjectStore.Tests;

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
        SqliteFile.Execute(golden, File.ReadAllText(Golden));
        foreach (string sql in (string[])
        [
            "PRAGMA application_id", "SELECT max(version) FROM schema_version",
            "SELECT t.name, t.sql LIKE '%WITHOUT ROWID', c.cid, c.name, c.type, c.\"notnull\", c.dflt_value, c.pk FROM sqlite_master t JOIN pragma_table_xinfo(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' ORDER BY t.name, c.cid",
            "SELECT t.name, i.name, i.\"unique\", i.origin, k.seqno, k.name, k.\"desc\" FROM sqlite_master t JOIN pragma_index_list(t.name) i JOIN pragma_index_xinfo(i.name) k WHERE t.type = 'table' AND k.key = 1 AND t.name NOT LIKE 'sqlite_%' ORDER BY i.name, k.seqno",
            "SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%' ORDER BY name",
        ])
        {
            Assert.Equal(SqliteFile.Query(golden, sql), SqliteFile.Query(path, sql));
        }
    }

    [Fact]
    public async Task GoldenDatabase_IsRead_AndWrittenTo()
    {
        await using TemporaryMetadataStore made = await TemporaryMetadataStore.OpenAsync();
        await made.Store.DisposeAsync();
        File.Delete(made.Store.DatabasePath);
        SqliteFile.Execute(made.Store.DatabasePath, File.ReadAllText(Golden));
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
}
