package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
)

const (
	// maxTries is how often a call that may be repeated is tried at most.
	maxTries = 3
	// longestRetryAfter is the longest wait that a key manager may ask for and get;
	// beyond it the caller learns of the throttling at once.
	longestRetryAfter = 10 * time.Second
)

// call says how one method of the contract is treated on its way to the plugin.
type call struct {
	name string
	// needs is the capability without which nothing is sent; empty if every plugin has the call.
	needs provider.Capability
	// repeat allows the call to be tried again: it changes nothing in the key
	// manager. A call without it may have taken effect although it failed; its
	// caller asks the key manager what is the case.
	repeat bool
	// slow calls get three times the usual deadline.
	slow bool
}

// attempt is a call that is bound to everything but its context. Each concern
// below wraps one attempt in another.
type attempt[T any] func(context.Context) (T, error)

// send makes one call of an instance: refused, named, retried and timed as the
// call's entry says.
func send[T any](ctx context.Context, in *Instance, c call, f func(context.Context, *wire.Instance) (T, error)) (T, error) {
	next := onPlugin(in, f)
	next = withDeadline(in.deadline(c), next)
	if c.repeat {
		next = withRetry(next)
	}
	next = withCapability(in.info, c, next)
	return withName(in, c, next)(ctx)
}

// onPlugin makes the call on the running process.
func onPlugin[T any](in *Instance, f func(context.Context, *wire.Instance) (T, error)) attempt[T] {
	return func(ctx context.Context) (res T, err error) {
		err = in.plugin.do(ctx, in.name, in.body, func(ctx context.Context, w *wire.Instance) error {
			res, err = f(ctx, w)
			return err
		})
		return res, err
	}
}

// withDeadline bounds one attempt, the start of the plugin included. When it is over
// the plugin gave no answer, which has a code; what the caller's own context ends
// keeps that context's error.
func withDeadline[T any](d time.Duration, next attempt[T]) attempt[T] {
	return func(ctx context.Context) (T, error) {
		limited, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		res, err := next(limited)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			err = provider.Errorf(provider.Unavailable, "%w: a call may take %s", err, d)
		}
		return res, err
	}
}

// withRetry tries again what failed for a passing reason.
func withRetry[T any](next attempt[T]) attempt[T] {
	return func(ctx context.Context) (T, error) {
		var last error
		res, err := backoff.Retry(ctx, func() (T, error) {
			var res T
			res, last = next(ctx)
			return res, whenToRetry(ctx, last)
		}, backoff.WithMaxTries(maxTries), backoff.WithBackOff(&backoff.ExponentialBackOff{
			InitialInterval:     50 * time.Millisecond,
			MaxInterval:         2 * time.Second,
			Multiplier:          4,
			RandomizationFactor: backoff.DefaultRandomizationFactor,
		}), backoff.WithMaxElapsedTime(0))
		switch {
		case err == nil:
			return res, nil
		case ctx.Err() != nil && !errors.Is(last, ctx.Err()):
			return res, fmt.Errorf("%w (%w before another try)", last, ctx.Err())
		default:
			return res, last // err may say no more than how long to wait
		}
	}
}

// whenToRetry tells the backoff what to do about err.
func whenToRetry(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if !provider.Transient(err) {
		return backoff.Permanent(err)
	}
	if errors.Is(err, provider.PluginCrashed) {
		return &backoff.RetryAfterError{} // at once: the supervisor paces the restarts
	}
	var e *provider.Error
	if !errors.As(err, &e) || e.RetryAfter <= 0 {
		return err
	}
	deadline, bounded := ctx.Deadline()
	if e.RetryAfter > longestRetryAfter || (bounded && time.Until(deadline) < e.RetryAfter) {
		return backoff.Permanent(err)
	}
	return &backoff.RetryAfterError{Duration: e.RetryAfter}
}

// withCapability refuses what the plugin cannot do, before it is even started.
func withCapability[T any](info provider.Info, c call, next attempt[T]) attempt[T] {
	return func(ctx context.Context) (T, error) {
		if c.needs != "" && !info.Capabilities.Has(c.needs) {
			var none T
			return none, provider.Errorf(provider.Unsupported, "the plugin lacks the capability %q", c.needs)
		}
		return next(ctx)
	}
}

// withName says which provider an error came from, and keeps the secrets of its
// configuration out of the text.
func withName[T any](in *Instance, c call, next attempt[T]) attempt[T] {
	return func(ctx context.Context) (T, error) {
		res, err := next(ctx)
		return res, in.named(c, err)
	}
}
