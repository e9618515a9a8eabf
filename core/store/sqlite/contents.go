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
	Extent(ctx context.Context) (history.Extent, error)
	Schedulers(ctx context.Context) ([]store.SchedulerCheck, error)
	Failing(ctx context.Context, names ...string) ([]store.PolicyCheck, error)
	Checks(ctx context.Context, names ...string) ([]store.PolicyCheck, error)
	Facts(ctx context.Context, names ...string) ([]store.Facts, error)
	Subscribers(ctx context.Context, topic string) ([]store.Subscriber, error)
	After(ctx context.Context, p store.Position, limit int) (store.Batch, error)
}

// Contents are what a database holds, for an [Inspection].
type Contents struct {
	reads
	store *Store
}

// Held tells which processes hold uses of a key, on leases that have not expired at a
// time.
func (c *Contents) Held(ctx context.Context, key string, now time.Time) ([]store.Holding, error) {
	return c.store.heldAt(ctx, key, now)
}

// Log calls f for each event, the oldest first, until f fails, and answers its
// error. All are of one snapshot. Of an event that retention may have taken there is
// what the tree has.
func (c *Contents) Log(ctx context.Context, f func(store.LogEntry) error) error {
	var own error
	err := c.store.read(ctx, "read log", func(tx *sql.Tx) error {
		l := logReader{f: func(e store.LogEntry) error {
			own = f(e)
			return own
		}}
		if err := l.read(ctx, tx); own == nil {
			return err
		}
		return nil // it is f's error, and no fault of the store
	})
	if own != nil {
		return own
	}
	return err
}

// logReader goes through events, and through the tree beside them.
type logReader struct {
	f     func(store.LogEntry) error
	nodes *nodes
	// next is the number after the last event, and pruned that up to which there may
	// be none.
	next, pruned uint64
}

func (l *logReader) read(ctx context.Context, tx *sql.Tx) (err error) {
	l.next = 1
	if err := tx.QueryRowContext(ctx, `SELECT min(log_pruned, log_size) FROM meta`).Scan(&l.pruned); err != nil {
		return err
	}
	if l.nodes, err = readNodes(ctx, tx); err != nil {
		return err
	}
	defer l.nodes.rows.Close()
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
		if e.Bytes == nil {
			e.Bytes = []byte{} // nil is for what is not there
		}
		if err := l.taken(e.Seq); err != nil {
			return err
		}
		if err := l.pass(e); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return l.taken(l.pruned + 1)
}

// taken passes on what is left of the events before one that is there. It ends with
// the tree, whatever somebody wrote into meta.
func (l *logReader) taken(before uint64) error {
	for l.next < before && l.next <= l.pruned && l.nodes.more {
		if err := l.pass(store.LogEntry{Seq: l.next}); err != nil {
			return err
		}
	}
	return nil
}

func (l *logReader) pass(e store.LogEntry) (err error) {
	if e.Hashes, err = l.nodes.of(e.Seq); err != nil {
		return err
	}
	l.next = e.Seq + 1
	return l.f(e)
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

// Outbox sums up what is to be delivered, by state; without that of subscribers, who are
// looked at one by one.
func (c *Contents) Outbox(ctx context.Context) ([]store.OutboxSum, error) {
	var sums []store.OutboxSum
	err := c.store.read(ctx, "sum outbox", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `
			SELECT state, count(*), min(created), coalesce((
				SELECT last_error FROM outbox AS o WHERE o.state = outbox.state AND last_error <> '' ORDER BY id DESC LIMIT 1), '')
			FROM outbox WHERE (topic, target) NOT IN (SELECT topic, target FROM subscribers) GROUP BY state ORDER BY state`)
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
