package sqlite

import (
	"bytes"
	"database/sql"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/store"
)

// inspect opens a database to look at it, until the test ends.
func inspected(t *testing.T, path string) *Inspection {
	t.Helper()
	i, err := Inspect(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	return i
}

// snapshot is every file of a folder, with what is in it.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(b)
	}
	return files
}

func TestInspect(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "keyrotor.db")
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, "payments")
	rotate(t, s, "payments")
	key, err := s.Key(t.Context(), "payments")
	if err != nil {
		t.Fatal(err)
	}
	id := s.ID()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, dir)

	i, err := Inspect(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if has, known, err := i.Schema(t.Context()); err != nil || has != known || known != len(i.migrations) {
		t.Errorf("schema %d of %d, %v", has, known, err)
	}
	for _, deep := range []bool{false, true} {
		if found, err := i.Integrity(t.Context(), deep); err != nil || len(found) != 0 {
			t.Errorf("integrity (deep: %v): %q, %v", deep, found, err)
		}
	}
	if found, err := i.References(t.Context()); err != nil || len(found) != 0 {
		t.Errorf("references: %q, %v", found, err)
	}
	if found, err := i.SchemaFaults(t.Context()); err != nil || len(found) != 0 {
		t.Errorf("schema: %q, %v", found, err)
	}
	if p, err := i.Pages(t.Context()); err != nil || p.Size != 4096 || p.Count*p.Size != int64(len(before["keyrotor.db"])) || p.Free != 0 {
		t.Errorf("pages %+v, %v; the file has %d bytes", p, err, len(before["keyrotor.db"]))
	}
	contents, err := i.Contents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := contents.Key(t.Context(), "payments"); err != nil || contents.ID() != id || got.LastDigest != key.LastDigest {
		t.Errorf("store %v, key %+v, %v", contents.ID(), got, err)
	}
	if _, err := i.db.Exec(`DELETE FROM events`); err == nil {
		t.Error("an inspection can delete events")
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	if after := snapshot(t, dir); !maps.Equal(before, after) {
		t.Errorf("looking changed the folder: %v, then %v", slices.Collect(maps.Keys(before)), slices.Collect(maps.Keys(after)))
	}
}

// TestInspectLog: every event comes with what stands beside it, and nothing else.
func TestInspectLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyrotor.db")
	s := openAt(t, path, nil)
	create(t, s, "payments")
	for range 4 {
		rotate(t, s, "payments")
	}
	contents, err := inspected(t, path).Contents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var tree history.Tree
	var seen []uint64
	read := func(e store.LogEntry) error {
		seen = append(seen, e.Seq)
		if want := tree.Append(e.Bytes); !slices.Equal(e.Hashes, want) {
			t.Errorf("event %d has the hashes %v, want %v", e.Seq, e.Hashes, want)
		}
		event, err := history.Decode(e.Bytes)
		if err != nil {
			return err
		}
		want := history.Event{Key: event.Key, Version: event.Version, Type: event.Type, Reason: event.Reason, Actor: event.Actor, Time: event.Time}
		got := e.Columns
		if !got.Time.Equal(want.Time) {
			t.Errorf("event %d is dated %v beside its bytes, want %v", e.Seq, got.Time, want.Time)
		}
		if got.Time = want.Time; got.Key != want.Key || got.Version != want.Version || got.Type != want.Type || got.Reason != want.Reason || got.Actor != want.Actor {
			t.Errorf("event %d: columns %+v, want %+v", e.Seq, got, want)
		}
		return nil
	}
	if err := contents.Log(t.Context(), read); err != nil {
		t.Fatal(err)
	}
	if want := []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}; !slices.Equal(seen, want) {
		t.Errorf("events %v", seen)
	}
	if _, root, err := s.Root(t.Context()); err != nil || root != tree.Root() {
		t.Errorf("root %v, %v; want %v", root, err, tree.Root())
	}
	stop := errors.New("enough")
	if err := contents.Log(t.Context(), func(store.LogEntry) error { return stop }); err != stop { //nolint:errorlint // the very error
		t.Errorf("a reader that stops: %v", err)
	}

	// Where an event or a hash is missing, the others keep their own.
	if _, err := s.writer.Exec(`DELETE FROM events WHERE seq = 3; DELETE FROM log_hashes WHERE idx = ?`, tlog.StoredHashIndex(0, 4)); err != nil {
		t.Fatal(err)
	}
	counts := map[uint64]int{}
	if err := contents.Log(t.Context(), func(e store.LogEntry) error {
		counts[e.Seq] = len(e.Hashes)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := map[uint64]int{1: 1, 2: 2, 4: 3, 5: 0, 6: 2, 7: 1, 8: 4, 9: 1, 10: 2}; !maps.Equal(counts, want) {
		t.Errorf("hashes per event %v, want %v", counts, want)
	}
}

// TestInspectPruned: of an event that retention took there is its leaf, and whatever
// somebody writes into meta, the log has an end.
func TestInspectPruned(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyrotor.db")
	s := openAt(t, path, nil)
	create(t, s, "payments") // 1 and 2
	addOld(t, s, "payments", 4)
	rotate(t, s, "payments") // 7 and 8
	if n := pruneOld(t, s); n != 4 {
		t.Fatalf("%d events went, want 4", n)
	}
	contents, err := inspected(t, path).Contents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	read := func() (there, gone []uint64, root tlog.Hash) {
		t.Helper()
		var tree history.Tree
		err := contents.Log(t.Context(), func(e store.LogEntry) error {
			if e.Bytes != nil {
				there = append(there, e.Seq)
				tree.Append(e.Bytes)
				return nil
			}
			gone = append(gone, e.Seq)
			if len(e.Hashes) > 0 {
				tree.AppendLeaf(e.Hashes[0])
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return there, gone, tree.Root()
	}
	there, gone, root := read()
	if !slices.Equal(there, []uint64{1, 2, 7, 8, 9}) || !slices.Equal(gone, []uint64{3, 4, 5, 6}) {
		t.Errorf("events %v are there, and %v are gone", there, gone)
	}
	if _, want, err := s.Root(t.Context()); err != nil || root != want {
		t.Errorf("root %v, %v; want %v", root, err, want)
	}
	if _, err := s.writer.Exec(`UPDATE meta SET log_pruned = 1 << 62, log_size = 1 << 62; DELETE FROM events WHERE seq > 7`); err != nil {
		t.Fatal(err)
	}
	if there, gone, _ = read(); !slices.Equal(there, []uint64{1, 2, 7}) || !slices.Equal(gone, []uint64{3, 4, 5, 6, 8, 9}) {
		t.Errorf("events %v are there, and %v are gone", there, gone)
	}
	if _, err := s.writer.Exec(`UPDATE events SET seq = 1 << 61 WHERE seq = 7`); err != nil {
		t.Fatal(err)
	}
	if there, gone, _ = read(); !slices.Equal(there, []uint64{1, 2, 1 << 61}) || !slices.Equal(gone, []uint64{3, 4, 5, 6, 7, 8, 9}) {
		t.Errorf("events %v are there, and %v are gone", there, gone)
	}
}

func TestInspectSums(t *testing.T) {
	now := time.Unix(1000, 0)
	path := filepath.Join(t.TempDir(), "keyrotor.db")
	s := openAt(t, path, func() time.Time { return now })
	create(t, s, "payments")
	for i, ttl := range []time.Duration{time.Minute, 2 * time.Minute, 10 * time.Minute} {
		if _, err := s.Acquire(t.Context(), store.LeaseRequest{Key: "payments", Owner: "p", Count: uint64(i + 1), TTL: ttl}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.writer.Exec(`INSERT INTO outbox (topic, target, order_key, idempotency_id, payload, created, state, next_attempt, last_error) VALUES
		('mirror', 'local', '', '1', x'', 7000000, 'pending', 0, 'old'), ('mirror', 'local', '', '2', x'', 8000000, 'pending', 0, 'new'),
		('mirror', 'local', '', '3', x'', 9000000, 'pending', 0, ''), ('mirror', 'local', '', '4', x'', 5000000, 'done', 0, '')`)
	if err != nil {
		t.Fatal(err)
	}
	contents, err := inspected(t, path).Contents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	expired, open, err := contents.Leases(t.Context(), now.Add(2*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if want := (store.LeaseSum{Leases: 2, Uses: 3, Oldest: time.Unix(1060, 0).UTC()}); expired != want {
		t.Errorf("expired %+v, want %+v", expired, want)
	}
	if want := (store.LeaseSum{Leases: 1, Uses: 3, Oldest: time.Unix(1600, 0).UTC()}); open != want {
		t.Errorf("open %+v, want %+v", open, want)
	}
	sums, err := contents.Outbox(t.Context())
	want := []store.OutboxSum{
		{State: "done", Rows: 1, Oldest: time.Unix(5, 0).UTC()},
		{State: "pending", Rows: 3, Oldest: time.Unix(7, 0).UTC(), LastError: "new"},
	}
	if err != nil || !slices.Equal(sums, want) {
		t.Errorf("outbox %+v, %v; want %+v", sums, err, want)
	}
	if intents, err := contents.Intents(t.Context()); err != nil || len(intents) != 0 {
		t.Errorf("claims %v, %v", intents, err)
	}
}

// TestInspectWhatOpenRefuses: what is wrong with a file is answered as what it is.
func TestInspectWhatOpenRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyrotor.db")
	if _, err := Inspect(t.Context(), path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a file now: %v", err)
	}
	foreignDatabase(t, path)
	if _, err := Inspect(t.Context(), path); !errors.Is(err, store.ErrForeign) {
		t.Errorf("a foreign database: %v", err)
	}
	for name, content := range map[string]string{"empty": "", "text": strings.Repeat("no database. ", 500)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Inspect(t.Context(), path); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestInspectSchema: an older store is not brought up to date, and a newer one not
// read, but both are checked.
func TestInspectSchema(t *testing.T) {
	old, err := os.ReadFile(filepath.Join("testdata", "v1.db"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keyrotor.db")
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	i := inspected(t, path)
	if has, known, err := i.Schema(t.Context()); err != nil || has != 1 || known != len(i.migrations) {
		t.Errorf("older: schema %d of %d, %v", has, known, err)
	}
	if _, err := i.Contents(t.Context()); !errors.Is(err, store.ErrSchema) || !strings.HasSuffix(err.Error(), "brings it up to date") {
		t.Errorf("older: %v", err)
	}
	if found, err := i.Integrity(t.Context(), true); err != nil || len(found) != 0 {
		t.Errorf("older: %q, %v", found, err)
	}
	if found, err := i.SchemaFaults(t.Context()); err != nil || len(found) != 0 {
		t.Errorf("older: %q, %v", found, err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, old) {
		t.Errorf("the old store was changed: %v", err)
	}

	path = filepath.Join(t.TempDir(), "keyrotor.db")
	s := openAt(t, path, nil)
	if _, err := s.writer.Exec(`INSERT INTO migrations SELECT max(number) + 1, '9999_more.sql', sha256, 0 FROM migrations`); err != nil {
		t.Fatal(err)
	}
	i = inspected(t, path)
	if _, _, err := i.Schema(t.Context()); !errors.Is(err, store.ErrSchema) || !strings.Contains(err.Error(), "9999_more.sql") {
		t.Errorf("newer: %v", err)
	}
	if _, err := i.Contents(t.Context()); !errors.Is(err, store.ErrSchema) {
		t.Errorf("newer: %v", err)
	}
	if found, err := i.Integrity(t.Context(), true); err != nil || len(found) != 0 {
		t.Errorf("newer: %q, %v", found, err)
	}
}

// TestInspectDamage: each check finds what it is there for.
func TestInspectDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyrotor.db")
	s := openAt(t, path, nil)
	create(t, s, "payments")
	if _, err := s.writer.Exec(`PRAGMA foreign_keys = false; UPDATE wraps SET version = 9; UPDATE keys SET primary_version = 7`); err != nil {
		t.Fatal(err)
	}
	i := inspected(t, path)
	found, err := i.References(t.Context())
	if want := []string{"a row of keys refers to one of versions that does not exist", "a row of wraps refers to one of versions that does not exist"}; err != nil || !slices.Equal(slices.Sorted(slices.Values(found)), want) {
		t.Errorf("references: %q, %v; want %q", found, err, want)
	}

	// An index that is not the one of its table: only the full check reads both.
	onFile(t, path, redefine("actor")...)
	onFile(t, path, `REINDEX events_by_type`)
	onFile(t, path, redefine("type")...)
	i = inspected(t, path)
	if found, err := i.Integrity(t.Context(), false); err != nil || len(found) != 0 {
		t.Errorf("quick check: %q, %v", found, err)
	}
	found, err = i.Integrity(t.Context(), true)
	if want := []string{"row 1 missing from index events_by_type", "row 2 missing from index events_by_type"}; err != nil || !slices.Equal(found, want) {
		t.Errorf("full check: %q, %v; want %q", found, err, want)
	}
}

// TestSchemaFaults: what somebody adds, drops or changes shows.
func TestSchemaFaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyrotor.db")
	s := openAt(t, path, nil)
	if _, err := s.writer.Exec(`CREATE TRIGGER forget AFTER INSERT ON events BEGIN DELETE FROM leases; END; DROP INDEX events_by_key`); err != nil {
		t.Fatal(err)
	}
	onFile(t, path, redefine("actor")...)
	i := inspected(t, path)
	found, err := i.SchemaFaults(t.Context())
	want := []string{"index events_by_key is missing", "index events_by_type is not as it was made", "trigger forget does not belong there"}
	if err != nil || !slices.Equal(found, want) {
		t.Errorf("%q, %v; want %q", found, err, want)
	}
	if _, err := s.writer.Exec(`DROP TABLE attempts`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Attempts(t.Context(), "payments", 1); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("without a table: %v", err)
	}
}

// onFile runs statements on one connection, without what ours protect it from.
func onFile(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, text := range statements {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

// redefine tells the schema that an index is over another column than it was.
func redefine(column string) []string {
	return []string{
		`PRAGMA writable_schema = on`,
		`UPDATE sqlite_schema SET sql = 'CREATE INDEX events_by_type ON events (` + column + `)' WHERE name = 'events_by_type'`,
	}
}
