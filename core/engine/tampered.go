package engine

import (
	"context"
	"errors"
	"sync"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// Tampered is a key whose record in the store is not the one that its newest event
// describes.
type Tampered struct {
	Key string
	// Version is the primary, by the record.
	Version uint32
	// Found is the record's digest, and Expected the one that the event has.
	Found, Expected string
}

// tamperings tells of each record once. A record that is repaired and then changed in
// the same way again is told of again by a process that has not met it before.
type tamperings struct {
	tell func(Tampered)
	mu   sync.Mutex
	told map[Tampered]bool
}

func newTamperings(tell func(Tampered)) *tamperings {
	return &tamperings{tell: tell, told: make(map[Tampered]bool)}
}

// met is called with what came of verifying a record. That a newer build wrote it is no
// sign of tampering.
func (t *tamperings) met(stored store.Key, id keyring.StoreID, err error) {
	if !errors.Is(err, keyring.ErrIntegrity) {
		return
	}
	found := Tampered{Key: stored.Name, Version: stored.Primary, Found: stored.Digest(id).String(), Expected: stored.LastDigest}
	t.mu.Lock()
	before := t.told[found]
	t.told[found] = true
	t.mu.Unlock()
	if !before {
		t.tell(found)
	}
}

// suspect looks whether it is the key's record that something failed for.
func (e *Engine) suspect(ctx context.Context, name string) {
	stored, err := e.store.Key(ctx, name)
	if err == nil {
		e.tampered.met(stored, e.store.ID(), stored.Verify(e.store.ID(), stored.LastDigest))
	}
}
