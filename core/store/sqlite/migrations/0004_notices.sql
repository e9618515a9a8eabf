-- What is worth telling and is no part of the history: a rotation that is due soon, a
-- number of uses that was reached. The id names the occasion, so that it is told once,
-- however many processes notice it. bytes has the form of an event.
CREATE TABLE notices (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    id      TEXT    NOT NULL UNIQUE CHECK (id <> ''),
    bytes   BLOB    NOT NULL,
    created INTEGER NOT NULL
) STRICT;

CREATE INDEX notices_by_age ON notices (created);

-- To whom the outbox delivers, how far the history and the notices were looked through
-- for them, and which process delivers until when. Nothing that was committed after the
-- row was made is missed, whoever commits it.
CREATE TABLE subscribers (
    topic   TEXT    NOT NULL CHECK (topic <> ''),
    target  TEXT    NOT NULL CHECK (target <> ''),
    event   INTEGER NOT NULL CHECK (event >= 0),
    notice  INTEGER NOT NULL CHECK (notice >= 0),
    seen    INTEGER NOT NULL,
    owner   TEXT    NOT NULL DEFAULT '',
    expires INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, target)
) STRICT, WITHOUT ROWID;

-- What is due is found by way of the order keys, not of the time. The state is in the
-- index, or it would be read from each row.
DROP INDEX outbox_due;
DROP INDEX outbox_open;
CREATE INDEX outbox_open ON outbox (topic, target, order_key, id, state) WHERE state IN ('pending', 'blocked');
CREATE INDEX outbox_terminal ON outbox (topic, target) WHERE state = 'terminal';
CREATE INDEX outbox_by_age ON outbox (finished) WHERE state IN ('done', 'terminal');

-- Events up to this number may have been taken out of the history, by its retention.
-- Their leaves stay.
ALTER TABLE meta ADD COLUMN log_pruned INTEGER NOT NULL DEFAULT 0 CHECK (log_pruned >= 0);
