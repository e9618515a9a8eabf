package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/testing/faults"
)

// hang answers when ctx is over.
func hang(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

// hangUntil lets every call hang until ctx is over, and tells of each.
func hangUntil(ctx context.Context, km *faults.KeyManager) (entered chan struct{}) {
	entered = make(chan struct{}, 1)
	km.Before(func(context.Context, string) error {
		entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	return entered
}

// TestRotationDuringFirstEncryption: a lease on the former primary that arrives
// after the rotation is not used for what comes after.
func TestRotationDuringFirstEncryption(t *testing.T) {
	b := newBench(t)
	create(t, b.engine(t), "payments", 0)
	e := b.engine(t)
	entered, release := make(chan struct{}), make(chan struct{})
	var held atomic.Bool
	b.km.Before(func(_ context.Context, call string) error {
		if call == "Unwrap" && held.CompareAndSwap(false, true) {
			close(entered)
			<-release
		}
		return nil
	})
	var wg sync.WaitGroup
	wg.Go(func() { encrypt(t, e, "in flight", "") })
	<-entered
	if _, err := e.Rotate(t.Context(), "payments", keyring.ReasonEmergency, ""); err != nil {
		t.Fatal(err)
	}
	close(release)
	wg.Wait()
	if token := encrypt(t, e, "x", ""); !bytes.HasPrefix(token, []byte("keyrotor:payments:v2:")) {
		t.Errorf("after the rotation it encrypts to %s", token)
	}
}

// unreadable is a store that fails to read keys while it is told to.
type unreadable struct {
	store.Store
	on *atomic.Bool
}

func (s unreadable) Key(ctx context.Context, name string) (store.Key, error) {
	if s.on.Load() {
		return store.Key{}, store.ErrBusy
	}
	return s.Store.Key(ctx, name)
}

// TestRotationThatCannotBeReadBack: the former primary encrypts nothing more.
func TestRotationThatCannotBeReadBack(t *testing.T) {
	b := newBench(t)
	var fail atomic.Bool
	var e *engine.Engine
	s := unreadable{b.store, &fail}
	e = b.engineOn(t, s, map[string]*faults.KeyManager{"p": b.km})
	create(t, e, "payments", 0)
	encrypt(t, e, "takes a lease on version 1", "")
	b.km.Before(func(_ context.Context, call string) error {
		fail.Store(call == "Unwrap") // from the proof on
		return nil
	})
	if _, err := e.Rotate(t.Context(), "payments", keyring.ReasonEmergency, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Encrypt(t.Context(), "payments", nil, nil); !errors.Is(err, store.ErrBusy) {
		t.Errorf("while the store cannot be read: %v", err)
	}
	fail.Store(false)
	if token := encrypt(t, e, "x", ""); !bytes.HasPrefix(token, []byte("keyrotor:payments:v2:")) {
		t.Errorf("after the rotation it encrypts to %s", token)
	}
}

// overtaken is a store in which something happens between a commit and its answer.
type overtaken struct {
	unreadable
	meanwhile func()
}

func (s overtaken) Update(ctx context.Context, u store.Update) (store.Key, error) {
	key, err := s.Store.Update(ctx, u)
	if u.Name == "payments" && !u.Create {
		s.meanwhile()
	}
	return key, err
}

// TestRotationThatWasOvertaken: where a rotation cannot be read back, and this process
// had read a later record than the committed one, it gets to that again.
func TestRotationThatWasOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var fail atomic.Bool
		other := b.engine(t)
		var e *engine.Engine
		var token []byte
		e = b.engineOn(t, overtaken{unreadable{b.store, &fail}, func() {
			token = encrypt(t, other, "x", "")
			setState(t, other, 2, keyring.Suspended)
			if _, err := e.Decrypt(t.Context(), token, nil); !errors.Is(err, keyring.ErrState) {
				t.Errorf("suspended at once: %v", err)
			}
			fail.Store(true)
		}}, map[string]*faults.KeyManager{"p": b.km})
		create(t, e, "payments", 0)
		rotate(t, e)
		fail.Store(false)
		time.Sleep(6 * time.Second) // the bubble's clock, not ours
		if _, err := e.Decrypt(t.Context(), token, nil); !errors.Is(err, keyring.ErrState) {
			t.Errorf("suspended seconds ago: %v", err)
		}
	})
}

// TestVersionsDoNotWaitForOneAnother: a key manager that hangs holds up only what
// it alone has wrapped.
func TestVersionsDoNotWaitForOneAnother(t *testing.T) {
	b := newBench(t)
	hung, healthy := faults.NewLocal(t), faults.NewLocal(t)
	managers := map[string]*faults.KeyManager{"a": hung, "b": healthy}
	e := b.engineOn(t, b.store, managers)
	if _, err := e.CreateKey(t.Context(), "payments", keyring.Settings{WrapWith: []string{"a"}}, ""); err != nil {
		t.Fatal(err)
	}
	old := encrypt(t, e, "old", "")
	b.rewrapWith(t, "b")
	if _, err := e.Rotate(t.Context(), "payments", keyring.ReasonManual, ""); err != nil {
		t.Fatal(err)
	}
	fresh := b.engineOn(t, b.openStore(t), managers)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	entered := hangUntil(ctx, hung)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := fresh.Decrypt(ctx, old, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("behind the key manager that hangs: %v", err)
		}
	})
	<-entered
	mustDecrypt(t, fresh, encrypt(t, fresh, "new", ""), "", "new")
	cancel()
	wg.Wait()
}

// rewrapWith lets other providers wrap versions from here on.
func (b *bench) rewrapWith(t *testing.T, providers ...string) {
	t.Helper()
	_, err := b.store.Update(t.Context(), store.Update{Name: "payments", Apply: func(rec *keyring.Record) ([]history.Event, error) {
		rec.Settings.WrapWith = providers
		return []history.Event{{Type: history.ConfigChange, Actor: "test@host"}}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSecondWrap: a second wrap keeps reads going when the first key manager hangs.
func TestSecondWrap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		managers := map[string]*faults.KeyManager{"a": faults.NewLocal(t), "b": faults.NewLocal(t)}
		e := b.engineOn(t, b.store, managers)
		if _, err := e.CreateKey(t.Context(), "payments", keyring.Settings{WrapWith: []string{"a", "b"}}, ""); err != nil {
			t.Fatal(err)
		}
		token := encrypt(t, e, "x", "")
		managers["a"].Before(hang)
		start := time.Now()
		mustDecrypt(t, b.engineOn(t, b.store, managers), token, "", "x")
		if waited := time.Since(start); waited > 2*time.Second {
			t.Errorf("it took %s", waited)
		}
		managers["b"].Before(hang)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := b.engineOn(t, b.store, managers).Decrypt(ctx, token, nil); !errors.Is(err, provider.Unavailable) || ctx.Err() != nil {
			t.Errorf("both hang: %v", err)
		}
	})
}

// TestForgedPrefix: what binary garbage is remembered as missing hides no key.
func TestForgedPrefix(t *testing.T) {
	b := newBench(t)
	create(t, b.engine(t), "payments", 0)
	e := b.engine(t)
	forged := append([]byte("\xd3KR\x01payments\x00\x00\x00\x01"), make([]byte, 40)...)
	if _, err := e.Decrypt(t.Context(), forged, nil); !errors.Is(err, keyring.ErrUnknownKey) {
		t.Errorf("the forged ciphertext: %v", err)
	}
	encrypt(t, e, "x", "")
}

// TestPolling: within seconds a process sees what another one did, without having
// met a newer ciphertext.
func TestPolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e, other := b.engine(t), b.engine(t)
		create(t, e, "payments", 0)
		old := encrypt(t, e, "x", "")
		if _, err := other.Rotate(t.Context(), "payments", keyring.ReasonEmergency, ""); err != nil {
			t.Fatal(err)
		}
		if leased, err := b.store.Leased(t.Context(), "payments", 1); err != nil || leased != 64 {
			t.Errorf("%d uses of version 1 are out after the rotation, %v", leased, err)
		}
		time.Sleep(6 * time.Second) // the bubble's clock, not ours
		synctest.Wait()
		if leased, err := b.store.Leased(t.Context(), "payments", 1); err != nil || leased != 0 {
			t.Errorf("%d uses of version 1 are out seconds after the rotation, %v", leased, err)
		}
		if token := encrypt(t, e, "y", ""); !bytes.HasPrefix(token, []byte("keyrotor:payments:v2:")) {
			t.Errorf("seconds after the rotation it encrypts to %s", token)
		}
		if _, changed, err := e.Reencrypt(t.Context(), nil, old, nil); err != nil || !changed {
			t.Errorf("seconds after the rotation Reencrypt says %v, %v", changed, err)
		}
	})
}

// TestClosed: everything fails with ErrClosed, and closing twice succeeds.
func TestClosed(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	create(t, e, "payments", 0)
	token := encrypt(t, e, "x", "")
	bin, err := e.EncryptBinary(t.Context(), "payments", []byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := e.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"Encrypt":        func() error { _, err := e.Encrypt(ctx, "payments", nil, nil); return err },
		"Decrypt":        func() error { _, err := e.Decrypt(ctx, token, nil); return err },
		"Decrypt binary": func() error { _, err := e.Decrypt(ctx, bin, nil); return err },
		"Reencrypt":      func() error { _, _, err := e.Reencrypt(ctx, nil, token, nil); return err },
		"Rotate":         func() error { _, err := e.Rotate(ctx, "payments", keyring.ReasonManual, ""); return err },
		"Keys":           func() error { _, err := e.Keys(ctx); return err },
		"Describe":       func() error { _, err := e.Describe(ctx, "payments"); return err },
		"History":        func() error { _, err := e.History(ctx, history.Query{}); return err },
		"CreateKey":      func() error { _, err := e.CreateKey(ctx, "other", keyring.Settings{}, ""); return err },
		"ImportKey": func() error {
			_, err := e.ImportKey(ctx, "other", imported(t, newRoot), keyring.Settings{}, "")
			return err
		},
		"ImportVersion": func() error {
			_, err := e.ImportVersion(ctx, "payments", imported(t, newRoot), keyring.ReasonManual, "")
			return err
		},
		"SetState":  func() error { _, err := e.SetState(ctx, "payments", 1, keyring.Suspended, ""); return err },
		"Configure": func() error { _, err := e.Configure(ctx, "payments", engine.Settings{}, ""); return err },
	} {
		if err := call(); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLostWraps: a version whose wraps were deleted by hand is an error, no panic.
func TestLostWraps(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	create(t, e, "payments", 0)
	token := encrypt(t, e, "x", "")
	b.edit(t, `DELETE FROM wraps`)
	if _, err := b.engine(t).Decrypt(t.Context(), token, nil); !errors.Is(err, keyring.ErrIntegrity) {
		t.Errorf("without a wrap: %v", err)
	}
}

// countingStore counts the leases that were asked for, and from the first one on
// fails to read the keys whose names begin with broken.
type countingStore struct {
	store.Store
	acquired *atomic.Int64
	broken   string
}

func (s countingStore) Acquire(ctx context.Context, r store.LeaseRequest) (store.Lease, error) {
	s.acquired.Add(1)
	return s.Store.Acquire(ctx, r)
}

func (s countingStore) Key(ctx context.Context, name string) (store.Key, error) {
	if s.broken != "" && strings.HasPrefix(name, s.broken) && s.acquired.Load() > 0 {
		return store.Key{}, store.ErrCorrupt
	}
	return s.Store.Key(ctx, name)
}

// TestPollingPastABrokenKey: one key that cannot be read holds up no other.
func TestPollingPastABrokenKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var acquired atomic.Int64
		e := b.engineOn(t, countingStore{b.store, &acquired, "broken"}, map[string]*faults.KeyManager{"p": b.km})
		other := b.engine(t)
		for i := range 20 { // keys are refreshed in any order
			create(t, e, fmt.Sprintf("broken-%d", i), 0)
		}
		create(t, e, "payments", 0)
		encrypt(t, e, "x", "")
		if _, err := other.Rotate(t.Context(), "payments", keyring.ReasonManual, ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second) // the bubble's clock, not ours
		if token := encrypt(t, e, "y", ""); !bytes.HasPrefix(token, []byte("keyrotor:payments:v2:")) {
			t.Errorf("beside a broken key it encrypts to %s", token)
		}
	})
}

// TestCloseWithHungKey: one key that hangs costs no other its lease.
func TestCloseWithHungKey(t *testing.T) {
	b := newBench(t)
	hung := faults.NewLocal(t)
	e := b.engineOn(t, b.store, map[string]*faults.KeyManager{"p": b.km, "hung": hung})
	if _, err := e.CreateKey(t.Context(), "hung", keyring.Settings{WrapWith: []string{"hung"}}, ""); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		create(t, e, fmt.Sprintf("key-%d", i), 0)
	}
	fresh := b.engineOn(t, b.store, map[string]*faults.KeyManager{"p": b.km, "hung": hung})
	for i := range 5 {
		if _, err := fresh.Encrypt(t.Context(), fmt.Sprintf("key-%d", i), nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	entered := hangUntil(ctx, hung)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := fresh.Encrypt(t.Context(), "hung", nil, nil); err == nil {
			t.Error("encrypted behind a key manager that hangs")
		}
	})
	<-entered
	if err := fresh.Close(t.Context()); err != nil {
		t.Errorf("Close: %v", err)
	}
	for i := range 5 {
		k, err := b.store.Key(t.Context(), fmt.Sprintf("key-%d", i))
		if err != nil || k.Uses[1] != 1 {
			t.Errorf("key-%d: %d uses are on record after 1, %v", i, k.Uses[1], err)
		}
	}
	cancel()
	wg.Wait()
}
