package rotation_test

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

func (b *bench) setState(t *testing.T, to keyring.State) {
	t.Helper()
	_, err := b.store.Update(t.Context(), store.Update{Name: "payments", Apply: func(r *keyring.Record) ([]history.Event, error) {
		return []history.Event{{Type: history.StateChange}}, r.SetState(r.Primary, to, time.Now())
	}})
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bench) key(t *testing.T) store.Key {
	t.Helper()
	key, err := b.store.Key(t.Context(), "payments")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// restored marks the bench's store as one that came out of a backup.
func (b *bench) restored(t *testing.T) []rotation.RestoredKey {
	t.Helper()
	at := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	keys, err := rotation.Restoration{
		Backup: "0123", Created: at.Add(-time.Hour), Actor: "test@host", Operation: "op-restore", Time: at,
	}.Mark(t.Context(), b.store)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestRestored: a key that came out of a backup gets its next version by a recovery
// only, with a number above what it is told.
func TestRestored(t *testing.T) {
	b := newBench(t)
	b.create(t)
	if _, err := b.rotator.Rotate(t.Context(), manual()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.store.Begin(t.Context(), store.Claim{Key: "payments", Kind: "rotate", Owner: "p", TTL: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if keys := b.restored(t); !reflect.DeepEqual(keys, []rotation.RestoredKey{{Key: "payments", Primary: 2}}) {
		t.Errorf("restored %+v", keys)
	}
	if in, err := b.store.Intents(t.Context()); err != nil || len(in) != 0 {
		t.Errorf("claims are left: %v, %v", in, err)
	}
	key := b.key(t)
	if v, _ := key.Version(2); key.Primary != 0 || v.State != keyring.Deactivated {
		t.Errorf("primary %d, version 2 is %s", key.Primary, v.State)
	}
	events := b.events(t)
	of := map[string]string{"backup": "0123", "backup_created": "2026-03-02T09:00:00Z"}
	if e := events[0]; e.Type != history.Restored || e.Key != "" || e.Operation != "op-restore" || !reflect.DeepEqual(e.Details, of) {
		t.Errorf("the store's event is %+v", e)
	}
	of["primary"] = "2"
	if e := events[1]; e.Type != history.Restored || e.Key != "payments" || e.Version != 2 || e.Actor != "test@host" || !reflect.DeepEqual(e.Details, of) {
		t.Errorf("the key's event is %+v", e)
	}

	b.a.Calls.Store(0)
	_, err := b.rotator.Rotate(t.Context(), manual())
	if !errors.Is(err, rotation.ErrRestored) || !errors.Is(err, keyring.ErrNoPrimary) ||
		!strings.HasSuffix(err.Error(), "key has no primary version since it was restored from a backup: \"payments\", by backup 0123 of 2026-03-02T09:00:00Z: run `keyrotor recover`") {
		t.Errorf("rotated: %v", err)
	}
	if b.a.Calls.Load() != 0 || len(b.events(t)) != len(events) {
		t.Error("the refused rotation did something")
	}

	recovery := manual()
	recovery.Recovery, recovery.Above = true, 7
	if result, err := b.rotator.Rotate(t.Context(), recovery); err != nil || result.Primary != 8 || result.Previous != 0 {
		t.Fatalf("recovered: %+v, %v", result, err)
	}
	key = b.key(t)
	if err := rotation.CheckRestored(t.Context(), b.store, &key.Record); err != nil {
		t.Errorf("after the recovery: %v", err)
	}
	// Without a primary the history is asked, and says that there was a recovery.
	b.setState(t, keyring.Suspended)
	key = b.key(t)
	if err := rotation.CheckRestored(t.Context(), b.store, &key.Record); err != nil {
		t.Errorf("suspended after the recovery: %v", err)
	}
	if result, err := b.rotator.Rotate(t.Context(), manual()); err != nil || result.Primary != 9 {
		t.Errorf("rotated after the recovery: %+v, %v", result, err)
	}
	b.restored(t)
	if _, err := b.rotator.Rotate(t.Context(), manual()); !errors.Is(err, rotation.ErrRestored) {
		t.Errorf("restored again: %v", err)
	}
	recovery.Above = 0
	if result, err := b.rotator.Rotate(t.Context(), recovery); err != nil || result.Primary != 10 {
		t.Errorf("with nothing to skip: %+v, %v", result, err)
	}
	b.setState(t, keyring.Suspended)
	if _, err := b.rotator.Rotate(t.Context(), manual()); err != nil {
		t.Errorf("rotated after that: %v", err)
	}
}

// TestRestoredWithoutPrimary: such a key needs a recovery as any other, since the
// versions that its store has forgotten may have been its primaries.
func TestRestoredWithoutPrimary(t *testing.T) {
	b := newBench(t)
	b.create(t)
	b.setState(t, keyring.Compromised)
	if key := b.key(t); rotation.CheckRestored(t.Context(), b.store, &key.Record) != nil {
		t.Error("a key without a primary was taken for a restored one")
	}
	if keys := b.restored(t); !reflect.DeepEqual(keys, []rotation.RestoredKey{{Key: "payments"}}) {
		t.Errorf("restored %+v", keys)
	}
	if e := b.events(t)[1]; e.Details["primary"] != "" || e.Version != 1 {
		t.Errorf("the key's event is %+v", e)
	}
	if key := b.key(t); key.Versions[0].State != keyring.Compromised {
		t.Errorf("version 1 is %s", key.Versions[0].State)
	}
	if _, err := b.rotator.Rotate(t.Context(), manual()); !errors.Is(err, rotation.ErrRestored) {
		t.Errorf("rotated: %v", err)
	}
}

func TestNoNumberLeft(t *testing.T) {
	b := newBench(t)
	b.create(t)
	recovery := manual()
	recovery.Recovery, recovery.Above = true, math.MaxUint32-1
	if _, err := b.rotator.Rotate(t.Context(), recovery); err == nil || !strings.Contains(err.Error(), "no version number is left above 4294967294") {
		t.Errorf("%v", err)
	}
	recovery.Above--
	if result, err := b.rotator.Rotate(t.Context(), recovery); err != nil || result.Primary != math.MaxUint32-1 {
		t.Errorf("%+v, %v", result, err)
	}
	b.a.Calls.Store(0)
	if result, err := b.rotator.Rotate(t.Context(), manual()); err == nil || !strings.Contains(err.Error(), "no version number is left above 4294967294") {
		t.Errorf("above the last version: %+v, %v", result, err)
	}
	if calls := b.a.Calls.Load(); calls != 0 {
		t.Errorf("the key manager was asked %d times", calls)
	}
}
