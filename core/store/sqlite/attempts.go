package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// CountAttempts adds to the count of a version.
func (s *Store) CountAttempts(ctx context.Context, key string, version uint32, n uint64) error {
	if n == 0 {
		return nil
	}
	return s.write(ctx, "count attempts", func(tx writeTx) error {
		done, err := tx.ExecContext(ctx, `
			INSERT INTO attempts (key_id, version, count, last)
			SELECT v.key_id, v.number, ?, ? FROM versions AS v JOIN keys AS k ON k.id = v.key_id
			WHERE k.name = ? AND v.number = ?
			ON CONFLICT (key_id, version) DO UPDATE SET count = count + excluded.count, last = max(last, excluded.last)`,
			n, store.Micros(s.now()), key, version)
		if err != nil {
			return err
		}
		if rows, err := done.RowsAffected(); err != nil || rows == 0 {
			return errors.Join(err, fmt.Errorf("%w: key %q has no version %d", keyring.ErrUnknownVersion, key, version))
		}
		return nil
	})
}

// Attempts answers the count of a version.
func (s *Store) Attempts(ctx context.Context, key string, version uint32) (uint64, error) {
	var count uint64
	err := s.read(ctx, "read attempts", func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `
			SELECT coalesce(sum(a.count), 0) FROM attempts AS a JOIN keys AS k ON k.id = a.key_id
			WHERE k.name = ? AND a.version = ?`, key, version).Scan(&count)
	})
	return count, err
}
