package notify

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core/store"
)

// A process delivers to a target for leaseTime, on the store's clock, and renews that when
// leaseAge of it are over. A send may last MaxTimeout, which ends before the lease does
// whenever it begins.
const (
	leaseTime = time.Minute
	leaseAge  = leaseTime / 3
)

// lease is a process's right to deliver to a target. It is safe for concurrent use.
type lease struct {
	store store.Outbox
	sub   store.Subscription
	owner string
	clock clockwork.Clock

	mu    sync.Mutex
	have  bool
	since time.Time // a moment before the store was asked
}

// take asks for the lease. store.ErrMoved if another process has it.
func (l *lease) take(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ask(ctx)
}

func (l *lease) ask(ctx context.Context) error {
	now := l.clock.Now()
	err := l.store.Hold(ctx, l.sub, l.owner, leaseTime)
	if err == nil {
		l.have, l.since = true, now
	} else if errors.Is(err, store.ErrMoved) {
		l.have = false
	}
	return err
}

// renew makes sure that the lease lasts for as long as one send may. store.ErrMoved if it
// was lost: this process slept, and another may have delivered meanwhile.
func (l *lease) renew(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch age := l.age(); {
	case !l.have:
		return fmt.Errorf("%w: %s", store.ErrMoved, l.sub.Target)
	case age >= leaseTime:
		l.have = false
		return fmt.Errorf("%w: %s: this process slept for too long", store.ErrMoved, l.sub.Target)
	case age < leaseAge:
		return nil
	}
	return l.ask(ctx)
}

// age is how old the lease is, in the view that makes it older: a machine that sleeps may
// stop the one clock, and a clock that is set the other.
func (l *lease) age() time.Duration {
	now := l.clock.Now()
	elapsed, wall := now.Sub(l.since), now.Round(0).Sub(l.since.Round(0))
	if wall < 0 {
		return leaseTime
	}
	return max(elapsed, wall)
}

// renewal is when the lease wants to be renewed.
func (l *lease) renewal() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since.Add(leaseAge)
}

func (l *lease) held() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.have && l.age() < leaseTime
}

func (l *lease) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.have = false
}

// release gives the lease back.
func (l *lease) release(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.have {
		return nil
	}
	l.have = false
	return l.store.Release(ctx, l.sub, l.owner)
}
