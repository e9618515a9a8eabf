package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/store"
)

// appendEvents puts the events at the end of the log.
func appendEvents(ctx context.Context, tx writeTx, events []history.Event) error {
	size, err := logSize(ctx, tx)
	if err != nil {
		return err
	}
	stored := storedHashes(ctx, tx)
	for _, e := range events {
		entry, err := history.Append(size, e, stored)
		if err != nil {
			return err
		}
		if err := putEntry(ctx, tx, entry); err != nil {
			return err
		}
		size = entry.Event.Seq
	}
	_, err = tx.ExecContext(ctx, `UPDATE meta SET log_size = ?`, size)
	return err
}

func putEntry(ctx context.Context, tx writeTx, entry history.Entry) error {
	e := entry.Event
	_, err := tx.ExecContext(ctx, `
		INSERT INTO events (seq, bytes, key, version, type, reason, actor, time) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		e.Seq, entry.Bytes, e.Key, e.Version, string(e.Type), e.Reason, e.Actor, store.Micros(e.Time))
	if err != nil {
		return err
	}
	for i, h := range entry.Hashes {
		_, err := tx.ExecContext(ctx, `INSERT INTO log_hashes (idx, hash) VALUES (?, ?)`, entry.First+int64(i), h[:])
		if err != nil {
			return err
		}
	}
	return nil
}

// Root is the number of events and the tree hash over all of them.
func (s *Store) Root(ctx context.Context) (size uint64, root tlog.Hash, err error) {
	err = s.read(ctx, "read root", func(tx *sql.Tx) error {
		if size, err = logSize(ctx, tx); err != nil {
			return err
		}
		root, err = history.Root(size, storedHashes(ctx, tx))
		return err
	})
	return size, root, err
}

func logSize(ctx context.Context, db querier) (uint64, error) {
	var size uint64
	err := db.QueryRowContext(ctx, `SELECT log_size FROM meta`).Scan(&size)
	return size, err
}

// storedHashes reads the tree's nodes. A call asks for one a level at most, so one
// query each is cheap.
func storedHashes(ctx context.Context, db querier) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			err := db.QueryRowContext(ctx, `SELECT hash FROM log_hashes WHERE idx = ?`, index).Scan(fixed(hashes[i][:]))
			if errors.Is(err, sql.ErrNoRows) {
				return nil, damaged("hash %d of the history is missing", index)
			}
			if err != nil {
				return nil, err
			}
		}
		return hashes, nil
	})
}
