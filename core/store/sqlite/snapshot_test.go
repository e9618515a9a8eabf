package sqlite

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/storetest"
)

// snapshotOf copies a store and answers the bytes.
func snapshotOf(t *testing.T, s *Store) ([]byte, Snapshot) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.db")
	snapshot, err := s.Snapshot(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b, snapshot
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// writes answers the write function of a Restore.
func writes(b []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}
}

func accept(*Store) error { return nil }

// TestSnapshotAndRestore: what comes back answers the same in everything.
func TestSnapshotAndRestore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "earlier.db")
	if err := os.WriteFile(path, readFile(t, filepath.Join("testdata", newest+".db")), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, path, nil)
	want := string(dump(t, s))
	copied := filepath.Join(t.TempDir(), "copy.db")
	snapshot, err := s.Snapshot(t.Context(), copied)
	if err != nil {
		t.Fatal(err)
	}
	size, root, err := s.Root(t.Context())
	if err != nil || snapshot.LogSize != size || snapshot.LogRoot != root || size == 0 {
		t.Errorf("the copy has %d events, root %v; the store %d, %v, %v", snapshot.LogSize, snapshot.LogRoot, size, root, err)
	}
	entries, err := os.ReadDir(filepath.Dir(copied))
	if err != nil || len(entries) != 1 {
		t.Errorf("the copy is not one file: %v, %v", entries, err)
	}
	info, err := os.Stat(copied)
	if err != nil || info.Size() != snapshot.Size || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("the copy: %v bytes, mode %v, %v; want %d bytes", info.Size(), info.Mode(), err, snapshot.Size)
	}

	again := filepath.Join(t.TempDir(), "again.db")
	accepted := ""
	err = Restore(t.Context(), Config{Path: again}, writes(readFile(t, copied)), func(s *Store) error {
		if _, err := os.Stat(again); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it is in place before it was accepted: %v", err)
		}
		accepted = string(dump(t, s))
		create(t, s, "added")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if accepted != want {
		t.Errorf("restored\n%s\nwant\n%s", accepted, want)
	}
	wantAlone(t, again)
	restored := openAt(t, again, nil)
	if restored.ID() != s.ID() {
		t.Errorf("the store id went from %v to %v", s.ID(), restored.ID())
	}
	if _, err := restored.Key(t.Context(), "added"); err != nil {
		t.Error(err)
	}
	if err := errors.Join(restored.Check(t.Context()), storetest.CheckLog(t.Context(), restored)); err != nil {
		t.Error(err)
	}
	worksOn(t, restored)
	if got := string(dump(t, s)); got != want {
		t.Error("the store itself has changed")
	}
}

// wantAlone asserts that a file is all that its folder holds.
func wantAlone(t *testing.T, path string) {
	t.Helper()
	var names []string
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if len(names) != 1 || names[0] != filepath.Base(path) {
		t.Errorf("the folder holds %q, want %s alone", names, filepath.Base(path))
	}
}

// TestSnapshotBesideWriters: a copy is of one moment, whatever two processes' worth
// of connections write, and holds up none of them.
func TestSnapshotBesideWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyrotor.db")
	s, other := openAt(t, path, nil), openAt(t, path, nil)
	create(t, s, "payments")
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for _, w := range []*Store{s, other} {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := w.Update(t.Context(), store.Update{Name: "payments", Apply: newVersion(time.Now)}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var before uint32
	for i := range 10 {
		copied := filepath.Join(t.TempDir(), fmt.Sprintf("%d.db", i))
		snapshot, err := s.Snapshot(t.Context(), copied)
		if err != nil {
			t.Fatal(err)
		}
		c := openAt(t, copied, nil)
		key, err := c.Key(t.Context(), "payments")
		if err != nil {
			t.Fatal(err)
		}
		if snapshot.LogSize != 2*uint64(key.Primary) || key.Primary < before {
			t.Errorf("copy %d: %d events, primary %d, before it %d", i, snapshot.LogSize, key.Primary, before)
		}
		if err := storetest.CheckLog(t.Context(), c); err != nil {
			t.Error(err)
		}
		before = key.Primary
		if _, err := s.Update(t.Context(), store.Update{Name: "payments", Apply: newVersion(time.Now)}); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	writers.Wait()
}

func TestSnapshotRefuses(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "keyrotor.db"), nil)
	create(t, s, "payments")
	taken := filepath.Join(t.TempDir(), "taken")
	if err := os.WriteFile(taken, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Snapshot(t.Context(), taken); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	if got := string(readFile(t, taken)); got != "mine" {
		t.Errorf("the file that was there holds %q", got)
	}
	if _, err := s.writer.Exec(`UPDATE versions SET label = 'v01'`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Snapshot(t.Context(), filepath.Join(t.TempDir(), "copy.db")); !errors.Is(err, keyring.ErrIntegrity) {
		t.Errorf("of a store that was tampered with: %v", err)
	}
}

// TestCheck: what only a look at everything finds.
func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		sql  string
		want error
		text string
	}{
		"intact":    {`SELECT 1`, nil, ""},
		"an index":  {`PRAGMA writable_schema = on; UPDATE sqlite_schema SET sql = replace(sql, '(key)', '(actor)') WHERE name = 'events_by_key'`, store.ErrCorrupt, "missing from index events_by_key"},
		"an orphan": {`PRAGMA foreign_keys = off; UPDATE wraps SET version = 9`, store.ErrCorrupt, "a row of wraps refers to one of versions that does not exist"},
		"a record":  {`UPDATE versions SET reason = 'initial'`, keyring.ErrIntegrity, "has digest"},
		"an event":  {`UPDATE events SET bytes = x'00'`, store.ErrCorrupt, "last event of key"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keyrotor.db")
			s := openAt(t, path, nil)
			create(t, s, "payments")
			// A connection of its own, without the defences of ours.
			db, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec(c.sql); err != nil {
				t.Fatal(err)
			}
			checked := openAt(t, path, nil)
			err = checked.Check(t.Context())
			if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, want %v with %q", err, c.want, c.text)
			}
		})
	}
}

func TestRestoreRefuses(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "keyrotor.db"), nil)
	create(t, s, "payments")
	good, _ := snapshotOf(t, s)
	tampered := openAt(t, filepath.Join(t.TempDir(), "tampered.db"), nil)
	create(t, tampered, "payments")
	if _, err := tampered.writer.Exec(`UPDATE versions SET reason = 'initial'; PRAGMA wal_checkpoint(truncate)`); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	for name, c := range map[string]struct {
		there  string
		write  func(io.Writer) error
		accept func(*Store) error
		want   error
	}{
		"a store":      {"keyrotor.db", writes(good), accept, fs.ErrExist},
		"its log":      {"keyrotor.db-wal", writes(good), accept, fs.ErrExist},
		"a journal":    {"keyrotor.db-journal", writes(good), accept, fs.ErrExist},
		"cut off":      {"", func(w io.Writer) error { return errors.Join(writes(good[:4096])(w), stop) }, accept, stop},
		"half":         {"", writes(good[:len(good)/2]), accept, store.ErrCorrupt},
		"nothing":      {"", writes(nil), accept, store.ErrCorrupt},
		"another file": {"", writes(bytes.Repeat([]byte("text "), 1000)), accept, store.ErrCorrupt},
		"tampered":     {"", writes(readFile(t, tampered.path)), accept, keyring.ErrIntegrity},
		"not accepted": {"", writes(good), func(*Store) error { return stop }, stop},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "keyrotor.db")
			if c.there != "" {
				if err := os.WriteFile(filepath.Join(dir, c.there), []byte("mine"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := Restore(t.Context(), Config{Path: path}, c.write, c.accept)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("%v, want %v with the path", err, c.want)
			}
			if c.there != "" {
				wantAlone(t, filepath.Join(dir, c.there))
				if got := string(readFile(t, filepath.Join(dir, c.there))); got != "mine" {
					t.Errorf("%s holds %q", c.there, got)
				}
			} else if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
				t.Errorf("left behind: %v, %v", entries, err)
			}
		})
	}
	if err := Restore(t.Context(), Config{}, writes(good), accept); err == nil {
		t.Error("restored without a path")
	}
}

// TestRestoreRace: of two that restore at once, one does.
func TestRestoreRace(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "keyrotor.db"), nil)
	create(t, s, "payments")
	good, _ := snapshotOf(t, s)
	path := filepath.Join(t.TempDir(), "again.db")
	err := Restore(t.Context(), Config{Path: path}, writes(good), func(*Store) error {
		return Restore(t.Context(), Config{Path: path}, writes(good), accept)
	})
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("the second one: %v", err)
	}
	wantAlone(t, path)
	if err := openAt(t, path, nil).Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestRestoreEarlierVersion: a copy with the schema of an older build is brought up
// to date.
func TestRestoreEarlierVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyrotor.db")
	err := Restore(t.Context(), Config{Path: path}, writes(readFile(t, filepath.Join("testdata", "v1.db"))), func(s *Store) error {
		_, err := s.Update(t.Context(), store.Update{Name: "orders", Apply: func(r *keyring.Record) ([]history.Event, error) {
			r.Settings.BlockReads = true
			return []history.Event{{Type: history.ConfigChange}}, nil
		}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if key, err := openAt(t, path, nil).Key(t.Context(), "orders"); err != nil || !key.Settings.BlockReads {
		t.Errorf("%+v, %v", key.Settings, err)
	}
}
