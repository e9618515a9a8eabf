package engine

import (
	"context"
	"errors"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

// CreateKey makes a key with its first version, wrapped by every provider of
// settings.WrapWith. store.ErrKeyExists if the name was ever taken.
func (e *Engine) CreateKey(ctx context.Context, name string, settings keyring.Settings, note string) (store.Key, error) {
	if e.closed.Load() {
		return store.Key{}, ErrClosed
	}
	result, err := e.rotator.Create(ctx, rotation.Request{Key: name, Reason: keyring.ReasonInitial, Note: note}, settings)
	return result.Key, err
}

// Rotate makes a new version and makes it the primary. Ciphertexts of older ones
// stay readable. While another process works on the key it waits as ctx allows;
// rotation.ErrRotated if that process rotated the key.
func (e *Engine) Rotate(ctx context.Context, name string, reason keyring.Reason, note string) (rotation.Result, error) {
	return e.rotate(ctx, rotation.Request{Key: name, Reason: reason, Note: note})
}

// RotateDue is Rotate on behalf of a policy, once on each occasion, and only while the
// primary is the version that the policy spoke of; rotation.ErrRotated otherwise. It
// does not wait: *store.HeldError while another process works on the key, store.ErrDone
// if the key was rotated on this occasion before.
func (e *Engine) RotateDue(ctx context.Context, name string, from uint32, reason keyring.Reason, due store.DueSlot) (rotation.Result, error) {
	return e.rotate(ctx, rotation.Request{Key: name, Reason: reason, Due: due, From: from})
}

func (e *Engine) rotate(ctx context.Context, req rotation.Request) (rotation.Result, error) {
	if e.closed.Load() {
		return rotation.Result{}, ErrClosed
	}
	result, err := e.rotator.Rotate(ctx, req)
	if errors.Is(err, keyring.ErrIntegrity) {
		e.suspect(ctx, req.Key)
	}
	if errors.Is(err, keyring.ErrUnknownKey) {
		return rotation.Result{}, unknownKey(req.Key)
	}
	return result, err
}

// Keys lists the names in order.
func (e *Engine) Keys(ctx context.Context) ([]string, error) {
	if e.closed.Load() {
		return nil, ErrClosed
	}
	return e.store.Names(ctx)
}

// Describe reads one key from the store: versions, states, wraps and uses.
func (e *Engine) Describe(ctx context.Context, name string) (store.Key, error) {
	if e.closed.Load() {
		return store.Key{}, ErrClosed
	}
	if err := keyring.CheckName(name); err != nil {
		return store.Key{}, err
	}
	stored, err := e.store.Key(ctx, name)
	if errors.Is(err, keyring.ErrUnknownKey) {
		return store.Key{}, unknownKey(name)
	}
	return stored, err
}

// Versions lists the numbers of a key's versions, oldest first.
func (e *Engine) Versions(ctx context.Context, name string) ([]uint32, error) {
	stored, err := e.Describe(ctx, name)
	if err != nil {
		return nil, err
	}
	var numbers []uint32
	for _, v := range stored.Versions {
		numbers = append(numbers, v.Number)
	}
	return numbers, nil
}

// History answers events, newest first.
func (e *Engine) History(ctx context.Context, q history.Query) (history.Page, error) {
	if e.closed.Load() {
		return history.Page{}, ErrClosed
	}
	return e.store.Events(ctx, q)
}
