package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/store"
)

const (
	// pruneScan is how many events that may go are looked for before they do.
	pruneScan = 10_000
	// pruneStep is how many go in one transaction: the write lock is held for some
	// milliseconds.
	pruneStep = 500
)

// Prune takes old events out of the history.
func (s *Store) Prune(ctx context.Context, p store.Prune) (events uint64, err error) {
	last, err := s.lastOld(ctx, p.Before)
	if err != nil {
		return 0, err
	}
	for {
		found, err := s.prunable(ctx, p, last)
		if err != nil || len(found) == 0 {
			return events, err
		}
		for batch := range slices.Chunk(found, s.pruneStep) {
			n, err := s.pruneBatch(ctx, p, batch)
			events += n
			if err != nil {
				return events, err
			}
		}
	}
}

// lastOld is the number of the last event that is old enough and that every subscriber
// has passed, 0 if there is none.
func (s *Store) lastOld(ctx context.Context, before time.Time) (last uint64, err error) {
	err = s.read(ctx, "look for old events", func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `
			SELECT min(coalesce((SELECT max(seq) FROM events WHERE time < ?), 0), coalesce((SELECT min(event) FROM subscribers), log_size))
			FROM meta`, store.Micros(before)).Scan(&last)
	})
	return last, err
}

// prunable answers the numbers of the first events up to last that may go, none if only
// events that tell of earlier pruning may: they would be replaced by another one for ever.
//
// It reads a snapshot, so that nobody waits for it. What it finds may go later, too: an
// event that is not the newest of its key never becomes it, a subscriber does not go
// back, and what a keeper goes by stays in place.
func (s *Store) prunable(ctx context.Context, p store.Prune, last uint64) ([]uint64, error) {
	var found []uint64
	var worth bool
	err := s.read(ctx, "look for old events", func(tx *sql.Tx) error {
		var keeper history.Keeper
		newest := make(map[string]uint64)
		return pastEvents(ctx, tx, last, func(seq uint64, e history.Event) (more bool, err error) {
			if keeper.Keeps(e) || !e.Time.Before(p.Before) {
				return true, nil
			}
			if _, known := newest[e.Key]; !known && e.Key != "" {
				if newest[e.Key], err = newestOfKey(ctx, tx, e.Key); err != nil {
					return false, err
				}
			}
			if newest[e.Key] == seq {
				return true, nil
			}
			found = append(found, seq)
			if begun, ok := keeper.Ended(e); ok && begun.Time.Before(p.Before) {
				found = append(found, begun.Seq)
			}
			worth = worth || e.Type != history.Pruned
			return len(found) < pruneScan || !worth, nil
		})
	})
	if err != nil || !worth {
		return nil, err
	}
	slices.Sort(found) // so that no step takes the end of an outage before its beginning
	return found, nil
}

// newestOfKey is the number of a key's newest event: its record is compared with it, and
// it keeps the name from being used again.
func newestOfKey(ctx context.Context, db querier, key string) (seq uint64, err error) {
	err = db.QueryRowContext(ctx, `SELECT max(seq) FROM events WHERE key = ?`, key).Scan(&seq)
	return seq, err
}

// pastEvents calls f for each event up to a number, the oldest first, as long as it
// wants more. store.ErrCorrupt if one is not the one that the tree has.
func pastEvents(ctx context.Context, tx *sql.Tx, through uint64, f func(seq uint64, e history.Event) (more bool, err error)) error {
	rows, err := tx.QueryContext(ctx, `SELECT seq, bytes, key FROM events WHERE seq <= ? ORDER BY seq`, through)
	if err != nil {
		return err
	}
	defer rows.Close()
	stored := storedHashes(ctx, tx)
	for rows.Next() {
		var seq uint64
		var b []byte
		var key string
		if err := rows.Scan(&seq, &b, &key); err != nil {
			return err
		}
		e, err := history.Decode(b)
		if errors.Is(err, history.ErrSchema) {
			return fmt.Errorf("%w: %w", store.ErrSchema, err) // that build knows whether it may go
		}
		if err != nil {
			return damaged("event %d: %w", seq, err)
		}
		leaf, err := stored.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(seq)-1)})
		if err != nil {
			return err
		}
		if leaf[0] != history.Leaf(b) || e.Seq != seq || e.Key != key {
			return damaged("event %d is not the one that the history's tree has: nothing is pruned; `keyrotor doctor` says more", seq)
		}
		if more, err := f(seq, e); err != nil || !more {
			return err
		}
	}
	return rows.Err()
}

// pruneBatch deletes events, and says so in the history. What another process was
// quicker with is not counted.
func (s *Store) pruneBatch(ctx context.Context, p store.Prune, seqs []uint64) (n uint64, err error) {
	err = s.write(ctx, "prune", func(tx writeTx) error {
		n = 0
		last, err := lastPruning(ctx, tx) // before it may go itself
		if err != nil {
			return err
		}
		for _, seq := range seqs {
			done, err := tx.ExecContext(ctx, `DELETE FROM events WHERE seq = ?`, seq)
			if err != nil {
				return err
			}
			gone, err := done.RowsAffected()
			if err != nil {
				return err
			}
			n += uint64(gone)
		}
		if n == 0 {
			return nil
		}
		next := last.Next(seqs[len(seqs)-1], n, p.Before)
		if _, err := tx.ExecContext(ctx, `UPDATE meta SET log_pruned = ?`, next.Through); err != nil {
			return err
		}
		e := next.Event(n)
		e.Time, e.Actor, e.Operation = s.now(), p.Actor, p.Operation
		return appendEvents(ctx, tx, []history.Event{e})
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// lastPruning is what the newest event says that tells of pruning.
func lastPruning(ctx context.Context, db querier) (history.Pruning, error) {
	var b []byte
	err := db.QueryRowContext(ctx, `SELECT bytes FROM events WHERE type = ? ORDER BY seq DESC LIMIT 1`, string(history.Pruned)).Scan(&b)
	if errors.Is(err, sql.ErrNoRows) {
		return history.Pruning{}, nil
	}
	if err != nil {
		return history.Pruning{}, err
	}
	e, err := history.Decode(b)
	if err != nil {
		return history.Pruning{}, damaged("the newest event about pruning: %w", err)
	}
	p, err := history.ReadPruning(e)
	if err != nil {
		return history.Pruning{}, damaged("%w", err)
	}
	return p, nil
}
