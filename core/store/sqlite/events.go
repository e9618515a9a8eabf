package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/store"
)

// Events answers the bytes of events as they were stored, newest first.
func (s *Store) Events(ctx context.Context, q history.Query) (history.Page, error) {
	limit := min(q.Limit, store.MaxEvents)
	if limit == 0 {
		limit = history.DefaultLimit
	}
	if limit < 0 {
		return history.Page{}, fmt.Errorf("store %s: read events: the limit %d is negative", s.path, q.Limit)
	}
	where, args := eventFilter(q)
	query := `SELECT seq, bytes FROM events` + where + ` ORDER BY seq DESC LIMIT ?` //nolint:gosec // its terms are constants, values are bound
	args = append(args, limit+1)                                                    // one more tells whether a page follows

	var page history.Page
	err := s.read(ctx, "read events", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		var last uint64
		for rows.Next() {
			var seq uint64
			var b []byte
			if err := rows.Scan(&seq, &b); err != nil {
				return err
			}
			if len(page.Events) == limit {
				page.Next = last
				break
			}
			page.Events = append(page.Events, json.RawMessage(b))
			last = seq
		}
		return rows.Err()
	})
	if err != nil {
		return history.Page{}, err
	}
	return page, nil
}

// eventFilter is the WHERE clause of a query, empty if it selects everything.
func eventFilter(q history.Query) (where string, args []any) {
	var terms []string
	add := func(wanted bool, term string, arg any) {
		if wanted {
			terms, args = append(terms, term), append(args, arg)
		}
	}
	add(q.Key != "", "key = ?", q.Key)
	add(q.Version != 0, "version = ?", q.Version)
	add(q.Type != "", "type = ?", string(q.Type))
	add(q.Reason != "", "reason = ?", q.Reason)
	add(q.Actor != "", "actor = ?", q.Actor)
	add(q.Operation != "", "instr(bytes, ?) > 0", operationText(q.Operation))
	add(!q.Since.IsZero(), "time >= ?", store.Micros(q.Since))
	add(!q.Until.IsZero(), "time < ?", store.Micros(q.Until))
	add(q.Before != 0, "seq < ?", q.Before)
	if len(terms) == 0 {
		return "", nil
	}
	return " WHERE " + strings.Join(terms, " AND "), args
}

// operationText is how an operation stands in the bytes of an event. There is no column
// for it; no other field holds such a text, since its quotes would be escaped there.
func operationText(operation string) []byte {
	quoted, _ := json.Marshal(operation) // a string can be marshaled
	return append([]byte(`"operation_id":`), quoted...)
}
