package sqlite

import (
	"context"
	"database/sql"

	"github.com/keyrotor/keyrotor/core/store"
)

// FeedEnd is the position behind everything.
func (s *Store) FeedEnd(ctx context.Context) (store.Position, error) {
	var p store.Position
	err := s.read(ctx, "read the end of the feed", func(tx *sql.Tx) (err error) {
		p, err = feedEnd(ctx, tx)
		return err
	})
	return p, err
}

func feedEnd(ctx context.Context, db querier) (store.Position, error) {
	var p store.Position
	// The newest notice may have been swept; its number is never used again.
	err := db.QueryRowContext(ctx, `
		SELECT log_size, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'notices'), 0) FROM meta`).Scan(&p.Event, &p.Notice)
	return p, err
}

// After answers what follows a position.
func (s *Store) After(ctx context.Context, p store.Position, limit int) (store.Batch, error) {
	var batch store.Batch
	err := s.read(ctx, "read the feed", func(tx *sql.Tx) error {
		end, err := feedEnd(ctx, tx)
		if err != nil {
			return err
		}
		batch = store.Batch{To: end}
		if err := batchEvents(ctx, tx, p, limit, &batch); err != nil {
			return err
		}
		return batchNotices(ctx, tx, p, limit, &batch)
	})
	return batch, err
}

func batchEvents(ctx context.Context, tx *sql.Tx, p store.Position, limit int, batch *store.Batch) error {
	rows, err := tx.QueryContext(ctx, `SELECT seq, bytes FROM events WHERE seq > ? ORDER BY seq LIMIT ?`, p.Event, limit)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var e store.FeedEvent
		if err := rows.Scan(&e.Seq, (*[]byte)(&e.Bytes)); err != nil {
			return err
		}
		batch.Events = append(batch.Events, e)
	}
	if len(batch.Events) == limit {
		batch.To.Event = batch.Events[limit-1].Seq
	}
	return rows.Err()
}

func batchNotices(ctx context.Context, tx *sql.Tx, p store.Position, limit int, batch *store.Batch) error {
	rows, err := tx.QueryContext(ctx, `SELECT number, id, bytes FROM notices WHERE number > ? ORDER BY number LIMIT ?`, p.Notice, limit)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var n store.Notice
		if err := rows.Scan(&n.Number, &n.ID, (*[]byte)(&n.Bytes)); err != nil {
			return err
		}
		batch.Notices = append(batch.Notices, n)
	}
	if len(batch.Notices) == limit {
		batch.To.Notice = batch.Notices[limit-1].Number
	}
	return rows.Err()
}

// Notify adds notices that are new.
func (s *Store) Notify(ctx context.Context, notices ...store.Notice) error {
	return s.write(ctx, "add notices", func(tx writeTx) error {
		for _, n := range notices {
			_, err := tx.ExecContext(ctx, `INSERT INTO notices (id, bytes, created) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING`,
				n.ID, []byte(n.Bytes), store.Micros(s.now()))
			if err != nil {
				return err
			}
		}
		return nil
	})
}
