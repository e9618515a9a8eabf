package engine

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

// key is one key in memory, and what keeps order on its cold paths.
type key struct {
	name   string
	prefix uint64 // of the id
	store  keyring.StoreID
	ring   *keyring.Ring
	// tampered is set while the stored record does not match its history.
	tampered atomic.Pointer[error]

	refreshing gate
	// revision is the store's as of the last refresh; guarded by refreshing.
	revision uint64

	// opening runs one unwrap of a version for all who wait for it. Versions do not
	// wait for one another: each may be wrapped by another key manager.
	opening singleflight.Group

	leasing gate
	lease   lease // guarded by leasing
}

func newKey(stored store.Key, id keyring.StoreID) *key {
	k := &key{
		name: stored.Name, prefix: stored.ID.Prefix(), store: id, ring: keyring.NewRing(&stored.Record),
		refreshing: newGate(), leasing: newGate(),
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

// trusted answers why the key must not encrypt, having looked again first: the
// record may have been repaired.
func (e *Engine) trusted(ctx context.Context, k *key) error {
	if k.tampered.Load() == nil {
		return nil
	}
	if err := e.refresh(ctx, k); err != nil {
		return err
	}
	if tampered := k.tampered.Load(); tampered != nil {
		return *tampered
	}
	return nil
}

// refresh reads the record again.
func (e *Engine) refresh(ctx context.Context, k *key) error {
	if err := k.refreshing.enter(ctx); err != nil {
		return err
	}
	defer k.refreshing.leave()
	return e.reload(ctx, k)
}

// refreshIfChanged reads the record again unless the store says that no key has
// changed since.
func (e *Engine) refreshIfChanged(ctx context.Context, k *key) error {
	if err := k.refreshing.enter(ctx); err != nil {
		return err
	}
	defer k.refreshing.leave()
	revision, err := e.store.Revision(ctx)
	if err != nil || revision == k.revision {
		return err
	}
	return e.reload(ctx, k)
}

// reload is refresh for whoever holds the gate.
func (e *Engine) reload(ctx context.Context, k *key) error {
	// Read before the record, so that it is never newer than that.
	revision, err := e.store.Revision(ctx)
	if err != nil {
		return err
	}
	stored, err := e.store.Key(ctx, k.name)
	if err != nil {
		return err
	}
	k.revision = revision
	k.ring.Update(&stored.Record)
	k.checkDigest(stored)
	return nil
}

// announced takes a rotation over that this process made: its cipher is at hand,
// so the key manager need not be asked. The record is read again rather than
// taken from the result, since it may have changed once more since.
func (e *Engine) announced(r rotation.Result, opened *keyring.Cipher) {
	e.misses.forget(miss{name: r.Key.Name})
	k, err := e.remember(r.Key)
	if err != nil {
		return // closed meanwhile; the rotation is committed
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := e.refresh(ctx, k); err != nil {
		// Nothing more is encrypted under the former primary: the next encryption
		// asks the store.
		k.ring.SetSealer(nil)
		e.log.Warn("the rotation is committed, and this process could not read it back yet", "key", k.name, "error", err)
		return
	}
	if err := k.ring.SetCipher(opened); err != nil {
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
	missing := miss{name: k.name, version: number}
	if e.misses.has(missing) {
		return k.ring.Opener(number)
	}
	if err := e.refreshIfChanged(ctx, k); err != nil {
		return nil, err
	}
	c, err := k.ring.Opener(number)
	if errors.Is(err, keyring.ErrUnknownVersion) {
		e.misses.add(missing)
	}
	return c, err
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
