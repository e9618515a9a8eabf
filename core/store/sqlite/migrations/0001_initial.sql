-- Times are microseconds since 1970 in UTC; 0 means never, as in the digest of a
-- key record. Sets that may grow (algorithms, reasons, event types) are not
-- checked here, because SQLite can change a CHECK only by rebuilding its table.

CREATE TABLE migrations (
    number  INTEGER PRIMARY KEY CHECK (number >= 1),
    name    TEXT    NOT NULL,
    sha256  BLOB    NOT NULL CHECK (length(sha256) = 32),
    applied INTEGER NOT NULL
) STRICT;

-- One row. Counters only grow: revision with each update of a key, fence with
-- each claim, log_size with each event.
CREATE TABLE meta (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    store_id BLOB    NOT NULL CHECK (length(store_id) = 16),
    created  INTEGER NOT NULL,
    revision INTEGER NOT NULL DEFAULT 0 CHECK (revision >= 0),
    fence    INTEGER NOT NULL DEFAULT 0 CHECK (fence >= 0),
    log_size INTEGER NOT NULL DEFAULT 0 CHECK (log_size >= 0)
) STRICT;

-- The foreign key of primary_version waits for the commit, because a new key is
-- written before its versions.
CREATE TABLE keys (
    id                  BLOB    PRIMARY KEY CHECK (length(id) = 16),
    name                TEXT    NOT NULL UNIQUE
                                CHECK (length(name) BETWEEN 1 AND 63
                                       AND name NOT GLOB '*[^a-z0-9.-]*'
                                       AND name GLOB '[a-z0-9]*'),
    created             INTEGER NOT NULL,
    algorithm           TEXT    NOT NULL,
    min_decrypt_version INTEGER NOT NULL CHECK (min_decrypt_version BETWEEN 0 AND 4294967295),
    hard_limit          INTEGER NOT NULL CHECK (hard_limit >= 0),
    wrap_with           TEXT    NOT NULL CHECK (json_type(wrap_with) = 'array'),
    primary_version     INTEGER,
    FOREIGN KEY (id, primary_version) REFERENCES versions (key_id, number)
        DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID;

-- A binary ciphertext names its key by the first eight bytes of the id.
CREATE UNIQUE INDEX keys_by_prefix ON keys (substr(id, 1, 8));

-- used counts the uses that are booked; what is out on lease comes on top.
CREATE TABLE versions (
    key_id        BLOB    NOT NULL REFERENCES keys (id),
    number        INTEGER NOT NULL CHECK (number BETWEEN 1 AND 4294967295),
    label         TEXT    NOT NULL CHECK (label <> ''),
    state         TEXT    NOT NULL CHECK (state IN ('pre-active', 'active', 'deactivated', 'suspended',
                                                    'compromised', 'quarantined', 'destroyed')),
    algorithm     TEXT    NOT NULL,
    created       INTEGER NOT NULL,
    activated     INTEGER NOT NULL,
    state_changed INTEGER NOT NULL,
    reason        TEXT    NOT NULL,
    kcv           BLOB    NOT NULL CHECK (length(kcv) = 16),
    used          INTEGER NOT NULL DEFAULT 0 CHECK (used >= 0),
    PRIMARY KEY (key_id, number),
    UNIQUE (key_id, label)
) STRICT, WITHOUT ROWID;

-- Two active versions of a key cannot be written down.
CREATE UNIQUE INDEX versions_one_active ON versions (key_id) WHERE state = 'active';

CREATE TABLE wraps (
    key_id      BLOB    NOT NULL,
    version     INTEGER NOT NULL,
    provider    TEXT    NOT NULL CHECK (provider <> ''),
    kek_id      TEXT    NOT NULL,
    kek_version TEXT    NOT NULL,
    blob        BLOB    NOT NULL CHECK (length(blob) > 0),
    created     INTEGER NOT NULL,
    PRIMARY KEY (key_id, version, provider),
    FOREIGN KEY (key_id, version) REFERENCES versions (key_id, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX wraps_by_kek ON wraps (provider, kek_id);

-- Claims. The key is a name, because it is claimed before it exists.
CREATE TABLE intents (
    key       TEXT    PRIMARY KEY CHECK (key <> ''),
    kind      TEXT    NOT NULL,
    operation TEXT    NOT NULL,
    owner     TEXT    NOT NULL CHECK (owner <> ''),
    token     INTEGER NOT NULL UNIQUE CHECK (token >= 1),
    started   INTEGER NOT NULL,
    expires   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Ids are never used again (AUTOINCREMENT): a lease that is returned twice must
-- not end another one.
CREATE TABLE leases (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    key_id  BLOB    NOT NULL,
    version INTEGER NOT NULL,
    owner   TEXT    NOT NULL CHECK (owner <> ''),
    count   INTEGER NOT NULL CHECK (count >= 1),
    granted INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    FOREIGN KEY (key_id, version) REFERENCES versions (key_id, number)
) STRICT;

CREATE INDEX leases_by_version ON leases (key_id, version);
CREATE INDEX leases_by_expiry ON leases (expires);

-- bytes is the event; the other columns are read off it so that it can be found.
-- The leaf is in log_hashes, which outlives the event.
CREATE TABLE events (
    seq     INTEGER PRIMARY KEY CHECK (seq >= 1),
    bytes   BLOB    NOT NULL,
    key     TEXT    NOT NULL,
    version INTEGER NOT NULL,
    type    TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    actor   TEXT    NOT NULL,
    time    INTEGER NOT NULL
) STRICT;

CREATE INDEX events_by_key ON events (key);
CREATE INDEX events_by_type ON events (type);
CREATE INDEX events_by_time ON events (time);

-- The Merkle tree, in the dense numbering of golang.org/x/mod/sumdb/tlog.
CREATE TABLE log_hashes (
    idx  INTEGER PRIMARY KEY CHECK (idx >= 0),
    hash BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;

-- What is to be delivered outside: history to a mirror, notices to a webhook.
-- Rows of one (topic, target, order_key) go out in the order of their ids.
CREATE TABLE outbox (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    topic          TEXT    NOT NULL CHECK (topic <> ''),
    target         TEXT    NOT NULL CHECK (target <> ''),
    order_key      TEXT    NOT NULL,
    idempotency_id TEXT    NOT NULL CHECK (idempotency_id <> ''),
    event_seq      INTEGER NOT NULL DEFAULT 0 CHECK (event_seq >= 0),
    payload        BLOB    NOT NULL,
    created        INTEGER NOT NULL,
    state          TEXT    NOT NULL DEFAULT 'pending'
                           CHECK (state IN ('pending', 'blocked', 'done', 'terminal')),
    attempts       INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_attempt   INTEGER NOT NULL,
    last_error     TEXT    NOT NULL DEFAULT '',
    finished       INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic, target, idempotency_id)
) STRICT;

CREATE INDEX outbox_open ON outbox (topic, target, order_key, id) WHERE state IN ('pending', 'blocked');
CREATE INDEX outbox_due ON outbox (next_attempt) WHERE state IN ('pending', 'blocked');
