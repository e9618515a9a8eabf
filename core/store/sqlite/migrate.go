package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

//go:embed migrations
var migrationFiles embed.FS

// migration is one numbered file. Once released it never changes: databases
// remember its hash.
type migration struct {
	number int
	name   string
	sql    string
	sum    [sha256.Size]byte
}

// loadMigrations reads migrations/NNNN_name.sql, which number from 1 without gaps.
func loadMigrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "migrations/*.sql") // in order
	if err != nil {
		return nil, err
	}
	list := make([]migration, 0, len(names))
	for i, name := range names {
		m := migration{name: name[len("migrations/"):]}
		if _, err := fmt.Sscanf(m.name, "%04d_", &m.number); err != nil || m.number != i+1 {
			return nil, fmt.Errorf("sqlite: migration %s should have the number %04d", m.name, i+1)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		m.sql, m.sum = string(text), sha256.Sum256(text)
		list = append(list, m)
	}
	return list, nil
}

// migrate brings the schema up to the last migration, one transaction each. Other
// processes may do the same at the same time: each looks again under the lock.
func migrate(ctx context.Context, db *sql.DB, list []migration, now time.Time, log *slog.Logger) error {
	done, err := applied(ctx, db, list)
	if err != nil {
		return err
	}
	for done < len(list) {
		if done, err = migrateOne(ctx, db, list, now); err != nil {
			return err
		}
		log.DebugContext(ctx, "store migrated", "schema", done)
	}
	return nil
}

func migrateOne(ctx context.Context, db *sql.DB, list []migration, now time.Time) (int, error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	done, err := applied(ctx, tx, list)
	if err != nil || done == len(list) {
		return done, err
	}
	m := list[done]
	if _, err := tx.ExecContext(ctx, m.sql); err != nil {
		return 0, fmt.Errorf("migration %s: %w", m.name, err)
	}
	if m.number == 1 {
		id := keyring.NewStoreID()
		_, err := tx.ExecContext(ctx, `INSERT INTO meta (only_row, store_id, created) VALUES (1, ?, ?)`, id[:], store.Micros(now))
		if err != nil {
			return 0, err
		}
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO migrations (number, name, sha256, applied) VALUES (?, ?, ?, ?)`,
		m.number, m.name, m.sum[:], store.Micros(now))
	if err != nil {
		return 0, err
	}
	return m.number, tx.Commit()
}

// applied counts the migrations that the database has, and checks that they are
// the first of ours.
func applied(ctx context.Context, db querier, list []migration) (int, error) {
	var tables int
	err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'migrations'`).Scan(&tables)
	if err != nil || tables == 0 {
		return 0, err
	}
	rows, err := db.QueryContext(ctx, `SELECT number, name, sha256 FROM migrations ORDER BY number`)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	done := 0
	for rows.Next() {
		var number int
		var name string
		var sum [sha256.Size]byte
		if err := rows.Scan(&number, &name, fixed(sum[:])); err != nil {
			return 0, err
		}
		switch {
		case number > len(list):
			return 0, fmt.Errorf("%w: it has migration %s, and this build ends at %d: use the build that wrote it, or a newer one", store.ErrSchema, name, len(list))
		case number != done+1:
			return 0, damaged("migration %d is missing", done+1)
		case sum != list[done].sum:
			return 0, fmt.Errorf("%w: its migration %s is not the one of this build (SHA-256 %x): use the build that wrote it", store.ErrSchema, name, sum)
		}
		done = number
	}
	return done, rows.Err()
}

// querier is what a database and a transaction have in common.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}
