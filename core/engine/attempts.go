package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core/keyring"
)

const (
	// attemptsInterval is how often attempts are recorded after the first one.
	attemptsInterval = time.Second
	// attemptTimeout bounds how long a refusal waits for its record.
	attemptTimeout = 5 * time.Second
)

// attempts counts decryptions that were refused because their version is in
// quarantine. A version is destroyed only if there were none, so the first one of a
// process is on record before it is answered: a crash can lose later ones, but not
// that there were any. Those are recorded together, since somebody who tries in a
// loop must not make the store write in one.
type attempts struct {
	clock   clockwork.Clock
	mu      sync.Mutex
	tallies map[quarantine]*tally
	timer   clockwork.Timer // set while it runs
	closed  bool
	// recording is held by whoever writes.
	recording gate
}

// quarantine is one stay of a version in quarantine.
type quarantine struct {
	key     string
	version uint32
	since   int64 // microseconds
}

type tally struct {
	pending uint64
	// recorded: the store knows of an attempt by this process.
	recorded bool
}

func newAttempts(clock clockwork.Clock) attempts {
	return attempts{clock: clock, tallies: make(map[quarantine]*tally), recording: newGate()}
}

// attempted counts a refused decryption. The error is about the record only.
func (e *Engine) attempted(ctx context.Context, k *key, v *keyring.Version) error {
	if e.attempts.add(quarantine{k.name, v.Number, v.StateChanged.UnixMicro()}, e.attemptsDue) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
	defer cancel()
	return e.recordAttempts(ctx)
}

// add reports whether the record can wait until due is called.
func (a *attempts) add(q quarantine, due func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tallies[q]
	if t == nil {
		t = new(tally)
		a.tallies[q] = t
	}
	t.pending++
	if !t.recorded || a.closed {
		return false
	}
	a.arm(due)
	return true
}

// arm lets due be called in a while. The caller holds mu.
func (a *attempts) arm(due func()) {
	if a.timer == nil && !a.closed {
		a.timer = a.clock.AfterFunc(attemptsInterval, due)
	}
}

// attemptsDue records what came together.
func (e *Engine) attemptsDue() {
	a := &e.attempts
	a.mu.Lock()
	a.timer = nil
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), attemptTimeout)
	defer cancel()
	if err := e.recordAttempts(ctx); err != nil {
		e.log.Error("refused decryptions of quarantined versions are not on record yet", "error", err)
	}
}

// recordAttempts writes every count down. What cannot be written stays, and is tried
// again in a while.
func (e *Engine) recordAttempts(ctx context.Context) error {
	a := &e.attempts
	if err := a.recording.enter(ctx); err != nil {
		return fmt.Errorf("record the attempt: %w", err)
	}
	defer a.recording.leave()
	var errs []error
	for q, n := range a.pending() {
		err := e.store.CountAttempts(ctx, q.key, q.version, n)
		if err != nil {
			errs = append(errs, fmt.Errorf("record %d attempts to decrypt with version %d of key %q: %w", n, q.version, q.key, err))
			n = 0
		}
		a.wrote(q, n, e.attemptsDue)
	}
	return errors.Join(errs...)
}

// pending answers what is to be written.
func (a *attempts) pending() map[quarantine]uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	counts := make(map[quarantine]uint64)
	for q, t := range a.tallies {
		if t.pending > 0 {
			counts[q] = t.pending
		}
	}
	return counts
}

// wrote books n attempts as written.
func (a *attempts) wrote(q quarantine, n uint64, due func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tallies[q]
	t.pending -= n
	t.recorded = t.recorded || n > 0
	if t.pending > 0 {
		a.arm(due)
	}
}

// close records what is left. Attempts that are still under way are recorded one by
// one from here on.
func (e *Engine) closeAttempts(ctx context.Context) error {
	a := &e.attempts
	a.mu.Lock()
	a.closed = true
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
	a.mu.Unlock()
	return e.recordAttempts(ctx)
}
