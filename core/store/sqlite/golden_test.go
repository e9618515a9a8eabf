package sqlite

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/storetest"
)

// TestVersion1 opens a database that version 1 of the schema wrote, and reads
// everything in it. With -update both files are written anew, which is right only
// as long as no version was released.
func TestVersion1(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v1.db")
	if *update {
		writeVersion1(t, filepath.Join("testdata", "v1.db"))
	}
	b, err := os.ReadFile(filepath.Join("testdata", "v1.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, path, nil)
	if err := storetest.CheckLog(t.Context(), s); err != nil {
		t.Error(err)
	}
	golden(t, "v1.txt", dump(t, s))

	// It works on, too.
	before, err := s.Key(t.Context(), "payments")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Return(t.Context(), store.Lease{ID: 1, Count: 64}, 0); err != nil {
		t.Fatal(err)
	}
	if after := rotate(t, s, "payments"); after.Primary != before.Primary+1 {
		t.Errorf("rotated from %d to %d", before.Primary, after.Primary)
	}
	if err := storetest.CheckLog(t.Context(), s); err != nil {
		t.Error(err)
	}
}

// dump is everything that a store answers.
func dump(t *testing.T, s *Store) []byte {
	t.Helper()
	var b bytes.Buffer
	size, root, err := s.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "store %v\nroot %v of %d events\n", s.ID(), root, size)
	names, err := s.Names(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		k, err := s.Key(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "\nkey %s, id %v, created %v\n  digest %v, in the last event %s\n  settings %+v\n  primary %d\n",
			k.Name, k.ID, k.Created, k.Digest(s.ID()), k.LastDigest, k.Settings, k.Primary)
		for _, v := range k.Versions {
			fmt.Fprintf(&b, "  version %d, label %s, %s, %s, reason %s, kcv %v, uses %d\n    created %v\n    activated %v\n    state changed %v\n",
				v.Number, v.Label, v.State, v.Algorithm, v.Reason, v.KCV, k.Uses[v.Number], v.Created, v.Activated, v.StateChanged)
			for _, w := range v.Wraps {
				fmt.Fprintf(&b, "    wrap by %s, kek %s, version %s, created %v\n      %x\n", w.Provider, w.KEKID, w.KEKVersion, w.Created, w.Blob)
			}
		}
	}
	intents, err := s.Intents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(&b)
	for _, in := range intents {
		fmt.Fprintf(&b, "intent %+v\n", in)
	}
	page, err := s.Events(t.Context(), history.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range page.Events {
		fmt.Fprintf(&b, "event %s\n", e)
	}
	return b.Bytes()
}

func writeVersion1(t *testing.T, path string) {
	t.Helper()
	clock := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	now := func() time.Time { clock = clock.Add(time.Second); return clock }
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Config{Path: path, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, "orders")
	create(t, s, "payments")
	rotate(t, s, "payments")
	rotate(t, s, "payments")
	_, err = s.Update(t.Context(), store.Update{Name: "payments", Apply: func(r *keyring.Record) ([]history.Event, error) {
		for _, to := range []keyring.State{keyring.Quarantined, keyring.Destroyed} {
			if err := r.SetState(1, to, now()); err != nil {
				return nil, err
			}
		}
		return []history.Event{{Type: history.Destroyed, Version: 1, Note: "über <alle> \"Maßen\"", Details: map[string]string{"census": "0"}}}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Acquire(t.Context(), store.LeaseRequest{Key: "payments", Owner: "p1", Count: 64, TTL: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Begin(t.Context(), store.Claim{Key: "payments", Kind: "rotate", Operation: "op", Owner: "p1", TTL: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
