package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// Snapshot says what a copy of the store holds.
type Snapshot struct {
	// Size of the file in bytes.
	Size int64
	// LogSize and LogRoot are the history's, see [Store.Root].
	LogSize uint64
	LogRoot tlog.Hash
}

// Snapshot writes the store as it is now to a new file at path, for this user
// alone, while all processes go on reading and writing. The copy has passed
// [Store.Check]; what is left of one that failed is the caller's to remove.
func (s *Store) Snapshot(ctx context.Context, path string) (Snapshot, error) {
	if err := s.copyTo(ctx, path); err != nil {
		return Snapshot{}, s.fail("copy", err)
	}
	snapshot, err := inspect(ctx, path)
	if err != nil {
		return Snapshot{}, s.fail("check the copy", err)
	}
	return snapshot, nil
}

func (s *Store) copyTo(ctx context.Context, path string) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	// Neither the writer, whose queue this would hold up, nor a reader, which may
	// not even write elsewhere.
	db, err := openPool(s.path, 1, busyTimeout, url.Values{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, `VACUUM INTO ?`, path)
	return err
}

// inspect checks a copy without changing it.
func inspect(ctx context.Context, path string) (_ Snapshot, err error) {
	c := &Store{path: path}
	if c.reader, err = openReader(path); err != nil {
		return Snapshot{}, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if c.id, err = readID(ctx, c.reader); err != nil {
		return Snapshot{}, err
	}
	if err := c.Check(ctx); err != nil {
		return Snapshot{}, err
	}
	var snapshot Snapshot
	if snapshot.LogSize, snapshot.LogRoot, err = c.Root(ctx); err != nil {
		return Snapshot{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return Snapshot{}, err
	}
	snapshot.Size = info.Size()
	return snapshot, nil
}

// Check reads the whole store: SQLite's own check of the file, the references
// between rows, and of every key whether its record is the one that its newest
// event describes. store.ErrCorrupt, keyring.ErrIntegrity.
func (s *Store) Check(ctx context.Context) error {
	err := s.read(ctx, "check", func(tx *sql.Tx) error { return checkFile(ctx, tx) })
	if err != nil {
		return err
	}
	names, err := s.Names(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		key, err := s.Key(ctx, name)
		if err != nil {
			return err
		}
		if err := key.Verify(s.id, key.LastDigest); err != nil {
			return s.fail("check", err)
		}
	}
	return nil
}

func checkFile(ctx context.Context, tx *sql.Tx) error {
	found, err := integrityFaults(ctx, tx, true)
	if err == nil && len(found) == 0 {
		found, err = referenceFaults(ctx, tx)
	}
	if err == nil && len(found) > 0 {
		err = damaged("%s", strings.Join(found, "; "))
	}
	return err
}
