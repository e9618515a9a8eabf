package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// reads are the methods of a Store that change nothing.
type reads interface {
	ID() keyring.StoreID
	Names(ctx context.Context) ([]string, error)
	Key(ctx context.Context, name string) (store.Key, error)
	Intents(ctx context.Context) ([]store.Intent, error)
	Events(ctx context.Context, q history.Query) (history.Page, error)
	Root(ctx context.Context) (size uint64, root tlog.Hash, err error)
	Schedulers(ctx context.Context) ([]store.SchedulerCheck, error)
	Failing(ctx context.Context, names ...string) ([]store.PolicyCheck, error)
}

// Contents are what a database holds, for an [Inspection].
type Contents struct {
	reads
	store *Store
}

// Log calls f for each event, the oldest first, until f fails, and answers its
// error. All are of one snapshot.
func (c *Contents) Log(ctx context.Context, f func(store.LogEntry) error) error {
	var own error
	err := c.store.read(ctx, "read log", func(tx *sql.Tx) error {
		nodes, err := readNodes(ctx, tx)
		if err != nil {
			return err
		}
		defer nodes.rows.Close()
		rows, err := tx.QueryContext(ctx, `SELECT seq, bytes, key, version, type, reason, actor, time FROM events ORDER BY seq`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var e store.LogEntry
			var at int64
			err := rows.Scan(&e.Seq, &e.Bytes, &e.Columns.Key, &e.Columns.Version, (*string)(&e.Columns.Type), &e.Columns.Reason, &e.Columns.Actor, &at)
			if err != nil {
				return err
			}
			e.Columns.Time = store.FromMicros(at)
			if e.Hashes, err = nodes.of(e.Seq); err != nil {
				return err
			}
			if own = f(e); own != nil {
				return nil
			}
		}
		return rows.Err()
	})
	if own != nil {
		return own
	}
	return err
}

// nodes goes through the tree's hashes beside the events.
type nodes struct {
	rows *sql.Rows
	// index and hash are the row that was read last and is not used yet.
	index int64
	hash  tlog.Hash
	more  bool
}

func readNodes(ctx context.Context, tx *sql.Tx) (*nodes, error) {
	rows, err := tx.QueryContext(ctx, `SELECT idx, hash FROM log_hashes ORDER BY idx`) //nolint:rowserrcheck // next does
	if err != nil {
		return nil, err
	}
	n := &nodes{rows: rows}
	if err := n.next(); err != nil {
		return nil, errors.Join(err, rows.Close()) //nolint:sqlclosecheck // else the caller closes them
	}
	return n, nil
}

func (n *nodes) next() error {
	if n.more = n.rows.Next(); !n.more {
		return n.rows.Err()
	}
	return n.rows.Scan(&n.index, fixed(n.hash[:]))
}

// of answers those of an event; later events have later ones.
func (n *nodes) of(seq uint64) ([]tlog.Hash, error) {
	var hashes []tlog.Hash
	first, end := tlog.StoredHashIndex(0, int64(seq)-1), tlog.StoredHashIndex(0, int64(seq))
	for n.more && n.index < end {
		if n.index >= first {
			hashes = append(hashes, n.hash)
		}
		if err := n.next(); err != nil {
			return nil, err
		}
	}
	return hashes, nil
}

// Leases sums up the leases that have expired by now and are not booked yet, and
// those that have not.
func (c *Contents) Leases(ctx context.Context, now time.Time) (expired, open store.LeaseSum, err error) {
	err = c.store.read(ctx, "sum leases", func(tx *sql.Tx) error {
		for _, s := range []struct {
			sum   *store.LeaseSum
			which string
		}{{&expired, `<=`}, {&open, `>`}} {
			var oldest int64
			err := tx.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(count), 0), coalesce(min(expires), 0) FROM leases WHERE expires `+s.which+` ?`, store.Micros(now)).
				Scan(&s.sum.Leases, &s.sum.Uses, &oldest)
			if err != nil {
				return err
			}
			s.sum.Oldest = store.FromMicros(oldest)
		}
		return nil
	})
	return expired, open, err
}

// Outbox sums up what is to be delivered, by state.
func (c *Contents) Outbox(ctx context.Context) ([]store.OutboxSum, error) {
	var sums []store.OutboxSum
	err := c.store.read(ctx, "sum outbox", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `
			SELECT state, count(*), min(created), coalesce((
				SELECT last_error FROM outbox AS o WHERE o.state = outbox.state AND last_error <> '' ORDER BY id DESC LIMIT 1), '')
			FROM outbox GROUP BY state ORDER BY state`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var s store.OutboxSum
			var oldest int64
			if err := rows.Scan(&s.State, &s.Rows, &oldest, &s.LastError); err != nil {
				return err
			}
			s.Oldest = store.FromMicros(oldest)
			sums = append(sums, s)
		}
		return rows.Err()
	})
	return sums, err
}
