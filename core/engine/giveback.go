package engine

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// returnMargin is how long before its expiry a lease goes back: for whoever is
// between counting and encrypting, and for clocks that run apart.
const returnMargin = 30 * time.Second

// stop ends what would give the lease back in time.
func (l *lease) stop() {
	if l.timer != nil {
		l.timer.Stop()
	}
}

// giveBack books what was spent of a lease. One that cannot be returned expires and
// counts as used in full, so it is let go of either way.
func (e *Engine) giveBack(ctx context.Context, k *key, l *lease) error {
	l.stop()
	if err := e.store.Return(ctx, l.Lease, l.Count-l.left()); err != nil {
		return fmt.Errorf("return a lease on key %q: %w", k.name, err)
	}
	return nil
}

func (e *Engine) warnUnreturned(k *key, err error) {
	if err != nil {
		e.log.Warn("a lease is not returned; it expires and counts as used", "key", k.name, "error", err)
	}
}

// leaseDue gives a lease back before it expires. Whoever gives another one back to a
// store that hangs is waited for: it takes half of the margin at most, and what is not
// ended here would be spent after its expiry.
func (e *Engine) leaseDue(k *key, q *quota, due *lease) {
	_ = q.gate.enter(context.Background()) // never fails
	ctx, cancel := context.WithTimeout(context.Background(), returnMargin/2)
	defer cancel()
	defer e.leave(ctx, k, q)
	if due == q.lease {
		due.left()
		q.size = max(2*due.spent, firstLease)
	}
	for _, l := range q.remove(func(l *lease) bool { return l == due }) {
		e.warnUnreturned(k, e.giveBack(ctx, k, l))
	}
}

// leave opens the gate for the next one, having given back what is stale by now. It
// looks again afterwards: whoever changed the key in between found the gate closed,
// and went on.
func (e *Engine) leave(ctx context.Context, k *key, q *quota) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), returnMargin/2)
	defer cancel()
	for {
		before := k.standing()
		for _, l := range q.remove(func(l *lease) bool { return e.stale(k, l) }) {
			e.warnUnreturned(k, e.giveBack(ctx, k, l))
		}
		q.gate.leave()
		if k.standing() == before || !q.gate.tryEnter() {
			return
		}
	}
}

// tidy gives back what is stale, where nobody is at work who will.
func (e *Engine) tidy(ctx context.Context, k *key) {
	for i := range k.quotas {
		if q := &k.quotas[i]; q.gate.tryEnter() {
			e.leave(ctx, k, q)
		}
	}
}

// dropStale gives back what is stale, so that the destruction of a version does not
// wait for it to expire. It waits for whoever is at work as long as ctx allows.
func (e *Engine) dropStale(ctx context.Context, k *key) {
	for i := range k.quotas {
		q := &k.quotas[i]
		if q.gate.enter(ctx) != nil {
			return
		}
		f := q.fetch
		e.leave(ctx, k, q)
		if f != nil && f.asking.Load() {
			select {
			case <-f.done:
			case <-ctx.Done():
			}
		}
	}
}

// dropAll gives everything back, for an engine that is closed: whatever is under way
// is cut short, and nothing is begun.
func (e *Engine) dropAll(ctx context.Context, k *key) error {
	var errs []error
	for i := range k.quotas {
		errs = append(errs, e.dropQuota(ctx, k, &k.quotas[i]))
	}
	return errors.Join(errs...)
}

func (e *Engine) dropQuota(ctx context.Context, k *key, q *quota) error {
	if err := q.gate.enter(ctx); err != nil {
		return err
	}
	f := q.fetch
	var errs []error
	for _, l := range q.remove(func(*lease) bool { return true }) {
		errs = append(errs, e.giveBack(ctx, k, l))
	}
	q.gate.leave()
	if f != nil {
		select {
		case <-f.done: // and has given back what it got
		case <-ctx.Done():
			errs = append(errs, ctx.Err())
		}
	}
	return errors.Join(errs...)
}
