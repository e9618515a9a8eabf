package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// Update changes one key and appends its events, all or nothing.
func (s *Store) Update(ctx context.Context, u store.Update) (store.Key, error) {
	var key store.Key
	err := s.write(ctx, "update key", func(tx *sql.Tx) error {
		if err := s.checkFence(ctx, tx, u); err != nil {
			return err
		}
		old, err := s.keyToUpdate(ctx, tx, u)
		if err != nil {
			return err
		}
		next := store.Clone(&old.Record)
		events, err := u.Apply(&next)
		if err != nil {
			return err
		}
		if next.Name != u.Name {
			return fmt.Errorf("%w: the record of key %q is named %q", store.ErrRecord, u.Name, next.Name)
		}
		key = store.Key{Record: store.Canonical(&next), LastDigest: old.LastDigest, Uses: old.Uses}
		return s.commit(ctx, tx, u, old, &key, events)
	})
	if err != nil {
		return store.Key{}, err
	}
	return key, nil
}

// keyToUpdate reads the key as it is; for one to be created that is an empty
// record. A record that is not what its last event says is not built upon: the
// next digest would cover what somebody changed behind our back.
func (s *Store) keyToUpdate(ctx context.Context, tx *sql.Tx, u store.Update) (store.Key, error) {
	key, err := readKey(ctx, tx, u.Name)
	switch {
	case u.Create && errors.Is(err, keyring.ErrUnknownKey):
		return store.Key{Uses: make(map[uint32]uint64)}, nil
	case err != nil:
		return store.Key{}, err
	case u.Create:
		return store.Key{}, fmt.Errorf("%w: %q: choose another name, names are never used again", store.ErrKeyExists, u.Name)
	}
	return key, key.Verify(s.id, key.LastDigest)
}

// commit writes what changed from old to key, and the events that say so. It sets
// the key's LastDigest and the Uses of new versions.
func (s *Store) commit(ctx context.Context, tx *sql.Tx, u store.Update, old store.Key, key *store.Key, events []history.Event) error {
	change, err := store.Diff(&old.Record, &key.Record)
	if err != nil {
		return err
	}
	if len(events) == 0 && !change.Empty() {
		return fmt.Errorf("%w: key %q was changed without an event", store.ErrRecord, u.Name)
	}
	if err := writeChange(ctx, tx, &key.Record, change); err != nil {
		return err
	}
	for _, v := range change.Versions {
		key.Uses[v.Number] += 0 // a new version is in the map too
	}
	if len(events) > 0 {
		key.LastDigest = key.Digest(s.id).String()
		for i := range events {
			e := &events[i]
			e.Key, e.KeyID, e.Digest = key.Name, key.ID.String(), key.LastDigest
			if e.Time.IsZero() {
				e.Time = s.now()
			}
		}
		if err := appendEvents(ctx, tx, events); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE meta SET revision = revision + 1`); err != nil {
			return err
		}
	}
	if u.Fence == nil {
		return nil
	}
	return endIntent(ctx, tx, *u.Fence)
}

// checkFence: a claim that expired, or that another process has taken over, must
// not commit.
func (s *Store) checkFence(ctx context.Context, tx *sql.Tx, u store.Update) error {
	if u.Fence == nil {
		return nil
	}
	if u.Fence.Key != u.Name {
		return fmt.Errorf("%w: the claim is on key %q, the update on %q", store.ErrFenced, u.Fence.Key, u.Name)
	}
	var held bool
	err := tx.QueryRowContext(ctx, `
		SELECT EXISTS (SELECT 1 FROM intents WHERE key = ? AND owner = ? AND token = ? AND expires > ?)`,
		u.Name, u.Fence.Owner, u.Fence.Token, store.Micros(s.now())).Scan(&held)
	if err != nil {
		return err
	}
	if !held {
		return fmt.Errorf("%w: key %q, operation %s: nothing was changed; look at the key and start again", store.ErrFenced, u.Name, u.Fence.Operation)
	}
	return nil
}
