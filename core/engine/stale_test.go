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

// twoEngines are two processes' engines on one store, without a word between them.
func twoEngines(t *testing.T) (*sqlite.Store, *Engine, *Engine) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "k.db")})
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
	return s, open(), open()
}

// TestStaleLeaseBehindTheGate: the poller does not wait for whoever is at the gate of
// the leases, who has looked at the primary for the last time. Its lease does not stay
// out because of that.
func TestStaleLeaseBehindTheGate(t *testing.T) {
	ctx := t.Context()
	s, e, other := twoEngines(t)
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

// TestReencryptLearnsThePrimary: a version that another process made the primary again is
// found out by the grant of uses, and its ciphertext stays as it is.
func TestReencryptLearnsThePrimary(t *testing.T) {
	ctx := t.Context()
	_, e, other := twoEngines(t)
	if _, err := e.CreateKey(ctx, "payments", keyring.Settings{WrapWith: []string{"p"}}, ""); err != nil {
		t.Fatal(err)
	}
	token, err := e.Encrypt(ctx, "payments", []byte("s3cret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Rotate(ctx, "payments", keyring.ReasonManual, ""); err != nil {
		t.Fatal(err)
	}
	for _, to := range []keyring.State{keyring.Suspended, keyring.Active} {
		if _, err := other.SetState(ctx, "payments", 1, to, ""); err != nil {
			t.Fatal(err)
		}
	}
	out, from, to, err := e.Renew(ctx, nil, token, nil)
	if err != nil || from != 1 || to != 1 || string(out) != string(token) {
		t.Errorf("from %d to %d, %v; the same bytes: %t", from, to, err, string(out) == string(token))
	}
}
