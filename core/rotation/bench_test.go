package rotation_test

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/testing/faults"
)

// bench is a store and two key managers.
type bench struct {
	store   *sqlite.Store
	a, b    *faults.KeyManager
	steps   []rotation.Step
	opened  atomic.Uint32 // the version of the newest cipher that was announced
	rotator *rotation.Rotator
}

func newBench(t *testing.T) *bench {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "k.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	b := &bench{store: s, a: faults.NewLocal(t), b: faults.NewLocal(t)}
	b.rotator = b.newRotator(t, func(_ string, step rotation.Step) { b.steps = append(b.steps, step) })
	return b
}

func (b *bench) newRotator(t *testing.T, onStep func(string, rotation.Step)) *rotation.Rotator {
	t.Helper()
	r, err := rotation.New(rotation.Config{
		Store: b.store, Actor: "test@host", OnStep: onStep,
		Announce: func(_ rotation.Result, c *keyring.Cipher) { b.opened.Store(c.Version()) },
		KeyManager: func(name string) (wrapping.KeyManager, error) {
			switch name {
			case "a":
				return b.a, nil
			case "b":
				return b.b, nil
			}
			return nil, fmt.Errorf("no provider %q", name)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (b *bench) create(t *testing.T) rotation.Result {
	t.Helper()
	result, err := b.rotator.Create(t.Context(), rotation.Request{Key: "payments", Reason: keyring.ReasonInitial},
		keyring.Settings{WrapWith: []string{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	b.steps = nil
	b.a.Calls.Store(0)
	b.b.Calls.Store(0)
	return result
}

func manual() rotation.Request {
	return rotation.Request{Key: "payments", Reason: keyring.ReasonManual, Note: "because"}
}

func (b *bench) events(t *testing.T) []history.Event {
	t.Helper()
	page, err := b.store.Events(t.Context(), history.Query{})
	if err != nil {
		t.Fatal(err)
	}
	var events []history.Event
	for _, raw := range page.Events {
		e, err := history.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

// unchanged asserts that a failed rotation left version 1 primary, nothing
// claimed, and one rotation_failed with a code.
func (b *bench) unchanged(t *testing.T, code string) {
	t.Helper()
	key, err := b.store.Key(t.Context(), "payments")
	if err != nil {
		t.Fatal(err)
	}
	if key.Primary != 1 || len(key.Versions) != 1 {
		t.Errorf("primary %d of %d versions after a failed rotation", key.Primary, len(key.Versions))
	}
	if in, err := b.store.Intents(t.Context()); err != nil || len(in) != 0 {
		t.Errorf("intents left behind: %v, %v", in, err)
	}
	newest := b.events(t)[0]
	if newest.Type != history.RotationFailed || newest.ErrorCode != code || newest.PreviousVersion != 1 {
		t.Errorf("newest event %+v, want rotation_failed with code %q", newest, code)
	}
	if newest.Digest != key.LastDigest || key.Digest(b.store.ID()).String() != newest.Digest {
		t.Error("the record does not match the digest of its newest event")
	}
}
