package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// keyTable finds the keys that were met so far. It is not changed once it is in place.
type keyTable struct {
	byName   map[string]*key
	byPrefix map[uint64]*key
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
	missing := miss{name: name}
	if e.misses.has(missing) {
		return nil, unknownKey(name)
	}
	stored, err := e.store.Key(ctx, name)
	if errors.Is(err, keyring.ErrUnknownKey) {
		e.misses.add(missing)
		return nil, unknownKey(name)
	}
	if err != nil {
		return nil, err
	}
	return e.remember(stored)
}

// keyByPrefix finds the key of a binary ciphertext.
func (e *Engine) keyByPrefix(ctx context.Context, prefix uint64) (*key, error) {
	if k, ok := e.keys.Load().byPrefix[prefix]; ok {
		return k, nil
	}
	return e.meetPrefix(ctx, prefix)
}

func (e *Engine) meetPrefix(ctx context.Context, prefix uint64) (*key, error) {
	if e.closed.Load() {
		return nil, ErrClosed
	}
	missing := miss{prefix: prefix}
	unknown := fmt.Errorf("%w: no key id starts with %016x; is it a ciphertext of another store?", keyring.ErrUnknownKey, prefix)
	if e.misses.has(missing) {
		return nil, unknown
	}
	name, err := e.store.KeyName(ctx, [8]byte(binary.BigEndian.AppendUint64(nil, prefix)))
	if errors.Is(err, keyring.ErrUnknownKey) {
		e.misses.add(missing)
		return nil, unknown
	}
	if err != nil {
		return nil, err
	}
	e.misses.forget(miss{name: name})
	return e.key(ctx, name)
}

// remember adds a key to the table, or answers the one that is there already.
func (e *Engine) remember(stored store.Key) (*key, error) {
	e.adding.Lock()
	defer e.adding.Unlock()
	if e.closed.Load() {
		return nil, ErrClosed
	}
	old := e.keys.Load()
	if k, ok := old.byName[stored.Name]; ok {
		return k, nil
	}
	k := newKey(stored, e.store.ID(), e.budgetOf(stored.Name), e.tampered)
	next := &keyTable{byName: map[string]*key{k.name: k}, byPrefix: map[uint64]*key{k.prefix: k}}
	maps.Copy(next.byName, old.byName)
	maps.Copy(next.byPrefix, old.byPrefix)
	e.keys.Store(next)
	e.poller.start(e)
	return k, nil
}

func unknownKey(name string) error {
	return fmt.Errorf("%w: %q; `keyrotor key list` shows the keys of this store", keyring.ErrUnknownKey, name)
}

// missTTL is how long "not found" is believed without asking again.
const missTTL = 2 * time.Second

// maxMisses bounds the memory that unknown names in foreign input can take.
const maxMisses = 1024

// misses remembers what the store does not have.
type misses struct {
	clock clockwork.Clock
	mu    sync.Mutex
	at    map[miss]time.Time
}

// miss is a key by its name or by its id's prefix, or a version of a named key.
type miss struct {
	name    string
	prefix  uint64
	version uint32
}

func (m *misses) has(x miss) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.at[x]
	return ok && m.clock.Since(at) < missTTL
}

func (m *misses) add(x miss) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at == nil || len(m.at) >= maxMisses {
		m.at = make(map[miss]time.Time)
	}
	m.at[x] = m.clock.Now()
}

func (m *misses) forget(x miss) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.at, x)
}
