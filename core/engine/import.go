package engine

import (
	"context"
	"maps"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

// Imported is a root that was made elsewhere.
type Imported struct {
	// Root is wiped when the call that it is given to ends.
	Root keyring.Root
	// KDF, if set, is how the root comes from a passphrase.
	KDF *keyring.KDF
	// Label of the version; "vN" if it is empty.
	Label string
	// Number, if set, is the one that a new version is to have: rotation.ErrRotated if
	// there is one of it by then.
	Number uint32
}

// details say in the creation event where a version comes from. The names are
// final: `origin`, which is "imported" or "passphrase", and those of
// [keyring.KDF.Details].
func (i Imported) details() map[string]string {
	if i.KDF == nil {
		return map[string]string{"origin": "imported"}
	}
	details := map[string]string{"origin": "passphrase"}
	maps.Copy(details, i.KDF.Details())
	return details
}

// ImportKey makes a key whose first version has a root that was made elsewhere.
// keyring.ErrWeak if it is none that a generator draws; otherwise as CreateKey.
func (e *Engine) ImportKey(ctx context.Context, name string, i Imported, settings keyring.Settings, note string) (store.Key, error) {
	defer i.Root.Wipe()
	if e.closed.Load() {
		return store.Key{}, ErrClosed
	}
	if err := i.Root.Check(); err != nil {
		return store.Key{}, err
	}
	result, err := e.rotator.Create(ctx, rotation.Request{
		Key: name, Reason: keyring.ReasonInitial, Note: note, Root: i.Root, Details: i.details(), Label: i.Label,
	}, settings)
	return result.Key, err
}

// ImportVersion rotates a key to a root that was made elsewhere. keyring.ErrWeak if
// it is none that a generator draws, or if the key has had it before; otherwise as
// Rotate.
func (e *Engine) ImportVersion(ctx context.Context, name string, i Imported, reason keyring.Reason, note string) (rotation.Result, error) {
	defer i.Root.Wipe()
	if err := i.Root.Check(); err != nil {
		return rotation.Result{}, err
	}
	return e.rotate(ctx, rotation.Request{
		Key: name, Reason: reason, Note: note, Root: i.Root, Details: i.details(), Label: i.Label, Number: i.Number,
	})
}
