// Package engine is what a Go service holds: it encrypts, decrypts and rotates by
// key name, in this process, and asks the store and the key managers only when it
// meets something for the first time.
//
// The hot path takes no lock that another caller can hold. Everything it needs,
// opened ciphers and the right to a number of uses, stands ready behind atomic
// pointers; whoever finds something missing fetches it on a cold path, where one
// caller per key works and the others wait as long as their context allows.
package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

// ErrClosed: the engine was closed.
var ErrClosed = errors.New("engine is closed")

// Config is what an engine works with. Store, KeyManager and Actor are required.
type Config struct {
	Store store.Store
	// KeyManager answers the provider of a name.
	KeyManager func(name string) (rotation.KeyManager, error)
	// Actor goes into every event, e.g. "user@host".
	Actor string
	// Log is silent if nil.
	Log *slog.Logger
	// IntentTTL is rotation.DefaultIntentTTL if zero.
	IntentTTL time.Duration
	// LeaseTTL is how long a grant of uses lasts; DefaultLeaseTTL if zero.
	LeaseTTL time.Duration
	// OnStep, if set, is called at each step of a rotation.
	OnStep func(key string, step rotation.Step)
}

// Engine encrypts and decrypts. It is safe for concurrent use.
type Engine struct {
	store    store.Store
	manager  func(name string) (rotation.KeyManager, error)
	rotator  *rotation.Rotator
	log      *slog.Logger
	owner    string
	leaseTTL time.Duration

	// keys is replaced, never changed: readers take no lock.
	keys   atomic.Pointer[keyTable]
	adding sync.Mutex
	misses misses
	closed atomic.Bool
}

// keyTable finds the keys that were met so far.
type keyTable struct {
	byName   map[string]*key
	byPrefix map[uint64]*key
}

// New builds an engine. It does no input or output; keys are read when they are
// first used.
func New(c Config) (*Engine, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.LeaseTTL == 0 {
		c.LeaseTTL = DefaultLeaseTTL
	}
	e := &Engine{
		store: c.Store, manager: c.KeyManager, log: c.Log, leaseTTL: c.LeaseTTL,
		owner: rotation.CurrentOwner().String(),
	}
	e.keys.Store(&keyTable{byName: map[string]*key{}, byPrefix: map[uint64]*key{}})
	rotator, err := rotation.New(rotation.Config{
		Store: c.Store, KeyManager: c.KeyManager, Actor: c.Actor,
		IntentTTL: c.IntentTTL, OnStep: c.OnStep, Announce: e.announced,
	})
	if err != nil {
		return nil, err
	}
	e.rotator = rotator
	return e, nil
}

// Close returns the unused part of every lease. The store is the caller's to close.
func (e *Engine) Close(ctx context.Context) error {
	if e.closed.Swap(true) {
		return nil
	}
	var errs []error
	for _, k := range e.keys.Load().byName {
		errs = append(errs, e.dropLease(ctx, k))
	}
	return errors.Join(errs...)
}

// key answers the key of a name, from memory if it was met before.
func (e *Engine) key(ctx context.Context, name string) (*key, error) {
	if k, ok := e.keys.Load().byName[name]; ok {
		return k, nil
	}
	return e.meetKey(ctx, name)
}

func (e *Engine) meetKey(ctx context.Context, name string) (*key, error) {
	if e.closed.Load() {
		return nil, ErrClosed
	}
	if err := keyring.CheckName(name); err != nil {
		return nil, err
	}
	if e.misses.has(name, 0) {
		return nil, unknownKey(name)
	}
	stored, err := e.store.Key(ctx, name)
	if errors.Is(err, keyring.ErrUnknownKey) {
		e.misses.add(name, 0)
		return nil, unknownKey(name)
	}
	if err != nil {
		return nil, err
	}
	return e.remember(stored), nil
}

// keyByPrefix finds the key of a binary ciphertext.
func (e *Engine) keyByPrefix(ctx context.Context, prefix uint64) (*key, error) {
	if k, ok := e.keys.Load().byPrefix[prefix]; ok {
		return k, nil
	}
	return e.meetPrefix(ctx, prefix)
}

func (e *Engine) meetPrefix(ctx context.Context, prefix uint64) (*key, error) {
	id := binary.BigEndian.AppendUint64(nil, prefix)
	name := string(id)
	if e.misses.has(name, 0) {
		return nil, fmt.Errorf("%w: no key id starts with %x", keyring.ErrUnknownKey, id)
	}
	found, err := e.store.KeyName(ctx, [8]byte(id))
	if errors.Is(err, keyring.ErrUnknownKey) {
		e.misses.add(name, 0)
		return nil, fmt.Errorf("%w: no key id starts with %x", keyring.ErrUnknownKey, id)
	}
	if err != nil {
		return nil, err
	}
	return e.key(ctx, found)
}

// remember adds a key to the table, or answers the one that is there already.
func (e *Engine) remember(stored store.Key) *key {
	e.adding.Lock()
	defer e.adding.Unlock()
	old := e.keys.Load()
	if k, ok := old.byName[stored.Name]; ok {
		return k
	}
	k := newKey(stored, e.store.ID())
	next := &keyTable{byName: maps.Clone(old.byName), byPrefix: maps.Clone(old.byPrefix)}
	next.byName[k.name] = k
	next.byPrefix[k.prefix] = k
	e.keys.Store(next)
	return k
}

func unknownKey(name string) error {
	return fmt.Errorf("%w: %q; `keyrotor key list` shows the keys of this store", keyring.ErrUnknownKey, name)
}
