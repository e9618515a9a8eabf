package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/singleflight"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/outage"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

// key is one key in memory, and what keeps order on its cold paths.
type key struct {
	name   string
	prefix uint64 // of the id
	store  keyring.StoreID
	ring   *keyring.Ring
	// budget is how long the key goes on without its key manager.
	budget outage.Budget
	// closed are versions that the monitor closed, and that were not opened since.
	closed map[uint32]bool
	// tampered is set while the stored record does not match its history.
	tampered   atomic.Pointer[error]
	tamperings *tamperings

	refreshing gate
	// revision is the store's as of the last refresh.
	revision atomic.Uint64
	// updating orders what is put into the ring; nothing is waited for under it.
	updating sync.Mutex

	// opening runs one unwrap of a version for all who wait for it. Versions do not
	// wait for one another: each may be wrapped by another key manager.
	opening singleflight.Group

	quotas [2]quota // by purpose
	// refusal is why the store granted no uses a moment ago.
	refusal atomic.Pointer[refusal]
	// awaiting is held by whoever looks for a rotation that others wait for, too.
	awaiting gate

	// alarmed has the compromised versions of whose use the log tells.
	alarmed sync.Map
}

func newKey(stored store.Key, id keyring.StoreID, b outage.Budget, t *tamperings) *key {
	k := &key{
		tamperings: t,
		name:       stored.Name, prefix: stored.ID.Prefix(), store: id, ring: keyring.NewRing(&stored.Record), budget: b,
		refreshing: newGate(), awaiting: newGate(),
		quotas: [...]quota{
			keyring.Encrypting:   newQuota(keyring.Encrypting),
			keyring.Reencrypting: newQuota(keyring.Reencrypting),
		},
	}
	k.update(stored)
	return k
}

// update puts a record into the ring, but for one that is older than what is there,
// known by its fewer versions. A record that does not match its newest event refuses
// encryption; decryption goes on.
func (k *key) update(stored store.Key) {
	k.updating.Lock()
	defer k.updating.Unlock()
	older := stored.NextVersion() < k.ring.Record().NextVersion()
	if err := stored.Verify(k.store, stored.LastDigest); err != nil {
		err = fmt.Errorf("encryption is refused, decryption goes on: %w", err)
		k.tampered.Store(&err)
		k.tamperings.met(stored, k.store, err)
		k.ring.DropSealers()
		if !older { // else versions were taken out by hand, and are still good for decryption
			k.ring.Update(&stored.Record)
		}
		return
	}
	if older {
		return
	}
	k.ring.Update(&stored.Record)
	k.tampered.Store(nil)
	k.refusal.Store(nil)
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
	// Read before the record, so that it is never newer than that.
	revision, err := e.store.Revision(ctx)
	if err != nil {
		return err
	}
	return e.refreshTo(ctx, k, revision)
}

// refreshIfChanged reads the record again unless the store says that no key has
// changed since.
func (e *Engine) refreshIfChanged(ctx context.Context, k *key) error {
	revision, err := e.store.Revision(ctx)
	if err != nil || revision == k.revision.Load() {
		return err
	}
	return e.refreshTo(ctx, k, revision)
}

// refreshTo reads the record of a revision or a later one.
func (e *Engine) refreshTo(ctx context.Context, k *key, revision uint64) error {
	if err := k.refreshing.enter(ctx); err != nil {
		return err
	}
	defer k.refreshing.leave()
	stored, err := e.store.Key(ctx, k.name)
	if err != nil {
		return err
	}
	k.update(stored)
	k.revision.Store(revision)
	e.monitor.recordChanged(k)
	return nil
}

// announced takes a rotation over that this process made: its cipher is at hand,
// so the key manager need not be asked.
func (e *Engine) announced(r rotation.Result, opened *keyring.Cipher) {
	e.misses.forget(miss{name: r.Key.Name})
	k, err := e.remember(r.Key)
	if err != nil {
		return // closed meanwhile; the rotation is committed
	}
	ctx, cancel := context.WithTimeout(context.Background(), changeTimeout)
	defer cancel()
	e.adopt(ctx, k, r.Key)
	if v, ok := r.Key.Version(opened.Version()); ok {
		// Its wraps were proved after the first was made. The commit may have taken long:
		// what was refused meanwhile stays so.
		if err := e.keep(k, opened, v.Wraps[0].Created, v.Wraps...); err != nil {
			e.log.Warn("opened version not kept", "key", k.name, "error", err)
		}
	}
	e.dropStale(ctx, k)
}

// binding is what a version's root and wraps are bound to.
func (k *key) binding(v *keyring.Version) keyring.Binding {
	return keyring.Binding{Store: k.store, Key: k.ring.Record().ID, Version: v.Number, Algorithm: v.Algorithm}
}

// adopt takes over what this process committed. The record is read again, since it may
// have changed once more; if that fails, the one that was committed will do for now.
func (e *Engine) adopt(ctx context.Context, k *key, committed store.Key) {
	if err := e.refresh(ctx, k); err != nil {
		e.log.Warn("the change is committed, and could not be read back yet", "key", k.name, "error", err)
		k.update(committed)
		k.revision.Store(0) // look again soon
		e.monitor.recordChanged(k)
	}
}

// opener answers the cipher that opens a version's ciphertexts.
func (e *Engine) opener(ctx context.Context, k *key, number uint32) (*keyring.Cipher, error) {
	c, err := k.ring.Opener(number)
	if errors.Is(err, keyring.ErrUnknownVersion) {
		c, err = e.lookUp(ctx, k, number)
	}
	if c == nil && err == nil {
		c, err = e.open(ctx, k, number)
	}
	return c, e.watch(ctx, k, number, k.doubt(err))
}

// doubt adds to an error why the record that it comes from cannot be verified: what it
// says of states and wraps may not be true.
func (k *key) doubt(err error) error {
	tampered := k.tampered.Load()
	if err == nil || tampered == nil || errors.Is(err, keyring.ErrIntegrity) {
		return err
	}
	return fmt.Errorf("%w, and its record cannot be verified: %w", err, errors.Unwrap(*tampered))
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
