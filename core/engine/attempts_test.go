package engine_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/testing/faults"
)

func (b *bench) attempts(t *testing.T, want uint64) {
	t.Helper()
	if got, err := b.store.Attempts(t.Context(), "payments", 1); err != nil || got != want {
		t.Errorf("%d attempts are on record, %v; want %d", got, err, want)
	}
}

func refused(t *testing.T, e *engine.Engine, token []byte) {
	t.Helper()
	if _, err := e.Decrypt(t.Context(), token, nil); !errors.Is(err, keyring.ErrState) {
		t.Errorf("Decrypt: %v", err)
	}
}

// TestAttempts: the first attempt of a process, and the first after each beginning
// of a quarantine, is on record when it is answered; later ones are within a second,
// or when the engine is closed.
func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		writes := new(atomic.Int64)
		e := b.engineOn(t, attemptStore{Store: b.store, writes: writes}, map[string]*faults.KeyManager{"p": b.km})
		create(t, e, "payments", 0)
		token := encrypt(t, e, "x", "")
		rotate(t, e)
		mustDecrypt(t, e, token, "", "x")
		refreshed := func(to keyring.State) {
			t.Helper()
			b.quarantine(t, 1, to)
			key, err := b.store.Key(t.Context(), "payments")
			if err != nil {
				t.Fatal(err)
			}
			e.Changed(key)
		}
		refreshed(keyring.Quarantined)
		b.attempts(t, 0)
		refused(t, e, token)
		b.attempts(t, 1)
		for range 10 {
			refused(t, e, token)
		}
		if _, _, err := e.Reencrypt(t.Context(), nil, token, nil); !errors.Is(err, keyring.ErrState) {
			t.Errorf("Reencrypt: %v", err)
		}
		b.attempts(t, 1)
		time.Sleep(1100 * time.Millisecond) // the bubble's clock, not ours
		synctest.Wait()
		b.attempts(t, 12)
		if n := writes.Load(); n != 2 {
			t.Errorf("12 attempts were written in %d transactions", n)
		}

		refreshed(keyring.Deactivated)
		mustDecrypt(t, e, token, "", "x")
		b.attempts(t, 12)
		time.Sleep(time.Millisecond) // the bubble's clock, not ours
		refreshed(keyring.Quarantined)
		refused(t, e, token)
		b.attempts(t, 13)
		refused(t, e, token)
		refused(t, e, token)
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
		b.attempts(t, 15)

		other := b.engine(t)
		refused(t, other, token)
		b.attempts(t, 16)
	})
}

// attemptStore counts the writes of attempts, and fails them while it is told to.
type attemptStore struct {
	store.Store
	writes *atomic.Int64
	fails  *atomic.Bool
}

func (s attemptStore) CountAttempts(ctx context.Context, key string, version uint32, n uint64) error {
	s.writes.Add(1)
	if s.fails != nil && s.fails.Load() {
		return store.ErrFull
	}
	return s.Store.CountAttempts(ctx, key, version, n)
}

// TestAttemptsOfAFullStore: what cannot be recorded is said, kept, and recorded as
// soon as that is possible.
func TestAttemptsOfAFullStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		s := attemptStore{b.store, new(atomic.Int64), new(atomic.Bool)}
		e := b.engineOn(t, s, map[string]*faults.KeyManager{"p": b.km})
		create(t, e, "payments", 0)
		token := encrypt(t, e, "x", "")
		rotate(t, e)
		b.quarantine(t, 1, keyring.Quarantined)
		time.Sleep(6 * time.Second) // the bubble's clock, not ours
		s.fails.Store(true)
		for range 3 {
			if _, err := e.Decrypt(t.Context(), token, nil); !errors.Is(err, keyring.ErrState) || !errors.Is(err, store.ErrFull) {
				t.Errorf("Decrypt: %v", err)
			}
		}
		b.attempts(t, 0)
		time.Sleep(3 * time.Second) // the bubble's clock, not ours
		if err := e.Close(t.Context()); !errors.Is(err, store.ErrFull) {
			t.Errorf("Close: %v", err)
		}
		s.fails.Store(false)
		if err := e.Close(t.Context()); err != nil {
			t.Errorf("Close again: %v", err)
		}
		b.attempts(t, 3)
	})
}

// TestAttemptsAreRetried: nobody has to try again for that.
func TestAttemptsAreRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		s := attemptStore{b.store, new(atomic.Int64), new(atomic.Bool)}
		e := b.engineOn(t, s, map[string]*faults.KeyManager{"p": b.km})
		create(t, e, "payments", 0)
		token := encrypt(t, e, "x", "")
		rotate(t, e)
		b.quarantine(t, 1, keyring.Quarantined)
		time.Sleep(6 * time.Second) // the bubble's clock, not ours
		s.fails.Store(true)
		refused(t, e, token)
		time.Sleep(2500 * time.Millisecond) // the bubble's clock, not ours
		if n := s.writes.Load(); n != 3 {
			t.Errorf("tried %d times in 2.5 s", n)
		}
		s.fails.Store(false)
		time.Sleep(time.Second) // the bubble's clock, not ours
		synctest.Wait()
		b.attempts(t, 1)
	})
}

// TestConcurrentAttempts: none is lost.
func TestConcurrentAttempts(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	create(t, e, "payments", 0)
	token := encrypt(t, e, "x", "")
	rotate(t, e)
	b.quarantine(t, 1, keyring.Quarantined)
	fresh := b.engine(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			refused(t, fresh, token)
			if got, err := b.store.Attempts(t.Context(), "payments", 1); err != nil || got == 0 {
				t.Errorf("answered with %d attempts on record, %v", got, err)
			}
			for range 20 {
				refused(t, fresh, token)
			}
		})
	}
	wg.Wait()
	if err := fresh.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.attempts(t, 8*21)
}
