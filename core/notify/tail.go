package notify

import (
	"context"

	"github.com/keyrotor/keyrotor/core/store"
)

// batchSize is how much of the feed is read at a time.
const batchSize = 256

// tail follows the end of the feed, for the handlers, and wakes the targets when there is
// something new.
type tail struct {
	notifier *Notifier
	run      *run
	known    bool // where the handlers are
	at       store.Position
}

// begin is where the handlers start.
func (t *tail) begin(ctx context.Context) {
	end, err := t.notifier.Store.FeedEnd(ctx)
	if err == nil {
		t.known, t.at = true, end
	}
}

// look passes on what is new.
func (t *tail) look(ctx context.Context) error {
	end, err := t.notifier.Store.FeedEnd(ctx)
	if err != nil {
		return err
	}
	if t.known && end == t.at {
		return nil
	}
	for _, target := range t.notifier.targets {
		target.nudge()
	}
	// Who listens is asked after the end was: a handler that was there before a commit
	// hears of it.
	listeners := t.run.heard()
	if !t.known || len(listeners) == 0 {
		t.known, t.at = true, end
		return nil
	}
	for {
		told, to, err := after(ctx, t.notifier.Store, t.at)
		if err != nil || to == t.at {
			return err
		}
		for _, f := range told {
			if f.err != nil {
				t.notifier.Log.Error("handlers do not hear of what cannot be read", "error", f.err)
				continue
			}
			for _, l := range listeners {
				l.offer(f.Notice)
			}
		}
		t.at = to
	}
}
