// Package sqlite is the embedded store: one SQLite file that several processes of
// one machine share. It exists so that Keyrotor needs no server of its own, and it
// leans on what SQLite is best at: a commit is on the disk, or it never happened.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// Config says which file, and what surrounds it.
type Config struct {
	// Path of the database file. Its folder must exist, on a local file system.
	Path string
	// Now is the store's clock, which expires claims and leases; time.Now if nil.
	Now func() time.Time
	// Log is told of creation and migration; nothing is logged if nil.
	Log *slog.Logger
}

// Store is an open database. It may be used concurrently, and the same file may be
// open several times, by this process and by others.
type Store struct {
	path string
	id   keyring.StoreID
	now  func() time.Time
	// Writers queue in front of one connection, in order and as long as their
	// context allows; within SQLite they would poll for the lock.
	writer     *sql.DB
	statements *statements // of the writer
	reader     *sql.DB
	// patience is how long a write waits for another process.
	patience time.Duration
	// pruneStep is how many events go out of the history, and rows out of the outbox, in one
	// transaction.
	pruneStep int
}

var _ store.Store = (*Store)(nil)

// Open opens the database, bringing an older schema up to date; if there is no
// file it makes one with a new store id, readable by this user alone.
//
// store.ErrForeign, store.ErrCorrupt and store.ErrSchema say why a file is
// refused.
func Open(ctx context.Context, cfg Config) (_ *Store, err error) {
	s := &Store{now: cfg.Now, patience: busyTimeout, pruneStep: pruneStep}
	if s.now == nil {
		s.now = time.Now
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	migrations, err := loadMigrations(migrationFiles)
	if err != nil {
		return nil, err
	}
	if s.path, err = absolute(cfg.Path); err != nil {
		return nil, err
	}
	c := creator{path: s.path, migrations: migrations, now: s.now, log: log}
	if err := c.createIfMissing(ctx); err != nil {
		return nil, fmt.Errorf("store %s: %w", s.path, explainAt(s.path, err))
	}
	if err := s.connect(ctx, migrations, log); err != nil {
		return nil, errors.Join(s.fail("open", err), s.Close())
	}
	return s, nil
}

func (s *Store) connect(ctx context.Context, migrations []migration, log *slog.Logger) (err error) {
	if err := checkMode(s.path); err != nil {
		return err
	}
	alignModes(s.path)
	db, err := openWriter(s.path, busyTimeout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := checkEngine(ctx, db); err != nil {
		return err
	}
	if err := checkOurs(ctx, db); err != nil {
		return err
	}
	if err := setWAL(ctx, db); err != nil {
		return err
	}
	if err := migrate(ctx, db, migrations, s.now(), log); err != nil {
		return err
	}
	if s.writer, err = openWriter(s.path, busyPause); err != nil {
		return err
	}
	s.statements = &statements{db: s.writer, compiled: make(map[string]*sql.Stmt)}
	if s.reader, err = openReader(s.path); err != nil {
		return err
	}
	s.id, err = readID(ctx, s.reader)
	return err
}

// Close ends the connections. The last process to close the database also folds
// the write-ahead log into it.
func (s *Store) Close() error {
	var err error
	if s.reader != nil {
		err = s.reader.Close()
	}
	if s.writer != nil {
		err = errors.Join(err, s.writer.Close())
	}
	return err
}

// ID is the store's own UUID.
func (s *Store) ID() keyring.StoreID { return s.id }

// Now is the machine's clock, which all processes on the file share.
func (s *Store) Now(context.Context) (time.Time, error) { return s.now(), nil }

func readID(ctx context.Context, db *sql.DB) (keyring.StoreID, error) {
	var id keyring.StoreID
	err := db.QueryRowContext(ctx, `SELECT store_id FROM meta`).Scan(fixed(id[:]))
	if errors.Is(err, sql.ErrNoRows) {
		return id, damaged("the store's own id is gone")
	}
	return id, err
}

// write runs fn in one transaction that holds the write lock from the start, and
// commits it if fn succeeds.
func (s *Store) write(ctx context.Context, op string, fn func(writeTx) error) error {
	s.statements.compile(ctx)
	tx, err := s.begin(ctx)
	if err != nil {
		return s.fail(op, err)
	}
	defer tx.Rollback()
	if err := fn(writeTx{tx, s.statements}); err != nil {
		return s.fail(op, err)
	}
	return s.fail(op, tx.Commit())
}

// begin waits for the write lock, see busyPause.
func (s *Store) begin(ctx context.Context) (*sql.Tx, error) {
	for end := time.Now().Add(s.patience); ; {
		tx, err := s.writer.BeginTx(ctx, nil)
		if !isBusy(err) || time.Now().After(end) {
			return tx, err
		}
	}
}

// read runs fn on one snapshot of the database.
func (s *Store) read(ctx context.Context, op string, fn func(*sql.Tx) error) error {
	tx, err := s.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return s.fail(op, err)
	}
	defer tx.Rollback()
	return s.fail(op, fn(tx))
}
