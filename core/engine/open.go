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
		c, err := e.unwrap(ctx, k, number)
		if err == nil {
			err = k.ring.SetCipher(c)
		}
		if err != nil && ctx.Err() != nil {
			// Nobody's context is over, so it is no context's error.
			err = provider.Errorf(provider.Unavailable, "no answer within %s: %v", openTimeout, err)
		}
		return c, err
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

// unwrapped is the outcome of one wrap.
type unwrapped struct {
	cipher   *keyring.Cipher
	provider string
	err      error
}

// unwrap tries a version's wraps: the next one when one fails, or does not answer
// for a while. The first that matches the key check value wins; what a provider
// says counts for nothing else.
func (e *Engine) unwrap(ctx context.Context, k *key, number uint32) (*keyring.Cipher, error) {
	rec := k.ring.Record()
	v, ok := rec.Version(number)
	if !ok {
		return nil, rec.CheckDecrypt(number)
	}
	if len(v.Wraps) == 0 {
		return nil, fmt.Errorf("%w: version %d of key %q has no wrap left in the store", keyring.ErrIntegrity, number, k.name)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // of those that lost
	answers := make(chan unwrapped, len(v.Wraps))
	hedge := e.clock.NewTimer(hedgeAfter)
	defer hedge.Stop()
	tried := 0
	try := func() {
		hedge.Reset(hedgeAfter)
		w := v.Wraps[tried]
		tried++
		go func() {
			c, err := e.unwrapOne(ctx, k, v, w)
			answers <- unwrapped{c, w.Provider, err}
		}()
	}
	try()
	var errs []error
	for len(errs) < len(v.Wraps) {
		select {
		case a := <-answers:
			if a.err == nil {
				return a.cipher, nil
			}
			e.log.Warn("wrap does not open", "key", k.name, "version", number, "provider", a.provider, "error", a.err)
			errs = append(errs, a.err)
			if len(errs) == tried && tried < len(v.Wraps) {
				try()
			}
		case <-hedge.Chan():
			if tried < len(v.Wraps) {
				try()
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("open version %d of key %q: %w", number, k.name, errors.Join(append(errs, ctx.Err())...))
		}
	}
	return nil, fmt.Errorf("open version %d of key %q: %w", number, k.name, errors.Join(errs...))
}

func (e *Engine) unwrapOne(ctx context.Context, k *key, v *keyring.Version, w keyring.Wrap) (*keyring.Cipher, error) {
	km, err := e.manager(w.Provider)
	if err != nil {
		return nil, err
	}
	binding := keyring.Binding{Store: k.store, Key: k.ring.Record().ID, Version: v.Number, Algorithm: v.Algorithm}
	root, err := wrapping.Open(ctx, km, binding, w, v.KCV)
	if err != nil {
		return nil, err
	}
	defer root.Wipe()
	return keyring.NewCipher(root, binding, k.name)
}
