package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// Names lists the keys in order.
func (s *Store) Names(ctx context.Context) ([]string, error) {
	var names []string
	err := s.read(ctx, "list keys", func(tx *sql.Tx) (err error) {
		names, err = texts(ctx, tx, `SELECT name FROM keys ORDER BY name`)
		return err
	})
	return names, err
}

// States counts the versions of every key by their states.
func (s *Store) States(ctx context.Context) ([]store.StateCount, error) {
	var list []store.StateCount
	query := `
		SELECT k.name, v.state, v.versions
		FROM (SELECT key_id, state, count(*) AS versions FROM versions GROUP BY key_id, state) AS v JOIN keys AS k ON k.id = v.key_id`
	err := s.rows(ctx, "count versions", query, "k.name, v.state", nil, func(rows *sql.Rows) error {
		var c store.StateCount
		err := rows.Scan(&c.Key, &c.State, &c.Versions)
		list = append(list, c)
		return err
	})
	return list, err
}

// KeyName finds the key whose id starts with prefix.
func (s *Store) KeyName(ctx context.Context, prefix [8]byte) (string, error) {
	var name string
	err := s.read(ctx, "find key", func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT name FROM keys WHERE substr(id, 1, 8) = ?`, prefix[:]).Scan(&name)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("%w: no key id starts with %x", keyring.ErrUnknownKey, prefix)
		}
		return err
	})
	return name, err
}

// Revision grows with each update of a key.
func (s *Store) Revision(ctx context.Context) (uint64, error) {
	var revision uint64
	err := s.read(ctx, "read revision", func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT revision FROM meta`).Scan(&revision)
	})
	return revision, err
}

// Key reads one key.
func (s *Store) Key(ctx context.Context, name string) (store.Key, error) {
	var key store.Key
	err := s.read(ctx, "read key", func(tx *sql.Tx) error {
		var err error
		key, err = readKey(ctx, tx, name)
		return err
	})
	return key, err
}

func readKey(ctx context.Context, db querier, name string) (store.Key, error) {
	var key store.Key
	if err := readRecord(ctx, db, name, &key); err != nil {
		return store.Key{}, err
	}
	if err := readVersions(ctx, db, &key); err != nil {
		return store.Key{}, err
	}
	if err := readWraps(ctx, db, &key.Record); err != nil {
		return store.Key{}, err
	}
	if err := addLeases(ctx, db, &key); err != nil {
		return store.Key{}, err
	}
	digest, err := lastDigest(ctx, db, name)
	if err != nil {
		return store.Key{}, err
	}
	key.LastDigest = digest
	return key, nil
}

// readRecord reads the key's own row, and makes room for its versions.
func readRecord(ctx context.Context, db querier, name string, key *store.Key) error {
	const query = `
		SELECT id, name, created, algorithm, min_decrypt_version, hard_limit, wrap_with, block_reads, coalesce(primary_version, 0),
			(SELECT count(*) FROM versions WHERE key_id = keys.id)
		FROM keys WHERE name = ?`
	var created int64
	var versions int
	var wrapWith []byte
	err := db.QueryRowContext(ctx, query, name).Scan(
		fixed(key.ID[:]), &key.Name, &created, &key.Settings.Algorithm,
		&key.Settings.MinDecryptVersion, &key.Settings.HardLimit, &wrapWith, &key.Settings.BlockReads, &key.Primary, &versions)
	if errors.Is(err, sql.ErrNoRows) {
		return unknownKey(ctx, db, name)
	}
	if err != nil {
		return err
	}
	key.Created = store.FromMicros(created)
	if err := json.Unmarshal(wrapWith, &key.Settings.WrapWith); err != nil {
		return damaged("providers of key %q: %w", name, err)
	}
	if len(key.Settings.WrapWith) == 0 {
		key.Settings.WrapWith = nil
	}
	if versions > 0 {
		key.Versions = make([]keyring.Version, 0, versions)
	}
	key.Uses = make(map[uint32]uint64, versions)
	return nil
}

// unknownKey is keyring.ErrUnknownKey, unless the history knows the key: a key never
// goes, so its record was lost then, and its name must not be used again.
func unknownKey(ctx context.Context, db querier, name string) error {
	var known bool
	err := db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM events WHERE key = ?)`, name).Scan(&known)
	switch {
	case err != nil:
		return err
	case known:
		return damaged("key %q has a history, and no record", name)
	default:
		return fmt.Errorf("%w: %q", keyring.ErrUnknownKey, name)
	}
}

func readVersions(ctx context.Context, db querier, key *store.Key) error {
	rows, err := db.QueryContext(ctx, `
		SELECT number, label, state, algorithm, created, activated, state_changed, reason, kcv, used, used_reencrypting
		FROM versions WHERE key_id = ? ORDER BY number`, key.ID[:])
	if err != nil {
		return err
	}
	defer rows.Close()
	var v keyring.Version // one for all rows: what Scan is given is moved to the heap
	var created, activated, changed int64
	var used, reencrypted uint64
	for rows.Next() {
		err := rows.Scan(&v.Number, &v.Label, (*string)(&v.State), (*string)(&v.Algorithm),
			&created, &activated, &changed, (*string)(&v.Reason), fixed(v.KCV[:]), &used, &reencrypted)
		if err != nil {
			return err
		}
		v.Created = store.FromMicros(created)
		v.Activated = store.FromMicros(activated)
		v.StateChanged = store.FromMicros(changed)
		key.Versions = append(key.Versions, v)
		addUses(key, v.Number, used, reencrypted)
	}
	return rows.Err()
}

// readWraps reads all wraps of the key at once, in the order of the versions.
func readWraps(ctx context.Context, db querier, r *keyring.Record) error {
	rows, err := db.QueryContext(ctx, `
		SELECT version, provider, kek_id, kek_version, blob, created
		FROM wraps WHERE key_id = ? ORDER BY version, provider`, r.ID[:])
	if err != nil {
		return err
	}
	defer rows.Close()
	var w keyring.Wrap
	var number uint32
	var created int64
	i := 0
	for rows.Next() {
		if err := rows.Scan(&number, &w.Provider, &w.KEKID, &w.KEKVersion, &w.Blob, &created); err != nil {
			return err
		}
		w.Created = store.FromMicros(created)
		for i < len(r.Versions) && r.Versions[i].Number < number {
			i++
		}
		if i == len(r.Versions) || r.Versions[i].Number != number {
			return damaged("key %q has a wrap of version %d, which does not exist", r.Name, number)
		}
		r.Versions[i].Wraps = append(r.Versions[i].Wraps, w)
	}
	return rows.Err()
}

// addLeases counts what is out on lease as used, expired or not.
func addLeases(ctx context.Context, db querier, key *store.Key) error {
	rows, err := db.QueryContext(ctx, `
		SELECT version, sum(count), sum(count * reencrypting) FROM leases WHERE key_id = ? GROUP BY version`, key.ID[:])
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var number uint32
		var count, reencrypted uint64
		if err := rows.Scan(&number, &count, &reencrypted); err != nil {
			return err
		}
		addUses(key, number, count, reencrypted)
	}
	return rows.Err()
}

func addUses(key *store.Key, version uint32, uses, reencrypted uint64) {
	key.Uses[version] += uses
	if reencrypted == 0 {
		return
	}
	if key.Reencrypted == nil {
		key.Reencrypted = make(map[uint32]uint64)
	}
	key.Reencrypted[version] += reencrypted
}

// lastDigest takes the digest from the event's bytes, which the log covers, and
// from no column beside them.
func lastDigest(ctx context.Context, db querier, name string) (string, error) {
	var b []byte
	err := db.QueryRowContext(ctx, `SELECT bytes FROM events WHERE key = ? ORDER BY seq DESC LIMIT 1`, name).Scan(&b)
	if errors.Is(err, sql.ErrNoRows) {
		return "", damaged("key %q has no event", name)
	}
	if err != nil {
		return "", err
	}
	e, err := history.Decode(b)
	switch {
	case errors.Is(err, history.ErrSchema):
		return "", fmt.Errorf("%w: last event of key %q: %w", store.ErrSchema, name, err)
	case err != nil:
		return "", damaged("last event of key %q: %w", name, err)
	}
	return e.Digest, nil
}
