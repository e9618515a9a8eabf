package notify_test

import (
	"context"
	"errors"
	"testing"

	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/core/store"
)

// asking is a store that does something before it says where the feed ends, for the first
// time.
type asking struct {
	store.Outbox
	before func(ctx context.Context)
}

func (a *asking) FeedEnd(ctx context.Context) (store.Position, error) {
	if before := a.before; before != nil {
		a.before = nil
		before(ctx)
	}
	return a.Outbox.FeedEnd(ctx)
}

// TestStartWaitsAlone: while Start waits for the store, nobody else waits for Start; a Stop
// ends it.
func TestStartWaitsAlone(t *testing.T) {
	b := newBench(t, t.TempDir(), nil)
	t.Cleanup(b.close)
	s := &asking{Outbox: b.open()}
	n := b.notifier("p1", s, notify.Target{Name: "ops", Sender: &receiver{}})
	stopped := make(chan error, 1)
	s.before = func(ctx context.Context) {
		done := make(chan struct{})
		go func() {
			n.Handle("late", func(context.Context, notify.Notice) {})
			if n := len(n.Handlers()); n != 1 {
				t.Errorf("%d handlers", n)
			}
			if err := n.Start(); !errors.Is(err, notify.ErrRunning) {
				t.Errorf("a second start: %v", err)
			}
			close(done)
			stopped <- n.Stop(context.Background())
		}()
		<-ctx.Done() // by Stop, or by the time that the store has
		select {
		case <-done:
		default:
			t.Error("others wait for Start")
		}
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	start(t, n) // it can be started again
}
