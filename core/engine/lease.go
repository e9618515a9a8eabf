package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// quota is the right of this process to use a key's primary for one purpose.
type quota struct {
	purpose keyring.Purpose
	// gate guards what follows. No grant is waited for behind it.
	gate gate
	// lease is what the sealer in the ring spends.
	lease *lease
	// next was fetched ahead, and is spent after lease.
	next *lease
	// spent have too little left for somebody, and go back with the next request.
	spent []*lease
	// fetch is the request that is under way.
	fetch *fetch
	// size is how many uses to ask for.
	size uint64
}

func newQuota(p keyring.Purpose) quota { return quota{purpose: p, gate: newGate(), size: firstLease} }

// remove answers the leases that match, which the quota holds no more.
func (q *quota) remove(match func(*lease) bool) (removed []*lease) {
	for _, place := range []**lease{&q.lease, &q.next} {
		if l := *place; l != nil && match(l) {
			removed, *place = append(removed, l), nil
		}
	}
	q.spent = slices.DeleteFunc(q.spent, func(l *lease) bool {
		matches := match(l)
		if matches {
			removed = append(removed, l)
		}
		return matches
	})
	return removed
}

// lease is a grant. A sealer spends half of it at a time: when the first half is
// spent the second is at hand, and there is time to fetch the next grant.
type lease struct {
	store.Lease
	sealer *keyring.Sealer
	spent  uint64    // by former sealers
	began  time.Time // to be spent
	timer  clockwork.Timer
}

// left ends the sealer, and answers how many uses there are.
func (l *lease) left() uint64 {
	if l.sealer != nil {
		l.spent += l.sealer.Revoke()
		l.sealer = nil
	}
	return l.Count - l.spent
}

// cut makes a sealer of c and the next half, or as much as it takes, with so many uses
// taken; nil if there are fewer. last is whether it holds all that is left.
func (l *lease) cut(c *keyring.Cipher, uses uint64) (s *keyring.Sealer, last bool) {
	left := l.left()
	if left < uses {
		return nil, true
	}
	part := min(max(l.Count-l.Count/2, uses), left)
	l.sealer = keyring.NewSealer(c, part)
	l.sealer.Take(uses)
	return l.sealer, part == left
}

// uncut ends the sealer that cut made, whose first uses were taken in vain.
func (l *lease) uncut(uses uint64) {
	l.left()
	l.spent -= uses
}

// sealer answers the cipher to encrypt n bytes with, having counted the use.
func (e *Engine) sealer(ctx context.Context, k *key, p keyring.Purpose, n int) (*keyring.Cipher, error) {
	uses := keyring.Uses(n)
	if s := k.ring.Sealer(p); s != nil {
		if c := s.Take(uses); c != nil {
			return c, nil
		}
	}
	return e.renew(ctx, k, &k.quotas[p], uses)
}

// renew is sealer where no sealer is in place, or one that has too little left. At the
// version's hard limit it waits for a rotation that is under way.
func (e *Engine) renew(ctx context.Context, k *key, q *quota, uses uint64) (*keyring.Cipher, error) {
	for {
		stopped := k.ring.Record().Primary
		c, err := e.take(ctx, k, q, uses)
		if !errors.Is(err, keyring.ErrUsageLimit) {
			return c, err
		}
		if err := e.awaitRotation(ctx, k, stopped, err); err != nil {
			return nil, err
		}
	}
}

// take takes uses of what is at hand, or has more fetched and waits for that.
func (e *Engine) take(ctx context.Context, k *key, q *quota, uses uint64) (*keyring.Cipher, error) {
	for {
		c, f, err := e.takeOrFetch(ctx, k, q, uses)
		if f == nil {
			return c, err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for uses of key %q: %w", k.name, ctx.Err())
		}
		// Where somebody else's need was not met, this one may be.
		if f.err != nil && f.uses <= uses {
			return nil, f.err
		}
	}
}

// takeOrFetch answers a cipher, or the request to wait for.
func (e *Engine) takeOrFetch(ctx context.Context, k *key, q *quota, uses uint64) (*keyring.Cipher, *fetch, error) {
	if err := q.gate.enter(ctx); err != nil {
		return nil, nil, fmt.Errorf("waiting for uses of key %q: %w", k.name, err)
	}
	defer e.leave(ctx, k, q)
	if e.closed.Load() {
		return nil, nil, ErrClosed
	}
	if c := e.takeAtHand(k, q, uses); c != nil {
		return c, nil, nil
	}
	return nil, e.startFetch(k, q, uses), nil
}

// takeAtHand takes uses without a call to the store: of a sealer that somebody put in
// place meanwhile, of the rest of the lease, or of the one that was fetched ahead. The
// caller holds the gate.
func (e *Engine) takeAtHand(k *key, q *quota, uses uint64) *keyring.Cipher {
	if s := k.ring.Sealer(q.purpose); s != nil {
		if c := s.Take(uses); c != nil {
			return c
		}
	}
	for {
		if q.lease == nil {
			q.lease, q.next = q.next, nil
		}
		if q.lease == nil {
			return nil
		}
		if c := e.spend(k, q, uses); c != nil {
			return c
		}
		q.lease.left() // nobody takes more of it
		q.spent, q.lease = append(q.spent, q.lease), nil
	}
}

// spend puts the next part of the lease in place, and answers nil if it is too small,
// or not to be spent any more.
func (e *Engine) spend(k *key, q *quota, uses uint64) *keyring.Cipher {
	l := q.lease
	c := k.spendable(l)
	if c == nil {
		return nil
	}
	s, last := l.cut(c, uses)
	if s == nil {
		return nil
	}
	k.ring.SetSealer(q.purpose, s)
	if k.spendable(l) == nil || e.closed.Load() { // since a moment ago
		k.ring.SetSealer(q.purpose, nil)
		l.uncut(uses)
		return nil
	}
	if l.began.IsZero() {
		l.began = e.clock.Now()
	}
	// A lease of one use has no half; it is so small because exactness matters more.
	if last && l.Count > 1 && q.next == nil {
		if e.clock.Since(l.began) < busyLease {
			q.size = max(2*l.Count, firstLease)
		}
		e.startFetch(k, q, 0)
	}
	return c
}

// stale reports whether a lease is not to be spent any more.
func (e *Engine) stale(k *key, l *lease) bool { return e.closed.Load() || k.spendable(l) == nil }

// spendable answers the cipher that a lease is for, nil if it is not to be spent: its
// version is not the primary, or is not open, or the record cannot be trusted.
func (k *key) spendable(l *lease) *keyring.Cipher {
	if s := k.standing(); s.primary == l.Version && s.tampered == nil {
		return s.cipher
	}
	return nil
}

// standing is what decides whether leases are spent.
type standing struct {
	primary  uint32
	cipher   *keyring.Cipher
	tampered *error
}

func (k *key) standing() standing {
	s := standing{primary: k.ring.Record().Primary, tampered: k.tampered.Load()}
	if s.primary > 0 {
		s.cipher, _ = k.ring.Opener(s.primary) // nil if it is not open, for whatever reason
	}
	return s
}
