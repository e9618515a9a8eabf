package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/keyrotor/keyrotor/core/store"
)

// Begin claims a key.
func (s *Store) Begin(ctx context.Context, c store.Claim) (store.Intent, error) {
	if c.Key == "" || c.Kind == "" || c.Owner == "" || c.TTL <= 0 {
		return store.Intent{}, fmt.Errorf("store %s: claim: a claim needs key, kind, owner and a time to live: %+v", s.path, c)
	}
	var in store.Intent
	err := s.write(ctx, "claim", func(tx writeTx) error {
		now := store.FromMicros(store.Micros(s.now()))
		held, err := readIntent(ctx, tx, c.Key)
		gone := errors.Is(err, sql.ErrNoRows)
		switch {
		case err != nil && !gone:
			return err
		case c.Renew && (gone || held.Token != c.Replace):
			return fmt.Errorf("%w: %q, operation %s", store.ErrFenced, c.Key, c.Operation)
		case gone:
		case (c.KeepExpired || now.Before(held.Expires)) && held.Token != c.Replace:
			return &store.HeldError{Intent: held, Wait: max(held.Expires.Sub(now), 0)}
		}
		in, err = putIntent(ctx, tx, c, now)
		return err
	})
	if err != nil {
		return store.Intent{}, err
	}
	return in, nil
}

// putIntent records the claim with the next token of the store.
func putIntent(ctx context.Context, tx writeTx, c store.Claim, now time.Time) (store.Intent, error) {
	in := store.Intent{
		Key: c.Key, Kind: c.Kind, Operation: c.Operation, Owner: c.Owner, Detail: c.Detail,
		Started: now, Expires: now.Add(c.TTL).Truncate(time.Microsecond),
	}
	err := tx.QueryRowContext(ctx, `UPDATE meta SET fence = fence + 1 RETURNING fence`).Scan(&in.Token)
	if err != nil {
		return store.Intent{}, err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT OR REPLACE INTO intents (key, kind, operation, owner, token, started, expires, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		in.Key, in.Kind, in.Operation, in.Owner, in.Token, store.Micros(in.Started), store.Micros(in.Expires), in.Detail)
	return in, err
}

// End gives a claim up.
func (s *Store) End(ctx context.Context, in store.Intent) error {
	return s.write(ctx, "end claim", func(tx writeTx) error { return endIntent(ctx, tx, in) })
}

func endIntent(ctx context.Context, tx writeTx, in store.Intent) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM intents WHERE key = ? AND owner = ? AND token = ?`, in.Key, in.Owner, in.Token)
	return err
}

const intentColumns = `SELECT key, kind, operation, owner, token, started, expires, detail FROM intents `

// Intents lists the claims in the order in which they were made.
func (s *Store) Intents(ctx context.Context) ([]store.Intent, error) {
	var list []store.Intent
	err := s.read(ctx, "list claims", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, intentColumns+`ORDER BY token`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			in, err := scanIntent(rows)
			if err != nil {
				return err
			}
			list = append(list, in)
		}
		return rows.Err()
	})
	return list, err
}

func readIntent(ctx context.Context, db querier, key string) (store.Intent, error) {
	return scanIntent(db.QueryRowContext(ctx, intentColumns+`WHERE key = ?`, key))
}

func scanIntent(row interface{ Scan(...any) error }) (store.Intent, error) {
	var in store.Intent
	var started, expires int64
	err := row.Scan(&in.Key, &in.Kind, &in.Operation, &in.Owner, &in.Token, &started, &expires, &in.Detail)
	in.Started, in.Expires = store.FromMicros(started), store.FromMicros(expires)
	return in, err
}
