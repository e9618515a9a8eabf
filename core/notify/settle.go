package notify

import (
	"context"
	"errors"

	"github.com/keyrotor/keyrotor/core/store"
)

// What was delivered stays delivered, whoever has the target by now: it is told to the
// store as soon as that can be reached and this process has the target. Until then
// nothing else is sent, so that little comes twice.

// settleOne records a delivery.
func (t *target) settleOne(ctx context.Context, id int64) error {
	done := store.Settled{ID: id, Done: true}
	err := t.settleAll(ctx, []store.Settled{done})
	if err != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.unsettled = append(t.unsettled, done)
	}
	return err
}

// settle records the deliveries that the store has not heard of.
func (t *target) settle(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.unsettled) == 0 {
		return nil
	}
	err := t.settleAll(ctx, t.unsettled)
	if err == nil {
		t.unsettled = nil
	}
	return err
}

// settleAll tells the store, even if ctx ends meanwhile.
func (t *target) settleAll(ctx context.Context, settled []store.Settled) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	err := t.notifier.Store.Settle(ctx, t.sub, t.notifier.Owner, settled)
	if errors.Is(err, store.ErrMoved) {
		t.lease.lose()
	}
	return err
}
