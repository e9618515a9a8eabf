// Package engine is what a Go service holds: it encrypts, decrypts and rotates by
// key name, in this process, and asks the store and the key managers only when it
// meets something for the first time.
//
// The hot path takes no lock that another caller can hold. Everything it needs,
// opened ciphers and the right to a number of uses, stands ready behind atomic
// pointers; whoever finds something missing fetches it on a cold path, where one
// caller works for all and the others wait as long as their context allows.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core/outage"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/wrapping"
)

// ErrClosed: the engine was closed.
var ErrClosed = errors.New("engine is closed")

// ErrOutageBudget: the key manager has not answered for longer than the key's budget
// allows. It is asked in the background, and everything works again when it answers.
var ErrOutageBudget = outage.ErrBudget

// Config is what an engine works with. Store, KeyManager and Actor are required.
type Config struct {
	Store store.Store
	// KeyManager answers the provider of a name.
	KeyManager func(name string) (wrapping.KeyManager, error)
	// Actor goes into every event, e.g. "user@host".
	Actor string
	// Log is silent if nil.
	Log *slog.Logger
	// IntentTTL is rotation.DefaultIntentTTL if zero.
	IntentTTL time.Duration
	// LeaseTTL is how long a grant of uses lasts: store.MaxLeaseTTL if zero, which
	// is also the most.
	LeaseTTL time.Duration
	// MaxUses, if set, answers how many uses a policy allows a version of a key before it
	// is rotated, 0 if none does. Leases are sized by it, and by the hard limit.
	MaxUses func(key string) uint64
	// OnUses, if set, is called with each lease that this process gets, and with one of
	// no uses when a version is at its hard limit, so that a scheduler can look whether a
	// rotation is due. It returns at once, and may be called from several goroutines.
	OnUses func(key string, l store.Lease, hardLimit uint64)
	// OnTampered, if set, is called when this process meets a key whose stored record is
	// not the one that its newest event describes: once for each record. It returns at
	// once, and may be called from several goroutines.
	OnTampered func(t Tampered)
	// Rotating, if set, reports whether a rotation of the key is under way in this
	// process or about to be. At the hard limit encryption waits for it, as it does for
	// those under way in other processes, which the store knows.
	Rotating func(key string) bool
	// Clock is the real one if nil. The deadlines of calls to the store and to key
	// managers, which bound input and output, are always real.
	Clock clockwork.Clock
	// Budget answers how long a key goes on without its key manager; if nil,
	// outage.DefaultBudget.
	Budget func(key string) outage.Budget
	// OnStep, if set, is called at each step of a rotation.
	OnStep func(key string, step rotation.Step)
}

// Engine encrypts and decrypts. It is safe for concurrent use.
type Engine struct {
	store    store.Store
	manager  func(name string) (wrapping.KeyManager, error)
	rotator  *rotation.Rotator
	log      *slog.Logger
	clock    clockwork.Clock
	owner    string
	leaseTTL time.Duration
	budget   func(key string) outage.Budget
	maxUses  func(key string) uint64
	onUses   func(key string, l store.Lease, hardLimit uint64)
	coming   func(key string) bool
	tampered *tamperings

	// keys is replaced, never changed: readers take no lock.
	keys     atomic.Pointer[keyTable]
	adding   sync.Mutex
	misses   misses
	poller   poller
	attempts *attempts
	accesses *accesses
	monitor  *monitor
	// closing is held by Close; undropped are the keys whose leases it still owes.
	closing   sync.Mutex
	undropped map[string]*key
	// plaintexts lends buffers to Reencrypt. They are wiped before they go back.
	plaintexts sync.Pool
	closed     atomic.Bool
	// life is that of what the engine does by itself; end ends it.
	life context.Context //nolint:containedctx // as it says
	end  context.CancelFunc
}

// New builds an engine. It does no input or output; keys are read when they are
// first used.
func New(c Config) (*Engine, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = clockwork.NewRealClock()
	}
	if c.MaxUses == nil {
		c.MaxUses = func(string) uint64 { return 0 }
	}
	if c.OnUses == nil {
		c.OnUses = func(string, store.Lease, uint64) {}
	}
	if c.OnTampered == nil {
		c.OnTampered = func(Tampered) {}
	}
	if c.Rotating == nil {
		c.Rotating = func(string) bool { return false }
	}
	if c.LeaseTTL == 0 {
		c.LeaseTTL = store.MaxLeaseTTL
	}
	if c.LeaseTTL < 0 || c.LeaseTTL > store.MaxLeaseTTL {
		return nil, fmt.Errorf("engine: a LeaseTTL of %s; more than 0 and at most %s", c.LeaseTTL, store.MaxLeaseTTL)
	}
	if c.Budget == nil {
		c.Budget = func(string) outage.Budget { return outage.DefaultBudget() }
	}
	e := &Engine{
		store: c.Store, manager: c.KeyManager, log: c.Log, clock: c.Clock, leaseTTL: c.LeaseTTL, budget: c.Budget,
		maxUses: c.MaxUses, onUses: c.OnUses, coming: c.Rotating, tampered: newTamperings(c.OnTampered),
		owner:      rotation.CurrentOwner().String(),
		misses:     misses{clock: c.Clock},
		plaintexts: sync.Pool{New: func() any { return new([]byte) }},
	}
	e.attempts, e.accesses = newAttempts(e), newAccesses(e)
	e.keys.Store(&keyTable{})
	e.life, e.end = context.WithCancel(context.Background())
	e.monitor = newMonitor(e)
	rotator, err := rotation.New(rotation.Config{
		Store: c.Store, KeyManager: e.observed, Actor: c.Actor,
		IntentTTL: c.IntentTTL, Now: c.Clock.Now, OnStep: c.OnStep, Announce: e.announced,
	})
	if err != nil {
		return nil, err
	}
	e.rotator = rotator
	return e, nil
}

// Close returns the unused part of every lease, records what is not on record yet
// of refused decryptions, of accesses to sealed values and of key managers that were
// away, and lets go of every opened version; what is called
// afterwards fails with ErrClosed. If ctx ends it first, it may be called again. The
// store is the caller's to close.
func (e *Engine) Close(ctx context.Context) error {
	e.closing.Lock()
	defer e.closing.Unlock()
	e.adding.Lock()
	if !e.closed.Swap(true) {
		e.undropped = e.keys.Swap(&keyTable{}).byName
	}
	e.adding.Unlock()
	e.end()
	e.poller.stop()
	e.monitor.stop()
	// Side by side, so that a key that is waited for costs no other its lease.
	type dropped struct {
		name string
		err  error
	}
	done := make(chan dropped)
	for name, k := range e.undropped {
		go func() { done <- dropped{name, e.dropAll(ctx, k)} }()
	}
	errs := []error{e.attempts.close(ctx), e.accesses.close(ctx), e.monitor.recorder.flush(ctx)}
	for range len(e.undropped) {
		d := <-done
		if errs = append(errs, d.err); d.err == nil {
			delete(e.undropped, d.name)
		}
	}
	return errors.Join(errs...)
}
