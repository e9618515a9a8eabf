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
	err := s.read(ctx, "read subscribers", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `
			SELECT s.target, s.event, s.notice, s.owner, s.expires,
				count(o.id) FILTER (WHERE o.state IN ('pending', 'blocked')),
				count(o.id) FILTER (WHERE o.state IN ('pending', 'blocked') AND o.attempts > 0),
				count(o.id) FILTER (WHERE o.state = 'terminal'),
				coalesce(min(o.created) FILTER (WHERE o.state IN ('pending', 'blocked')), 0),
				coalesce((
					SELECT e.last_error FROM outbox AS e
					WHERE e.topic = s.topic AND e.target = s.target AND e.state <> 'done' AND e.last_error <> ''
					ORDER BY e.id DESC LIMIT 1), '')
			FROM subscribers AS s LEFT JOIN outbox AS o ON o.topic = s.topic AND o.target = s.target AND o.state <> 'done'
			WHERE s.topic = ? GROUP BY s.target ORDER BY s.target`, topic)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			sub := store.Subscriber{Subscription: store.Subscription{Topic: topic}}
			var expires, oldest int64
			err := rows.Scan(&sub.Target, &sub.Position.Event, &sub.Position.Notice, &sub.Owner, &expires,
				&sub.Open, &sub.Failing, &sub.Terminal, &oldest, &sub.LastError)
			if err != nil {
				return err
			}
			sub.Expires, sub.Oldest = store.FromMicros(expires), store.FromMicros(oldest)
			list = append(list, sub)
		}
		return rows.Err()
	})
	return list, err
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

// Heads answers of each order key the oldest row that is open, if its time has come.
func (s *Store) Heads(ctx context.Context, sub store.Subscription, limit int) (heads []store.Delivery, next time.Time, err error) {
	err = s.read(ctx, "read outbox", func(tx *sql.Tx) error {
		heads, next = nil, time.Time{}
		now := store.Micros(s.now())
		rows, err := tx.QueryContext(ctx, `
			SELECT id, order_key, idempotency_id, event_seq, payload, created, attempts, next_attempt
			FROM outbox WHERE id IN (
				SELECT min(id) FROM outbox WHERE topic = ? AND target = ? AND state IN ('pending', 'blocked') GROUP BY order_key)
			ORDER BY next_attempt > ?, CASE WHEN next_attempt > ? THEN next_attempt ELSE id END`,
			sub.Topic, sub.Target, now, now)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var d store.Delivery
			var created, at int64
			if err := rows.Scan(&d.ID, &d.OrderKey, &d.Idempotency, &d.Event, &d.Payload, &created, &d.Attempts, &at); err != nil {
				return err
			}
			if at > now {
				next = store.FromMicros(at) // the others' time comes later
				return nil
			}
			if len(heads) == limit {
				next = store.FromMicros(now)
				return nil
			}
			d.Created = store.FromMicros(created)
			heads = append(heads, d)
		}
		return rows.Err()
	})
	return heads, next, err
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

// Sweep forgets what is over.
func (s *Store) Sweep(ctx context.Context, finished, unseen time.Time) error {
	return s.write(ctx, "sweep outbox", func(tx writeTx) error {
		for _, f := range []struct {
			query string
			arg   time.Time
		}{
			{`DELETE FROM outbox WHERE state IN ('done', 'terminal') AND finished < ?`, finished},
			{`DELETE FROM notices WHERE created < ?`, finished},
			{`DELETE FROM outbox WHERE (topic, target) IN (SELECT topic, target FROM subscribers WHERE seen < ?)`, unseen},
			{`DELETE FROM subscribers WHERE seen < ?`, unseen},
		} {
			if _, err := tx.ExecContext(ctx, f.query, store.Micros(f.arg)); err != nil {
				return err
			}
		}
		return nil
	})
}
