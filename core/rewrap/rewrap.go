// Package rewrap moves the wraps of keys: to the newest version of the
// key-encryption key (KEK) that they stand under, after that was rotated here or by
// somebody else, and from one provider to another. No root changes, so no ciphertext
// is touched, and every version can be opened at any moment.
//
// Nothing that a provider answers is believed: a new wrap is opened again and
// compared with the version's key check value before it is committed, and a wrap goes
// only once its successor is proved.
//
// Rotating a KEK acts outside before it can commit. So the intent comes first and says
// what is about to be done; after a crash, or an answer that never came, the key
// manager itself is asked whether it was. The intent lasts until the wraps are moved:
// whoever runs the command again goes on, and does not rotate a second time. A
// migration needs no such memory. The record alone tells what is left to do.
package rewrap

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/wrapping"
)

// The errors that tell why nothing was done.
var (
	// ErrKEKRotated: somebody else rotated the key-encryption key first. Whoever asked
	// decides anew.
	ErrKEKRotated = errors.New("the key-encryption key was rotated by somebody else meanwhile")
	// ErrNotWrapped: the provider to migrate from does not wrap the key.
	ErrNotWrapped = errors.New("not wrapped by the provider")
)

// The steps, in order; those of a rotated KEK and of a migration each use some of
// them. Moved and what comes before it are there once for each batch.
const (
	StepWaiting  = rotation.StepWaiting
	StepIntent   = rotation.StepIntent
	StepPending  = rotation.Step("kek-pending")
	StepRotated  = rotation.Step("kek-rotated")
	StepRecorded = rotation.Step("kek-recorded")
	// StepWidened: new versions are wrapped by both providers from now on.
	StepWidened = rotation.Step("widened")
	StepProved  = rotation.StepProved
	StepMoved   = rotation.Step("moved")
	StepRetired = rotation.Step("retired")
)

const (
	// batchSize is how many versions of a key are moved in one commit.
	batchSize = 64
	// settleTimeout bounds what is written after an operation failed or was cancelled.
	settleTimeout = 5 * time.Second
)

// Store is what moving wraps needs to persist.
type Store interface {
	store.Keys
	store.Intents
	store.Events
}

// Config is what a Mover works with. Store, KeyManager and Actor are required.
type Config struct {
	Store Store
	// KeyManager answers the provider of a name.
	KeyManager func(name string) (wrapping.KeyManager, error)
	// Actor goes into every event, e.g. "user@host".
	Actor string
	// IntentTTL is rotation.DefaultIntentTTL if zero.
	IntentTTL time.Duration
	// Now is time.Now if nil.
	Now func() time.Time
	// OnStep, if set, is called at each step, in the caller's goroutine. The subject is
	// the name of a key, or "kek/" and that of a provider.
	OnStep func(subject string, step rotation.Step)
}

// Mover moves wraps. It holds no state of its own and may be used concurrently.
type Mover struct {
	Config
	owner string
}

// New checks the configuration.
func New(c Config) (*Mover, error) {
	if c.Store == nil || c.KeyManager == nil || c.Actor == "" {
		return nil, errors.New("rewrap: Store, KeyManager and Actor are required")
	}
	if err := (history.Event{Actor: c.Actor}).Check(); err != nil {
		return nil, fmt.Errorf("rewrap: %w", err)
	}
	if c.IntentTTL == 0 {
		c.IntentTTL = rotation.DefaultIntentTTL
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.OnStep == nil {
		c.OnStep = func(string, rotation.Step) {}
	}
	return &Mover{Config: c, owner: rotation.CurrentOwner().String()}, nil
}

// each reads every key of the store, in order.
func (m *Mover) each(ctx context.Context, f func(store.Key)) error {
	names, err := m.Store.Names(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		key, err := m.Store.Key(ctx, name)
		if err != nil {
			return err
		}
		f(key)
	}
	return nil
}

// stops tells an error that ends a run from one that is about a single version: the
// key manager, or the caller, is gone for all of them.
func stops(ctx context.Context, err error) bool {
	return err != nil && (ctx.Err() != nil || provider.Transient(err))
}

// lasting is ctx without its end, for what must not be cut short, within a limit.
func lasting(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), limit)
}
