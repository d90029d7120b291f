using System.Globalization;

namespace ObjectStore.Metadata.Sqlite;

/// <summary>The schema and its migrations (docs/formats/metadata.md). A migration that was released is never edited; a change is a new one at the end.</summary>
internal static class SqliteSchema
{
    /// <summary>"OSMD" in the database header: says whose file it is, where SQLite's own tools look for it.</summary>
    internal const long ApplicationId = 0x4F534D44;

    private static readonly string[] Migrations =
    [
        // 1
        """
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
        """,
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
                connection.Execute(Migrations[next - 1]);
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
}
