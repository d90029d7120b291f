-- The golden content of docs/formats/grains.md, version 1. A change here is a change of format: raise user_version.
PRAGMA journal_mode=WAL;
CREATE TABLE grain_state (
    grain_type TEXT NOT NULL,
    state_name TEXT NOT NULL,
    grain_key  TEXT NOT NULL,
    etag       INTEGER NOT NULL,
    payload    BLOB NOT NULL,
    PRIMARY KEY (grain_type, state_name, grain_key));
CREATE TABLE reminder (
    grain_type   TEXT NOT NULL,
    grain_key    TEXT NOT NULL,
    name         TEXT NOT NULL,
    start_ticks  INTEGER NOT NULL,
    period_ticks INTEGER NOT NULL,
    etag         INTEGER NOT NULL,
    PRIMARY KEY (grain_type, grain_key, name));
CREATE TABLE etag_sequence (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER NOT NULL);
INSERT INTO etag_sequence VALUES (1, 41);
INSERT INTO grain_state VALUES ('account', 'account', 'a', 40, x'7B2242616C616E6365223A377D');
INSERT INTO reminder VALUES ('account', 'a', 'sweep', 639000000000000000, 36000000000, 41);
PRAGMA application_id=1330074195;
PRAGMA user_version=1;
