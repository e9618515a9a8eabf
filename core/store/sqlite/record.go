package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keyrotor/keyrotor/core/history"
)

// Extent is how much there is of the history.
func (s *Store) Extent(ctx context.Context) (history.Extent, error) {
	var e history.Extent
	err := s.read(ctx, "measure the history", func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `
			SELECT log_size, log_pruned, (SELECT count(*) FROM events), (SELECT coalesce(sum(length(bytes)), 0) FROM events) FROM meta`).
			Scan(&e.Size, &e.Pruned, &e.Events, &e.Bytes)
		if err != nil {
			return err
		}
		e.Root, err = history.Root(e.Size, storedHashes(ctx, tx))
		return err
	})
	return e, err
}

// Record reads one event by its number, or what retention has left of it.
func (s *Store) Record(ctx context.Context, seq, size uint64) (history.Record, error) {
	r := history.Record{Seq: seq}
	err := s.read(ctx, "read event", func(tx *sql.Tx) error {
		have, err := logSize(ctx, tx)
		if err != nil {
			return err
		}
		if size > have {
			return fmt.Errorf("%w: %d: the history has the events 1 to %d", history.ErrNoEvent, size, have)
		}
		r.Size = cmp.Or(size, have)
		if seq < 1 || seq > r.Size {
			return fmt.Errorf("%w: %d: the history has the events 1 to %d", history.ErrNoEvent, seq, r.Size)
		}
		if r.Bytes, err = eventBytes(ctx, tx, seq); err != nil {
			return err
		}
		stored := storedHashes(ctx, tx)
		leaf, err := stored.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(seq)-1)})
		if err != nil {
			return err
		}
		r.Leaf = leaf[0]
		if r.Root, err = history.Root(r.Size, stored); err != nil {
			return err
		}
		r.Proof, err = tlog.ProveRecord(int64(r.Size), int64(seq)-1, stored)
		return err
	})
	if err != nil {
		return history.Record{}, err
	}
	return r, nil
}

// eventBytes answers nil for an event that retention may have taken.
func eventBytes(ctx context.Context, db querier, seq uint64) (b []byte, err error) {
	err = db.QueryRowContext(ctx, `SELECT bytes FROM events WHERE seq = ?`, seq).Scan(&b)
	if !errors.Is(err, sql.ErrNoRows) {
		return b, err
	}
	var pruned uint64
	if err := db.QueryRowContext(ctx, `SELECT log_pruned FROM meta`).Scan(&pruned); err != nil {
		return nil, err
	}
	if seq > pruned {
		return nil, damaged("event %d of the history is missing", seq)
	}
	return nil, nil
}
