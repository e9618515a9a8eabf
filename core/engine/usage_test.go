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
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/testing/faults"
)

// process builds an engine over the bench as another process would have it.
func (b *bench) process(t *testing.T, l *faults.Ledger, change func(*engine.Config)) *engine.Engine {
	t.Helper()
	c := engine.Config{Store: l, Actor: "test@host", KeyManager: func(string) (wrapping.KeyManager, error) { return b.km, nil }}
	if change != nil {
		change(&c)
	}
	e, err := engine.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close(context.Background()) })
	return e
}

// sizes answers how large the leases were that were asked for.
func sizes(asked []store.LeaseRequest) (sizes []uint64) {
	for _, r := range asked {
		sizes = append(sizes, r.Count)
	}
	return sizes
}

func encryptTimes(t *testing.T, e *engine.Engine, n int) {
	t.Helper()
	for range n {
		encrypt(t, e, "x", "")
	}
}

func (b *bench) counts(t *testing.T, version uint32) (uses, reencrypted uint64) {
	t.Helper()
	k, err := b.store.Key(t.Context(), "payments")
	if err != nil {
		t.Fatal(err)
	}
	return k.Uses[version], k.Reencrypted[version]
}

// TestReencryptionIsCountedApart: what a policy counts is encryptions alone, to the
// last one after a clean stop, and never fewer in between.
func TestReencryptionIsCountedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := b.engine(t)
		create(t, e, "payments", 0)
		old := encrypt(t, e, "x", "")
		rotate(t, e)
		work := func(e *engine.Engine) {
			t.Helper()
			for range 70 {
				encrypt(t, e, "x", "")
				for range 2 {
					if _, changed, err := e.Reencrypt(t.Context(), nil, old, nil); err != nil || !changed {
						t.Fatalf("changed %v, %v", changed, err)
					}
				}
			}
		}
		work(e)
		if uses, part := b.counts(t, 2); uses-part < 70 || part < 140 {
			t.Errorf("%d uses, %d by re-encryption, after 70 and 140", uses, part)
		}
		if err := e.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if uses, part := b.counts(t, 2); uses != 210 || part != 140 {
			t.Errorf("%d uses, %d by re-encryption, after 70 and 140 and a clean stop", uses, part)
		}

		l := faults.NewLedger(b.openStore(t))
		crashed := b.process(t, l, nil)
		work(crashed)
		synctest.Wait()
		l.Fail(errors.New("the process is gone"))
		before, beforePart := b.counts(t, 2)
		if before-beforePart < 140 || beforePart < 280 {
			t.Errorf("%d uses, %d by re-encryption, after 140 and 280", before, beforePart)
		}
		time.Sleep(store.MaxLeaseTTL) // the bubble's clock, not ours
		encrypt(t, b.engine(t), "books what has expired", "")
		if uses, part := b.counts(t, 2); uses != before+64 || part != beforePart {
			t.Errorf("%d uses, %d by re-encryption, once what a crash left has expired; %d and %d before", uses, part, before, beforePart)
		}
	})
}

// hung is a store that has stopped to answer once it is told to.
type hung struct {
	store.Store
	on *atomic.Bool
}

func (s hung) Revision(ctx context.Context) (uint64, error) {
	if s.on.Load() {
		return 0, store.ErrBusy
	}
	return s.Store.Revision(ctx)
}

func (s hung) Return(ctx context.Context, l store.Lease, used uint64) error {
	if s.on.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.Store.Return(ctx, l, used)
}

// TestNothingAfterExpiry: where a lease cannot be returned, those that were granted with
// it end in time, too.
func TestNothingAfterExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var on atomic.Bool
		e := b.engineOn(t, hung{b.store, &on}, map[string]*faults.KeyManager{"p": b.km})
		create(t, e, "payments", 0)
		encryptTimes(t, e, 33)
		synctest.Wait() // a second lease is there
		encryptTimes(t, e, 40)
		on.Store(true)
		time.Sleep(store.MaxLeaseTTL) // the bubble's clock, not ours
		if _, err := e.Encrypt(t.Context(), "payments", nil, nil); !errors.Is(err, store.ErrBusy) {
			t.Errorf("with leases that have expired: %v", err)
		}
		on.Store(false)
	})
}

// TestFetchedAhead: the second half of a lease is at hand when the first is spent, and
// the next lease when that is.
func TestFetchedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		l := faults.NewLedger(b.openStore(t))
		e := b.process(t, l, nil)
		create(t, e, "payments", 0)
		encryptTimes(t, e, 32)
		synctest.Wait()
		if n := len(l.Leases()); n != 1 {
			t.Errorf("%d leases are out within the first half of the first", n)
		}
		encrypt(t, e, "x", "")
		synctest.Wait()
		if n := len(l.Leases()); n != 2 {
			t.Errorf("%d leases are out within the second half of the first", n)
		}
		stop := make(chan struct{})
		l.HoldBack(stop)
		encryptTimes(t, e, 31+128) // what is left, and what was fetched ahead
		more := make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			_, err := e.Encrypt(ctx, "payments", nil, nil)
			more <- err
		}()
		synctest.Wait()
		select {
		case err := <-more:
			t.Errorf("more was encrypted than is leased: %v", err)
		default:
		}
		cancel()
		if err := <-more; !errors.Is(err, context.Canceled) {
			t.Errorf("behind a request that hangs: %v", err)
		}
		l.HoldBack(nil)
		close(stop)
		encrypt(t, e, "goes on", "")
		if got, want := sizes(l.Asked()), []uint64{64, 128, 256}; !slices.Equal(got, want) {
			t.Errorf("leases of %v, want %v", got, want)
		}
		if uses, _ := b.counts(t, 1); uses < 193 || uses > 192+256 {
			t.Errorf("%d uses are on record after 193", uses)
		}
		if err := e.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if uses, _ := b.counts(t, 1); uses != 193 {
			t.Errorf("%d uses are on record after 193 and a clean stop", uses)
		}
	})
}

// TestFetchedAheadGoesBack: nothing stays out that will not be spent, and all that was
// not spent comes back.
func TestFetchedAheadGoesBack(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *bench, *engine.Engine){
		"rotation":   func(t *testing.T, _ *bench, e *engine.Engine) { rotate(t, e) },
		"suspension": func(t *testing.T, _ *bench, e *engine.Engine) { setState(t, e, 2, keyring.Suspended) },
		"close": func(t *testing.T, _ *bench, e *engine.Engine) {
			if err := e.Close(t.Context()); err != nil {
				t.Error(err)
			}
		},
		"rotation elsewhere": func(t *testing.T, b *bench, _ *engine.Engine) {
			rotate(t, b.engine(t))
			time.Sleep(6 * time.Second) // the bubble's clock, not ours
		},
		"tampering": func(t *testing.T, b *bench, _ *engine.Engine) {
			b.edit(t, `UPDATE keys SET hard_limit = hard_limit / 2; UPDATE meta SET revision = revision + 1`)
			time.Sleep(6 * time.Second) // the bubble's clock, not ours
		},
		"expiry": func(*testing.T, *bench, *engine.Engine) { time.Sleep(store.MaxLeaseTTL) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				l := faults.NewLedger(b.openStore(t))
				e := b.process(t, l, nil)
				create(t, e, "payments", 0)
				old := encrypt(t, e, "x", "")
				rotate(t, e)
				for range 150 {
					encrypt(t, e, "x", "")
					if _, _, err := e.Reencrypt(t.Context(), nil, old, nil); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				if n := len(l.Leases()); n != 4 {
					t.Fatalf("%d leases are out, want two for each purpose", n)
				}
				end(t, b, e)
				synctest.Wait()
				if n := len(l.Leases()); n != 0 {
					t.Errorf("%d leases are out", n)
				}
				if uses, part := b.counts(t, 2); uses != 300 || part != 150 {
					t.Errorf("%d uses are on record, %d by re-encryption, after 300 and 150", uses, part)
				}
			})
		})
	}
}

// TestOtherPurposeGoesBack: whoever meets a new primary in re-encrypting holds no uses
// for encryption of the former one.
func TestOtherPurposeGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		l := faults.NewLedger(b.openStore(t))
		e := b.process(t, l, nil)
		create(t, e, "payments", 0)
		old := encrypt(t, e, "x", "")
		rotate(t, e)
		encryptTimes(t, e, 40)
		synctest.Wait()
		rotate(t, b.engine(t))
		if _, _, err := e.Reencrypt(t.Context(), nil, old, nil); err != nil {
			t.Fatal(err)
		}
		held := l.Leases()
		if len(held) != 1 || held[0].Version != 3 || !held[0].Reencrypting {
			t.Errorf("it holds %+v", held)
		}
	})
}

// lateGrant is a store whose answer to a request for uses comes late.
type lateGrant struct {
	store.Store
	granted, answer chan struct{}
}

func (s lateGrant) Acquire(ctx context.Context, r store.LeaseRequest) (store.Lease, error) {
	l, err := s.Store.Acquire(ctx, r)
	s.granted <- struct{}{}
	<-s.answer
	return l, err
}

// TestGrantBehindARotation: a rotation is not over before a lease is back that was
// granted before it, and whose grant is not known yet.
func TestGrantBehindARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		s := lateGrant{b.store, make(chan struct{}), make(chan struct{}, 1)}
		e := b.engineOn(t, s, map[string]*faults.KeyManager{"p": b.km})
		create(t, e, "payments", 0)
		first := try(t.Context(), e)
		<-s.granted
		rotated := make(chan struct{})
		go func() {
			defer close(rotated)
			rotate(t, e)
		}()
		synctest.Wait()
		select {
		case <-rotated:
			t.Error("the rotation is over before the lease is back")
		default:
		}
		s.answer <- struct{}{}
		<-s.granted // of the new primary, which is asked for next
		close(s.answer)
		<-rotated
		if got := <-first; got.err != nil || !strings.HasPrefix(string(got.token), "keyrotor:payments:v2:") {
			t.Errorf("encrypted to %s, %v", got.token, got.err)
		}
		if leased, err := b.store.Leased(t.Context(), "payments", 1); err != nil || leased != 0 {
			t.Errorf("%d uses of version 1 are out after the rotation, %v", leased, err)
		}
	})
}

// TestClosedVersionHoldsNoUses: when access to the key manager is taken away, so are the
// uses, and they are there again when it is given back.
func TestClosedVersionHoldsNoUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		l := faults.NewLedger(b.openStore(t))
		e := b.process(t, l, nil)
		create(t, e, "payments", 0)
		encryptTimes(t, e, 100)
		pass(50 * time.Minute)
		encryptTimes(t, e, 100)
		synctest.Wait()
		if n := len(l.Leases()); n < 2 {
			t.Fatalf("%d leases are out", n)
		}
		answering(b.km, provider.Denied)
		pass(12 * time.Minute) // the wraps are opened anew each hour, and leases last for 15 minutes
		if n := len(l.Leases()); n > 0 {
			t.Errorf("%d leases are out of a version that is closed", n)
		}
		if _, err := e.Encrypt(t.Context(), "payments", nil, nil); !errors.Is(err, provider.Denied) {
			t.Errorf("with access taken away: %v", err)
		}
		if uses, _ := b.counts(t, 1); uses != 200 {
			t.Errorf("%d uses are on record after 200", uses)
		}
		b.km.Before(nil)
		pass(2 * time.Minute)
		encryptTimes(t, e, 10)
	})
}

// TestLeaseSizes: a lease is a hundredth at most of what a version is for.
func TestLeaseSizes(t *testing.T) {
	for _, c := range []struct {
		limit, policy uint64
		encryptions   int
		want          []uint64
	}{
		{limit: 0, encryptions: 1000, want: []uint64{64, 128, 256, 512, 1024}},
		{limit: 10_000, encryptions: 200, want: []uint64{64, 100, 100}},
		{limit: 0, policy: 10_000, encryptions: 200, want: []uint64{64, 100, 100}},
		{limit: 5000, policy: 10_000, encryptions: 100, want: []uint64{50, 50, 50}},
		{limit: 5000, policy: 199, encryptions: 3, want: []uint64{1, 1, 1}},
		{limit: 50, encryptions: 3, want: []uint64{1, 1, 1}},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			l := faults.NewLedger(b.openStore(t))
			e := b.process(t, l, func(c1 *engine.Config) { c1.MaxUses = func(string) uint64 { return c.policy } })
			create(t, e, "payments", c.limit)
			for range c.encryptions {
				encrypt(t, e, "x", "")
				synctest.Wait() // for what is fetched ahead
			}
			if got := sizes(l.Asked()); !slices.Equal(got, c.want) {
				t.Errorf("a limit of %d and %d by policy: leases of %v, want %v", c.limit, c.policy, got, c.want)
			}
			if _, err := e.Encrypt(t.Context(), "payments", make([]byte, 3<<20), nil); err != nil {
				t.Errorf("a limit of %d and %d by policy: a value of 3 uses: %v", c.limit, c.policy, err)
			}
		})
	}
}

// TestSlowLeases: leases of a process that is not busy do not grow.
func TestSlowLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		l := faults.NewLedger(b.openStore(t))
		e := b.process(t, l, nil)
		create(t, e, "payments", 0)
		for range 300 {
			encrypt(t, e, "x", "")
			time.Sleep(2 * time.Second) // the bubble's clock, not ours
		}
		for _, size := range sizes(l.Asked()) {
			if size != 64 {
				t.Errorf("a lease of %d for a use every 2 s", size)
			}
		}
	})
}

// TestLeasesShrink: who was busy and is so no more gets smaller leases.
func TestLeasesShrink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		l := faults.NewLedger(b.openStore(t))
		e := b.process(t, l, nil)
		create(t, e, "payments", 0)
		encryptTimes(t, e, 300)
		for range 2 {
			time.Sleep(store.MaxLeaseTTL) // the bubble's clock, not ours
			encrypt(t, e, "x", "")
		}
		if got, want := sizes(l.Asked()), []uint64{64, 128, 256, 216, 64}; !slices.Equal(got, want) {
			t.Errorf("leases of %v, want %v", got, want)
		}
	})
}

// TestOnUses: each grant is told of, where the engine may be asked for anything.
func TestOnUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		l := faults.NewLedger(b.openStore(t))
		var e *engine.Engine
		var grants atomic.Int64
		var due, rotated atomic.Bool
		e = b.process(t, l, func(c *engine.Config) {
			c.OnUses = func(key string, l store.Lease, limit uint64) {
				if grants.Add(1); key != "payments" || l.Uses < l.Count || l.Count == 0 || limit != 10_000 {
					t.Errorf("told of %q, %+v", key, l)
				}
				if l.Version == 1 && l.Uses-l.Reencrypted >= 500 && due.CompareAndSwap(false, true) {
					_, err := e.RotateDue(context.Background(), key, l.Version, keyring.ReasonUsageLimit, store.DueSlot{Policy: "uses", Slot: "v1"})
					if err != nil {
						t.Error(err)
					}
					rotated.Store(true)
				}
			}
		})
		create(t, e, "payments", 10_000)
		for n := 0; !rotated.Load(); n++ {
			if encrypt(t, e, "x", ""); n > 9999 {
				t.Fatal("it is not rotated")
			}
		}
		if token := encrypt(t, e, "x", ""); !strings.HasPrefix(string(token), "keyrotor:payments:v2:") {
			t.Errorf("after the rotation it encrypts to %s", token)
		}
		synctest.Wait()
		if asked := len(l.Asked()); int(grants.Load()) != asked {
			t.Errorf("told of %d grants of %d", grants.Load(), asked)
		}
	})
}

// TestSpendingWhileTheStoreIsDown: encryption goes on within what is leased, and then says why not.
func TestSpendingWhileTheStoreIsDown(t *testing.T) {
	for _, down := range []error{store.ErrBusy, store.ErrReadOnly, store.ErrFull} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			l := faults.NewLedger(b.openStore(t))
			e := b.process(t, l, nil)
			create(t, e, "payments", 0)
			encryptTimes(t, e, 40)
			synctest.Wait()
			l.Fail(down)
			encryptTimes(t, e, 24+128)
			for range 3 {
				_, err := e.Encrypt(t.Context(), "payments", nil, nil)
				if !errors.Is(err, down) || !strings.HasPrefix(err.Error(), `no leased uses of key "payments" are left, and the store grants no more: `) {
					t.Errorf("with all spent: %v", err)
				}
			}
			l.Fail(nil)
			encrypt(t, e, "goes on", "")
			if err := e.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if uses, _ := b.counts(t, 1); uses != 193 || len(l.Leases()) > 0 {
				t.Errorf("%d uses are on record after 193, %d leases are out", uses, len(l.Leases()))
			}
		})
	}
}

// TestLargeValueBesideSmallOnes: a value of many uses gets them, and burns none.
func TestLargeValueBesideSmallOnes(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	create(t, e, "payments", 0)
	large := make([]byte, 40<<20)
	encrypt(t, e, "x", "")
	if _, err := e.Encrypt(t.Context(), "payments", large, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Encrypt(t.Context(), "payments", large, nil); err != nil {
		t.Fatal(err)
	}
	encrypt(t, e, "x", "")
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if uses, _ := b.counts(t, 1); uses != 82 {
		t.Errorf("%d uses are on record after 82", uses)
	}
}

// TestManyWaitForOneRequest: whoever needs uses at the same time, one asks for all.
func TestManyWaitForOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		l := faults.NewLedger(b.openStore(t))
		e := b.process(t, l, nil)
		create(t, e, "payments", 0)
		stop := make(chan struct{})
		l.HoldBack(stop)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { encrypt(t, e, "x", "") })
		}
		synctest.Wait()
		l.HoldBack(nil)
		close(stop)
		wg.Wait()
		synctest.Wait()
		if got, want := sizes(l.Asked()), []uint64{64, 128}; !slices.Equal(got, want) {
			t.Errorf("50 at the same time: leases of %v, want %v", got, want)
		}
	})
}
