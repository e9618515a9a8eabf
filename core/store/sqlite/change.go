package sqlite

import (
	"context"
	"encoding/json"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// writeChange writes the rows that differ.
func writeChange(ctx context.Context, tx writeTx, r *keyring.Record, c store.Change) error {
	if c.Key {
		if err := putKey(ctx, tx, r); err != nil {
			return err
		}
	}
	if err := putVersions(ctx, tx, r.ID, c.Versions); err != nil {
		return err
	}
	for _, w := range c.Drop {
		_, err := tx.ExecContext(ctx, `DELETE FROM wraps WHERE key_id = ? AND version = ? AND provider = ?`,
			r.ID[:], w.Version, w.Provider)
		if err != nil {
			return err
		}
	}
	return putWraps(ctx, tx, r.ID, c.Put)
}

func putKey(ctx context.Context, tx writeTx, r *keyring.Record) error {
	wrapWith := r.Settings.WrapWith
	if wrapWith == nil {
		wrapWith = []string{}
	}
	list, err := json.Marshal(wrapWith)
	if err != nil {
		return err
	}
	var primary any // NULL: the key has none
	if r.Primary != 0 {
		primary = r.Primary
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO keys (id, name, created, algorithm, min_decrypt_version, hard_limit, wrap_with, block_reads, primary_version)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET algorithm = excluded.algorithm, min_decrypt_version = excluded.min_decrypt_version,
			hard_limit = excluded.hard_limit, wrap_with = excluded.wrap_with, block_reads = excluded.block_reads, primary_version = excluded.primary_version`,
		r.ID[:], r.Name, store.Micros(r.Created), string(r.Settings.Algorithm),
		r.Settings.MinDecryptVersion, r.Settings.HardLimit, string(list), r.Settings.BlockReads, primary)
	return err
}

// putVersions leaves the count of uses alone.
func putVersions(ctx context.Context, tx writeTx, key keyring.KeyID, versions []store.VersionChange) error {
	if len(versions) == 0 {
		return nil
	}
	put, err := tx.PrepareContext(ctx, `
		INSERT INTO versions (key_id, number, label, state, algorithm, created, activated, state_changed, reason, kcv)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (key_id, number) DO UPDATE SET label = excluded.label, state = excluded.state,
			algorithm = excluded.algorithm, created = excluded.created, activated = excluded.activated,
			state_changed = excluded.state_changed, reason = excluded.reason, kcv = excluded.kcv`)
	if err != nil {
		return err
	}
	defer put.Close()
	for _, v := range versions {
		_, err := put.ExecContext(ctx, key[:], v.Number, v.Label, string(v.State), string(v.Algorithm),
			store.Micros(v.Created), store.Micros(v.Activated), store.Micros(v.StateChanged), string(v.Reason), v.KCV[:])
		if err != nil {
			return err
		}
	}
	return nil
}

func putWraps(ctx context.Context, tx writeTx, key keyring.KeyID, wraps []store.VersionWrap) error {
	if len(wraps) == 0 {
		return nil
	}
	put, err := tx.PrepareContext(ctx, `
		INSERT INTO wraps (key_id, version, provider, kek_id, kek_version, blob, created)
		VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (key_id, version, provider) DO UPDATE SET kek_id = excluded.kek_id,
			kek_version = excluded.kek_version, blob = excluded.blob, created = excluded.created`)
	if err != nil {
		return err
	}
	defer put.Close()
	for _, w := range wraps {
		_, err := put.ExecContext(ctx, key[:], w.Version, w.Provider, w.KEKID, w.KEKVersion, w.Blob, store.Micros(w.Created))
		if err != nil {
			return err
		}
	}
	return nil
}
