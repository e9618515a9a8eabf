package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

const (
	// accessesInterval is how long accesses are collected before they are recorded: a busy
	// service opens its secrets all the time, and each record is an event of the history.
	accessesInterval = time.Minute
	// accessesTimeout bounds one try to record them.
	accessesTimeout = 5 * time.Second
	// maxAccessNames is how many names an event has room for.
	maxAccessNames = 50
	// maxAccessPending is how many names of a key are collected before they are recorded
	// ahead of time.
	maxAccessPending = 1000
)

// detailNames is in the event access, whose details are final: how often each value was
// opened, as "API_KEY=1,DB_PASSWORD=3" in the order of the names; the event's count is
// the sum. detailSince is when the first of
// them was.
const detailNames = "names"

// accesses collects the accesses to sealed secret values. They are recorded together:
// an access must not cost a transaction, and a crash loses what the last interval had.
type accesses struct {
	batch
	pending map[string]*accessTally // by key
}

// accessTally is what came together for a key.
type accessTally struct {
	since time.Time
	names map[string]uint64
	// operation stays when the record is tried again: if an answer was lost, it tells
	// that two events are one.
	operation string
}

func newAccesses(e *Engine) *accesses {
	return &accesses{
		batch: batch{
			clock: e.clock, interval: accessesInterval, timeout: accessesTimeout, writing: newGate(), write: e.recordAccesses,
			failed: func(err error) { e.log.Error("accesses to sealed values are not on record yet", "error", err) },
		},
		pending: make(map[string]*accessTally),
	}
}

// Accessed counts an access to a sealed secret value, by the key that it is under and
// the value's name. It returns at once; what is counted reaches the history within a
// minute, and at Close. ErrClosed if nobody would record it any more: then the value is
// not to be shown.
func (e *Engine) Accessed(key, name string) error {
	a := e.accesses
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return ErrClosed
	}
	t := a.pending[key]
	if t == nil {
		t = &accessTally{since: a.clock.Now(), names: make(map[string]uint64), operation: uuid.NewString()}
		a.pending[key] = t
	}
	t.names[name]++
	a.arm()
	if len(t.names) == maxAccessPending {
		a.timer.Reset(0)
	}
	return nil
}

// recordAccesses writes everything down. What cannot be written stays, and is tried
// again after the next interval.
func (e *Engine) recordAccesses(ctx context.Context) error {
	a := e.accesses
	a.mu.Lock()
	pending := a.pending
	a.pending = make(map[string]*accessTally)
	a.mu.Unlock()
	var errs []error
	for key, t := range pending {
		_, err := e.store.Update(ctx, store.Update{Name: key, Apply: func(*keyring.Record) ([]history.Event, error) {
			return t.events(e.rotator.Actor), nil
		}})
		if errors.Is(err, keyring.ErrUnknownKey) { // whose history is gone, too
			e.log.Error("accesses to sealed values have no key to be recorded at", "key", key, "error", err)
			err = nil
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("record accesses to %d sealed values under key %q: %w", len(t.names), key, err))
			a.restore(key, t)
		}
	}
	return errors.Join(errs...)
}

// events says what is in the tally, in as many events as that takes.
func (t *accessTally) events(actor string) []history.Event {
	var events []history.Event
	for names := range slices.Chunk(slices.Sorted(maps.Keys(t.names)), maxAccessNames) {
		e := history.Event{Type: history.Access, Actor: actor, Operation: t.operation}
		var list []string
		for _, name := range names {
			e.Count += t.names[name]
			list = append(list, name+"="+strconv.FormatUint(t.names[name], 10))
		}
		e.Details = map[string]string{
			detailNames: strings.Join(list, ","),
			detailSince: t.since.UTC().Format(time.RFC3339Nano),
		}
		events = append(events, e)
	}
	return events
}

// restore puts back what could not be written.
func (a *accesses) restore(key string, t *accessTally) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if later := a.pending[key]; later != nil {
		for name, n := range later.names {
			t.names[name] += n
		}
	}
	a.pending[key] = t
	a.arm()
}
