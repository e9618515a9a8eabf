migration 0001 0001_initial.sql eee835eae7b63463d21699b1442b3e0a3ab4897a912429ed6cd3b9efa4850007

migration 0002 0002_lifecycle.sql 039dd451e91da8ad15ddda4980cfb1b913165997bee4be26e760f37448c55da9

migration 0003 0003_policies.sql 8fb1a74118737e130cbbde9e879842b4db910d5d1aaf9bcf46d2c16f1956a263

migration 0004 0004_notices.sql 5f4036cd2b6ef995f2a57276edb1ac230cd1973f98d708677cc7caf3745f31ee

CREATE INDEX events_by_key ON events (key)

CREATE INDEX events_by_time ON events (time)

CREATE INDEX events_by_type ON events (type)

CREATE UNIQUE INDEX keys_by_prefix ON keys (substr(id, 1, 8))

CREATE INDEX leases_by_expiry ON leases (expires)

CREATE INDEX leases_by_version ON leases (key_id, version)

CREATE INDEX notices_by_age ON notices (created)

CREATE INDEX outbox_by_age ON outbox (finished) WHERE state IN ('done', 'terminal')

CREATE INDEX outbox_open ON outbox (topic, target, order_key, id, state) WHERE state IN ('pending', 'blocked')

CREATE INDEX outbox_terminal ON outbox (topic, target) WHERE state = 'terminal'

CREATE INDEX policy_checks_failing ON policy_checks (key_id) WHERE failures > 0

index sqlite_autoindex_intents_2

index sqlite_autoindex_keys_2

index sqlite_autoindex_notices_1

index sqlite_autoindex_outbox_1

index sqlite_autoindex_versions_2

CREATE UNIQUE INDEX versions_one_active ON versions (key_id) WHERE state = 'active'

CREATE INDEX wraps_by_kek ON wraps (provider, kek_id)

CREATE TABLE attempts (
    key_id  BLOB    NOT NULL,
    version INTEGER NOT NULL,
    count   INTEGER NOT NULL CHECK (count >= 1),
    last    INTEGER NOT NULL,
    PRIMARY KEY (key_id, version),
    FOREIGN KEY (key_id, version) REFERENCES versions (key_id, number)
) STRICT, WITHOUT ROWID

CREATE TABLE due_slots (
    key_id  BLOB    NOT NULL REFERENCES keys (id),
    policy  TEXT    NOT NULL CHECK (policy <> ''),
    slot    TEXT    NOT NULL CHECK (slot <> ''),
    version INTEGER NOT NULL,
    rotated INTEGER NOT NULL,
    PRIMARY KEY (key_id, policy, slot)
) STRICT, WITHOUT ROWID

CREATE TABLE events (
    seq     INTEGER PRIMARY KEY CHECK (seq >= 1),
    bytes   BLOB    NOT NULL,
    key     TEXT    NOT NULL,
    version INTEGER NOT NULL,
    type    TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    actor   TEXT    NOT NULL,
    time    INTEGER NOT NULL
) STRICT

CREATE TABLE intents (
    key       TEXT    PRIMARY KEY CHECK (key <> ''),
    kind      TEXT    NOT NULL,
    operation TEXT    NOT NULL,
    owner     TEXT    NOT NULL CHECK (owner <> ''),
    token     INTEGER NOT NULL UNIQUE CHECK (token >= 1),
    started   INTEGER NOT NULL,
    expires   INTEGER NOT NULL
, detail TEXT NOT NULL DEFAULT '') STRICT, WITHOUT ROWID

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
    primary_version     INTEGER, block_reads INTEGER NOT NULL DEFAULT 0 CHECK (block_reads IN (0, 1)),
    FOREIGN KEY (id, primary_version) REFERENCES versions (key_id, number)
        DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID

CREATE TABLE leases (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    key_id  BLOB    NOT NULL,
    version INTEGER NOT NULL,
    owner   TEXT    NOT NULL CHECK (owner <> ''),
    count   INTEGER NOT NULL CHECK (count >= 1),
    granted INTEGER NOT NULL,
    expires INTEGER NOT NULL, reencrypting INTEGER NOT NULL DEFAULT 0 CHECK (reencrypting IN (0, 1)),
    FOREIGN KEY (key_id, version) REFERENCES versions (key_id, number)
) STRICT

CREATE TABLE log_hashes (
    idx  INTEGER PRIMARY KEY CHECK (idx >= 0),
    hash BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT

CREATE TABLE meta (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    store_id BLOB    NOT NULL CHECK (length(store_id) = 16),
    created  INTEGER NOT NULL,
    revision INTEGER NOT NULL DEFAULT 0 CHECK (revision >= 0),
    fence    INTEGER NOT NULL DEFAULT 0 CHECK (fence >= 0),
    log_size INTEGER NOT NULL DEFAULT 0 CHECK (log_size >= 0)
, log_pruned INTEGER NOT NULL DEFAULT 0 CHECK (log_pruned >= 0)) STRICT

CREATE TABLE migrations (
    number  INTEGER PRIMARY KEY CHECK (number >= 1),
    name    TEXT    NOT NULL,
    sha256  BLOB    NOT NULL CHECK (length(sha256) = 32),
    applied INTEGER NOT NULL
) STRICT

CREATE TABLE notices (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    id      TEXT    NOT NULL UNIQUE CHECK (id <> ''),
    bytes   BLOB    NOT NULL,
    created INTEGER NOT NULL
) STRICT

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
) STRICT

CREATE TABLE policy_checks (
    key_id     BLOB    NOT NULL REFERENCES keys (id),
    policy     TEXT    NOT NULL CHECK (policy <> ''),
    checked    INTEGER NOT NULL,
    due        INTEGER NOT NULL CHECK (due IN (0, 1)),
    slot       TEXT    NOT NULL,
    next       INTEGER NOT NULL,
    why        TEXT    NOT NULL,
    failures   INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
    retry      INTEGER NOT NULL DEFAULT 0,
    error_code TEXT    NOT NULL DEFAULT '',
    PRIMARY KEY (key_id, policy)
) STRICT, WITHOUT ROWID

CREATE TABLE schedulers (
    owner    TEXT    PRIMARY KEY CHECK (owner <> ''),
    started  INTEGER NOT NULL,
    interval INTEGER NOT NULL CHECK (interval > 0),
    checked  INTEGER NOT NULL,
    keys     INTEGER NOT NULL CHECK (keys >= 0),
    due      INTEGER NOT NULL CHECK (due >= 0)
) STRICT, WITHOUT ROWID

CREATE TABLE sqlite_sequence(name,seq)

CREATE TABLE subscribers (
    topic   TEXT    NOT NULL CHECK (topic <> ''),
    target  TEXT    NOT NULL CHECK (target <> ''),
    event   INTEGER NOT NULL CHECK (event >= 0),
    notice  INTEGER NOT NULL CHECK (notice >= 0),
    seen    INTEGER NOT NULL,
    owner   TEXT    NOT NULL DEFAULT '',
    expires INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, target)
) STRICT, WITHOUT ROWID

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
    used          INTEGER NOT NULL DEFAULT 0 CHECK (used >= 0), used_reencrypting INTEGER NOT NULL DEFAULT 0
    CHECK (used_reencrypting BETWEEN 0 AND used),
    PRIMARY KEY (key_id, number),
    UNIQUE (key_id, label)
) STRICT, WITHOUT ROWID

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
) STRICT, WITHOUT ROWID

