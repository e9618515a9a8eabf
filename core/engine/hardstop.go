package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyrotor/keyrotor/core/rotation"
)

// refusalTTL is how long a refusal stands without asking the store again, which
// would be a write each time. A rotation that this process sees ends it.
const refusalTTL = time.Second

type refusal struct {
	err   error
	until time.Time
}

// rotationPoll is how often a rotation is looked for that is under way.
const rotationPoll = 50 * time.Millisecond

// awaitRotation waits, at the hard limit of a version, as long as ctx allows and a
// rotation is under way. It answers nil when there is another primary, and else limit.
// One caller looks for all; no gate is held that anybody else needs.
func (e *Engine) awaitRotation(ctx context.Context, k *key, stopped uint32, limit error) error {
	if err := k.awaiting.enter(ctx); err != nil {
		return errors.Join(limit, err)
	}
	defer k.awaiting.leave()
	for {
		// In this order: a rotation that is over by now has committed before.
		rotating, err := e.rotating(ctx, k)
		if err == nil {
			err = e.refreshIfChanged(ctx, k)
		}
		switch {
		case e.closed.Load():
			return ErrClosed
		case k.ring.Record().Primary != stopped:
			return nil
		case err != nil:
			return errors.Join(limit, err)
		case !rotating:
			return limit
		}
		select {
		case <-e.clock.After(rotationPoll):
		case <-e.life.Done():
		case <-ctx.Done():
			return errors.Join(limit, fmt.Errorf("waiting for the rotation that is under way: %w", ctx.Err()))
		}
	}
}

// rotating reports whether somebody is about to give a key its next primary: a
// scheduler of this process, or a process that is not known to be gone and holds a
// claim for it.
func (e *Engine) rotating(ctx context.Context, k *key) (bool, error) {
	if e.coming(k.name) {
		return true, nil
	}
	intents, err := e.store.Intents(ctx)
	if err != nil {
		return false, err
	}
	now, err := e.store.Now(ctx)
	if err != nil {
		return false, err
	}
	for _, in := range intents {
		if in.Key == k.name && in.Kind == rotation.KindRotate && now.Before(in.Expires) && !rotation.ParseOwner(in.Owner).Gone() {
			return true, nil
		}
	}
	return false, nil
}
