package sqlite

import (
	"database/sql/driver"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// BenchmarkAppend appends one event to the history; "bare" is a transaction that
// inserts one row of the same size on the same engine. The bar is twice its time.
func BenchmarkAppend(b *testing.B) {
	s := openAt(b, filepath.Join(b.TempDir(), "keyrotor.db"), nil)
	create(b, s, "payments")
	event := history.Event{Type: history.Usage, Actor: "alice@host", Operation: "op", Version: 1, Count: 64}
	b.Run("keyrotor", func(b *testing.B) {
		for b.Loop() {
			_, err := s.Update(b.Context(), store.Update{Name: "payments", Apply: func(*keyring.Record) ([]history.Event, error) {
				return []history.Event{event}, nil
			}})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		bytes, err := event.Encode()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.writer.Exec(`CREATE TABLE IF NOT EXISTS bare (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT`); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			tx, err := s.writer.BeginTx(b.Context(), nil)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := tx.ExecContext(b.Context(), `INSERT INTO bare (bytes) VALUES (?)`, bytes); err != nil {
				b.Fatal(err)
			}
			if err := tx.Commit(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkLoad10k opens a store and reads a key of 10,000 versions; "driver" opens
// the same file and reads the same rows through the driver alone. The bar is three
// times its time.
func BenchmarkLoad10k(b *testing.B) {
	path := filepath.Join(b.TempDir(), "keyrotor.db")
	s := openAt(b, path, nil)
	create(b, s, "payments")
	_, err := s.Update(b.Context(), store.Update{Name: "payments", Apply: func(r *keyring.Record) ([]history.Event, error) {
		for n := uint32(2); n <= 10_000; n++ {
			if _, err := newVersion(time.Now)(r); err != nil {
				return nil, err
			}
		}
		return []history.Event{{Type: history.ConfigChange}}, nil
	}})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("keyrotor", func(b *testing.B) {
		for b.Loop() {
			s, err := Open(b.Context(), Config{Path: path})
			if err != nil {
				b.Fatal(err)
			}
			key, err := s.Key(b.Context(), "payments")
			if err != nil || len(key.Versions) != 10_000 || len(key.Versions[9_999].Wraps) != 1 {
				b.Fatal(len(key.Versions), err)
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("driver", func(b *testing.B) {
		for b.Loop() {
			if n := readRows(b, path); n != 20_000 {
				b.Fatal(n)
			}
		}
	})
}

// readRows reads versions and wraps of the only key below database/sql.
func readRows(b *testing.B, path string) int {
	db, err := openReader(path)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Conn(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	err = conn.Raw(func(c any) error {
		for _, query := range []string{
			`SELECT number, label, state, algorithm, created, activated, state_changed, reason, kcv, used FROM versions ORDER BY key_id, number`,
			`SELECT version, provider, kek_id, kek_version, blob, created FROM wraps ORDER BY key_id, version, provider`,
		} {
			rows, err := c.(driver.QueryerContext).QueryContext(b.Context(), query, nil)
			if err != nil {
				return err
			}
			values := make([]driver.Value, len(rows.Columns()))
			for err = rows.Next(values); err == nil; err = rows.Next(values) {
				n++
			}
			if err := errors.Join(rows.Close(), ignoreEOF(err)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, conn.Close()); err != nil {
		b.Fatal(err)
	}
	return n
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
