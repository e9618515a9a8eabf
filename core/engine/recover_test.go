package engine_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rotation"
)

// TestRecover: what came out of a backup decrypts, and encrypts nothing before its
// recovery.
func TestRecoverKey(t *testing.T) {
	b := newBench(t)
	before := b.engine(t)
	create(t, before, "payments", 1000)
	create(t, before, "orders", 1000)
	token := encrypt(t, before, "s3cret", "")
	if _, err := before.Rotate(t.Context(), "payments", keyring.ReasonManual, ""); err != nil {
		t.Fatal(err)
	}
	if err := before.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	restoration := rotation.Restoration{Backup: "0123", Created: time.Now(), Actor: "test@host", Operation: "op", Time: time.Now()}
	if _, err := restoration.Mark(t.Context(), b.store); err != nil {
		t.Fatal(err)
	}

	e := b.engine(t)
	if plaintext, err := e.Decrypt(t.Context(), token, nil); err != nil || string(plaintext) != "s3cret" {
		t.Errorf("decrypted %q, %v", plaintext, err)
	}
	if _, err := e.Encrypt(t.Context(), "payments", nil, nil); !errors.Is(err, rotation.ErrRestored) || !errors.Is(err, keyring.ErrNoPrimary) {
		t.Errorf("encrypted: %v", err)
	}
	if _, _, err := e.Reencrypt(t.Context(), nil, token, nil); !errors.Is(err, rotation.ErrRestored) {
		t.Errorf("re-encrypted: %v", err)
	}
	if _, err := e.Rotate(t.Context(), "payments", keyring.ReasonManual, ""); !errors.Is(err, rotation.ErrRestored) {
		t.Errorf("rotated: %v", err)
	}
	if _, err := e.SetState(t.Context(), "payments", 1, keyring.Suspended, ""); err != nil {
		t.Errorf("suspended: %v", err)
	}
	if _, err := e.SetState(t.Context(), "payments", 1, keyring.Active, ""); !errors.Is(err, rotation.ErrRestored) {
		t.Errorf("made the primary again: %v", err)
	}
	if _, err := e.SetState(t.Context(), "payments", 1, keyring.Deactivated, ""); err != nil {
		t.Errorf("deactivated: %v", err)
	}
	wantUnrecovered(t, e, engine.UnrecoveredKey{Key: "orders", Newest: 1}, engine.UnrecoveredKey{Key: "payments", Newest: 2})

	// A recovery that fails changes nothing, and can be had again.
	b.km.Before(func(context.Context, string) error { return provider.Errorf(provider.Unavailable, "down") })
	if _, err := e.RecoverKey(t.Context(), "payments", 5); !errors.Is(err, provider.Unavailable) {
		t.Errorf("with the key manager down: %v", err)
	}
	b.km.Before(nil)
	if result, err := e.RecoverKey(t.Context(), "payments", 5); err != nil || result.Primary != 6 {
		t.Fatalf("recovered: %+v, %v", result, err)
	}
	wantUnrecovered(t, e, engine.UnrecoveredKey{Key: "orders", Newest: 1})
	page, err := e.History(t.Context(), history.Query{Key: "payments", Version: 6, Type: history.Creation})
	if err != nil || len(page.Events) != 1 {
		t.Fatal(page, err)
	}
	if event, err := history.Decode(page.Events[0]); err != nil || event.Reason != "manual" || event.Details["recovery"] != "5" {
		t.Errorf("%+v, %v", event, err)
	}
	if got := encrypt(t, e, "again", ""); string(got[:21]) != "keyrotor:payments:v6:" {
		t.Errorf("encrypted %s", got)
	}
	if moved, changed, err := e.Reencrypt(t.Context(), nil, token, nil); err != nil || !changed || string(moved[:21]) != "keyrotor:payments:v6:" {
		t.Errorf("re-encrypted %s, %v, %v", moved, changed, err)
	}
	if result, err := e.RecoverKey(t.Context(), "orders", 0); err != nil || result.Primary != 2 {
		t.Errorf("with nothing seen: %+v, %v", result, err)
	}
	wantUnrecovered(t, e)

	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := e.RecoverKey(t.Context(), "payments", 0); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := e.Unrecovered(t.Context()); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func wantUnrecovered(t *testing.T, e *engine.Engine, want ...engine.UnrecoveredKey) {
	t.Helper()
	if list, err := e.Unrecovered(t.Context()); err != nil || !reflect.DeepEqual(list, want) {
		t.Errorf("to recover: %+v, %v; want %+v", list, err, want)
	}
}
