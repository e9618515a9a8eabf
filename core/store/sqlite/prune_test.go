package sqlite

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/storetest"
)

// addOld adds n events to a key's history that are an hour old.
func addOld(t *testing.T, s *Store, name string, n int) {
	t.Helper()
	old := history.Event{Type: history.Usage, Time: s.now().Add(-time.Hour)}
	_, err := s.Update(t.Context(), store.Update{Name: name, Apply: func(*keyring.Record) ([]history.Event, error) {
		return slices.Repeat([]history.Event{old}, n), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// pruneOld takes out what is older than a minute.
func pruneOld(t *testing.T, s *Store) uint64 {
	t.Helper()
	n, err := s.Prune(t.Context(), store.Prune{Before: s.now().Add(-time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestPruneBatches: much goes in several steps, each on record.
func TestPruneBatches(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "keyrotor.db"), nil)
	create(t, s, "payments") // events 1 and 2, of now
	s.pruneStep = 50
	const n = 110
	addOld(t, s, "payments", n)
	rotate(t, s, "payments")
	if got := pruneOld(t, s); got != n {
		t.Errorf("%d events went, want %d", got, n)
	}
	page, err := s.Events(t.Context(), history.Query{Type: history.Pruned})
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, b := range page.Events {
		e, err := history.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		p, err := history.ReadPruning(e)
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, fmt.Sprint(e.Count, p.Through, p.Total))
	}
	if want := []string{"10 112 110", "50 102 100", "50 52 50"}; !slices.Equal(told, want) {
		t.Errorf("the history tells %q, want %q", told, want)
	}
	if err := storetest.CheckLog(t.Context(), s); err != nil {
		t.Error(err)
	}
}

// TestPrunedCopy: a store without its old events is copied, restored and gone on with
// like any other.
func TestPrunedCopy(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, filepath.Join(dir, "keyrotor.db"), nil)
	create(t, s, "payments")
	addOld(t, s, "payments", 10)
	rotate(t, s, "payments")
	if n := pruneOld(t, s); n != 10 {
		t.Fatalf("%d events went, want 10", n)
	}
	copied := filepath.Join(dir, "copy.db")
	snapshot, err := s.Snapshot(t.Context(), copied)
	if err != nil {
		t.Fatal(err)
	}
	size, root, err := s.Root(t.Context())
	if err != nil || snapshot.LogSize != size || snapshot.LogRoot != root {
		t.Errorf("the copy has %d events and root %v; want %d and %v, %v", snapshot.LogSize, snapshot.LogRoot, size, root, err)
	}
	content, err := os.ReadFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "restored.db")
	write := func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(content))
		return err
	}
	if err := Restore(t.Context(), Config{Path: path}, write, func(*Store) error { return nil }); err != nil {
		t.Fatal(err)
	}
	restored := openAt(t, path, nil)
	rotate(t, restored, "payments")
	addOld(t, restored, "payments", 3)
	rotate(t, restored, "payments")
	if n := pruneOld(t, restored); n != 3 {
		t.Errorf("%d events went of the restored store, want 3", n)
	}
	if err := errors.Join(restored.Check(t.Context()), storetest.CheckLog(t.Context(), restored)); err != nil {
		t.Error(err)
	}
}

// TestPruneEvidence: what somebody changed is not deleted, and nothing else is either.
func TestPruneEvidence(t *testing.T) {
	for name, c := range map[string]struct {
		sql  string
		want error
	}{
		"bytes":        {`UPDATE events SET bytes = CAST(replace(CAST(bytes AS TEXT), 'usage', 'lapse') AS BLOB) WHERE seq = 4`, store.ErrCorrupt},
		"no event":     {`UPDATE events SET bytes = x'7b' WHERE seq = 4`, store.ErrCorrupt},
		"leaf":         {`UPDATE log_hashes SET hash = zeroblob(32) WHERE idx = 4`, store.ErrCorrupt},
		"leaf missing": {`DELETE FROM log_hashes WHERE idx = 4`, store.ErrCorrupt},
		"key":          {`UPDATE events SET key = 'orders' WHERE seq = 4`, store.ErrCorrupt},
		"newer build":  {`UPDATE events SET bytes = CAST(replace(CAST(bytes AS TEXT), '"schema":1', '"schema":2') AS BLOB) WHERE seq = 4`, store.ErrSchema},
	} {
		s := openAt(t, filepath.Join(t.TempDir(), "keyrotor.db"), nil)
		create(t, s, "payments")
		addOld(t, s, "payments", 5)
		rotate(t, s, "payments")
		if _, err := s.writer.Exec(c.sql); err != nil {
			t.Fatal(err)
		}
		n, err := s.Prune(t.Context(), store.Prune{Before: s.now().Add(-time.Minute)})
		if !errors.Is(err, c.want) || n != 0 {
			t.Errorf("%s: %d events went, %v; want %v", name, n, err, c.want)
		}
		var left int
		if err := s.reader.QueryRow(`SELECT count(*) FROM events`).Scan(&left); err != nil || left != 9 {
			t.Errorf("%s: %d events are left, %v", name, left, err)
		}
	}
	if i := tlog.StoredHashIndex(0, 2); i != 3 {
		t.Fatalf("the leaf of event 3 is hash %d", i)
	}
}

// TestPrunedMissing: an event that is gone without retention is damage.
func TestPrunedMissing(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "keyrotor.db"), nil)
	create(t, s, "payments")
	addOld(t, s, "payments", 5)
	rotate(t, s, "payments")
	pruneOld(t, s)
	for name, c := range map[string]struct{ sql, want string }{
		"above":  {`DELETE FROM events WHERE seq = 8`, "event 8 of the history is missing"},
		"below":  {`DELETE FROM events WHERE seq = 2`, "6 of the first 7 events are gone, and the history tells of 5 of the first 7"},
		"raised": {`UPDATE meta SET log_pruned = 9`, "5 of the first 9 events are gone, and the history tells of 5 of the first 7"},
	} {
		dir := t.TempDir()
		if _, err := s.Snapshot(t.Context(), filepath.Join(dir, "copy.db")); err != nil {
			t.Fatal(err)
		}
		damaged := openAt(t, filepath.Join(dir, "copy.db"), nil)
		if _, err := damaged.writer.Exec(c.sql); err != nil {
			t.Fatal(err)
		}
		if err := storetest.CheckLog(t.Context(), damaged); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// pruningPath names the variable that makes TestPruneChild the process that prunes.
const pruningPath = "KEYROTOR_TEST_PRUNE_DB"

// TestPruneCrash kills a process in the middle of its pruning, again and again, while
// this one prunes the same store.
func TestPruneCrash(t *testing.T) {
	const kills, seed = 8, 20260302
	random := rand.New(rand.NewPCG(seed, seed))
	path := filepath.Join(t.TempDir(), "keyrotor.db")
	s := openAt(t, path, nil)
	create(t, s, "payments")
	create(t, s, "orders")
	var between int // kills that left a pruning half done
	for range kills {
		cmd := exec.Command(os.Args[0], "-test.run=^TestPruneChild$")
		cmd.Env = append(os.Environ(), pruningPath+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range 1 + random.IntN(3) {
			if !lines.Scan() {
				t.Fatal("the child ended by itself")
			}
			pruneOld(t, s)
		}
		// Somewhere within the next round.
		<-time.After(time.Duration(random.IntN(20)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // until it is gone
			continue
		}
		_ = cmd.Wait() // it was killed
		if err := errors.Join(s.Check(t.Context()), storetest.CheckLog(t.Context(), s)); err != nil {
			t.Fatal(err)
		}
		if pruneOld(t, s) > 0 {
			between++
		}
		if n := pruneOld(t, s); n != 0 {
			t.Fatalf("%d events went that a pruning before had left", n)
		}
	}
	if err := storetest.CheckLog(t.Context(), s); err != nil {
		t.Error(err)
	}
	if between == 0 {
		t.Error("no kill left anything to prune")
	}
}

func TestPruneChild(t *testing.T) {
	path := os.Getenv(pruningPath)
	if path == "" {
		return // this is not the child
	}
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	s.pruneStep = 3
	for {
		addOld(t, s, "payments", 15)
		pruneOld(t, s)
		rotate(t, s, "orders")
		fmt.Println("pruned")
	}
}
