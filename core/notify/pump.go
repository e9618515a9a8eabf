package notify

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/store"
)

// scan looks through the feed for what the target wants, and answers the first batch that
// has something, and where that ends.
func (t *target) scan(ctx context.Context) (rows []store.Delivery, to store.Position, err error) {
	for {
		told, to, err := after(ctx, t.notifier.Store, t.seen)
		if err != nil || to == t.seen {
			return nil, t.seen, err
		}
		rows, err := t.rows(told)
		if err != nil || len(rows) > 0 {
			return rows, to, err
		}
		t.seen = to
	}
}

// rows are what the target wants of what is told.
func (t *target) rows(told []fed) ([]store.Delivery, error) {
	var rows []store.Delivery
	for _, f := range told {
		switch {
		case errors.Is(f.err, history.ErrSchema):
			// It may be for this target, and only a newer build can tell.
			return nil, fmt.Errorf("notify: target %q waits: %w: use the newer build to deliver", t.Name, f.err)
		case f.err != nil:
			t.log.Error("what cannot be read is not delivered", "error", f.err)
			continue
		case !t.Wants(f.Notice):
			continue
		}
		m, err := encode(t.notifier.StoreID, f.Notice)
		if err != nil {
			t.log.Error("what cannot be encoded is not delivered", "id", f.ID, "error", err)
			continue
		}
		rows = append(rows, store.Delivery{OrderKey: f.Subject(), Idempotency: m.ID, Event: f.seq, Payload: m.Body})
	}
	return rows, nil
}

// pump puts into the outbox all that the feed has for the target. store.ErrMoved if
// another process did.
func (t *target) pump(ctx context.Context) error {
	for {
		rows, to, err := t.scan(ctx)
		if err != nil {
			return err
		}
		if len(rows) == 0 && !t.ahead(to) {
			return nil
		}
		if err := t.notifier.Store.Route(ctx, t.sub, t.at, to, rows); err != nil {
			return err
		}
		t.at, t.seen, t.said = to, to, t.notifier.Clock.Now()
	}
}

// ahead reports whether a position is so far ahead of where the store believes the target
// to be, or has been ahead for so long, that it should hear of it.
func (t *target) ahead(to store.Position) bool {
	return to.Event-t.at.Event >= aheadLimit || to.Notice-t.at.Notice >= aheadLimit ||
		to != t.at && t.notifier.Clock.Since(t.said).Abs() >= housekeeping
}
