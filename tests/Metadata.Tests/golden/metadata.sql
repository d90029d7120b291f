-- The golden content of metadata.db, docs/formats/metadata.md, schema version 3. A change here is a change of format: a new migration.
CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_unix_ms INTEGER NOT NULL);
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
    record             BLOB NOT NULL,
    extent_high        INTEGER NOT NULL DEFAULT 0,
    extent_low         INTEGER NOT NULL DEFAULT 0,
    attempts           INTEGER NOT NULL DEFAULT 0);
CREATE INDEX extent_garbage_by_time ON extent_garbage (not_before_unix_ms, garbage_id);
CREATE INDEX extent_garbage_by_extent ON extent_garbage (extent_high, extent_low);
CREATE TABLE event_outbox (
    bucket_id       INTEGER NOT NULL,
    range_id        INTEGER NOT NULL,
    event_id        INTEGER NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    record          BLOB NOT NULL,
    PRIMARY KEY (bucket_id, range_id, event_id)) WITHOUT ROWID;
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
INSERT INTO schema_version VALUES (1, 1), (2, 2), (3, 3);
INSERT INTO bucket VALUES (77, 'photos', 'owner', 'eu-1', 1700000000000, 3);
INSERT INTO index_range VALUES (77, 1, x'', x'6d', 5), (77, 2, x'6d', NULL, 9);
INSERT INTO object_version VALUES (77, x'612f62', 2, x'0102030405060708090a0b0c0d0e0f10', 0, 5497558138880, 1700000000123, x'a1010c0102030405060708090a0b0c0d0e0f108080808080c0021112131415161718191a1b1c1d1e1f2002f6a1abfef96207852e3437444551706a38484253612b2f54496d572b354a4365755165526b6d354e4d704a575a473368537546553d2d3219746578742f706c61696e3b20636861727365743d7574662d38020d63616368652d636f6e74726f6c086e6f2d636163686511782d616d7a2d6d6574612d6e61c3af766509c3bc6ec3aff09f988002028080808080a00106000000000000002100000000000000228618808080080000000000000023000000000000002400030c41414141414141414141413da09c018080808080a001fe3fffffffffffffffff000000000000002601feffffff0f000000000000002700000000000000280000f69a4a33');
INSERT INTO object_entry VALUES (77, x'612f62', 5497558138880, x'1112131415161718191a1b1c1d1e1f20', 2, 1700000000123, 7, 0);
INSERT INTO multipart_upload VALUES (x'0102030405060708090a0b0c0d0e0f10', 77, x'6469722f6e61c3af7665f09f9880', 1700000000123, x'a201040102030405060708090a0b0c0d0e0f109a010e6469722f6e61c3af7665f09f9880056f776e6572f6a1abfef962068203612f62010c782d616d7a2d6d6574612d61016290374b49');
INSERT INTO upload_part VALUES (x'0102030405060708090a0b0c0d0e0f10', 1, 1700000000456, x'a301028080808080a00106000000000000002100000000000000228618808080080000000000000023000000000000002400030c41414141414141414141413d9c68542a');
INSERT INTO extent_garbage VALUES (11, 1700000000789, x'a301028080808080a00106000000000000002100000000000000228618808080080000000000000023000000000000002400030c41414141414141414141413d9c68542a', 33, 34, 2);
INSERT INTO repair_queue VALUES (4, x'00000000000000210000000000000022', 3, 2, 589829, 1539, 5, 2, 1, 1700000000001, 1700000000002, 6);
INSERT INTO maintenance_cursor VALUES ('repair/running', x'01');
PRAGMA application_id=1330859332;
