package sqlite

import (
	"context"
	"database/sql"
	"sync"
)

// statements keeps the writer's SQL compiled from one transaction to the next: a
// small update runs a dozen statements, and compiling them takes longer than
// running them. A statement can be compiled only while no transaction has the
// connection, so one that a transaction is the first to need is ready for the next.
type statements struct {
	db *sql.DB

	mu       sync.Mutex
	compiled map[string]*sql.Stmt // nil: met, and not compiled yet
	met      []string
}

// compile makes ready what was met. It reports nothing: what cannot be compiled
// now says why where it is needed.
func (s *statements) compile(ctx context.Context) {
	s.mu.Lock()
	met := s.met
	s.met = nil
	s.mu.Unlock()
	for _, query := range met {
		stmt, err := s.db.PrepareContext(ctx, query) //nolint:sqlclosecheck // it ends with the writer
		s.mu.Lock()
		if err != nil {
			delete(s.compiled, query)
		} else {
			s.compiled[query] = stmt
		}
		s.mu.Unlock()
	}
}

// find answers a compiled statement, or nil.
func (s *statements) find(query string) *sql.Stmt {
	s.mu.Lock()
	defer s.mu.Unlock()
	stmt, ok := s.compiled[query]
	if !ok {
		s.compiled[query] = nil
		s.met = append(s.met, query)
	}
	return stmt
}

// writeTx is a transaction of the writer. The texts of its statements are
// constants, or there would be no end to what is kept.
type writeTx struct {
	*sql.Tx
	statements *statements
}

func (tx writeTx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if stmt := tx.statements.find(query); stmt != nil {
		return tx.StmtContext(ctx, stmt).ExecContext(ctx, args...) //nolint:sqlclosecheck // it ends with the transaction
	}
	return tx.Tx.ExecContext(ctx, query, args...)
}

func (tx writeTx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if stmt := tx.statements.find(query); stmt != nil {
		return tx.StmtContext(ctx, stmt).QueryContext(ctx, args...) //nolint:sqlclosecheck // likewise
	}
	return tx.Tx.QueryContext(ctx, query, args...)
}

func (tx writeTx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if stmt := tx.statements.find(query); stmt != nil {
		return tx.StmtContext(ctx, stmt).QueryRowContext(ctx, args...) //nolint:sqlclosecheck // likewise
	}
	return tx.Tx.QueryRowContext(ctx, query, args...)
}

func (tx writeTx) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	if stmt := tx.statements.find(query); stmt != nil {
		return tx.StmtContext(ctx, stmt), nil
	}
	return tx.Tx.PrepareContext(ctx, query)
}
