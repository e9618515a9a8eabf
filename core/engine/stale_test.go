package engine

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/testing/faults"
)

// TestStaleLeaseBehindTheGate: the poller does not wait for whoever is at the gate of
// the leases, who has looked at the primary for the last time. Its lease does not stay
// out because of that.
func TestStaleLeaseBehindTheGate(t *testing.T) {
	ctx := t.Context()
	s, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(t.TempDir(), "k.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	km := faults.NewLocal(t)
	open := func() *Engine {
		e, err := New(Config{Store: s, Actor: "test@host", KeyManager: func(string) (wrapping.KeyManager, error) { return km, nil }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Close(context.Background()) })
		return e
	}
	e, other := open(), open()
	if _, err := e.CreateKey(ctx, "payments", keyring.Settings{WrapWith: []string{"p"}}, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Encrypt(ctx, "payments", nil, nil); err != nil {
		t.Fatal(err)
	}
	k, err := e.key(ctx, "payments")
	if err != nil {
		t.Fatal(err)
	}
	leased := func() uint64 {
		n, err := s.Leased(ctx, "payments", 1)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	q := &k.quotas[keyring.Encrypting]
	if err := q.gate.enter(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Rotate(ctx, "payments", keyring.ReasonManual, ""); err != nil {
		t.Fatal(err)
	}
	if err := e.catchUp(ctx); err != nil {
		t.Fatal(err)
	}
	if n := leased(); n != 64 {
		t.Fatalf("%d uses of version 1 are out, want those that the gate keeps", n)
	}
	e.leave(ctx, k, q)
	if n := leased(); n != 0 {
		t.Errorf("%d uses of version 1 are out with nobody at the gate", n)
	}
}
