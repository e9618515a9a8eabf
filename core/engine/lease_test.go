package engine_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/testing/faults"
)

func (b *bench) uses(t *testing.T) uint64 {
	t.Helper()
	k, err := b.store.Key(t.Context(), "payments")
	if err != nil {
		t.Fatal(err)
	}
	return k.Uses[1]
}

// TestUsage: durable counts are never under the true number, and exact after a
// clean stop; a version stops at its limit.
func TestUsage(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	create(t, e, "payments", 500)
	for range 100 {
		encrypt(t, e, "x", "")
	}
	if uses := b.uses(t); uses < 100 {
		t.Errorf("%d uses are on record after 100", uses)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if uses := b.uses(t); uses != 100 {
		t.Errorf("%d uses are on record after 100 and a clean stop", uses)
	}

	e = b.engine(t)
	done := 100
	for ; done < 1000; done++ {
		if _, err := e.Encrypt(t.Context(), "payments", nil, nil); err != nil {
			if !errors.Is(err, keyring.ErrUsageLimit) {
				t.Error(err)
			}
			break
		}
	}
	if done != 500 {
		t.Errorf("%d encryptions under a limit of 500", done)
	}
	if _, err := e.Rotate(t.Context(), "payments", keyring.ReasonUsageLimit, ""); err != nil {
		t.Fatal(err)
	}
	encrypt(t, e, "goes on under version 2", "")
}

// TestLeaseExpires: an idle process gives its lease back before it expires.
func TestLeaseExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := b.engine(t)
		create(t, e, "payments", 0)
		encrypt(t, e, "x", "")
		if uses := b.uses(t); uses != 64 {
			t.Errorf("%d uses are on record while a lease of 64 is out", uses)
		}
		time.Sleep(store.MaxLeaseTTL) // the bubble's clock, not ours
		synctest.Wait()
		if uses := b.uses(t); uses != 1 {
			t.Errorf("%d uses are on record after the lease went back", uses)
		}
		encrypt(t, e, "y", "")
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestIdleLease: a process that encrypts now and then holds few uses.
func TestIdleLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := b.engine(t)
		create(t, e, "payments", 0)
		for i := range 20 {
			encrypt(t, e, "x", "")
			if uses := b.uses(t); uses > uint64(i)+64 {
				t.Errorf("%d uses are on record after %d", uses, i+1)
			}
			time.Sleep(store.MaxLeaseTTL) // the bubble's clock, not ours
		}
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestFailingKeyManagerCostsNoUses: an encryption that cannot be done is not counted.
func TestFailingKeyManagerCostsNoUses(t *testing.T) {
	b := newBench(t)
	create(t, b.engine(t), "payments", 0)
	e := b.engine(t)
	b.km.Before(func(context.Context, string) error { return errors.New("down") })
	for range 10 {
		if _, err := e.Encrypt(t.Context(), "payments", nil, nil); err == nil {
			t.Fatal("encrypted without its root")
		}
	}
	if uses := b.uses(t); uses != 0 {
		t.Errorf("%d uses are on record after none", uses)
	}
}

// TestRefusalIsRemembered: a version at its limit does not cost the store a write
// for each attempt, and a rotation is seen at once.
func TestRefusalIsRemembered(t *testing.T) {
	b := newBench(t)
	var acquired atomic.Int64
	e := b.engineOn(t, countingStore{Store: b.store, acquired: &acquired}, map[string]*faults.KeyManager{"p": b.km})
	create(t, e, "payments", 3)
	for range 3 {
		encrypt(t, e, "x", "")
	}
	acquired.Store(0)
	for range 50 {
		if _, err := e.Encrypt(t.Context(), "payments", nil, nil); !errors.Is(err, keyring.ErrUsageLimit) {
			t.Fatalf("over the limit: %v", err)
		}
	}
	if n := acquired.Load(); n > 5 {
		t.Errorf("50 refusals asked the store %d times", n)
	}
	if _, err := e.Rotate(t.Context(), "payments", keyring.ReasonUsageLimit, ""); err != nil {
		t.Fatal(err)
	}
	encrypt(t, e, "goes on", "")
}

// slowReturn is a store that takes leases back when it is told to.
type slowReturn struct {
	store.Store
	entered, release chan struct{}
}

func (s slowReturn) Return(ctx context.Context, l store.Lease, used uint64) error {
	s.entered <- struct{}{}
	<-s.release
	return s.Store.Return(ctx, l, used)
}

// TestLeaseIsBackAfterAChange: also where the poller was the first to see what this
// process changes, and is about to return the lease.
func TestLeaseIsBackAfterAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		s := slowReturn{b.store, make(chan struct{}, 10), make(chan struct{})}
		e, other := b.engineOn(t, s, map[string]*faults.KeyManager{"p": b.km}), b.engine(t)
		create(t, e, "payments", 0)
		encrypt(t, e, "x", "")
		setState(t, other, 1, keyring.Suspended)
		<-s.entered // by the poller, within seconds of the bubble's clock
		changed := make(chan struct{})
		go func() {
			defer close(changed)
			setState(t, e, 1, keyring.Compromised)
		}()
		synctest.Wait()
		select {
		case <-changed:
			t.Error("the change is done before the lease is back")
		default:
		}
		close(s.release)
		<-changed
		if leased, err := b.store.Leased(t.Context(), "payments", 1); err != nil || leased != 0 {
			t.Errorf("%d uses of version 1 are out after the change, %v", leased, err)
		}
	})
}
