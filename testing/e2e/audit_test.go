package e2e

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/store/storetest"
)

func (s *scene) database() string { return filepath.Join(filepath.Dir(s.config), "keyrotor.db") }

// openStore opens the store beside whoever else uses it.
func (s *scene) openStore(t *testing.T) *sqlite.Store {
	t.Helper()
	st, err := sqlite.Open(t.Context(), sqlite.Config{Path: s.database()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// audit is what the store holds, beside what it must not.
type audit struct {
	versions, events, failures int
	booked                     uint64 // uses
}

// audit reads the whole store, which nobody uses meanwhile, and reports everything
// that is wrong with it. returned are the encryptions that were ever answered.
func (s *scene) audit(t *testing.T, st *sqlite.Store, returned map[version]uint64) audit {
	t.Helper()
	var sum audit
	s.auditRows(t)
	if answer := s.query(t, `PRAGMA integrity_check`); answer != "ok" {
		t.Errorf("INTEGRITY: %s", answer)
	}
	if err := storetest.CheckLog(t.Context(), st); err != nil {
		t.Errorf("HISTORY: %v", err)
	}
	events := s.countEvents(t, st, &sum)
	for _, name := range s.keys {
		key, err := st.Key(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		s.auditKey(t, st, key, events, returned)
		sum.versions += len(key.Versions)
		for _, uses := range key.Uses {
			sum.booked += uses
		}
	}
	s.auditIntents(t, st)
	return sum
}

// auditKey: the record is the one that its last event describes, one version
// encrypts, and each was used no more often than is booked.
func (s *scene) auditKey(t *testing.T, st *sqlite.Store, key store.Key, events map[version]map[history.Type]int, returned map[version]uint64) {
	t.Helper()
	if err := key.Verify(st.ID(), key.LastDigest); err != nil {
		t.Errorf("DIGEST: %v", err)
	}
	if err := key.Check(); err != nil {
		t.Errorf("RECORD: %v", err)
	}
	if primary, err := key.PrimaryVersion(); err != nil || primary.Number != key.Versions[len(key.Versions)-1].Number {
		t.Errorf("PRIMARY: that of key %q is %d, and the newest of %d versions is not; %v", key.Name, key.Primary, len(key.Versions), err)
	}
	for i, v := range key.Versions {
		at := version{key.Name, v.Number}
		if v.Number != uint32(i+1) {
			t.Errorf("VERSION: number %d of key %q is %d", i+1, key.Name, v.Number)
		}
		if key.Uses[v.Number] < returned[at] {
			t.Errorf("USES: %v has %d booked and encrypted %d times", at, key.Uses[v.Number], returned[at])
		}
		rotations := 1
		if i == 0 {
			rotations = 0
		}
		if e := events[at]; e[history.Creation] != 1 || e[history.Rotation] != rotations {
			t.Errorf("EVENTS: %v has %d creations and %d rotations, want 1 and %d", at, e[history.Creation], e[history.Rotation], rotations)
		}
		delete(events, at)
	}
	for at := range events {
		if at.key == key.Name {
			t.Errorf("EVENTS: %v has events and does not exist", at)
		}
	}
}

// countEvents counts creations and rotations by version; the rest goes into sum.
func (s *scene) countEvents(t *testing.T, st store.Events, sum *audit) map[version]map[history.Type]int {
	t.Helper()
	counts := map[version]map[history.Type]int{}
	for q := (history.Query{Limit: store.MaxEvents}); ; {
		page, err := st.Events(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, raw := range page.Events {
			e, err := history.Decode(raw)
			if err != nil {
				t.Fatal(err)
			}
			sum.events++
			switch e.Type {
			case history.Creation, history.Rotation:
				at := version{e.Key, e.Version}
				if counts[at] == nil {
					counts[at] = map[history.Type]int{}
				}
				counts[at][e.Type]++
				if e.Type == history.Rotation && e.PreviousVersion != e.Version-1 {
					t.Errorf("EVENTS: %v follows version %d", at, e.PreviousVersion)
				}
			case history.RotationFailed:
				sum.failures++
			default:
				t.Errorf("EVENTS: nobody did what %s says", raw)
			}
		}
		if q.Before = page.Next; page.Next == 0 {
			return counts
		}
	}
}

// auditIntents: whoever works on a key removes what a killed process left on it,
// so nothing is left for long after it has expired.
func (s *scene) auditIntents(t *testing.T, st store.Intents) {
	t.Helper()
	list, err := st.Intents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range list {
		if time.Now().After(in.Expires) {
			t.Errorf("INTENT: %+v expired and is still there", in)
		}
	}
}

// intentsOf counts the claims that a process left.
func (s *scene) intentsOf(t *testing.T, st store.Intents, owner string) (n int) {
	t.Helper()
	list, err := st.Intents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range list {
		if in.Owner == owner {
			n++
		}
	}
	return n
}

// auditRows looks past the store's own code.
func (s *scene) auditRows(t *testing.T) {
	t.Helper()
	for want, query := range map[string]string{
		"wraps that belong to no version": `SELECT count(*) FROM wraps AS w
			WHERE NOT EXISTS (SELECT 1 FROM versions AS v WHERE v.key_id = w.key_id AND v.number = w.version)`,
		"keys without exactly one active version": `SELECT count(*) FROM keys AS k
			WHERE 1 <> (SELECT count(*) FROM versions AS v WHERE v.key_id = k.id AND v.state = 'active')`,
	} {
		if n := s.query(t, query); n != "0" {
			t.Errorf("ROWS: %s %s", n, want)
		}
	}
}

// query answers one value of the database.
func (s *scene) query(t *testing.T, query string) (value string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+s.database()+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), query).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}
