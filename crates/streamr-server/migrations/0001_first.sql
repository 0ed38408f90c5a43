-- Times are milliseconds since the Unix epoch, UTC. Ids of broadcasts are text (core::id), because
-- SQLite's integers have a sign.
CREATE TABLE streams (
    name            TEXT PRIMARY KEY NOT NULL,
    title           TEXT NOT NULL,
    state           TEXT NOT NULL,
    key_hash        BLOB NOT NULL UNIQUE CHECK (length(key_hash) = 32),
    created_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE broadcasts (
    id              TEXT PRIMARY KEY NOT NULL,
    stream          TEXT NOT NULL REFERENCES streams (name),
    started_unix_ms INTEGER NOT NULL,
    ended_unix_ms   INTEGER,
    viewers_peak    INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE INDEX broadcasts_by_stream ON broadcasts (stream, started_unix_ms);
-- At most one broadcast of a stream is on.
CREATE UNIQUE INDEX broadcast_on ON broadcasts (stream) WHERE ended_unix_ms IS NULL;

CREATE TABLE settings (
    key   TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
