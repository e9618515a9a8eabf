package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

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
	batch
	tallies map[quarantine]*tally
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

func newAttempts(e *Engine) *attempts {
	return &attempts{
		batch: batch{
			clock: e.clock, interval: attemptsInterval, timeout: attemptTimeout, writing: newGate(), write: e.recordAttempts,
			failed: func(err error) {
				e.log.Error("refused decryptions of quarantined versions are not on record yet", "error", err)
			},
		},
		tallies: make(map[quarantine]*tally),
	}
}

// attempted counts a refused decryption. The error is about the record only.
func (e *Engine) attempted(ctx context.Context, k *key, v *keyring.Version) error {
	if e.attempts.add(quarantine{k.name, v.Number, v.StateChanged.UnixMicro()}) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
	defer cancel()
	return e.attempts.record(ctx)
}

// add reports whether the record can wait. It cannot after Close, when nobody records
// what comes together.
func (a *attempts) add(q quarantine) bool {
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
	a.arm()
	return true
}

// recordAttempts writes every count down. What cannot be written stays, and is tried
// again in a while.
func (e *Engine) recordAttempts(ctx context.Context) error {
	a := e.attempts
	var errs []error
	for q, n := range a.pending() {
		err := e.store.CountAttempts(ctx, q.key, q.version, n)
		if err != nil {
			errs = append(errs, fmt.Errorf("record %d attempts to decrypt with version %d of key %q: %w", n, q.version, q.key, err))
			n = 0
		}
		a.wrote(q, n)
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
func (a *attempts) wrote(q quarantine, n uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tallies[q]
	t.pending -= n
	t.recorded = t.recorded || n > 0
	if t.pending > 0 {
		a.arm()
	}
}
