package faults

import (
	"context"
	"slices"

	"github.com/keyrotor/keyrotor/core/store"
)

// Ledger is a store as one process sees it. It keeps what the process holds on lease,
// and can be cut off from it, which is what the process's crash is to the others.
type Ledger struct {
	store.Store

	// lock is held while the store is asked, so that what is held is known at any
	// moment; in a bubble of testing/synctest a mutex would keep time from passing.
	lock   chan struct{}
	asked  []store.LeaseRequest
	held   map[int64]Held
	err    error
	wait   <-chan struct{}
	claims int
}

// Held is a lease that was granted and not returned.
type Held struct {
	store.Lease
	Reencrypting bool
}

// NewLedger stands in front of a store.
func NewLedger(s store.Store) *Ledger {
	return &Ledger{Store: s, lock: make(chan struct{}, 1), held: make(map[int64]Held)}
}

// Fail makes leasing fail from here on; with nil it works again.
func (l *Ledger) Fail(err error) {
	l.lock <- struct{}{}
	defer func() { <-l.lock }()
	l.err = err
}

// HoldBack lets whoever asks for a lease wait until c is closed.
func (l *Ledger) HoldBack(c <-chan struct{}) {
	l.lock <- struct{}{}
	defer func() { <-l.lock }()
	l.wait = c
}

// Acquire implements store.Leases.
func (l *Ledger) Acquire(ctx context.Context, r store.LeaseRequest) (store.Lease, error) {
	l.lock <- struct{}{}
	wait := l.wait
	<-l.lock
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return store.Lease{}, ctx.Err()
		}
	}
	l.lock <- struct{}{}
	defer func() { <-l.lock }()
	l.asked = append(l.asked, r)
	if l.err != nil {
		return store.Lease{}, l.err
	}
	granted, err := l.Store.Acquire(ctx, r)
	for _, b := range r.Back {
		delete(l.held, b.ID)
	}
	if err == nil {
		l.held[granted.ID] = Held{granted, r.Reencrypting}
	}
	return granted, err
}

// Return implements store.Leases.
func (l *Ledger) Return(ctx context.Context, lease store.Lease, used uint64) error {
	l.lock <- struct{}{}
	defer func() { <-l.lock }()
	if l.err != nil {
		return l.err
	}
	delete(l.held, lease.ID)
	return l.Store.Return(ctx, lease, used)
}

// Intents implements store.Intents.
func (l *Ledger) Intents(ctx context.Context) ([]store.Intent, error) {
	l.lock <- struct{}{}
	l.claims++
	<-l.lock
	return l.Store.Intents(ctx)
}

// Asked answers the requests for leases since the last call.
func (l *Ledger) Asked() []store.LeaseRequest {
	l.lock <- struct{}{}
	defer func() { <-l.lock }()
	asked := l.asked
	l.asked = nil
	return asked
}

// Leases answers what is out, the oldest first.
func (l *Ledger) Leases() []Held {
	l.lock <- struct{}{}
	defer func() { <-l.lock }()
	var held []Held
	for _, h := range l.held {
		held = append(held, h)
	}
	slices.SortFunc(held, func(a, b Held) int { return int(a.ID - b.ID) })
	return held
}

// ClaimsRead answers how often the claims of the store were read.
func (l *Ledger) ClaimsRead() int {
	l.lock <- struct{}{}
	defer func() { <-l.lock }()
	return l.claims
}
