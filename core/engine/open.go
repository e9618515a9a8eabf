package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/wrapping"
)

const (
	// openTimeout bounds an unwrap that others may be waiting for: it goes on when
	// the caller that began it gives up.
	openTimeout = 30 * time.Second
	// hedgeAfter is how long one wrap is waited for before the next is tried beside
	// it: a second wrap is there for key managers that hang, too.
	hedgeAfter = time.Second
)

// open unwraps a version: once for each version and process, whoever asks.
func (e *Engine) open(ctx context.Context, k *key, number uint32) (*keyring.Cipher, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	answer := k.opening.DoChan(strconv.FormatUint(uint64(number), 10), func() (any, error) {
		if c, err := k.ring.Opener(number); c != nil || err != nil {
			return c, err
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), openTimeout)
		defer cancel()
		u, err := e.unwrap(ctx, k, number)
		if err == nil {
			err = e.keep(k, u.cipher, u.began, u.wrap)
		}
		if err != nil && ctx.Err() != nil {
			// Nobody's context is over, so it is no context's error.
			err = provider.Errorf(provider.Unavailable, "no answer within %s: %v", openTimeout, err)
		}
		return u.cipher, err
	})
	select {
	case a := <-answer:
		if a.Err != nil {
			return nil, a.Err
		}
		return a.Val.(*keyring.Cipher), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("open version %d of key %q: %w", number, k.name, ctx.Err())
	}
}

// keep puts an opened version into the ring, for as long as a KEK stands behind it:
// now it is those of the wraps that were opened for it since began.
func (e *Engine) keep(k *key, c *keyring.Cipher, began time.Time, opened ...keyring.Wrap) error {
	if err := k.ring.SetCipher(c); err != nil {
		return err
	}
	v, ok := k.ring.Record().Version(c.Version())
	if !ok {
		return k.ring.Record().CheckDecrypt(c.Version())
	}
	return e.monitor.opened(k, v, began, opened...)
}

// unwrapped is the outcome of one wrap.
type unwrapped struct {
	cipher *keyring.Cipher
	wrap   keyring.Wrap
	began  time.Time
	err    error
}

// unwrap tries a version's wraps: the next one when one fails, or does not answer
// for a while. The first that matches the key check value wins; what a provider
// says counts for nothing else. Those of which the monitor knows that they fail are
// not tried.
func (e *Engine) unwrap(ctx context.Context, k *key, number uint32) (unwrapped, error) {
	rec := k.ring.Record()
	v, ok := rec.Version(number)
	if !ok {
		return unwrapped{}, rec.CheckDecrypt(number)
	}
	if len(v.Wraps) == 0 {
		return unwrapped{}, fmt.Errorf("%w: version %d of key %q has no wrap left in the store", keyring.ErrIntegrity, number, k.name)
	}
	wraps, errs := e.monitor.askable(k, v.Wraps)
	if len(wraps) == 0 {
		return unwrapped{}, fmt.Errorf("open version %d of key %q: %w", number, k.name, errors.Join(errs...))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // of those that lost
	answers := make(chan unwrapped, len(wraps))
	hedge := e.clock.NewTimer(hedgeAfter)
	defer hedge.Stop()
	tried, failed := 0, 0
	try := func() {
		hedge.Reset(hedgeAfter)
		w := wraps[tried]
		tried++
		go func() {
			began := e.clock.Now()
			c, err := e.unwrapOne(ctx, k, v, w)
			answers <- unwrapped{c, w, began, err}
		}()
	}
	try()
	for failed < len(wraps) {
		select {
		case a := <-answers:
			if a.err == nil {
				return a, nil
			}
			e.log.Warn("wrap does not open", "key", k.name, "version", number, "provider", a.wrap.Provider, "error", a.err)
			errs = append(errs, a.err)
			if failed++; failed == tried && tried < len(wraps) {
				try()
			}
		case <-hedge.Chan():
			if tried < len(wraps) {
				try()
			}
		case <-ctx.Done():
			return unwrapped{}, fmt.Errorf("open version %d of key %q: %w", number, k.name, errors.Join(append(errs, ctx.Err())...))
		}
	}
	return unwrapped{}, fmt.Errorf("open version %d of key %q: %w", number, k.name, errors.Join(errs...))
}

func (e *Engine) unwrapOne(ctx context.Context, k *key, v *keyring.Version, w keyring.Wrap) (*keyring.Cipher, error) {
	km, err := e.manager(w.Provider)
	if err != nil {
		return nil, err
	}
	binding := k.binding(v)
	root, err := wrapping.Open(ctx, km, binding, w, v.KCV)
	if err != nil {
		e.monitor.failed(kekOf(w), w.KEKVersion, err)
		return nil, err
	}
	defer root.Wipe()
	return keyring.NewCipher(root, binding, k.name)
}
