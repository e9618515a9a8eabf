-- Versions in state compromised decrypt nothing while this is set.
ALTER TABLE keys ADD COLUMN block_reads INTEGER NOT NULL DEFAULT 0 CHECK (block_reads IN (0, 1));

-- What the operation is about to do outside, for whoever has to settle it after a
-- crash. Its form is the operation's own.
ALTER TABLE intents ADD COLUMN detail TEXT NOT NULL DEFAULT '';

-- Decryptions that were refused because the version was in quarantine: somebody
-- still holds its ciphertexts. The count is at least their number.
CREATE TABLE attempts (
    key_id  BLOB    NOT NULL,
    version INTEGER NOT NULL,
    count   INTEGER NOT NULL CHECK (count >= 1),
    last    INTEGER NOT NULL,
    PRIMARY KEY (key_id, version),
    FOREIGN KEY (key_id, version) REFERENCES versions (key_id, number)
) STRICT, WITHOUT ROWID;
