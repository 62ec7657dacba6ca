-- The ledger of one store: which sealed files are there, which revisions of runs they are, and how far each got at each
-- destination. It holds references only; the sealed files are the queue. Paths are relative to the data dir.

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

-- What the last walk saw. A row goes when its file goes. ANY: a path that is not UTF-8 is a BLOB.
CREATE TABLE files (
    path     ANY PRIMARY KEY,
    size     INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    inode    INTEGER NOT NULL,
    revision INTEGER REFERENCES revisions (seq),  -- NULL: unreadable
    reason   TEXT                                 -- why it is unreadable
) STRICT;
CREATE INDEX files_by_revision ON files (revision);
CREATE INDEX files_unreadable ON files (path) WHERE reason IS NOT NULL;

-- Every revision ever seen. `replaced_by` is lineage: these bytes stood where the bytes of that revision stand now.
CREATE TABLE revisions (
    seq            INTEGER PRIMARY KEY,
    run_id         TEXT NOT NULL,
    sha256         TEXT NOT NULL,
    rank           TEXT NOT NULL,
    bytes          INTEGER NOT NULL,
    run_started_us INTEGER,
    sealed_us      INTEGER NOT NULL,              -- the file's mtime when it was first seen
    seen_ms        INTEGER NOT NULL,
    replaced_by    INTEGER REFERENCES revisions (seq),
    UNIQUE (run_id, sha256)
) STRICT;
CREATE INDEX revisions_replaced ON revisions (replaced_by) WHERE replaced_by IS NOT NULL;

-- A destination is a sink's destination id. `attached_seq`: every revision up to it has a row in deliveries.
CREATE TABLE destinations (
    id           INTEGER PRIMARY KEY,
    destination  TEXT NOT NULL UNIQUE,
    name         TEXT NOT NULL,
    plugin       TEXT NOT NULL,
    incarnation  TEXT,
    start_given  TEXT NOT NULL DEFAULT 'all',     -- 'all', 'now' or a time: a change makes skipped runs be looked at again
    start_us     INTEGER,                         -- runs that started (now: were sealed) earlier are skipped; NULL: none
    starting     INTEGER NOT NULL DEFAULT 0,      -- 'now': 2 while its first pass is under way, 1 where that was broken off
    attached_seq INTEGER NOT NULL DEFAULT 0,
    state        TEXT NOT NULL DEFAULT 'up',
    state_why    TEXT NOT NULL DEFAULT '',
    state_ms     INTEGER NOT NULL DEFAULT 0,
    used_ms      INTEGER NOT NULL DEFAULT 0
) STRICT;

-- One row for each revision at each destination. `tries` feeds the backoff; `strikes` counts faults of the run itself;
-- `deferred` counts calls that failed for it while nothing else passed: such a run comes alone, after all others; `told` says that its loss made an exit code.
CREATE TABLE deliveries (
    destination INTEGER NOT NULL REFERENCES destinations (id),
    revision    INTEGER NOT NULL REFERENCES revisions (seq),
    state       TEXT NOT NULL,
    tries       INTEGER NOT NULL DEFAULT 0,
    strikes     INTEGER NOT NULL DEFAULT 0,
    deferred       INTEGER NOT NULL DEFAULT 0,
    told        INTEGER NOT NULL DEFAULT 0,
    message     TEXT NOT NULL DEFAULT '',
    receipt     TEXT,
    changed_ms  INTEGER NOT NULL,
    PRIMARY KEY (destination, revision)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_pending ON deliveries (destination, deferred, revision) WHERE state = 'pending';
CREATE INDEX deliveries_unfinished ON deliveries (destination, state, revision)
    WHERE state NOT IN ('committed', 'verified', 'superseded', 'skipped', 'discarded');

-- What happened, append-only.
CREATE TABLE history (
    id          INTEGER PRIMARY KEY,
    at_ms       INTEGER NOT NULL,
    destination INTEGER NOT NULL,
    revision    INTEGER NOT NULL,
    event       TEXT NOT NULL,
    message     TEXT NOT NULL DEFAULT '',
    receipt     TEXT
) STRICT;

-- What people want while a host holds the lock, one row a delivery; the host does it and deletes the row.
CREATE TABLE requests (
    id          INTEGER PRIMARY KEY,
    at_ms       INTEGER NOT NULL,
    wish        TEXT NOT NULL,                    -- 'retry' or 'discard'
    destination INTEGER NOT NULL,
    revision    INTEGER NOT NULL,
    who         TEXT NOT NULL,
    reason      TEXT NOT NULL
) STRICT;

PRAGMA user_version = 1;
