package core

import (
	"context"

	"github.com/keyrotor/keyrotor/core/destruction"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/reencrypt"
	"github.com/keyrotor/keyrotor/core/store"
)

// ImportKey makes a key whose first version has a root that was made elsewhere. The
// root is wiped when the call ends. ImportVersion gives such a root to a key that
// exists.
func (kr *Keyrotor) ImportKey(ctx context.Context, name string, i engine.Imported, o KeyOptions) (store.Key, error) {
	defer i.Root.Wipe()
	settings, err := kr.settings(name, o)
	if err != nil {
		return store.Key{}, err
	}
	return kr.Engine.ImportKey(ctx, name, i, settings, o.Note)
}

// Destruction answers who schedules, cancels and runs the destruction of key
// versions, over the data that the config file registers. progress may be nil.
func (kr *Keyrotor) Destruction(progress func(reencrypt.Progress)) (*destruction.Destroyer, error) {
	return destruction.New(destruction.Config{
		Store: kr.store, Keys: kr.Engine, Paths: kr.Config.DataPaths(), Actor: kr.actor,
		Progress: progress, Changed: kr.Changed,
	})
}
