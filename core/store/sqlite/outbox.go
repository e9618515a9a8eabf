package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/keyrotor/keyrotor/core/store"
)

// seenInterval is how exactly it is known when a subscriber was last named.
const seenInterval = 24 * time.Hour

// Subscribe makes subscribers known.
func (s *Store) Subscribe(ctx context.Context, topic string, targets ...string) error {
	now := s.now()
	var missing []string
	err := s.read(ctx, "read subscribers", func(tx *sql.Tx) error {
		for _, target := range targets {
			var known bool
			err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM subscribers WHERE topic = ? AND target = ? AND seen > ?)`,
				topic, target, store.Micros(now.Add(-seenInterval))).Scan(&known)
			if err != nil {
				return err
			}
			if !known {
				missing = append(missing, target)
			}
		}
		return nil
	})
	if err != nil || len(missing) == 0 {
		return err
	}
	return s.write(ctx, "subscribe", func(tx writeTx) error {
		end, err := feedEnd(ctx, tx)
		if err != nil {
			return err
		}
		for _, target := range missing {
			_, err := tx.ExecContext(ctx, `
				INSERT INTO subscribers (topic, target, event, notice, seen) VALUES (?, ?, ?, ?, ?)
				ON CONFLICT (topic, target) DO UPDATE SET seen = excluded.seen`,
				topic, target, end.Event, end.Notice, store.Micros(now))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Subscribers lists those of a topic.
func (s *Store) Subscribers(ctx context.Context, topic string) ([]store.Subscriber, error) {
	var list []store.Subscriber
	err := s.read(ctx, "read subscribers", func(tx *sql.Tx) (err error) {
		if list, err = subscribers(ctx, tx, topic); err != nil {
			return err
		}
		for i := range list {
			sub := &list[i]
			var oldest int64
			err := tx.QueryRowContext(ctx, standingQuery, topic, sub.Target).
				Scan(&sub.Open, &sub.Failing, &oldest, &sub.Terminal, &sub.LastError)
			if err != nil {
				return err
			}
			sub.Oldest = store.FromMicros(oldest)
		}
		return nil
	})
	return list, err
}

func subscribers(ctx context.Context, tx *sql.Tx, topic string) ([]store.Subscriber, error) {
	rows, err := tx.QueryContext(ctx, `SELECT target, event, notice, owner, expires FROM subscribers WHERE topic = ? ORDER BY target`, topic)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []store.Subscriber
	for rows.Next() {
		sub := store.Subscriber{Subscription: store.Subscription{Topic: topic}}
		var expires int64
		if err := rows.Scan(&sub.Target, &sub.Position.Event, &sub.Position.Notice, &sub.Owner, &expires); err != nil {
			return nil, err
		}
		sub.Expires = store.FromMicros(expires)
		list = append(list, sub)
	}
	return list, rows.Err()
}

// Route puts rows in the outbox, and moves the subscriber's position.
func (s *Store) Route(ctx context.Context, sub store.Subscription, from, to store.Position, rows []store.Delivery) error {
	return s.write(ctx, "route", func(tx writeTx) error {
		moved, err := tx.ExecContext(ctx, `
			UPDATE subscribers SET event = ?, notice = ? WHERE topic = ? AND target = ? AND event = ? AND notice = ?`,
			to.Event, to.Notice, sub.Topic, sub.Target, from.Event, from.Notice)
		if err := oneRow(moved, err, sub); err != nil {
			return err
		}
		now := store.Micros(s.now())
		for _, r := range rows {
			_, err := tx.ExecContext(ctx, `
				INSERT INTO outbox (topic, target, order_key, idempotency_id, event_seq, payload, created, next_attempt)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (topic, target, idempotency_id) DO NOTHING`,
				sub.Topic, sub.Target, r.OrderKey, r.Idempotency, r.Event, r.Payload, now, now)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// oneRow is ErrMoved unless one row was changed.
func oneRow(done sql.Result, err error, sub store.Subscription) error {
	if err != nil {
		return err
	}
	switch n, err := done.RowsAffected(); {
	case err != nil:
		return err
	case n != 1:
		return fmt.Errorf("%w: %s of %s", store.ErrMoved, sub.Target, sub.Topic)
	}
	return nil
}

// Hold has a process deliver to a subscriber for a while.
func (s *Store) Hold(ctx context.Context, sub store.Subscription, owner string, ttl time.Duration) error {
	return s.write(ctx, "hold subscriber", func(tx writeTx) error {
		now := s.now()
		held, err := tx.ExecContext(ctx, `
			UPDATE subscribers SET owner = ?1, expires = ?2 WHERE topic = ?3 AND target = ?4 AND (owner IN ('', ?1) OR expires <= ?5)`,
			owner, store.Micros(now.Add(ttl)), sub.Topic, sub.Target, store.Micros(now))
		return oneRow(held, err, sub)
	})
}

// Release ends that a process delivers to a subscriber.
func (s *Store) Release(ctx context.Context, sub store.Subscription, owner string) error {
	return s.write(ctx, "release subscriber", func(tx writeTx) error {
		_, err := tx.ExecContext(ctx, `UPDATE subscribers SET owner = '', expires = 0 WHERE topic = ? AND target = ? AND owner = ?`,
			sub.Topic, sub.Target, owner)
		return err
	})
}

// headsOf is the oldest open row of each order key. It goes from one key to the next by
// the index, however many rows each has.
const headsOf = `
	WITH RECURSIVE keys (order_key) AS (
		SELECT min(order_key) FROM outbox WHERE topic = ?1 AND target = ?2 AND state IN ('pending', 'blocked')
		UNION ALL
		SELECT (SELECT min(order_key) FROM outbox WHERE topic = ?1 AND target = ?2 AND order_key > keys.order_key AND state IN ('pending', 'blocked'))
		FROM keys WHERE order_key IS NOT NULL),
	heads AS (
		SELECT o.id, o.created, o.attempts, o.next_attempt, o.last_error FROM keys JOIN outbox AS o ON o.id = (
			SELECT min(id) FROM outbox WHERE topic = ?1 AND target = ?2 AND order_key = keys.order_key AND state IN ('pending', 'blocked'))
		WHERE keys.order_key IS NOT NULL)`

// headsQuery sorts heads: first those whose time has come, by age, then the others by when
// it does. Nobody waits for longer than store.MaxPause: a time beyond is of before the clock
// was set back, and has come.
const headsQuery = headsOf + `
	SELECT id, iif(next_attempt BETWEEN ?3 + 1 AND ?5, next_attempt, 0) AS wait FROM heads
	ORDER BY wait > 0, CASE WHEN wait > 0 THEN wait ELSE id END LIMIT ?4`

// standingQuery counts what is open, and says of the heads, which alone are tried, what
// came of that.
const standingQuery = headsOf + `
	SELECT
		(SELECT count(*) FROM outbox WHERE topic = ?1 AND target = ?2 AND state IN ('pending', 'blocked')),
		(SELECT count(*) FROM heads WHERE attempts > 0),
		coalesce((SELECT created FROM heads ORDER BY id LIMIT 1), 0),
		(SELECT count(*) FROM outbox WHERE topic = ?1 AND target = ?2 AND state = 'terminal'),
		coalesce((
			SELECT last_error FROM (
				SELECT id, last_error FROM heads WHERE last_error <> ''
				UNION ALL
				SELECT id, last_error FROM outbox WHERE topic = ?1 AND target = ?2 AND state = 'terminal' AND last_error <> '')
			ORDER BY id DESC LIMIT 1), '')`

// Heads answers of each order key the oldest row that is open, if its time has come.
func (s *Store) Heads(ctx context.Context, sub store.Subscription, limit int) (heads []store.Delivery, next time.Time, err error) {
	err = s.read(ctx, "read outbox", func(tx *sql.Tx) error {
		var ids []int64
		ids, next, err = s.headIDs(ctx, tx, sub, limit)
		if err != nil {
			return err
		}
		heads = make([]store.Delivery, len(ids))
		for i, id := range ids {
			d := &heads[i]
			var created int64
			err := tx.QueryRowContext(ctx, `SELECT id, order_key, idempotency_id, event_seq, payload, created, attempts FROM outbox WHERE id = ?`, id).
				Scan(&d.ID, &d.OrderKey, &d.Idempotency, &d.Event, &d.Payload, &created, &d.Attempts)
			if err != nil {
				return err
			}
			d.Created = store.FromMicros(created)
		}
		return nil
	})
	return heads, next, err
}

// headIDs are the ids of what is due, and when something else is.
func (s *Store) headIDs(ctx context.Context, tx *sql.Tx, sub store.Subscription, limit int) (ids []int64, next time.Time, err error) {
	at := s.now()
	now := store.Micros(at)
	rows, err := tx.QueryContext(ctx, headsQuery, sub.Topic, sub.Target, now, limit+1, store.Micros(at.Add(store.MaxPause)))
	if err != nil {
		return nil, time.Time{}, err
	}
	defer rows.Close()
	for rows.Next() {
		var id, wait int64
		if err := rows.Scan(&id, &wait); err != nil {
			return nil, time.Time{}, err
		}
		if wait > 0 || len(ids) == limit {
			next = store.FromMicros(max(wait, now)) // the others' time comes later
			break
		}
		ids = append(ids, id)
	}
	return ids, next, rows.Err()
}

// Settle records what came of deliveries.
func (s *Store) Settle(ctx context.Context, sub store.Subscription, owner string, settled []store.Settled) error {
	return s.write(ctx, "settle deliveries", func(tx writeTx) error {
		var held bool
		err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM subscribers WHERE topic = ? AND target = ? AND owner = ?)`,
			sub.Topic, sub.Target, owner).Scan(&held)
		if err != nil {
			return err
		}
		if !held {
			return fmt.Errorf("%w: %s of %s", store.ErrMoved, sub.Target, sub.Topic)
		}
		now := store.Micros(s.now())
		for _, d := range settled {
			state, finished, next := "pending", int64(0), store.Micros(d.Next)
			switch {
			case d.Done:
				state, finished, next = "done", now, now
			case d.Terminal:
				state, finished, next = "terminal", now, now
			}
			_, err := tx.ExecContext(ctx, `
				UPDATE outbox SET state = ?, finished = ?, next_attempt = ?, last_error = ?, attempts = attempts + 1
				WHERE id = ? AND topic = ? AND target = ? AND state IN ('pending', 'blocked')`,
				state, finished, next, d.Error, d.ID, sub.Topic, sub.Target)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// What a sweep deletes, so many rows at a time. Subscribers go last, after all that there
// is of them.
const (
	sweepFinished = `DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE state IN ('done', 'terminal') AND finished < ?1 LIMIT ?2)`
	sweepNotices  = `
		DELETE FROM notices WHERE number IN (
			SELECT number FROM notices
			WHERE created < ?1 AND number <= coalesce((SELECT min(notice) FROM subscribers), number) LIMIT ?2)`
	sweepUnseen = `
		DELETE FROM outbox WHERE id IN (
			SELECT id FROM outbox WHERE (topic, target) IN (SELECT topic, target FROM subscribers WHERE seen < ?1) LIMIT ?2)`
	sweepSubscribers = `
		DELETE FROM subscribers WHERE (topic, target) IN (
			SELECT topic, target FROM subscribers AS s WHERE seen < ?1
			AND NOT EXISTS (SELECT 1 FROM outbox AS o WHERE o.topic = s.topic AND o.target = s.target) LIMIT ?2)`
)

// Sweep forgets what is over.
func (s *Store) Sweep(ctx context.Context, finished, unseen time.Time) error {
	for _, step := range []struct {
		query  string
		before time.Time
	}{{sweepFinished, finished}, {sweepNotices, finished}, {sweepUnseen, unseen}, {sweepSubscribers, unseen}} {
		if err := s.sweep(ctx, step.query, step.before); err != nil {
			return err
		}
	}
	return nil
}

// sweep deletes by a query until there is nothing more. It holds the write lock for some
// milliseconds at a time: a month of rows must not keep an encryption from its lease.
func (s *Store) sweep(ctx context.Context, query string, before time.Time) error {
	for n := int64(s.pruneStep); n == int64(s.pruneStep); {
		err := s.write(ctx, "sweep outbox", func(tx writeTx) error {
			done, err := tx.ExecContext(ctx, query, store.Micros(before), s.pruneStep)
			if err != nil {
				return err
			}
			n, err = done.RowsAffected()
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
