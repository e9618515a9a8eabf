package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

// key is one key in memory, and the gates of its cold paths. The gates are apart
// so that a key manager that does not answer holds up nobody who needs the store
// alone.
type key struct {
	name   string
	prefix uint64 // of the id
	store  keyring.StoreID
	ring   *keyring.Ring
	// tampered is set while the stored record does not match its history.
	tampered atomic.Pointer[error]

	refreshing gate
	opening    gate
	leasing    gate
	lease      lease // guarded by leasing
}

func newKey(stored store.Key, id keyring.StoreID) *key {
	k := &key{
		name: stored.Name, prefix: stored.ID.Prefix(), store: id, ring: keyring.NewRing(&stored.Record),
		refreshing: newGate(), opening: newGate(), leasing: newGate(),
	}
	k.checkDigest(stored)
	return k
}

// checkDigest compares the record with what its newest event says of it.
func (k *key) checkDigest(stored store.Key) {
	digest := stored.Digest(k.store)
	if digest.String() == stored.LastDigest {
		k.tampered.Store(nil)
		return
	}
	err := fmt.Errorf("%w: the stored record of key %q has digest %s, and its newest event says %s: the database was changed by other means than Keyrotor; encryption is refused, decryption goes on",
		keyring.ErrIntegrity, k.name, digest, stored.LastDigest)
	k.tampered.Store(&err)
	k.ring.SetSealer(nil)
}

// refresh reads the record again.
func (e *Engine) refresh(ctx context.Context, k *key) error {
	if err := k.refreshing.enter(ctx); err != nil {
		return err
	}
	defer k.refreshing.leave()
	stored, err := e.store.Key(ctx, k.name)
	if err != nil {
		return err
	}
	k.ring.Update(&stored.Record)
	k.checkDigest(stored)
	return nil
}

// announced takes a rotation over that this process made: its cipher is at hand,
// so the key manager need not be asked. The record is read again rather than
// taken from the result, since it may have changed once more since.
func (e *Engine) announced(r rotation.Result) {
	e.misses.forget(r.Key.Name)
	k := e.remember(r.Key)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := e.refresh(ctx, k); err != nil {
		e.log.Warn("the rotation is committed; this process will see it at its next look at the store", "key", k.name, "error", err)
		return
	}
	if err := k.ring.SetCipher(r.Cipher); err != nil {
		e.log.Warn("opened version not kept", "key", k.name, "error", err)
	}
}

// opener answers the cipher that opens a version's ciphertexts.
func (e *Engine) opener(ctx context.Context, k *key, number uint32) (*keyring.Cipher, error) {
	c, err := k.ring.Opener(number)
	if c != nil {
		return c, nil
	}
	if errors.Is(err, keyring.ErrUnknownVersion) {
		c, err = e.lookUp(ctx, k, number)
	}
	if c != nil || err != nil {
		return c, err
	}
	return e.open(ctx, k, number)
}

// lookUp asks the store once for a version that another process may have made.
func (e *Engine) lookUp(ctx context.Context, k *key, number uint32) (*keyring.Cipher, error) {
	if e.misses.has(k.name, number) {
		return k.ring.Opener(number)
	}
	if err := e.refresh(ctx, k); err != nil {
		return nil, err
	}
	c, err := k.ring.Opener(number)
	if errors.Is(err, keyring.ErrUnknownVersion) {
		e.misses.add(k.name, number)
	}
	return c, err
}

// open unwraps a version: once for each version and process.
func (e *Engine) open(ctx context.Context, k *key, number uint32) (*keyring.Cipher, error) {
	if err := k.opening.enter(ctx); err != nil {
		return nil, err
	}
	defer k.opening.leave()
	if c, err := k.ring.Opener(number); c != nil || err != nil {
		return c, err
	}
	v, ok := k.ring.Record().Version(number)
	if !ok {
		return nil, k.ring.Record().CheckDecrypt(number)
	}
	c, err := e.unwrap(ctx, k, v)
	if err != nil {
		return nil, err
	}
	return c, k.ring.SetCipher(c)
}

// unwrap tries a version's wraps in turn. What a provider answers counts only if
// it matches the key check value.
func (e *Engine) unwrap(ctx context.Context, k *key, v *keyring.Version) (*keyring.Cipher, error) {
	binding := keyring.Binding{
		Store: k.store, Key: k.ring.Record().ID, Version: v.Number, Algorithm: v.Algorithm,
	}
	var errs []error
	for _, w := range v.Wraps {
		c, err := e.unwrapOne(ctx, k.name, binding, w, v.KCV)
		if err == nil {
			return c, nil
		}
		e.log.Warn("wrap does not open", "key", k.name, "version", v.Number, "provider", w.Provider, "error", err)
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("open version %d of key %q: %w", v.Number, k.name, errors.Join(errs...))
}

func (e *Engine) unwrapOne(ctx context.Context, name string, b keyring.Binding, w keyring.Wrap, want keyring.KCV) (*keyring.Cipher, error) {
	km, err := e.manager(w.Provider)
	if err != nil {
		return nil, err
	}
	root, _, err := rotation.Unwrap(ctx, km, b, w)
	defer root.Wipe()
	if err != nil {
		return nil, err
	}
	if err := root.Verify(b, want); err != nil {
		return nil, fmt.Errorf("provider %q: %w", w.Provider, err)
	}
	return keyring.NewCipher(root, b, name)
}

// gate lets one caller through at a time; unlike a mutex, waiting ends with ctx.
type gate chan struct{}

func newGate() gate { return make(gate, 1) }

func (g gate) enter(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	default:
	}
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g gate) leave() { <-g }

// missTTL is how long "not found" is believed without asking again.
const missTTL = 2 * time.Second

// maxMisses bounds the memory that unknown names in foreign input can take.
const maxMisses = 1024

// misses remembers what the store does not have.
type misses struct {
	mu sync.Mutex
	at map[miss]time.Time
}

type miss struct {
	name    string
	version uint32 // 0: the key itself
}

func (m *misses) has(name string, version uint32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.at[miss{name, version}]
	return ok && time.Since(at) < missTTL
}

func (m *misses) add(name string, version uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at == nil || len(m.at) >= maxMisses {
		m.at = make(map[miss]time.Time)
	}
	m.at[miss{name, version}] = time.Now()
}

func (m *misses) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.at, miss{name, 0})
}
