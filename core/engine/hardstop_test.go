package engine_test

import (
	"context"
	"errors"
	"slices"
	"strings"
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

// stopped is an engine with a key whose version is at its hard limit.
func stopped(t *testing.T, b *bench, l *faults.Ledger, change func(*engine.Config)) *engine.Engine {
	t.Helper()
	e := b.process(t, l, change)
	create(t, e, "payments", 5)
	encryptTimes(t, e, 5)
	return e
}

// claim is that of another process which is about to rotate.
func (b *bench) claim(t *testing.T, ttl time.Duration) store.Intent {
	t.Helper()
	in, err := b.store.Begin(t.Context(), store.Claim{Key: "payments", Kind: "rotate", Operation: "op", Owner: "elsewhere/7/1", TTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// tried is what came of an encryption that may have to wait.
type tried struct {
	token  []byte
	err    error
	waited time.Duration
}

func try(ctx context.Context, e *engine.Engine) <-chan tried {
	done := make(chan tried, 1)
	began := time.Now()
	go func() {
		token, err := e.Encrypt(ctx, "payments", nil, nil)
		done <- tried{token, err, time.Since(began)}
	}()
	return done
}

// TestHardStop: without a rotation under way there is nothing to wait for.
func TestHardStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := stopped(t, b, faults.NewLedger(b.openStore(t)), nil)
		if got := <-try(t.Context(), e); !errors.Is(got.err, keyring.ErrUsageLimit) || got.waited > 0 {
			t.Errorf("after %s: %v", got.waited, got.err)
		}
		// What another process does to another key, or in another way to this one, is
		// no rotation; nor is what is over.
		for _, c := range []store.Claim{
			{Key: "orders", Kind: "rotate", TTL: time.Minute},
			{Key: "payments", Kind: "migrate", TTL: time.Minute},
			{Key: "payments", Kind: "rotate", TTL: time.Microsecond},
		} {
			c.Operation, c.Owner = "op", "elsewhere/7/1"
			in, err := b.store.Begin(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Microsecond) // the bubble's clock, not ours
			if got := <-try(t.Context(), e); !errors.Is(got.err, keyring.ErrUsageLimit) || got.waited > 0 {
				t.Errorf("beside %+v, after %s: %v", c, got.waited, got.err)
			}
			if err := b.store.End(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestHardStopWaits: for a rotation that is under way elsewhere, and everybody goes on
// under the new primary.
func TestHardStopWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		l := faults.NewLedger(b.openStore(t))
		e := b.process(t, l, nil)
		create(t, e, "payments", 100)
		old := encrypt(t, e, "x", "")
		rotate(t, e)
		encryptTimes(t, e, 100)
		in := b.claim(t, time.Minute)
		const waiting = 20
		var waits []<-chan tried
		for range waiting {
			waits = append(waits, try(t.Context(), e))
		}
		moved := make(chan error, 1)
		go func() {
			token, _, err := e.Reencrypt(t.Context(), nil, old, nil)
			if err == nil && !strings.HasPrefix(string(token), "keyrotor:payments:v3:") {
				err = errors.New("re-encrypted to " + string(token))
			}
			moved <- err
		}()
		time.Sleep(10 * time.Second) // the bubble's clock, not ours
		synctest.Wait()
		if n := l.ClaimsRead(); n < 100 || n > 250 {
			t.Errorf("%d who wait for 10 s looked %d times, want once in 50 ms together", waiting+1, n)
		}
		if n := len(l.Asked()); n > 120 {
			t.Errorf("the store was asked for uses %d times", n)
		}
		if err := b.store.End(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		rotate(t, b.engine(t)) // before it is looked for again
		for _, w := range waits {
			if got := <-w; got.err != nil || !strings.HasPrefix(string(got.token), "keyrotor:payments:v3:") || got.waited > 10*time.Second+100*time.Millisecond {
				t.Errorf("after %s: %s, %v", got.waited, got.token, got.err)
			}
		}
		if err := <-moved; err != nil {
			t.Error(err)
		}
	})
}

// TestHardStopEnds: the wait is as long as the context allows, as the rotation lasts,
// and as the engine is open.
func TestHardStopEnds(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(*testing.T, *bench, *engine.Engine, store.Intent, context.CancelFunc)
		want      []error
		least     time.Duration
		most      time.Duration
	}{
		"expiry of the claim": {
			func(*testing.T, *bench, *engine.Engine, store.Intent, context.CancelFunc) {},
			[]error{keyring.ErrUsageLimit},
			time.Minute, time.Minute + 50*time.Millisecond,
		},
		"failure of the rotation": {
			func(t *testing.T, b *bench, _ *engine.Engine, in store.Intent, _ context.CancelFunc) {
				if err := b.store.End(t.Context(), in); err != nil {
					t.Error(err)
				}
			},
			[]error{keyring.ErrUsageLimit},
			time.Second, time.Second + 50*time.Millisecond,
		},
		"end of the context": {
			func(_ *testing.T, _ *bench, _ *engine.Engine, _ store.Intent, cancel context.CancelFunc) { cancel() },
			[]error{keyring.ErrUsageLimit, context.Canceled},
			time.Second, time.Second,
		},
		"close": {
			func(t *testing.T, _ *bench, e *engine.Engine, _ store.Intent, _ context.CancelFunc) {
				if err := e.Close(t.Context()); err != nil {
					t.Error(err)
				}
			},
			[]error{engine.ErrClosed},
			time.Second, time.Second,
		},
		"suspension": {
			func(t *testing.T, b *bench, _ *engine.Engine, _ store.Intent, _ context.CancelFunc) {
				setState(t, b.engine(t), 1, keyring.Suspended)
			},
			[]error{keyring.ErrNoPrimary},
			time.Second, time.Second + 50*time.Millisecond,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				e := stopped(t, b, faults.NewLedger(b.openStore(t)), nil)
				in := b.claim(t, time.Minute)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				waits := []<-chan tried{try(ctx, e), try(ctx, e)}
				time.Sleep(time.Second) // the bubble's clock, not ours
				synctest.Wait()
				c.meanwhile(t, b, e, in, cancel)
				for _, w := range waits {
					got := <-w
					for _, want := range c.want {
						if !errors.Is(got.err, want) {
							t.Errorf("%v, want %v", got.err, want)
						}
					}
					if got.waited < c.least || got.waited > c.most {
						t.Errorf("it waited for %s", got.waited)
					}
				}
			})
		})
	}
}

// TestHardStopAsksTheScheduler: for what it has on its list it is waited, and it is
// told of a version that stopped, but not by everybody who finds that out.
func TestHardStopAsksTheScheduler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var onList atomic.Bool
		var mu sync.Mutex
		var told []store.Lease
		e := stopped(t, b, faults.NewLedger(b.openStore(t)), func(c *engine.Config) {
			c.OnUses = func(_ string, l store.Lease, _ uint64) {
				mu.Lock()
				defer mu.Unlock()
				if l.Count == 0 {
					told = append(told, l)
				}
			}
			c.Rotating = func(key string) bool { return key == "payments" && onList.Load() }
		})
		for range 10 {
			if got := <-try(t.Context(), e); !errors.Is(got.err, keyring.ErrUsageLimit) || got.waited > 0 {
				t.Errorf("with nothing on the list, after %s: %v", got.waited, got.err)
			}
		}
		synctest.Wait()
		if want := []store.Lease{{Key: "payments", Version: 1, Uses: 5}}; !slices.Equal(told, want) {
			t.Errorf("told of %+v, want %+v", told, want)
		}
		onList.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if got := <-try(ctx, e); !errors.Is(got.err, keyring.ErrUsageLimit) || !errors.Is(got.err, context.DeadlineExceeded) || got.waited != 10*time.Minute {
			t.Errorf("after %s: %v", got.waited, got.err)
		}
		wait := try(t.Context(), e)
		time.Sleep(time.Second) // the bubble's clock, not ours
		rotate(t, e)
		if got := <-wait; got.err != nil || got.waited > time.Second+50*time.Millisecond {
			t.Errorf("after %s: %v", got.waited, got.err)
		}
	})
}

// TestSmallValueBehindALargeOne: whoever waits for a request that asks for more than
// is left gets what it needs, if there is that.
func TestSmallValueBehindALargeOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		l := faults.NewLedger(b.openStore(t))
		e := b.process(t, l, nil)
		create(t, e, "payments", 5)
		stop := make(chan struct{})
		l.HoldBack(stop)
		large := make(chan error, 1)
		go func() {
			_, err := e.Encrypt(t.Context(), "payments", make([]byte, 6<<20), nil)
			large <- err
		}()
		synctest.Wait()
		small := try(t.Context(), e)
		synctest.Wait()
		close(stop)
		if err := <-large; !errors.Is(err, keyring.ErrUsageLimit) {
			t.Errorf("6 of 5: %v", err)
		}
		if got := <-small; got.err != nil {
			t.Errorf("1 of 5: %v", got.err)
		}
	})
}

// TestOthersLeaseAtTheHardStop: somebody who needs more than is left keeps nobody from
// what there is.
func TestOthersLeaseAtTheHardStop(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	create(t, e, "payments", 5)
	if _, err := e.Encrypt(t.Context(), "payments", make([]byte, 6<<20), nil); !errors.Is(err, keyring.ErrUsageLimit) {
		t.Errorf("6 of 5: %v", err)
	}
	encrypt(t, e, "x", "")
	if _, err := e.Encrypt(t.Context(), "payments", make([]byte, 5<<20), nil); !errors.Is(err, keyring.ErrUsageLimit) {
		t.Errorf("5 of 4: %v", err)
	}
	if _, err := e.Encrypt(t.Context(), "payments", make([]byte, 4<<20), nil); err != nil {
		t.Errorf("4 of 4: %v", err)
	}
	if uses, _ := b.counts(t, 1); uses != 5 {
		t.Errorf("%d uses are on record of 5", uses)
	}
}
