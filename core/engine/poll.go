package engine

import (
	"context"
	"errors"
	"sync"
	"time"
)

// pollInterval is how often the store is asked whether any key has changed, and so
// how long a rotation in another process may go unnoticed here.
const pollInterval = 5 * time.Second

// poller brings the keys in memory up to date with what other processes did.
type poller struct {
	once   sync.Once
	cancel context.CancelFunc
	done   chan struct{}
}

// start begins to poll, the first time that it is called.
func (p *poller) start(e *Engine) {
	p.once.Do(func() {
		ctx, cancel := context.WithCancel(context.Background())
		p.cancel, p.done = cancel, make(chan struct{})
		go func() {
			defer close(p.done)
			p.run(ctx, e)
		}()
	})
}

// stop ends the polling and waits for its end; it is not started again.
func (p *poller) stop() {
	p.once.Do(func() {})
	if p.cancel != nil {
		p.cancel()
		<-p.done
	}
}

func (p *poller) run(ctx context.Context, e *Engine) {
	tick := e.clock.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.Chan():
		}
		if err := e.catchUp(ctx); err != nil && ctx.Err() == nil {
			e.log.Warn("the store does not tell what other processes changed; what is in memory stays in use", "error", err)
		}
	}
}

// catchUp refreshes the keys in memory that may have changed. One that cannot be
// read holds up no other.
func (e *Engine) catchUp(ctx context.Context) error {
	revision, err := e.store.Revision(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, k := range e.keys.Load().byName {
		if k.revision.Load() != revision {
			errs = append(errs, e.catchUpKey(ctx, k, revision))
		}
	}
	return errors.Join(errs...)
}

func (e *Engine) catchUpKey(ctx context.Context, k *key, revision uint64) error {
	if err := e.refreshTo(ctx, k, revision); err != nil {
		return err
	}
	e.tidy(ctx, k)
	return nil
}
