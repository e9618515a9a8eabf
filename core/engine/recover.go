package engine

import (
	"context"
	"errors"
	"strconv"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
)

// noPrimary says why a key has none.
func (e *Engine) noPrimary(ctx context.Context, k *key, err error) error {
	if restored := rotation.CheckRestored(ctx, e.store, k.ring.Record()); restored != nil {
		return restored
	}
	return err
}

// recovered: a key that came out of a backup gets its next primary by its recovery,
// and by nothing else.
func (e *Engine) recovered(ctx context.Context, name string) error {
	stored, err := e.Describe(ctx, name)
	if err != nil {
		return err
	}
	return rotation.CheckRestored(ctx, e.store, &stored.Record)
}

// Unrecovered lists the keys that came out of a backup and need a recovery, in
// order, each with its newest version.
func (e *Engine) Unrecovered(ctx context.Context) ([]UnrecoveredKey, error) {
	names, err := e.Keys(ctx)
	if err != nil {
		return nil, err
	}
	var list []UnrecoveredKey
	for _, name := range names {
		stored, err := e.store.Key(ctx, name)
		if err != nil {
			return nil, err
		}
		switch err := rotation.CheckRestored(ctx, e.store, &stored.Record); {
		case errors.Is(err, rotation.ErrRestored):
			list = append(list, UnrecoveredKey{Key: name, Newest: stored.NextVersion() - 1})
		case err != nil:
			return nil, err
		}
	}
	return list, nil
}

// UnrecoveredKey is a key that needs a recovery.
type UnrecoveredKey struct {
	Key    string
	Newest uint32
}

// detailRecovery stands in the creation event of a version that a recovery made, with
// the highest version number that had been seen. The name is final.
const detailRecovery = "recovery"

// RecoverKey rotates a key that came out of a backup. The number of its new version is
// higher than above, the highest that was ever seen outside of this store.
func (e *Engine) RecoverKey(ctx context.Context, name string, above uint32) (rotation.Result, error) {
	if e.closed.Load() {
		return rotation.Result{}, ErrClosed
	}
	return e.rotator.Rotate(ctx, rotation.Request{
		Key: name, Reason: keyring.ReasonManual, Above: above, Recovery: true,
		Details: map[string]string{detailRecovery: strconv.FormatUint(uint64(above), 10)},
	})
}
