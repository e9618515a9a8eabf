package engine_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/testing/faults"
)

// TestTamperedRecord: a row edited by hand refuses encryption and says why; reads go on.
func TestTamperedRecord(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	create(t, e, "payments", 0)
	token := encrypt(t, e, "x", "")
	b.edit(t, `UPDATE keys SET hard_limit = hard_limit / 2`)
	other := b.engine(t)
	if _, err := other.Encrypt(t.Context(), "payments", nil, nil); !errors.Is(err, keyring.ErrIntegrity) {
		t.Errorf("encrypting under a tampered record: %v", err)
	}
	mustDecrypt(t, other, token, "", "x")
	if _, err := other.Rotate(t.Context(), "payments", keyring.ReasonManual, ""); !errors.Is(err, keyring.ErrIntegrity) {
		t.Errorf("rotating a tampered record: %v", err)
	}
	b.edit(t, `UPDATE keys SET hard_limit = hard_limit * 2`)
	if _, err := other.Encrypt(t.Context(), "payments", nil, nil); err != nil {
		t.Errorf("after the repair: %v", err)
	}
}

// TestOnTampered: each record that does not match is told of once by a process, whether
// it is met by an encryption, a decryption or a rotation; what a provider does is not.
func TestOnTampered(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	create(t, e, "payments", 0)
	token := encrypt(t, e, "x", "")
	told := make(chan engine.Tampered, 10)
	engineThatTells := func() *engine.Engine {
		e, err := engine.New(engine.Config{
			Store: b.store, Actor: "test@host", OnTampered: func(x engine.Tampered) { told <- x },
			KeyManager: func(string) (wrapping.KeyManager, error) { return b.km, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Close(context.Background()) })
		return e
	}
	want := func(when string, n int) {
		t.Helper()
		for range n {
			x := <-told // it was told before the call returned
			if x.Key != "payments" || x.Version != 1 || x.Found == x.Expected || !strings.HasPrefix(x.Found, "v1:") || !strings.HasPrefix(x.Expected, "v1:") {
				t.Errorf("%s: told %+v", when, x)
			}
		}
		if len(told) > 0 {
			t.Errorf("%s: told %+v, too", when, <-told)
		}
	}
	sound := engineThatTells()
	mustDecrypt(t, sound, token, "", "x")
	want("a sound record", 0)

	b.edit(t, `UPDATE keys SET hard_limit = hard_limit / 2`)
	reader, rotator := engineThatTells(), engineThatTells()
	for range 2 {
		mustDecrypt(t, reader, token, "", "x")
		_, _ = reader.Encrypt(t.Context(), "payments", nil, nil)
	}
	want("a reader", 1)
	for range 2 {
		if _, err := rotator.Rotate(t.Context(), "payments", keyring.ReasonManual, ""); !errors.Is(err, keyring.ErrIntegrity) {
			t.Error(err)
		}
	}
	want("a rotation", 1)
	b.edit(t, `UPDATE keys SET hard_limit = hard_limit / 2`)
	_, _ = rotator.Rotate(t.Context(), "payments", keyring.ReasonManual, "")
	want("another edit", 1)
}

// TestTamperedRefusal: where an edited record keeps something from being done, the
// edit is named along with what came of it.
func TestTamperedRefusal(t *testing.T) {
	for name, c := range map[string]struct {
		edit             string
		decrypt, encrypt error
	}{
		"state":   {`UPDATE versions SET state = 'suspended'`, keyring.ErrState, keyring.ErrNoPrimary},
		"primary": {`UPDATE keys SET primary_version = NULL`, nil, keyring.ErrNoPrimary},
		"wrap":    {`UPDATE wraps SET blob = zeroblob(length(blob))`, provider.Integrity, provider.Integrity},
		"version": {`UPDATE keys SET min_decrypt_version = 1`, nil, nil},
	} {
		b := newBench(t)
		e := b.engine(t)
		create(t, e, "payments", 0)
		token := encrypt(t, e, "x", "")
		b.edit(t, c.edit)
		other := b.engine(t)
		_, err := other.Decrypt(t.Context(), token, nil)
		if !errors.Is(err, c.decrypt) || errors.Is(err, keyring.ErrIntegrity) != (c.decrypt != nil) {
			t.Errorf("%s: decrypting: %v", name, err)
		}
		_, err = other.Encrypt(t.Context(), "payments", nil, nil)
		if !errors.Is(err, keyring.ErrIntegrity) || c.encrypt != nil && !errors.Is(err, c.encrypt) {
			t.Errorf("%s: encrypting: %v", name, err)
		}
	}
}

// TestVersionRemoved: a process that knows the version which was taken out of the
// database by hand encrypts under no other one.
func TestVersionRemoved(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	create(t, e, "payments", 0)
	rotate(t, e)
	token := encrypt(t, e, "x", "")
	b.edit(t, `DELETE FROM leases; DELETE FROM wraps WHERE version = 2; DELETE FROM versions WHERE number = 2;
		UPDATE keys SET primary_version = 1; UPDATE versions SET state = 'active'`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var err error
	for err == nil { // until the lease is spent
		var another []byte
		if another, err = e.Encrypt(ctx, "payments", nil, nil); err == nil && !bytes.HasPrefix(another, []byte("keyrotor:payments:v2:")) {
			t.Fatalf("encrypted to %s", another)
		}
	}
	if !errors.Is(err, keyring.ErrIntegrity) {
		t.Errorf("encrypting under a record without the primary: %v", err)
	}
	mustDecrypt(t, e, token, "", "x")
}

// replaced is a store that can become another one.
type replaced struct{ store.Store }

// TestOlderStore: where the store has become an older one under a process, it says so
// instead of asking for uses for ever.
func TestOlderStore(t *testing.T) {
	b := newBench(t)
	s := &replaced{b.store}
	e := b.engineOn(t, s, map[string]*faults.KeyManager{"p": b.km})
	create(t, e, "payments", 0)
	older := &bench{path: filepath.Join(t.TempDir(), "older.db")}
	if _, err := b.store.Snapshot(t.Context(), older.path); err != nil {
		t.Fatal(err)
	}
	rotate(t, e)
	token := encrypt(t, e, "x", "")
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	e = b.engineOn(t, s, map[string]*faults.KeyManager{"p": b.km})
	mustDecrypt(t, e, token, "", "x")
	s.Store = older.openStore(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := e.Encrypt(ctx, "payments", nil, nil); !errors.Is(err, keyring.ErrIntegrity) || !strings.Contains(err.Error(), "version 1") {
		t.Errorf("encrypting on an older store: %v", err)
	}
	mustDecrypt(t, e, token, "", "x")
}

// edit changes the database by hand.
func (b *bench) edit(t *testing.T, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", b.path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}
