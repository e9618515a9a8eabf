package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// Acquire grants uses of the key's primary.
func (s *Store) Acquire(ctx context.Context, r store.LeaseRequest) (store.Lease, error) {
	if r.Owner == "" || r.Count == 0 || r.TTL <= 0 {
		return store.Lease{}, fmt.Errorf("store %s: lease: a lease needs an owner, a count and a time to live: %+v", s.path, r)
	}
	for _, b := range r.Back {
		if err := s.checkReturned(b); err != nil {
			return store.Lease{}, err
		}
	}
	var lease store.Lease
	var refusal error
	err := s.write(ctx, "lease", func(tx writeTx) error {
		if err := s.bookExpired(ctx, tx); err != nil {
			return err
		}
		for _, b := range r.Back {
			if err := giveBack(ctx, tx, b); err != nil {
				return err
			}
		}
		p, err := leasable(ctx, tx, r.Key)
		switch {
		case errors.Is(err, keyring.ErrUsageLimit), errors.Is(err, keyring.ErrNoPrimary):
			refusal = s.fail("lease", err)
			return nil // what was given back stays so
		case err != nil:
			return err
		}
		lease, err = s.grant(ctx, tx, r, p)
		return err
	})
	if err == nil {
		err = refusal
	}
	if err != nil {
		return store.Lease{}, err
	}
	return lease, nil
}

// primary is a version that encrypts, and how many uses it had and has left.
type primary struct {
	key               keyring.KeyID
	version           uint32
	uses, reencrypted uint64
	left              uint64
}

// leasable answers the primary of a key, if it is active and below its limit. The plus
// keeps the query to the table: were it answered from the index of active versions, one
// that lost its entry would look like a key without a primary.
func leasable(ctx context.Context, db querier, name string) (primary, error) {
	var p primary
	var version sql.Null[uint32]
	var limit uint64
	err := db.QueryRowContext(ctx, `
		SELECT k.id, k.hard_limit, v.number,
			coalesce(v.used, 0) + coalesce(
				(SELECT sum(count) FROM leases AS l WHERE l.key_id = v.key_id AND l.version = v.number), 0),
			coalesce(v.used_reencrypting, 0) + coalesce(
				(SELECT sum(count) FROM leases AS l WHERE l.key_id = v.key_id AND l.version = v.number AND l.reencrypting), 0)
		FROM keys AS k
		LEFT JOIN versions AS v ON v.key_id = k.id AND v.number = k.primary_version AND +v.state = 'active'
		WHERE k.name = ?`, name).Scan(fixed(p.key[:]), &limit, &version, &p.uses, &p.reencrypted)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return primary{}, fmt.Errorf("%w: %q", keyring.ErrUnknownKey, name)
	case err != nil:
		return primary{}, err
	case !version.Valid:
		return primary{}, fmt.Errorf("%w: %q: rotate the key to give it one", keyring.ErrNoPrimary, name)
	}
	if p.uses >= limit {
		return primary{}, fmt.Errorf("%w: version %d of key %q has %d of %d: rotate the key", keyring.ErrUsageLimit, version.V, name, p.uses, limit)
	}
	p.version, p.left = version.V, limit-p.uses
	return p, nil
}

func (s *Store) grant(ctx context.Context, tx writeTx, r store.LeaseRequest, p primary) (store.Lease, error) {
	now := s.now()
	expires := store.Micros(now.Add(min(r.TTL, store.MaxLeaseTTL)))
	lease := store.Lease{
		Key: r.Key, Version: p.version, Count: min(r.Count, p.left), Expires: store.FromMicros(expires),
		Uses: p.uses, Reencrypted: p.reencrypted,
	}
	lease.Uses += lease.Count
	if r.Reencrypting {
		lease.Reencrypted += lease.Count
	}
	err := tx.QueryRowContext(ctx, `
		INSERT INTO leases (key_id, version, owner, count, granted, expires, reencrypting) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		p.key[:], lease.Version, r.Owner, lease.Count, store.Micros(now), expires, r.Reencrypting).Scan(&lease.ID)
	return lease, err
}

// bookExpired counts every expired lease as used in full: its holder did not say
// otherwise in time.
func (s *Store) bookExpired(ctx context.Context, tx writeTx) error {
	now := store.Micros(s.now())
	_, err := tx.ExecContext(ctx, `
		UPDATE versions SET used = used + l.count, used_reencrypting = used_reencrypting + l.reencrypted
		FROM (
			SELECT key_id, version, sum(count) AS count, sum(count * reencrypting) AS reencrypted
			FROM leases WHERE expires <= ? GROUP BY key_id, version) AS l
		WHERE versions.key_id = l.key_id AND versions.number = l.version`, now)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM leases WHERE expires <= ?`, now)
	return err
}

// Leased answers how many uses of a version are out on lease.
func (s *Store) Leased(ctx context.Context, key string, version uint32) (uint64, error) {
	var count uint64
	err := s.read(ctx, "read leases", func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `
			SELECT coalesce(sum(l.count), 0) FROM leases AS l JOIN keys AS k ON k.id = l.key_id
			WHERE k.name = ? AND l.version = ? AND l.expires > ?`,
			key, version, store.Micros(s.now())).Scan(&count)
	})
	return count, err
}

// Held tells which processes hold uses of a key.
func (s *Store) Held(ctx context.Context, key string) ([]store.Holding, error) {
	return s.heldAt(ctx, key, s.now())
}

func (s *Store) heldAt(ctx context.Context, key string, now time.Time) ([]store.Holding, error) {
	var held []store.Holding
	err := s.read(ctx, "read leases", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `
			SELECT l.version, l.owner, count(*), sum(l.count), sum(l.count * l.reencrypting), max(l.expires)
			FROM leases AS l JOIN keys AS k ON k.id = l.key_id
			WHERE k.name = ? AND l.expires > ? GROUP BY l.version, l.owner ORDER BY l.version, l.owner`,
			key, store.Micros(now))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var h store.Holding
			var expires int64
			if err := rows.Scan(&h.Version, &h.Owner, &h.Leases, &h.Uses, &h.Reencrypting, &expires); err != nil {
				return err
			}
			h.Expires = store.FromMicros(expires)
			held = append(held, h)
		}
		return rows.Err()
	})
	return held, err
}

// Return books what was used of a lease and ends it.
func (s *Store) Return(ctx context.Context, l store.Lease, used uint64) error {
	back := store.Returned{Lease: l, Used: used}
	if err := s.checkReturned(back); err != nil {
		return err
	}
	return s.write(ctx, "return lease", func(tx writeTx) error {
		if err := s.bookExpired(ctx, tx); err != nil {
			return err
		}
		return giveBack(ctx, tx, back)
	})
}

func (s *Store) checkReturned(b store.Returned) error {
	if b.Used > b.Count {
		return fmt.Errorf("store %s: return lease: %d of %d uses: more than were granted", s.path, b.Used, b.Count)
	}
	return nil
}

// giveBack ends a lease, unless it is no more: it was returned before, or has expired
// and is booked in full.
func giveBack(ctx context.Context, tx writeTx, b store.Returned) error {
	var key keyring.KeyID
	var version uint32
	var reencrypting bool
	err := tx.QueryRowContext(ctx, `DELETE FROM leases WHERE id = ? RETURNING key_id, version, reencrypting`, b.ID).
		Scan(fixed(key[:]), &version, &reencrypting)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		UPDATE versions SET used = used + ?1, used_reencrypting = used_reencrypting + ?1 * ?2 WHERE key_id = ?3 AND number = ?4`,
		b.Used, reencrypting, key[:], version)
	return err
}
