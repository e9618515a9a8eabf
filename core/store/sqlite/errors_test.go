package sqlite

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// mustName asserts that an error names the store and ends with what to do.
func mustName(t *testing.T, err error, s *Store, advice string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), s.path) || !strings.HasSuffix(err.Error(), advice) {
		t.Errorf("%v\nnames not %s, or ends not with %q", err, s.path, advice)
	}
}

func TestDiskFull(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "keyrotor.db"), nil)
	before := create(t, s, "payments")
	var pages int64
	if err := s.writer.QueryRow(`PRAGMA page_count`).Scan(&pages); err != nil {
		t.Fatal(err)
	}
	// The page limit gives the same result code as a disk without room.
	if err := s.writer.QueryRow(`PRAGMA max_page_count = 1`).Scan(&pages); err != nil {
		t.Fatal(err)
	}
	_, err := s.Update(t.Context(), store.Update{Name: "payments", Apply: func(*keyring.Record) ([]history.Event, error) {
		large := history.Event{Type: history.Usage, Details: map[string]string{"x": strings.Repeat("x", 8<<10)}}
		return slices.Repeat([]history.Event{large}, 100), nil
	}})
	if !errors.Is(err, store.ErrFull) {
		t.Errorf("Update: %v, want ErrFull", err)
	}
	mustName(t, err, s, "nothing was changed; free space on its file system, or lift the quota or limit that stops it")
	if err := s.writer.QueryRow(`PRAGMA max_page_count = 1000000`).Scan(&pages); err != nil {
		t.Fatal(err)
	}
	if after, err := s.Key(t.Context(), "payments"); err != nil || after.LastDigest != before.LastDigest {
		t.Errorf("the key changed to %+v, %v", after, err)
	}
	rotate(t, s, "payments") // there is room again
}

func TestReadOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyrotor.db")
	s := openAt(t, path, nil)
	create(t, s, "payments")
	if _, err := s.writer.Exec(`PRAGMA query_only = true`); err != nil {
		t.Fatal(err)
	}
	_, err := s.Update(t.Context(), store.Update{Name: "payments", Apply: newVersion(time.Now)})
	if !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("Update: %v, want ErrReadOnly", err)
	}
	mustName(t, err, s, "mounted writable")
	if _, err := s.Key(t.Context(), "payments"); err != nil {
		t.Errorf("reading: %v", err)
	}
}

// TestBusy: a wait for another process ends with the context, or with advice.
func TestBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyrotor.db")
	s, other := openAt(t, path, nil), openAt(t, path, nil)
	create(t, s, "payments")
	tx, err := other.writer.Begin() // holds the write lock
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = s.Update(ctx, store.Update{Name: "payments", Apply: newVersion(time.Now)})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Update: %v, want the context's error", err)
	}
	if _, err := s.Key(t.Context(), "payments"); err != nil {
		t.Errorf("reading beside a writer: %v", err)
	}

	s.patience = time.Millisecond
	_, err = s.Update(t.Context(), store.Update{Name: "payments", Apply: newVersion(time.Now)})
	if !errors.Is(err, store.ErrBusy) {
		t.Errorf("Update: %v, want ErrBusy", err)
	}
	mustName(t, err, s, "look for one that is stopped or hangs")
}

// TestDamage overwrites every page but the first, so that the header still says
// that this is a store.
func TestDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyrotor.db")
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, "payments")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(b[4096:], bytes.Repeat([]byte{0xa5}, len(b)-4096))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), Config{Path: path})
	if !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Open: %v, want ErrCorrupt", err)
	}
	mustName(t, err, s, "restore the newest backup")
}

// TestTampering: what somebody changes in the tables shows, and is not built upon.
func TestTampering(t *testing.T) {
	for name, c := range map[string]struct {
		sql  string
		read error
	}{
		"state":     {`UPDATE versions SET state = 'deactivated'; UPDATE keys SET primary_version = NULL`, nil},
		"setting":   {`UPDATE keys SET hard_limit = 0`, nil},
		"wrap":      {`UPDATE wraps SET blob = x'00'`, nil},
		"no event":  {`DELETE FROM events`, store.ErrCorrupt},
		"no record": {`PRAGMA foreign_keys = off; DELETE FROM keys`, store.ErrCorrupt},
		"no json":   {`UPDATE events SET bytes = x'00'`, store.ErrCorrupt},
		"no list":   {`UPDATE keys SET wrap_with = '[1]'`, store.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			s := openAt(t, filepath.Join(t.TempDir(), "keyrotor.db"), nil)
			create(t, s, "payments")
			if _, err := s.writer.Exec(c.sql); err != nil {
				t.Fatal(err)
			}
			key, err := s.Key(t.Context(), "payments")
			if !errors.Is(err, c.read) {
				t.Errorf("Key: %v, want %v", err, c.read)
			}
			if c.read != nil {
				mustName(t, err, s, "restore the newest backup")
			}
			want := c.read
			if c.read == nil {
				want = keyring.ErrIntegrity
				if key.Digest(s.ID()).String() == key.LastDigest {
					t.Error("the digest does not show the change")
				}
			}
			_, err = s.Update(t.Context(), store.Update{Name: "payments", Apply: newVersion(time.Now)})
			if !errors.Is(err, want) {
				t.Errorf("Update: %v, want %v", err, want)
			}
			_, err = s.Update(t.Context(), store.Update{Name: "payments", Create: true, Apply: newKey("payments", time.Now)})
			if !errors.Is(err, c.read) && !errors.Is(err, store.ErrKeyExists) {
				t.Errorf("Update that creates the key anew: %v, want %v", err, c.read)
			}
		})
	}
}

// TestNewerEvent: an older build that meets an event which only a newer one can
// read says so, and does not cry damage. A field more is no such thing.
func TestNewerEvent(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "keyrotor.db"), nil)
	create(t, s, "payments")
	edit := func(from, to string) {
		t.Helper()
		_, err := s.writer.Exec(`UPDATE events SET bytes = CAST(replace(CAST(bytes AS TEXT), ?, ?) AS BLOB)`, from, to)
		if err != nil {
			t.Fatal(err)
		}
	}
	edit(`{"schema":1,`, `{"schema":1,"later":{"x":[1]},`)
	rotate(t, s, "payments")

	edit(`{"schema":1,`, `{"schema":2,`)
	_, reading := s.Key(t.Context(), "payments")
	_, writing := s.Update(t.Context(), store.Update{Name: "payments", Apply: newVersion(time.Now)})
	for _, err := range []error{reading, writing} {
		if !errors.Is(err, store.ErrSchema) || !errors.Is(err, history.ErrSchema) || errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%v, want ErrSchema", err)
		}
		mustName(t, err, s, "use that build or a newer one")
	}
}

// TestTamperedLimit: a limit that no record may have grants nothing.
func TestTamperedLimit(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "keyrotor.db"), nil)
	create(t, s, "payments")
	if _, err := s.writer.Exec(`UPDATE keys SET hard_limit = 0`); err != nil {
		t.Fatal(err)
	}
	_, err := s.Acquire(t.Context(), store.LeaseRequest{Key: "payments", Owner: "p", Count: 1, TTL: time.Minute})
	if !errors.Is(err, keyring.ErrUsageLimit) {
		t.Errorf("Acquire: %v, want ErrUsageLimit", err)
	}
}

// TestTamperedPrimary: a lease is on an active version, whatever the key says.
func TestTamperedPrimary(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "keyrotor.db"), nil)
	create(t, s, "payments")
	if _, err := s.writer.Exec(`UPDATE versions SET state = 'suspended'`); err != nil {
		t.Fatal(err)
	}
	_, err := s.Acquire(t.Context(), store.LeaseRequest{Key: "payments", Owner: "p", Count: 1, TTL: time.Minute})
	if !errors.Is(err, keyring.ErrNoPrimary) {
		t.Errorf("Acquire: %v, want ErrNoPrimary", err)
	}
}

func TestMissingHash(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "keyrotor.db"), nil)
	create(t, s, "payments")
	if _, err := s.writer.Exec(`DELETE FROM log_hashes`); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Root(t.Context()); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Root: %v, want ErrCorrupt", err)
	}
}

// TestConstraints: the schema itself refuses what no build should ever write.
func TestConstraints(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "keyrotor.db"), nil)
	create(t, s, "payments")
	rotate(t, s, "payments")
	for name, sql := range map[string]string{
		"two active":        `UPDATE versions SET state = 'active'`,
		"unknown state":     `UPDATE versions SET state = 'retired'`,
		"label twice":       `UPDATE versions SET label = 'v1'`,
		"version 0":         `UPDATE versions SET number = 0 WHERE number = 1`,
		"short kcv":         `UPDATE versions SET kcv = x'00'`,
		"negative uses":     `UPDATE versions SET used = -1`,
		"lost primary":      `UPDATE keys SET primary_version = 9`,
		"short id":          `UPDATE keys SET id = x'00'`,
		"bad name":          `UPDATE keys SET name = 'a_b'`,
		"same prefix":       `INSERT INTO keys SELECT substr(id, 1, 8) || zeroblob(8), 'other', 0, '', 0, 0, '[]', NULL, 0 FROM keys`,
		"orphan wrap":       `UPDATE wraps SET version = 9 WHERE version = 1`,
		"version with wrap": `DELETE FROM versions WHERE number = 1`,
		"empty wrap":        `UPDATE wraps SET blob = x''`,
		"second meta":       `INSERT INTO meta (only_row, store_id, created) VALUES (2, zeroblob(16), 0)`,
		"short hash":        `UPDATE log_hashes SET hash = x'00'`,
		"same event":        `INSERT INTO events SELECT * FROM events`,
		"not a number":      `UPDATE versions SET created = 'yesterday'`,
		"lease of nothing":  `INSERT INTO leases (key_id, version, owner, count, granted, expires) VALUES (zeroblob(16), 1, 'p', 1, 0, 0)`,
		"outbox state":      `INSERT INTO outbox (topic, target, order_key, idempotency_id, payload, created, state, next_attempt) VALUES ('t', 't', '', 'i', x'', 0, 'lost', 0)`,
	} {
		if _, err := s.writer.Exec(sql); err == nil || !strings.Contains(err.Error(), "constraint") && !strings.Contains(err.Error(), "cannot store TEXT") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
