-- Uses by re-encryption are part of used and of count, and are told apart because a
-- policy leaves them out: else re-encrypting everything would call for the next rotation.
ALTER TABLE versions ADD COLUMN used_reencrypting INTEGER NOT NULL DEFAULT 0
    CHECK (used_reencrypting BETWEEN 0 AND used);
ALTER TABLE leases ADD COLUMN reencrypting INTEGER NOT NULL DEFAULT 0 CHECK (reencrypting IN (0, 1));

-- Occasions on which a policy rotated a key. Each rotates it once, whatever clocks and
-- processes do: the row is written in the transaction that commits the version.
CREATE TABLE due_slots (
    key_id  BLOB    NOT NULL REFERENCES keys (id),
    policy  TEXT    NOT NULL CHECK (policy <> ''),
    slot    TEXT    NOT NULL CHECK (slot <> ''),
    version INTEGER NOT NULL,
    rotated INTEGER NOT NULL,
    PRIMARY KEY (key_id, policy, slot)
) STRICT, WITHOUT ROWID;

-- What the newest check of each policy of each key came to. failures and retry are of
-- rotations that failed since the last one that did not, in whichever process.
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
) STRICT, WITHOUT ROWID;

-- Every check asks which policies are failing, and nearly always there are none.
CREATE INDEX policy_checks_failing ON policy_checks (key_id) WHERE failures > 0;

-- Processes that check policies, and when each of them did so last.
CREATE TABLE schedulers (
    owner    TEXT    PRIMARY KEY CHECK (owner <> ''),
    started  INTEGER NOT NULL,
    interval INTEGER NOT NULL CHECK (interval > 0),
    checked  INTEGER NOT NULL,
    keys     INTEGER NOT NULL CHECK (keys >= 0),
    due      INTEGER NOT NULL CHECK (due >= 0)
) STRICT, WITHOUT ROWID;
