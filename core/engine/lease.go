package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// DefaultLeaseTTL is how long a grant of uses lasts, and so the longest that a
// process can go on encrypting under a version that is no longer the primary.
const DefaultLeaseTTL = 15 * time.Minute

// firstLease is the size of a process's first lease. Each further one doubles, up
// to a hundredth of the key's limit, so that a busy process seldom asks and an
// idle one holds little.
const firstLease = 64

// lease is a grant, and the sealer that spends it. The ring drops a sealer when
// the primary changes; what it spent is booked from here all the same.
type lease struct {
	held   *store.Lease
	sealer *keyring.Sealer
	size   uint64
	timer  *time.Timer
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
	if err := k.leasing.enter(ctx); err != nil {
		return nil, err
	}
	defer k.leasing.leave()
	if s := k.ring.Sealer(); s != nil {
		if c := s.Take(uses); c != nil {
			return c, nil // somebody else renewed it while we waited
		}
	}
	if e.closed.Load() {
		return nil, ErrClosed
	}
	if err := e.returnLease(ctx, k); err != nil {
		return nil, err
	}
	if tampered := k.tampered.Load(); tampered != nil {
		return nil, *tampered
	}
	granted, err := e.acquire(ctx, k, uses)
	if err != nil {
		return nil, err
	}
	k.lease.held, k.lease.sealer = &granted, nil
	c, err := e.leasedCipher(ctx, k, granted.Version)
	if err != nil {
		return nil, errors.Join(err, e.returnLease(context.WithoutCancel(ctx), k))
	}
	s := keyring.NewSealer(c, granted.Count)
	s.Take(uses)
	k.lease.sealer = s
	k.ring.SetSealer(s)
	// Half a minute early, for whoever is between Take and Seal and for clocks that
	// run apart.
	k.lease.timer = time.AfterFunc(max(e.leaseTTL-30*time.Second, e.leaseTTL/2), func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := e.dropLease(ctx, k); err != nil {
			e.log.Warn("a lease is not returned; it expires and counts as used", "key", k.name, "error", err)
		}
	})
	return c, nil
}

// acquire asks the store for uses of the primary.
func (e *Engine) acquire(ctx context.Context, k *key, uses uint64) (store.Lease, error) {
	size := max(firstLease, 2*k.lease.size)
	if limit := k.ring.Record().Settings.HardLimit; limit > 0 {
		size = min(size, max(limit/100, firstLease))
	}
	size = max(size, uses)
	granted, err := e.store.Acquire(ctx, store.LeaseRequest{Key: k.name, Owner: e.owner, Count: size, TTL: e.leaseTTL})
	if err != nil {
		return store.Lease{}, err
	}
	if granted.Count < uses {
		return store.Lease{}, errors.Join(
			fmt.Errorf("%w: version %d of key %q; rotate the key", keyring.ErrUsageLimit, granted.Version, k.name),
			e.store.Return(context.WithoutCancel(ctx), granted, 0))
	}
	k.lease.size = size
	return granted, nil
}

// leasedCipher opens the version that a lease is for. It may be newer than what
// this process knew.
func (e *Engine) leasedCipher(ctx context.Context, k *key, number uint32) (*keyring.Cipher, error) {
	if k.ring.Record().Primary != number {
		if err := e.refresh(ctx, k); err != nil {
			return nil, err
		}
		if tampered := k.tampered.Load(); tampered != nil {
			return nil, *tampered
		}
	}
	return e.opener(ctx, k, number)
}

// dropLease ends the lease, if there is one.
func (e *Engine) dropLease(ctx context.Context, k *key) error {
	if err := k.leasing.enter(ctx); err != nil {
		return err
	}
	defer k.leasing.leave()
	return e.returnLease(ctx, k)
}

// returnLease books what was spent. The caller holds the gate.
func (e *Engine) returnLease(ctx context.Context, k *key) error {
	if k.lease.held == nil {
		return nil
	}
	var spent uint64
	if k.ring.SetSealer(nil); k.lease.sealer != nil {
		spent = k.lease.sealer.Revoke()
	}
	if err := e.store.Return(ctx, *k.lease.held, spent); err != nil {
		return fmt.Errorf("return the lease on key %q: %w", k.name, err)
	}
	if k.lease.timer != nil {
		k.lease.timer.Stop()
	}
	k.lease.held, k.lease.sealer, k.lease.timer = nil, nil, nil
	return nil
}
