package awskms

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keyrotor/keyrotor/core/provider"
)

const (
	// parallel is how many requests of one batch are under way. AWS takes one wrap a
	// request; the quota is shared with everything else in the account and region.
	parallel = 8
	// patience is how often a throttled request of a batch is sent again.
	patience = 4
	// firstPause and longestPause bound the waiting before that.
	firstPause   = 100 * time.Millisecond
	longestPause = 2 * time.Second
)

// each makes the requests of a batch, a few at a time. An error of one item stays with it;
// one that all would meet ends the batch, and nothing more is asked: it would cost quota
// and answer the same.
//
// A request of many that is throttled is sent again here, after a pause. The host would
// repeat the whole batch, the requests that succeeded included, and be throttled again.
func (m *manager) each(ctx context.Context, n int, do func(context.Context, int) error) error {
	if n == 1 {
		return ofAll(do(ctx, 0))
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range n {
		group.Go(func() error {
			if err := context.Cause(ctx); err != nil { // another has failed, or nobody waits
				return provider.Errorf(provider.Unavailable, "%w", err)
			}
			return ofAll(m.patiently(ctx, func() error { return do(ctx, i) }))
		})
	}
	return group.Wait()
}

// ofAll answers nil for an error that says something of one item only.
func ofAll(err error) error {
	switch provider.CodeOf(err) {
	case provider.InvalidArgument, provider.Integrity, provider.NotFoundVersion:
		return nil
	case provider.NotFoundKey:
		if !errors.Is(err, errGone) { // the wrap is another key's
			return nil
		}
	default:
	}
	return err
}

func (m *manager) patiently(ctx context.Context, do func() error) error {
	for attempt := 0; ; attempt++ {
		err := do()
		if attempt == patience || !errors.Is(err, provider.Throttled) {
			return err
		}
		wait := backoff(attempt)
		if e, ok := errors.AsType[*provider.Error](err); ok && e.RetryAfter > 0 {
			wait = e.RetryAfter
		}
		if end, ok := ctx.Deadline(); ok && end.Sub(m.now()) < wait {
			return err
		}
		if m.pause(ctx, wait) != nil {
			return err
		}
	}
}

// backoff is between half and all of a pause that doubles.
func backoff(attempt int) time.Duration {
	longest := min(firstPause<<attempt, longestPause)
	return longest/2 + rand.N(longest/2) //nolint:gosec // it spreads requests
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
