package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// firstLease is the size of a process's first lease. A lease that was spent is
// followed by one of twice the size, up to a hundredth of the key's limit; one that
// was not, by one for twice what was used of it. So a busy process seldom asks, and
// an idle one holds little that a crash would book as used.
const firstLease = 64

// returnMargin is how long before its expiry a lease goes back: for whoever is
// between counting and encrypting, and for clocks that run apart.
const returnMargin = 30 * time.Second

// maxGrants is how often in a row a grant can be of a version that is not the primary
// any more. No key is rotated as fast as that.
const maxGrants = 10

// lease is a grant, and the sealer that spends it. The ring drops a sealer when
// the primary changes; what it spent is booked from here all the same.
type lease struct {
	held   *store.Lease
	sealer *keyring.Sealer
	timer  clockwork.Timer
	next   uint64 // size to ask for next time
}

// sealer answers the cipher to encrypt n bytes with, having counted the use.
func (e *Engine) sealer(ctx context.Context, k *key, n int) (*keyring.Cipher, error) {
	uses := keyring.Uses(n)
	if s := k.ring.Sealer(); s != nil {
		if c := s.Take(uses); c != nil {
			return c, nil
		}
	}
	return e.renewLease(ctx, k, uses)
}

// renewLease replaces a lease that is missing, spent, expired or for a version
// that is no longer the primary.
func (e *Engine) renewLease(ctx context.Context, k *key, uses uint64) (*keyring.Cipher, error) {
	if err := e.prepare(ctx, k); err != nil {
		return nil, err
	}
	if err := k.leasing.enter(ctx); err != nil {
		return nil, fmt.Errorf("waiting for uses of key %q: %w", k.name, err)
	}
	defer e.leaveLeasing(context.WithoutCancel(ctx), k)
	if s := k.ring.Sealer(); s != nil {
		if c := s.Take(uses); c != nil {
			return c, nil // somebody else renewed it while we waited
		}
	}
	for tries := 1; ; tries++ {
		e.warnUnreturned(k, e.returnLease(ctx, k))
		if err := e.trusted(ctx, k); err != nil {
			return nil, err
		}
		c, err := e.takeLease(ctx, k, uses)
		if err != nil {
			settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), returnMargin/2)
			defer cancel()
			return nil, errors.Join(err, e.returnLease(settle, k))
		}
		if k.ring.Sealer() == k.lease.sealer && k.tampered.Load() == nil {
			return c, nil
		}
		// A rotation, or the discovery that the record was tampered with, came
		// between the grant and its use: decide anew.
		if tries == maxGrants {
			return nil, fmt.Errorf("%w: the store has version %d of key %q as the primary, and this process has seen version %d as that: find out whether an older copy of the database was put in its place, and start the process again",
				keyring.ErrIntegrity, k.lease.held.Version, k.name, k.ring.Record().Primary)
		}
	}
}

// prepare brings the record up to date and opens the primary, before anybody waits
// at the gate: a key manager that fails or hangs then fails all who ask at once, and
// no uses are asked for in vain.
func (e *Engine) prepare(ctx context.Context, k *key) error {
	if err := e.refreshIfChanged(ctx, k); err != nil {
		return err
	}
	primary, err := k.ring.Record().PrimaryVersion()
	if err != nil {
		return k.doubt(e.noPrimary(ctx, k, err))
	}
	_, err = e.opener(ctx, k, primary.Number)
	return err
}

// takeLease acquires uses of the primary, takes the first of them, and lets the
// ring have the rest.
func (e *Engine) takeLease(ctx context.Context, k *key, uses uint64) (*keyring.Cipher, error) {
	if e.closed.Load() {
		return nil, ErrClosed
	}
	granted, err := e.acquire(ctx, k, uses)
	if err != nil {
		return nil, err
	}
	k.lease.held = &granted
	c, err := e.leasedCipher(ctx, k, granted.Version)
	if err != nil {
		return nil, err
	}
	k.lease.sealer = keyring.NewSealer(c, granted.Count)
	k.lease.sealer.Take(uses)
	left := min(e.clock.Until(granted.Expires), e.leaseTTL)
	k.lease.timer = e.clock.AfterFunc(left-min(returnMargin, left/2), func() { e.leaseDue(k, granted.ID) })
	k.ring.SetSealer(k.lease.sealer)
	return c, nil
}

// refusalTTL is how long a refusal stands without asking the store again, which
// would be a write each time. A rotation that this process sees ends it.
const refusalTTL = time.Second

type refusal struct {
	err   error
	until time.Time
}

// acquire asks the store for uses of the primary.
func (e *Engine) acquire(ctx context.Context, k *key, uses uint64) (store.Lease, error) {
	if r := k.refusal.Load(); r != nil && e.clock.Now().Before(r.until) {
		return store.Lease{}, r.err
	}
	granted, err := e.ask(ctx, k, uses)
	if errors.Is(err, keyring.ErrUsageLimit) && uses == 1 {
		k.refusal.Store(&refusal{err, e.clock.Now().Add(refusalTTL)})
	}
	return granted, err
}

func (e *Engine) ask(ctx context.Context, k *key, uses uint64) (store.Lease, error) {
	most := max(k.ring.Record().Settings.HardLimit/100, firstLease)
	size := max(min(max(k.lease.next, firstLease), most), uses)
	granted, err := e.store.Acquire(ctx, store.LeaseRequest{Key: k.name, Owner: e.owner, Count: size, TTL: e.leaseTTL})
	if err != nil {
		return store.Lease{}, err
	}
	if granted.Count < uses {
		return store.Lease{}, errors.Join(
			fmt.Errorf("%w: version %d of key %q; rotate the key", keyring.ErrUsageLimit, granted.Version, k.name),
			e.store.Return(context.WithoutCancel(ctx), granted, 0))
	}
	return granted, nil
}

// leasedCipher opens the version that a lease is for. It may be newer than what
// this process knew.
func (e *Engine) leasedCipher(ctx context.Context, k *key, number uint32) (*keyring.Cipher, error) {
	if k.ring.Record().Primary != number {
		if err := e.refresh(ctx, k); err != nil {
			return nil, err
		}
	}
	return e.opener(ctx, k, number)
}

// leaseDue gives a lease back before it expires.
func (e *Engine) leaseDue(k *key, id int64) {
	ctx, cancel := context.WithTimeout(context.Background(), returnMargin/2)
	defer cancel()
	e.warnUnreturned(k, e.dropLease(ctx, k, id))
}

func (e *Engine) warnUnreturned(k *key, err error) {
	if err != nil {
		e.log.Warn("a lease is not returned; it expires and counts as used", "key", k.name, "error", err)
	}
}

// dropLease ends the lease of an id, or whichever there is if id is 0.
func (e *Engine) dropLease(ctx context.Context, k *key, id int64) error {
	if err := k.leasing.enter(ctx); err != nil {
		return err
	}
	defer e.leaveLeasing(ctx, k)
	if id != 0 && (k.lease.held == nil || k.lease.held.ID != id) {
		return nil
	}
	return e.returnLease(ctx, k)
}

// dropStaleLease ends the lease if it is of a version that is not the primary any
// more, so that the version's destruction does not wait for it to expire. It waits for
// whoever is at the gate as long as ctx allows.
func (e *Engine) dropStaleLease(ctx context.Context, k *key) {
	if k.leasing.enter(ctx) == nil {
		e.leaveLeasing(context.WithoutCancel(ctx), k)
	}
}

// leaveLeasing opens the gate for the next one, having ended a lease that is stale by
// now. It looks again afterwards: whoever changed the primary in between found the gate
// closed, and went on.
func (e *Engine) leaveLeasing(ctx context.Context, k *key) {
	ctx, cancel := context.WithTimeout(ctx, returnMargin/2)
	defer cancel()
	for {
		primary := k.ring.Record().Primary
		if k.lease.held != nil && k.lease.held.Version != primary {
			e.warnUnreturned(k, e.returnLease(ctx, k))
		}
		k.leasing.leave()
		if k.ring.Record().Primary == primary || !k.leasing.tryEnter() {
			return
		}
	}
}

// returnLease books what was spent. The caller holds the gate. A lease that cannot
// be returned expires and counts as used in full, so it is let go of either way.
func (e *Engine) returnLease(ctx context.Context, k *key) error {
	l := k.lease
	if l.held == nil {
		return nil
	}
	k.ring.SetSealer(nil)
	if l.timer != nil {
		l.timer.Stop()
	}
	spent, next := uint64(0), l.next
	if l.sealer != nil {
		spent = l.sealer.Revoke()
		next = 2 * spent
	}
	k.lease = lease{next: next}
	if err := e.store.Return(ctx, *l.held, spent); err != nil {
		return fmt.Errorf("return the lease on key %q: %w", k.name, err)
	}
	return nil
}
