package sqlite

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/storetest"
)

// TestStatementsStayCompiled: what writes do again is compiled once, and there is
// an end to what is kept.
func TestStatementsStayCompiled(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "keyrotor.db"), nil)
	create(t, s, "payments")
	work := func() {
		t.Helper()
		in, err := s.Begin(t.Context(), store.Claim{Key: "payments", Kind: "rotate", Owner: "p", TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Update(t.Context(), store.Update{Name: "payments", Fence: &in, Apply: newVersion(time.Now)}); err != nil {
			t.Fatal(err)
		}
		l, err := s.Acquire(t.Context(), store.LeaseRequest{Key: "payments", Owner: "p", Count: 5, TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Return(t.Context(), l, 3); err != nil {
			t.Fatal(err)
		}
	}
	work()
	work()
	met := len(s.statements.compiled)
	if met < 10 {
		t.Errorf("only %d statements go through the cache", met)
	}
	for range 8 {
		work()
	}
	if n := len(s.statements.compiled); n != met {
		t.Errorf("%d statements after ten times the same work, %d after two", n, met)
	}
	checkCompiled(t, s)
	if err := storetest.CheckLog(t.Context(), s); err != nil {
		t.Error(err)
	}
	key, err := s.Key(t.Context(), "payments")
	if err != nil || key.Primary != 11 || key.Digest(s.ID()).String() != key.LastDigest {
		t.Errorf("the primary is %d, %v", key.Primary, err)
	}
}

// TestStatementThatDoesNotCompile fails where it is needed, and works once it can.
func TestStatementThatDoesNotCompile(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "keyrotor.db"), nil)
	insert := func() error {
		return s.write(t.Context(), "insert", func(tx writeTx) error {
			_, err := tx.ExecContext(t.Context(), `INSERT INTO later VALUES (?)`, 1)
			return err
		})
	}
	for range 3 {
		if err := insert(); err == nil || !strings.Contains(err.Error(), "no such table") {
			t.Fatalf("into a table that is not there: %v", err)
		}
	}
	if _, err := s.writer.ExecContext(t.Context(), `CREATE TABLE later (n INTEGER)`); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := insert(); err != nil {
			t.Fatal(err)
		}
	}
	var rows int
	if err := s.reader.QueryRowContext(t.Context(), `SELECT count(*) FROM later`).Scan(&rows); err != nil || rows != 3 {
		t.Errorf("%d rows, %v", rows, err)
	}
	checkCompiled(t, s)
}

// checkCompiled: nothing that was met is compiled once more.
func checkCompiled(t *testing.T, s *Store) {
	t.Helper()
	if len(s.statements.met) > 0 {
		t.Errorf("to be compiled: %q", s.statements.met)
	}
	for query, stmt := range s.statements.compiled {
		if stmt == nil {
			t.Errorf("never compiled: %s", query)
		}
	}
}
