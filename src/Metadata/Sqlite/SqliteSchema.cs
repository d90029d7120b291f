using System.Globalization;
using ObjectStore.Grains;
using ObjectStore.Metadata.Records;

namespace ObjectStore.Metadata.Sqlite;

/// <summary>The schema and its migrations (docs/formats/metadata.md). A migration that was released is never edited; a change is a new one at the end.</summary>
internal static class SqliteSchema
{
    /// <summary>"OSMD" in the database header: says whose file it is, where SQLite's own tools look for it.</summary>
    internal const long ApplicationId = 0x4F534D44;

    // Each with what SQL alone cannot do, which runs after it.
    private static readonly (string Sql, Action<SqliteConnection>? Fill)[] Migrations =
    [
        // 1
        ("""
        CREATE TABLE bucket (
            bucket_id       INTEGER PRIMARY KEY AUTOINCREMENT,
            name            TEXT NOT NULL UNIQUE,
            owner           TEXT NOT NULL,
            region          TEXT NOT NULL,
            created_unix_ms INTEGER NOT NULL,
            next_range_id   INTEGER NOT NULL);
        CREATE TABLE index_range (
            bucket_id INTEGER NOT NULL,
            range_id  INTEGER NOT NULL,
            start_key BLOB NOT NULL,
            end_key   BLOB,
            epoch     INTEGER NOT NULL,
            PRIMARY KEY (bucket_id, range_id)) WITHOUT ROWID;
        CREATE TABLE object_version (
            bucket_id             INTEGER NOT NULL,
            object_key            BLOB NOT NULL,
            sequence              INTEGER NOT NULL,
            version_id            BLOB NOT NULL,
            flags                 INTEGER NOT NULL,
            size_bytes            INTEGER NOT NULL,
            last_modified_unix_ms INTEGER NOT NULL,
            record                BLOB NOT NULL,
            PRIMARY KEY (bucket_id, object_key, sequence DESC)) WITHOUT ROWID;
        CREATE TABLE object_entry (
            bucket_id             INTEGER NOT NULL,
            object_key            BLOB NOT NULL,
            size_bytes            INTEGER NOT NULL,
            etag                  BLOB NOT NULL,
            part_count            INTEGER NOT NULL,
            last_modified_unix_ms INTEGER NOT NULL,
            storage_class         INTEGER NOT NULL,
            checksum              INTEGER NOT NULL,
            PRIMARY KEY (bucket_id, object_key)) WITHOUT ROWID;
        CREATE TABLE multipart_upload (
            upload_id         BLOB NOT NULL PRIMARY KEY,
            bucket_id         INTEGER NOT NULL,
            object_key        BLOB NOT NULL,
            initiated_unix_ms INTEGER NOT NULL,
            record            BLOB NOT NULL) WITHOUT ROWID;
        CREATE INDEX multipart_upload_by_key ON multipart_upload (bucket_id, object_key, upload_id);
        CREATE TABLE upload_part (
            upload_id             BLOB NOT NULL,
            part_number           INTEGER NOT NULL,
            last_modified_unix_ms INTEGER NOT NULL,
            record                BLOB NOT NULL,
            PRIMARY KEY (upload_id, part_number)) WITHOUT ROWID;
        CREATE TABLE extent_garbage (
            garbage_id         INTEGER PRIMARY KEY AUTOINCREMENT,
            not_before_unix_ms INTEGER NOT NULL,
            record             BLOB NOT NULL);
        CREATE INDEX extent_garbage_by_time ON extent_garbage (not_before_unix_ms, garbage_id);
        CREATE TABLE event_outbox (
            bucket_id       INTEGER NOT NULL,
            range_id        INTEGER NOT NULL,
            event_id        INTEGER NOT NULL,
            created_unix_ms INTEGER NOT NULL,
            record          BLOB NOT NULL,
            PRIMARY KEY (bucket_id, range_id, event_id)) WITHOUT ROWID;
        """, null),

        // 2: garbage is found by its extent
        ("""
        ALTER TABLE extent_garbage ADD COLUMN extent_high INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE extent_garbage ADD COLUMN extent_low INTEGER NOT NULL DEFAULT 0;
        """, FillGarbageExtents),

        // 3: what the background plane keeps
        ("""
        ALTER TABLE extent_garbage ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
        CREATE TABLE repair_queue (
            repair_id          INTEGER PRIMARY KEY AUTOINCREMENT,
            extent_id          BLOB NOT NULL,
            first_block        INTEGER NOT NULL,
            block_count        INTEGER NOT NULL,
            placement_group    INTEGER NOT NULL,
            scheme             INTEGER NOT NULL,
            shards             INTEGER NOT NULL,
            reason             INTEGER NOT NULL,
            spare              INTEGER NOT NULL,
            recorded_unix_ms   INTEGER NOT NULL,
            not_before_unix_ms INTEGER NOT NULL,
            attempts           INTEGER NOT NULL,
            UNIQUE (extent_id, first_block));
        CREATE INDEX repair_queue_by_spare ON repair_queue (spare, not_before_unix_ms, repair_id);
        CREATE TABLE maintenance_cursor (
            name  TEXT NOT NULL PRIMARY KEY,
            value BLOB NOT NULL) WITHOUT ROWID;
        """, null),
    ];

    internal static int NewestVersion => Migrations.Length;

    /// <summary>Brings the database to this binary's schema. All of it or nothing: one transaction.</summary>
    /// <exception cref="MetadataStoreUnusableException">The database is something else's, or of a newer schema.</exception>
    internal static void Migrate(SqliteConnection connection, string path, TimeProvider time)
    {
        long applicationId = connection.QueryInt64("PRAGMA application_id") ?? 0;
        long tables = connection.QueryInt64("SELECT count(*) FROM sqlite_master") ?? 0;
        if (applicationId != ApplicationId && (applicationId != 0 || tables != 0))
        {
            throw new MetadataStoreUnusableException($"{path} is a SQLite database, but not an ObjectStore metadata database: name another folder for the metadata.");
        }

        long version = tables == 0 ? 0 : connection.QueryInt64("SELECT max(version) FROM schema_version") ?? 0;
        if (version > NewestVersion)
        {
            throw new MetadataStoreUnusableException($"{path} has schema version {version} and this binary knows up to {NewestVersion}: run the newer ObjectStore, or restore the backup from before the upgrade.");
        }

        if (version == NewestVersion)
        {
            return;
        }

        connection.Execute("BEGIN IMMEDIATE");
        try
        {
            if (version == 0)
            {
                connection.Pragma("application_id", ApplicationId);
                connection.Execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_unix_ms INTEGER NOT NULL)");
            }

            for (long next = version + 1; next <= NewestVersion; next++)
            {
                (string sql, Action<SqliteConnection>? fill) = Migrations[next - 1];
                connection.Execute(sql);
                fill?.Invoke(connection);
                connection.Execute(string.Create(CultureInfo.InvariantCulture, $"INSERT INTO schema_version VALUES ({next}, {time.GetUtcNow().ToUnixTimeMilliseconds()})"));
            }

            connection.Execute("COMMIT");
        }
        catch
        {
            connection.RollbackIfOpen();
            throw;
        }
    }

    private static void FillGarbageExtents(SqliteConnection connection)
    {
        // By id, one at a time: neither a statement that walks a table while its rows change nor all of a long table in memory.
        using (SqliteStatement select = connection.Prepare("SELECT garbage_id, record FROM extent_garbage WHERE garbage_id > ?1 ORDER BY garbage_id LIMIT 1"))
        using (SqliteStatement update = connection.Prepare("UPDATE extent_garbage SET extent_high = ?2, extent_low = ?3 WHERE garbage_id = ?1"))
        {
            for (long last = long.MinValue; select.Bind(1, last).Step(); select.Reset())
            {
                last = select.Int64(0);
                PartLayout extent = MetadataRecords.DecodePart(select.Blob(1));
                update.Bind(1, last).Bind(2, unchecked((long)extent.ExtentHigh)).Bind(3, unchecked((long)extent.ExtentLow)).Run();
            }
        }

        connection.Execute("CREATE INDEX extent_garbage_by_extent ON extent_garbage (extent_high, extent_low)");
    }
}
