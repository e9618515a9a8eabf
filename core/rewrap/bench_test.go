package rewrap

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/testing/faults"
)

// bench is a store and three key managers, "a", "b" and "c".
type bench struct {
	store *sqlite.Store
	// late moves the store's clock ahead.
	late    atomic.Int64
	kms     map[string]*faults.KeyManager
	mover   *Mover
	rotator *rotation.Rotator
	steps   []string
	// onStep, if set, runs at each step.
	onStep func(rotation.Step)
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{kms: map[string]*faults.KeyManager{"a": faults.NewLocal(t), "b": faults.NewLocal(t), "c": faults.NewLocal(t)}}
	s, err := sqlite.Open(t.Context(), sqlite.Config{
		Path: filepath.Join(t.TempDir(), "k.db"),
		Now:  func() time.Time { return time.Now().Add(time.Duration(b.late.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	b.store = s
	b.mover = b.newMover(t, s)
	b.rotator, err = rotation.New(rotation.Config{Store: s, KeyManager: b.keyManager, Actor: "test@host"})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) newMover(t *testing.T, s Store) *Mover {
	t.Helper()
	m, err := New(Config{Store: s, KeyManager: b.keyManager, Actor: "test@host", OnStep: func(subject string, step rotation.Step) {
		b.steps = append(b.steps, subject+" "+string(step))
		if b.onStep != nil {
			b.onStep(step)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (b *bench) keyManager(name string) (wrapping.KeyManager, error) {
	if km, ok := b.kms[name]; ok {
		return km, nil
	}
	return nil, fmt.Errorf("no provider %q is configured", name)
}

// create makes a key with as many versions as asked for.
func (b *bench) create(t *testing.T, name string, versions int, wrapWith ...string) {
	t.Helper()
	_, err := b.rotator.Create(t.Context(), rotation.Request{Key: name, Reason: keyring.ReasonInitial}, keyring.Settings{WrapWith: wrapWith})
	if err != nil {
		t.Fatal(err)
	}
	for range versions - 1 {
		b.rotate(t, name)
	}
}

func (b *bench) rotate(t *testing.T, name string) {
	t.Helper()
	if _, err := b.rotator.Rotate(t.Context(), rotation.Request{Key: name, Reason: keyring.ReasonManual}); err != nil {
		t.Fatal(err)
	}
}

// rotateByHand rotates the KEK of a provider as somebody else does.
func (b *bench) rotateByHand(t *testing.T, name string) {
	t.Helper()
	b.request(t, name, "")
}

// request rotates the KEK of a provider past its hooks.
func (b *bench) request(t *testing.T, name, id string) {
	t.Helper()
	km := b.kms[name].KeyManager
	d, err := km.DescribeKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := km.RotateKey(t.Context(), provider.RotateKeyRequest{ExpectedVersion: d.PrimaryVersion, RequestID: id}); err != nil {
		t.Fatal(err)
	}
}

// primary is the KEK version that a provider wraps with.
func (b *bench) primary(t *testing.T, name string) string {
	t.Helper()
	d, err := b.kms[name].KeyManager.DescribeKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d.PrimaryVersion
}

func (b *bench) kekID(t *testing.T, name string) string {
	t.Helper()
	d, err := b.kms[name].KeyManager.DescribeKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d.KEKID
}

func (b *bench) key(t *testing.T, name string) store.Key {
	t.Helper()
	key, err := b.store.Key(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// change updates a key as another process does.
func (b *bench) change(t *testing.T, name string, f func(*keyring.Record)) {
	t.Helper()
	_, err := b.store.Update(context.Background(), store.Update{Name: name, Apply: func(r *keyring.Record) ([]history.Event, error) {
		f(r)
		return []history.Event{{Type: history.ConfigChange, Actor: "test@host"}}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// wraps says under what every version of a key is wrapped: "v1 a1 b1" is the wrap of
// version 1 under version 1 of the KEKs of a and b. It opens each of them.
func (b *bench) wraps(t *testing.T, name string) []string {
	t.Helper()
	key := b.key(t, name)
	if err := key.Check(); err != nil {
		t.Error(err)
	}
	if err := key.Verify(b.store.ID(), key.LastDigest); err != nil {
		t.Error(err)
	}
	var lines []string
	for i := range key.Versions {
		v := &key.Versions[i]
		line := v.Label
		for _, w := range v.Wraps {
			line += " " + w.Provider + w.KEKVersion
			root, err := wrapping.Open(t.Context(), b.kms[w.Provider].KeyManager, b.mover.binding(&key.Record, v), w, v.KCV)
			if err != nil {
				t.Errorf("version %d of key %s: %v", v.Number, name, err)
			}
			root.Wipe()
		}
		lines = append(lines, line)
	}
	return lines
}

func (b *bench) wrapsAre(t *testing.T, name string, want ...string) {
	t.Helper()
	if got := b.wraps(t, name); !slices.Equal(got, want) {
		t.Errorf("key %s is wrapped by %q, want %q", name, got, want)
	}
}

// events are those since the one of a number, oldest first, without the creations and
// rotations of keys.
func (b *bench) events(t *testing.T) []history.Event {
	t.Helper()
	var events []history.Event
	err := history.Walk(t.Context(), b.mover.Store.Events, history.Query{}, func(e history.Event) {
		if e.Type != history.Creation && e.Type != history.Rotation {
			events = append(events, e)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(events)
	return events
}

// historyIs compares what the events say: type, key, provider, KEK version, count,
// and the former KEK version.
func (b *bench) historyIs(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, e := range b.events(t) {
		line := fmt.Sprintf("%s %s%s%s", e.Type, e.Key, e.Provider, e.KEKVersion)
		if e.Count > 0 {
			line += fmt.Sprintf(" n=%d", e.Count)
		}
		if previous, ok := e.Details[detailPrevious]; ok {
			line += " from " + previous
		}
		if with, ok := e.Details[detailWrapWithNew]; ok {
			line += " with " + with
		}
		got = append(got, line)
	}
	if !slices.Equal(got, want) {
		t.Errorf("history\n%q, want\n%q", got, want)
	}
}

func (b *bench) noIntents(t *testing.T) {
	t.Helper()
	if in, err := b.store.Intents(t.Context()); err != nil || len(in) != 0 {
		t.Errorf("intents left behind: %+v, %v", in, err)
	}
}

// counted counts the calls of a key manager by name.
func counted(km *faults.KeyManager) map[string]int {
	calls := make(map[string]int)
	km.Before(func(_ context.Context, call string) error {
		calls[call]++
		return nil
	})
	return calls
}
