package engine

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// How large leases are. A lease whose first half is spent within busyLease is followed
// by one of twice its size; one that goes back because its time is over, by one of
// twice what was used of it. So a busy process seldom asks, and an idle one holds
// little that a crash would book as used. A lease is a part in leastParts at most of
// what a version is for: what a few processes hold hardly matters to when the version
// is rotated, or stops.
const (
	firstLease = 64
	busyLease  = time.Minute
	leastParts = 100
)

// fetchTimeout bounds a request for uses, which goes on when whoever waits for it
// gives up. It is longer than what the key manager and the store have by themselves.
const fetchTimeout = time.Minute

// maxGrants is how often in a row a grant can be of a version that is not the primary
// any more. No key is rotated as fast as that.
const maxGrants = 10

// fetch is a request for uses that is under way, for all who need some.
type fetch struct {
	// uses is what somebody needs at once, 0 if the request looks ahead.
	uses uint64
	// back are the spent leases that go back with it.
	back []*lease
	// asking is set once there may be a lease that nobody else knows of.
	asking atomic.Bool
	// limited is set if the store grants nothing, and says of which version.
	limited *store.Lease
	done    chan struct{}
	err     error // once it is done
}

// startFetch answers the request that is under way, or begins one. The caller holds
// the gate.
func (e *Engine) startFetch(k *key, q *quota, uses uint64) *fetch {
	if q.fetch == nil {
		f := &fetch{uses: uses, back: q.spent, done: make(chan struct{})}
		f.asking.Store(len(f.back) > 0)
		q.fetch, q.spent = f, nil
		go e.runFetch(k, q, f, q.size)
	}
	return q.fetch
}

// runFetch gets the next lease, and tells whoever waits for it.
func (e *Engine) runFetch(k *key, q *quota, f *fetch, size uint64) {
	l, err := e.obtain(k, q.purpose, f, size)
	_ = q.gate.enter(context.Background()) // never fails
	f.err, q.fetch = err, nil
	q.spent = append(q.spent, f.back...) // if they are not returned yet
	if q.next = l; l != nil {
		left := min(e.clock.Until(l.Expires), e.leaseTTL)
		l.timer = e.clock.AfterFunc(left-min(returnMargin, left/2), func() { e.leaseDue(k, q, l) })
	}
	e.leave(context.Background(), k, q)
	e.tidy(context.Background(), k) // the request may have met a new primary
	if f.limited != nil {
		e.onUses(k.name, *f.limited, k.ring.Record().Settings.HardLimit) // before anybody asks whether a rotation comes
	}
	close(f.done)
	switch {
	case err == nil:
		e.onUses(k.name, l.Lease, k.ring.Record().Settings.HardLimit)
	case f.uses == 0 && !errors.Is(err, keyring.ErrUsageLimit) && !e.closed.Load():
		e.log.Warn("no uses could be leased ahead; when those that are leased are spent, it is tried again", "key", k.name, "error", err)
	}
}

// obtain gets a lease of the version that is the primary when it is there.
func (e *Engine) obtain(k *key, p keyring.Purpose, f *fetch, size uint64) (*lease, error) {
	ctx, cancel := context.WithTimeout(e.life, fetchTimeout)
	defer cancel()
	for tries := 1; ; tries++ {
		l, err := e.obtainOnce(ctx, k, p, f, size)
		switch {
		case err == nil:
		case e.closed.Load():
			return nil, ErrClosed
		case ctx.Err() != nil: // nobody's context is over, so it is no context's error
			return nil, fmt.Errorf("no uses of key %q within %s: %v", k.name, fetchTimeout, err) //nolint:errorlint // see above
		default:
			return nil, err
		}
		if !e.stale(k, l) {
			return l, nil
		}
		// A rotation, or the discovery that the record was tampered with, came
		// between the grant and here: decide anew.
		f.back = append(f.back, l)
		if tries == maxGrants {
			return nil, fmt.Errorf("%w: the store has version %d of key %q as the primary, and this process has seen version %d as that: find out whether an older copy of the database was put in its place, and start the process again",
				keyring.ErrIntegrity, l.Version, k.name, k.ring.Record().Primary)
		}
	}
}

// obtainOnce gets a lease, and opens the version that it is for.
func (e *Engine) obtainOnce(ctx context.Context, k *key, p keyring.Purpose, f *fetch, size uint64) (*lease, error) {
	if err := e.prepare(ctx, k); err != nil {
		return nil, err
	}
	if err := e.trusted(ctx, k); err != nil {
		return nil, err
	}
	if e.closed.Load() {
		return nil, ErrClosed
	}
	granted, err := e.acquire(ctx, k, p, f, size)
	if err != nil {
		return nil, err
	}
	l := &lease{Lease: granted}
	if err := e.openLeased(ctx, k, granted.Version); err != nil {
		return nil, errors.Join(err, e.giveBack(context.WithoutCancel(ctx), k, l))
	}
	return l, nil
}

// prepare brings the record up to date and opens the primary, so that no uses are
// asked for in vain.
func (e *Engine) prepare(ctx context.Context, k *key) error {
	if err := e.refreshIfChanged(ctx, k); err != nil {
		return outOfUses(k, err)
	}
	primary, err := k.ring.Record().PrimaryVersion()
	if err != nil {
		return k.doubt(e.noPrimary(ctx, k, err))
	}
	_, err = e.opener(ctx, k, primary.Number)
	return err
}

// acquire asks the store for uses of the primary.
func (e *Engine) acquire(ctx context.Context, k *key, p keyring.Purpose, f *fetch, size uint64) (store.Lease, error) {
	if r := k.refusal.Load(); r != nil && e.clock.Now().Before(r.until) {
		return store.Lease{}, r.err
	}
	ask := store.LeaseRequest{
		Key: k.name, Owner: e.owner, Count: max(min(size, e.mostUses(k)), f.uses), TTL: e.leaseTTL,
		Reencrypting: p == keyring.Reencrypting,
	}
	for _, l := range f.back {
		ask.Back = append(ask.Back, store.Returned{Lease: l.Lease, Used: l.Count - l.left()})
	}
	f.asking.Store(true)
	granted, err := e.store.Acquire(ctx, ask)
	limited := errors.Is(err, keyring.ErrUsageLimit)
	if err != nil && !limited && !errors.Is(err, keyring.ErrNoPrimary) {
		return store.Lease{}, outOfUses(k, err)
	}
	for _, l := range f.back {
		l.stop()
	}
	f.back = nil
	if limited {
		now := k.ring.Record()
		f.limited = &store.Lease{Key: k.name, Version: now.Primary, Uses: now.Settings.HardLimit}
		k.refusal.Store(&refusal{err, e.clock.Now().Add(refusalTTL)})
	}
	if err == nil && granted.Count < f.uses {
		err = errors.Join(
			fmt.Errorf("%w: version %d of key %q; rotate the key", keyring.ErrUsageLimit, granted.Version, k.name),
			e.giveBack(context.WithoutCancel(ctx), k, &lease{Lease: granted}))
	}
	return granted, err
}

// mostUses is the size of the largest lease of a key. A value that takes more uses gets
// them nevertheless.
func (e *Engine) mostUses(k *key) uint64 {
	limit := k.ring.Record().Settings.HardLimit
	if n := e.maxUses(k.name); n > 0 {
		limit = min(limit, n)
	}
	return max(limit/leastParts, 1)
}

// outOfUses says what it means that the store does not answer: until now encryption
// went on within what was leased.
func outOfUses(k *key, err error) error {
	return fmt.Errorf("no leased uses of key %q are left, and the store grants no more: %w", k.name, err)
}

// openLeased opens the version that a lease is for. It may be newer than what this
// process knew.
func (e *Engine) openLeased(ctx context.Context, k *key, number uint32) error {
	if k.ring.Record().Primary != number {
		if err := e.refresh(ctx, k); err != nil {
			return err
		}
	}
	_, err := e.opener(ctx, k, number)
	return err
}
