package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// Update changes one key and appends its events, all or nothing.
func (s *Store) Update(ctx context.Context, u store.Update) (store.Key, error) {
	var key store.Key
	err := s.write(ctx, "update key", func(tx writeTx) error {
		if err := s.checkFence(ctx, tx, u.Name, u.Fence); err != nil {
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
		key = store.Key{Record: store.Canonical(&next), LastDigest: old.LastDigest, Uses: old.Uses, Reencrypted: old.Reencrypted}
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
func (s *Store) keyToUpdate(ctx context.Context, tx writeTx, u store.Update) (store.Key, error) {
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
func (s *Store) commit(ctx context.Context, tx writeTx, u store.Update, old store.Key, key *store.Key, events []history.Event) error {
	change, err := store.Diff(&old.Record, &key.Record)
	if err != nil {
		return err
	}
	if u.Due != nil {
		if err := s.bookSlot(ctx, tx, key, *u.Due); err != nil {
			return err
		}
	}
	if len(events) == 0 && !change.Empty() {
		return fmt.Errorf("%w: key %q was changed without an event", store.ErrRecord, u.Name)
	}
	if err := writeChange(ctx, tx, &key.Record, change); err != nil {
		return err
	}
	for _, v := range change.Versions {
		key.Uses[v.Number] += 0 // a new version is in the map too
		if !v.New {
			continue
		}
		if err := endFailures(ctx, tx, key.ID); err != nil {
			return err
		}
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
	return endFence(ctx, tx, u.Fence)
}

// Append adds events that are about no key.
func (s *Store) Append(ctx context.Context, fence *store.Intent, events []history.Event) error {
	events = slices.Clone(events)
	return s.write(ctx, "append events", func(tx writeTx) error {
		if fence != nil {
			if err := s.checkFence(ctx, tx, fence.Key, fence); err != nil {
				return err
			}
		}
		for i := range events {
			if events[i].Key != "" {
				return fmt.Errorf("%w: an event of key %q was appended without an update of the key", store.ErrRecord, events[i].Key)
			}
			if events[i].Time.IsZero() {
				events[i].Time = s.now()
			}
		}
		return appendEvents(ctx, tx, events)
	})
}

func endFence(ctx context.Context, tx writeTx, fence *store.Intent) error {
	if fence == nil {
		return nil
	}
	return endIntent(ctx, tx, *fence)
}

// checkFence: a claim that expired, or that another process has taken over, must
// not commit.
func (s *Store) checkFence(ctx context.Context, tx writeTx, name string, fence *store.Intent) error {
	if fence == nil {
		return nil
	}
	if fence.Key != name {
		return fmt.Errorf("%w: the claim is on key %q, the update on %q", store.ErrFenced, fence.Key, name)
	}
	var held bool
	err := tx.QueryRowContext(ctx, `
		SELECT EXISTS (SELECT 1 FROM intents WHERE key = ? AND owner = ? AND token = ? AND expires > ?)`,
		name, fence.Owner, fence.Token, store.Micros(s.now())).Scan(&held)
	if err != nil {
		return err
	}
	if !held {
		return fmt.Errorf("%w: key %q, operation %s: nothing was changed; look at the key and start again", store.ErrFenced, name, fence.Operation)
	}
	return nil
}
