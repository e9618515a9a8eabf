package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/scheduler"
	"github.com/keyrotor/keyrotor/core/store"
)

// TestFailure: what fails is tried again, later each time, by whichever process; the
// history and the store say so, and the end of it is forgotten.
func TestFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p, other := b.process(interval(10*time.Minute)), b.process(interval(10*time.Minute))
		b.create(p, "payments", "a")
		b.create(p, "orders", "b")
		for _, q := range []process{p, other} {
			b.add(q, "", maxAge(time.Hour))
			q.start(b)
		}
		var tried []time.Duration
		b.managers["a"].Before(func(_ context.Context, call string) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			if call == "Wrap" || call == "GenerateDataKey" {
				tried = append(tried, time.Since(b.start)-time.Hour)
			}
			return provider.Errorf(provider.Denied, "as the test wants it")
		})
		soFar := func() []time.Duration {
			b.mu.Lock()
			defer b.mu.Unlock()
			return slices.Clone(tried)
		}
		time.Sleep(61 * time.Minute)
		b.wantRotations("orders", time.Hour)
		b.wantRotations("payments")
		tries := soFar()
		// At 0 s, then after 8 to 12 s, then 16 to 24 s later, and not again within the minute
		// after the third (32 to 48 s) but for that. The other process may try at the same
		// moment, before the failure is on record.
		apart := slices.CompactFunc(slices.Clone(tries), func(a, b time.Duration) bool { return (a - b).Abs() < time.Second })
		if len(apart) < 3 || len(apart) > 4 || apart[0] > time.Second || apart[1] < 8*time.Second || apart[2]-apart[1] < 16*time.Second {
			t.Errorf("tried after %v", tries)
		}
		failing, err := b.store.Failing(t.Context())
		if err != nil || len(failing) != 1 || failing[0].Key != "payments" || failing[0].Failures != len(tries) || failing[0].ErrorCode != "denied" || !failing[0].Retry.After(time.Now()) {
			t.Errorf("failing %+v, %v", failing, err)
		}
		page, err := b.store.Events(t.Context(), history.Query{Type: history.RotationFailed})
		if err != nil || len(page.Events) != len(tries) {
			t.Errorf("%d rotation_failed, %v, after %d tries", len(page.Events), err, len(tries))
		}
		time.Sleep(24 * time.Hour)
		// Every hour, give or take a fifth; the other process may try at the same moment.
		if n := len(soFar()); n < 28 || n > 80 {
			t.Errorf("%d tries in a day", n)
		}
		b.managers["a"].Before(nil)
		time.Sleep(2 * time.Hour)
		if got := b.rotations("payments"); len(got) < 1 || len(got) > 2 {
			t.Errorf("after the fault: rotated after %v", got)
		}
		if failing, err := b.store.Failing(t.Context()); err != nil || len(failing) != 0 {
			t.Errorf("still failing: %+v, %v", failing, err)
		}
	})
}

// TestHangingKeyManager: it holds up its own keys and no other.
func TestHangingKeyManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.process()
		names := []string{"k1", "k2", "k3", "k4", "k5", "k6"} // more than are rotated at a time
		for _, name := range names {
			b.create(p, name, "a")
		}
		b.create(p, "orders", "b")
		b.add(p, "", maxAge(time.Hour))
		b.managers["a"].Before(func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return ctx.Err()
		})
		p.start(b)
		time.Sleep(time.Hour + time.Second)
		b.wantRotations("orders", time.Hour)
		time.Sleep(10 * time.Minute)
		b.managers["a"].Before(nil)
		time.Sleep(20 * time.Minute)
		for _, name := range names {
			if got := b.rotations(name); len(got) != 1 {
				t.Errorf("key %s was rotated after %v", name, got)
			}
		}
	})
}

// TestStop waits for rotations that are under way, or cancels them.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.process()
		b.create(p, "payments", "a")
		b.add(p, "", maxAge(time.Hour))
		release := make(chan struct{})
		b.managers["a"].Before(func(ctx context.Context, _ string) error {
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		p.start(b)
		time.Sleep(time.Hour + time.Second)
		if !p.Rotating("payments") || p.Rotating("orders") {
			t.Error("the rotation is not said to be under way")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Stop(ctx); err != nil {
			t.Error(err)
		}
		b.wantRotations("payments") // it was cancelled
		if s := p.Status(); s.Running {
			t.Errorf("status %+v", s)
		}
		if known, err := b.store.Schedulers(t.Context()); err != nil || len(known) != 0 {
			t.Errorf("schedulers %+v, %v", known, err)
		}
		if failing, err := b.store.Failing(t.Context()); err != nil || len(failing) != 0 {
			t.Errorf("a stop counts as a failure: %+v, %v", failing, err)
		}
		if err := p.Stop(t.Context()); err != nil {
			t.Errorf("a second stop: %v", err)
		}

		p.start(b)
		time.Sleep(time.Second)
		go func() {
			time.Sleep(5 * time.Second)
			if err := p.Start(); !errors.Is(err, scheduler.ErrRunning) {
				t.Errorf("Start during Stop: %v", err)
			}
			close(release)
		}()
		if err := p.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		b.wantRotations("payments", time.Hour+8*time.Second)
	})
}

// TestClose: a scheduler that is closed stays so, whether it ran or not.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		running, idle := b.process(), b.process()
		running.start(b)
		time.Sleep(time.Second)
		for _, p := range []process{running, idle} {
			for range 2 {
				if err := p.Close(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if err := p.Start(); !errors.Is(err, scheduler.ErrClosed) || p.Status().Running {
				t.Errorf("Start after Close: %v, status %+v", err, p.Status())
			}
		}
		if known, err := b.store.Schedulers(t.Context()); err != nil || len(known) != 0 {
			t.Errorf("schedulers %+v, %v", known, err)
		}
	})
}

// TestStopQueue: Stop waits for what is under way, and lets nothing begin.
func TestStopQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.process()
		for i := range 9 {
			b.create(p, fmt.Sprintf("k%d", i), "a")
		}
		b.add(p, "", maxAge(time.Hour))
		b.managers["a"].Before(func(context.Context, string) error {
			time.Sleep(time.Second)
			return nil
		})
		p.start(b)
		time.Sleep(time.Hour + 500*time.Millisecond)
		if err := p.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		rotated := 0
		for i := range 9 {
			rotated += len(b.rotations(fmt.Sprintf("k%d", i)))
		}
		if rotated != 4 {
			t.Errorf("%d keys were rotated", rotated)
		}
	})
}

// deafStore fails to read facts while broken is set.
type deafStore struct {
	store.Policies
	broken *atomic.Bool
}

func (s deafStore) Facts(ctx context.Context, names ...string) ([]store.Facts, error) {
	if s.broken.Load() {
		return nil, store.ErrBusy
	}
	return s.Policies.Facts(ctx, names...)
}

// TestStoreDown: the next check finds what was missed, once.
func TestStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var broken atomic.Bool
		p := b.process(func(c *scheduler.Config) { c.Store = deafStore{c.Store, &broken} })
		b.create(p, "payments", "a")
		b.add(p, "", maxAge(time.Hour))
		p.start(b)
		time.Sleep(30 * time.Minute)
		broken.Store(true)
		time.Sleep(2*time.Hour - 30*time.Second)
		if s := p.Status(); !errors.Is(s.Err, store.ErrBusy) {
			t.Errorf("status %+v", s)
		}
		broken.Store(false)
		time.Sleep(2 * time.Minute)
		if got := b.rotations("payments"); len(got) != 1 || p.Status().Err != nil {
			t.Errorf("rotated after %v, status %+v", got, p.Status())
		}
	})
}

// TestClockSetBack: an occasion that a fast clock served is not served again when the
// clock is right, and no key manager is asked in vain.
func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		clock := clockwork.NewFakeClockAt(b.start.Add(26 * time.Hour)) // a day ahead, and two hours
		fast := b.process(func(c *scheduler.Config) { c.Clock = clock })
		slow := b.process(interval(15 * time.Minute))
		b.create(slow, "payments", "a") // versions are made by the right clock
		daily, err := policy.NewDaily(60, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		b.add(fast, "", daily)
		b.add(slow, "", daily)
		fast.start(b)
		time.Sleep(time.Second)
		b.wantRotations("payments", 0) // the occasion of the day after
		if err := fast.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		slow.start(b)
		time.Sleep(2 * time.Hour)
		b.wantRotations("payments", 0, time.Hour) // this day's
		b.managers["a"].Calls.Store(0)
		time.Sleep(24 * time.Hour)
		b.wantRotations("payments", 0, time.Hour)
		if n := b.managers["a"].Calls.Load(); n != 0 {
			t.Errorf("%d calls of a key manager in vain", n)
		}
		time.Sleep(24 * time.Hour)
		if got := b.rotations("payments"); len(got) != 3 || got[2] < 49*time.Hour || got[2] > 49*time.Hour+15*time.Minute {
			t.Errorf("rotated after %v", got)
		}
	})
}

// TestRetryOfFastClock: a failure that a fast clock recorded keeps no key from being
// rotated for as long as that clock was ahead.
func TestRetryOfFastClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.process()
		b.create(p, "payments", "a")
		b.add(p, "", maxAge(time.Hour))
		if err := b.store.RecordFailure(t.Context(), "payments", "max_age", "denied", b.start.AddDate(1, 0, 0)); err != nil {
			t.Fatal(err)
		}
		p.start(b)
		time.Sleep(90 * time.Minute)
		b.wantRotations("payments", time.Hour)
	})
}

// TestHeld: a key that another process works on is looked at again soon.
func TestHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.process(interval(24 * time.Hour))
		b.create(p, "payments", "a")
		b.add(p, "", maxAge(time.Hour))
		time.Sleep(time.Hour)
		in, err := b.store.Begin(t.Context(), store.Claim{Key: "payments", Kind: "rotate", Operation: "x", Owner: "elsewhere/1/1", TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		p.start(b)
		time.Sleep(30 * time.Second)
		b.wantRotations("payments")
		if err := b.store.End(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if got := b.rotations("payments"); len(got) != 1 {
			t.Errorf("rotated after %v", got)
		}
	})
}

// TestSuspended: what an operator suspended stays so.
func TestSuspended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.process()
		b.create(p, "payments", "a")
		b.add(p, "", maxAge(time.Hour))
		p.start(b)
		time.Sleep(time.Minute)
		b.setState("payments", 1, keyring.Suspended)
		time.Sleep(5 * time.Hour)
		b.wantRotations("payments")
		b.setState("payments", 1, keyring.Active)
		time.Sleep(90 * time.Second)
		if got := b.rotations("payments"); len(got) != 1 {
			t.Errorf("rotated after %v", got)
		}
	})
}
