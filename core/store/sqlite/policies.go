package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// FactsQuery is the one query behind [Store.Facts]: every key's own row, its primary and
// what is out on lease of that.
const FactsQuery = `
	SELECT k.name, k.created, k.hard_limit, k.wrap_with, coalesce(v.number, 0), coalesce(v.created, 0), coalesce(v.state_changed, 0),
		coalesce(v.used, 0) + coalesce(l.count, 0), coalesce(v.used_reencrypting, 0) + coalesce(l.reencrypted, 0)
	FROM keys AS k
	LEFT JOIN versions AS v ON v.key_id = k.id AND v.number = k.primary_version AND +v.state = 'active'
	LEFT JOIN (
		SELECT key_id, version, sum(count) AS count, sum(count * reencrypting) AS reencrypted FROM leases GROUP BY key_id, version
	) AS l ON l.key_id = v.key_id AND l.version = v.number`

// Facts answers what policies may know of keys.
func (s *Store) Facts(ctx context.Context, names ...string) ([]store.Facts, error) {
	var list []store.Facts
	err := s.rows(ctx, "read facts", FactsQuery, "k.name", names, func(rows *sql.Rows) error {
		var f store.Facts
		var created, rotated, activated int64
		var wrapWith []byte
		err := rows.Scan(&f.Name, &created, &f.HardLimit, &wrapWith, &f.Version, &rotated, &activated, &f.Uses, &f.Reencrypted)
		if err != nil {
			return err
		}
		f.Created, f.Rotated, f.Activated = store.FromMicros(created), store.FromMicros(rotated), store.FromMicros(activated)
		if err := json.Unmarshal(wrapWith, &f.WrapWith); err != nil {
			return damaged("providers of key %q: %w", f.Name, err)
		}
		list = append(list, f)
		return nil
	})
	return list, err
}

// Checks answers the newest check of each policy.
func (s *Store) Checks(ctx context.Context, names ...string) ([]store.PolicyCheck, error) {
	return s.policyChecks(ctx, `policy_checks`, names)
}

// Failing answers those whose last rotation failed.
func (s *Store) Failing(ctx context.Context, names ...string) ([]store.PolicyCheck, error) {
	return s.policyChecks(ctx, `(SELECT * FROM policy_checks WHERE failures > 0)`, names)
}

func (s *Store) policyChecks(ctx context.Context, table string, names []string) ([]store.PolicyCheck, error) {
	query := `
		SELECT k.name, p.policy, p.checked, p.due, p.slot, p.next, p.why, p.failures, p.retry, p.error_code
		FROM ` + table + ` AS p JOIN keys AS k ON k.id = p.key_id`
	var list []store.PolicyCheck
	err := s.rows(ctx, "read checks", query, "k.name, p.policy", names, func(rows *sql.Rows) error {
		var c store.PolicyCheck
		var checked, next, retry int64
		err := rows.Scan(&c.Key, &c.Policy, &checked, &c.Due, &c.Slot, &next, &c.Why, &c.Failures, &retry, &c.ErrorCode)
		c.Checked, c.Next, c.Retry = store.FromMicros(checked), store.FromMicros(next), store.FromMicros(retry)
		list = append(list, c)
		return err
	})
	return list, err
}

// rows runs a query about keys k, of all of them or of those that are named.
func (s *Store) rows(ctx context.Context, what, query, order string, names []string, scan func(*sql.Rows) error) error {
	var args []any
	if len(names) > 0 {
		list, err := json.Marshal(names)
		if err != nil {
			return err
		}
		query += ` WHERE k.name IN (SELECT value FROM json_each(?))`
		args = append(args, string(list))
	}
	return s.read(ctx, what, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, query+` ORDER BY `+order, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := scan(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// Done reports whether a key was rotated on an occasion.
func (s *Store) Done(ctx context.Context, key string, due store.DueSlot) (bool, error) {
	var done bool
	err := s.read(ctx, "read slots", func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `
			SELECT EXISTS (
				SELECT 1 FROM due_slots AS d JOIN keys AS k ON k.id = d.key_id
				WHERE k.name = ? AND d.policy = ? AND d.slot = ?)`, key, due.Policy, due.Slot).Scan(&done)
	})
	return done, err
}

// bookSlot books the occasion of a rotation.
func (s *Store) bookSlot(ctx context.Context, tx writeTx, key *store.Key, due store.DueSlot) error {
	done, err := tx.ExecContext(ctx, `
		INSERT INTO due_slots (key_id, policy, slot, version, rotated) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		key.ID[:], due.Policy, due.Slot, key.Primary, store.Micros(s.now()))
	if err != nil {
		return err
	}
	switch n, err := done.RowsAffected(); {
	case err != nil:
		return err
	case n == 0:
		return fmt.Errorf("%w: key %q, policy %q, slot %s", store.ErrDone, key.Name, due.Policy, due.Slot)
	}
	return nil
}

// endFailures forgets the failures of all policies of a key, which are about what a new
// version needs: it is there.
func endFailures(ctx context.Context, tx writeTx, key keyring.KeyID) error {
	_, err := tx.ExecContext(ctx, `
		UPDATE policy_checks SET failures = 0, retry = 0, error_code = '' WHERE key_id = ? AND failures > 0`, key[:])
	return err
}

// RecordChecks replaces what is known of policies and of their scheduler.
func (s *Store) RecordChecks(ctx context.Context, by store.SchedulerCheck, checks []store.PolicyCheck) error {
	return s.write(ctx, "record checks", func(tx writeTx) error {
		for _, c := range checks {
			_, err := tx.ExecContext(ctx, `
				INSERT INTO policy_checks (key_id, policy, checked, due, slot, next, why)
				SELECT id, ?, ?, ?, ?, ?, ? FROM keys WHERE name = ?
				ON CONFLICT (key_id, policy) DO UPDATE SET checked = excluded.checked, due = excluded.due,
					slot = excluded.slot, next = excluded.next, why = excluded.why`,
				c.Policy, store.Micros(c.Checked), c.Due, c.Slot, store.Micros(c.Next), c.Why, c.Key)
			if err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `
			INSERT INTO schedulers (owner, started, interval, checked, keys, due) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (owner) DO UPDATE SET started = excluded.started, interval = excluded.interval,
				checked = excluded.checked, keys = excluded.keys, due = excluded.due`,
			by.Owner, store.Micros(by.Started), by.Interval.Microseconds(), store.Micros(by.Checked), by.Keys, by.Due)
		return err
	})
}

// RecordFailure counts a rotation that failed.
func (s *Store) RecordFailure(ctx context.Context, key, policy, code string, retry time.Time) error {
	return s.write(ctx, "record a failure", func(tx writeTx) error {
		_, err := tx.ExecContext(ctx, `
			INSERT INTO policy_checks (key_id, policy, checked, due, slot, next, why, failures, retry, error_code)
			SELECT id, ?1, ?2, 1, '', 0, '', 1, ?3, ?4 FROM keys WHERE name = ?5
			ON CONFLICT (key_id, policy) DO UPDATE SET failures = failures + 1, retry = excluded.retry, error_code = excluded.error_code`,
			policy, store.Micros(s.now()), store.Micros(retry), code, key)
		return err
	})
}

// Schedulers lists the processes that check policies.
func (s *Store) Schedulers(ctx context.Context) ([]store.SchedulerCheck, error) {
	var list []store.SchedulerCheck
	err := s.read(ctx, "read schedulers", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT owner, started, interval, checked, keys, due FROM schedulers ORDER BY owner`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var c store.SchedulerCheck
			var started, interval, checked int64
			if err := rows.Scan(&c.Owner, &started, &interval, &checked, &c.Keys, &c.Due); err != nil {
				return err
			}
			c.Started, c.Checked, c.Interval = store.FromMicros(started), store.FromMicros(checked), time.Duration(interval)*time.Microsecond
			list = append(list, c)
		}
		return rows.Err()
	})
	return list, err
}

// RemoveScheduler forgets a process that stopped.
func (s *Store) RemoveScheduler(ctx context.Context, owner string) error {
	return s.write(ctx, "remove scheduler", func(tx writeTx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM schedulers WHERE owner = ?`, owner)
		return err
	})
}
