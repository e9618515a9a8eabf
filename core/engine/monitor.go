package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/outage"
)

// monitor keeps watch over the KEKs that opened versions rely on. It has each of them
// open a wrap again from time to time, closes versions that none stands behind any
// more, and keeps those that are known to fail from being asked by every caller.
//
// It is off the hot path, which finds a version open or closed. The rules are those of
// package outage; here is what they act on.
type monitor struct {
	engine   *Engine
	clock    clockwork.Clock
	recorder recorder

	// mu guards what follows, and key.closed. Nothing is waited for under it.
	mu   sync.Mutex
	keks map[outage.ID]*kek
	// changed are keys whose wraps may be others than before.
	changed map[*key]struct{}
	// wakeAt is when the monitor looks next; zero if it waits for a poke.
	wakeAt  time.Time
	ctx     context.Context //nolint:containedctx // that of the monitor's life
	cancel  context.CancelFunc
	stopped bool

	poke  chan struct{}
	tasks sync.WaitGroup
}

// kek is a KEK with the keys that have something open under it, or would have.
type kek struct {
	*outage.KEK
	id   outage.ID
	keys map[*key]struct{}
	// operations are those of events that another one is to end.
	operations map[trouble]string
}

// trouble is what a change of a KEK is about.
type trouble struct {
	revoked    bool
	kekVersion string
}

func newMonitor(e *Engine) *monitor {
	m := &monitor{
		engine: e, clock: e.clock, poke: make(chan struct{}, 1),
		keks: make(map[outage.ID]*kek), changed: make(map[*key]struct{}),
	}
	m.recorder = newRecorder(m)
	return m
}

// start begins to watch, the first time that there is something open. The caller
// holds mu.
func (m *monitor) start() {
	if m.cancel != nil {
		return
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.tasks.Go(m.run)
}

// stop ends everything that is under way, and waits for its end. What is called
// afterwards does nothing.
func (m *monitor) stop() {
	m.mu.Lock()
	m.stopped = true
	if m.cancel != nil {
		m.cancel()
	}
	m.mu.Unlock()
	m.tasks.Wait()
}

func (m *monitor) run() {
	for m.ctx.Err() == nil {
		m.sleep(m.work())
	}
}

// sleep waits until then, or until it is poked; a zero time never comes.
func (m *monitor) sleep(until time.Time) {
	var due <-chan time.Time
	if !until.IsZero() {
		timer := m.clock.NewTimer(m.clock.Until(until))
		defer timer.Stop()
		due = timer.Chan()
	}
	select {
	case <-m.ctx.Done():
	case <-m.poke:
	case <-due:
	}
}

// wake has the monitor look now.
func (m *monitor) wake() {
	select {
	case m.poke <- struct{}{}:
	default: // it is about to
	}
}

// work does what is due, and answers when there is more to do; zero, if there is nothing.
func (m *monitor) work() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wakeAt = time.Time{}
	if m.stopped {
		return m.wakeAt
	}
	now := m.clock.Now()
	for k := range m.changed {
		m.relyAnew(k, now)
	}
	clear(m.changed)
	for id, kek := range m.keks {
		var wraps map[string][]wrapOf
		if next := kek.Next(); !next.IsZero() && !next.After(now) {
			wraps = m.lookThrough(kek)
		}
		m.settle(kek, kek.Advance(now), now)
		if kek.Unused() {
			delete(m.keks, id)
			continue
		}
		for _, kekVersion := range kek.Due(now) {
			if under := wraps[kekVersion]; len(under) > 0 { // else it is gone when they are looked through
				kek.Asked(now, kekVersion)
				m.prove(kek, under[rand.IntN(len(under))]) //nolint:gosec // any will do
			}
		}
		m.wakeAt = earlier(m.wakeAt, kek.Next())
	}
	return m.wakeAt
}

// earlier answers the earlier one; a zero time is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// opened tells of a version that was put into the ring, and of those of its wraps that
// were opened for that since began. The version is closed again, and the error says
// why, if access was taken away meanwhile.
func (m *monitor) opened(k *key, v *keyring.Version, began time.Time, wraps ...keyring.Wrap) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return nil
	}
	m.start()
	now := m.clock.Now()
	delete(k.closed, v.Number)
	m.rely(k, v, now)
	wake := false
	for _, w := range wraps {
		if kek := m.keks[kekOf(w)]; kek != nil {
			kek.Opened(began, now, w.KEKVersion)
			wake = wake || kek.Troubled()
		}
	}
	for _, w := range v.Wraps {
		if kek := m.keks[kekOf(w)]; kek != nil {
			next := kek.Next()
			wake = wake || !next.IsZero() && (m.wakeAt.IsZero() || next.Before(m.wakeAt))
		}
	}
	if wake {
		m.wake()
	}
	if m.holds(k, v, now) {
		return nil
	}
	m.close(k, v.Number)
	_, reasons := m.sift(k, v.Wraps, now)
	return errors.Join(reasons...)
}

// failed tells of a wrap that somebody could not open.
func (m *monitor) failed(id outage.ID, kekVersion string, err error) {
	if !outage.Revokes(err) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if kek := m.keks[id]; kek != nil {
		kek.Failed(m.clock.Now(), kekVersion, err)
		m.wake()
	}
}

// recordChanged tells of a key whose record was read anew: its wraps may be others.
func (m *monitor) recordChanged(k *key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cancel != nil && !m.stopped {
		m.changed[k] = struct{}{}
		m.wake()
	}
}

// askable leaves out the wraps whose KEK is known to fail, and says why it fails.
func (m *monitor) askable(k *key, wraps []keyring.Wrap) (left []keyring.Wrap, reasons []error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sift(k, wraps, m.clock.Now())
}

// KeyManagerStatus is how it stands with one KEK.
type KeyManagerStatus = outage.Status

// KeyManagers answers how it stands with each KEK that an opened version of this
// process relies on, by provider and KEK; none, before the first version is opened. It
// asks no key manager.
func (e *Engine) KeyManagers() []KeyManagerStatus { return e.monitor.status() }
