package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/keyrotor/keyrotor/core/history"
)

// recordTimeout bounds one try to append an event.
const recordTimeout = 5 * time.Second

// recorder writes events into the history that nobody waits for: in order, each for as
// long as it takes the store to accept it. An event whose append was answered by an
// error and took place all the same stands there twice, with one operation id.
type recorder struct {
	monitor *monitor
	mu      sync.Mutex
	queue   []history.Event
	// writing is set while somebody takes care of the queue.
	writing bool
}

func newRecorder(m *monitor) recorder { return recorder{monitor: m} }

// add is called with the monitor's mu held.
func (r *recorder) add(e history.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(r.queue, e)
	if !r.writing {
		r.writing = true
		r.monitor.tasks.Go(r.write)
	}
}

// write empties the queue, or ends with the monitor.
func (r *recorder) write() {
	ctx, clock := r.monitor.ctx, r.monitor.clock
	pauses := &backoff.ExponentialBackOff{
		InitialInterval: time.Second, Multiplier: 2, MaxInterval: time.Minute,
		RandomizationFactor: backoff.DefaultRandomizationFactor,
	}
	for {
		err := r.flush(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		r.monitor.engine.log.Warn("an event is not in the history yet; it is tried again", "error", err)
		timer := clock.NewTimer(pauses.NextBackOff())
		select {
		case <-timer.Chan():
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// flush appends what there is, up to the first event that cannot be.
func (r *recorder) flush(ctx context.Context) error {
	for {
		e, n := r.head()
		if n == 0 {
			return nil
		}
		limited, cancel := context.WithTimeout(ctx, recordTimeout)
		err := r.monitor.engine.store.Append(limited, nil, []history.Event{e})
		cancel()
		if errors.Is(err, history.ErrText) { // and never will be
			r.monitor.engine.log.Error("an event cannot be in the history", "type", e.Type, "provider", e.Provider, "error", err)
			err = nil
		}
		if err != nil {
			return fmt.Errorf("append %d events about key managers: %w", n, err)
		}
		r.mu.Lock()
		r.queue = r.queue[1:]
		r.mu.Unlock()
	}
}

// head answers the event that is next, and how many there are. With the last one,
// nobody takes care of the queue any more.
func (r *recorder) head() (history.Event, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		r.writing = false
		return history.Event{}, 0
	}
	return r.queue[0], len(r.queue)
}
