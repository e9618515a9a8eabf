package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"

	"modernc.org/sqlite"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
	keystore "github.com/keyrotor/keyrotor/core/store/sqlite"
)

// storeRows are about the embedded store; the reference is the same SQLite without
// it, set in the same way.
func (l *lab) storeRows() []row {
	return []row{
		singly("open a store of 10,000 versions, against reading the rows", atMost(3), l.openStore, l.readRows),
		singly("history append, against a bare one-row insert", atLeast(0.5), l.appendEvent, l.insertRow),
	}
}

// wideStore is a closed store with a key of wideVersions.
type wideStore struct {
	path string
	km   *countingManager
}

func (l *lab) newWideStore() wideStore {
	const file = "wide.db"
	km := l.newManager(file + ".kek")
	st := must(keystore.Open(l.ctx, keystore.Config{Path: l.path(file)}))
	e := must(l.newEngine(st, km))
	must(e.CreateKey(l.ctx, manyVersion, keyring.Settings{WrapWith: []string{"local"}}, ""))
	addVersions(l.ctx, st, km, manyVersion, wideVersions)
	check(errors.Join(e.Close(l.ctx), st.Close()))
	return wideStore{l.path(file), km}
}

func (l *lab) openStore() (turn func()) {
	path := l.wide().path
	return func() {
		st := must(keystore.Open(l.ctx, keystore.Config{Path: path}))
		key := must(st.Key(l.ctx, manyVersion))
		expect(len(key.Versions) == wideVersions, "versions are missing")
		check(st.Close())
	}
}

// readRows reads versions and wraps of the only key below database/sql.
func (l *lab) readRows() (turn func()) {
	path := l.wide().path
	return func() {
		db := openBare(path)
		conn := must(db.Conn(l.ctx))
		rows := 0
		check(conn.Raw(func(c any) error {
			for _, query := range []string{
				`SELECT number, label, state, algorithm, created, activated, state_changed, reason, kcv, used FROM versions ORDER BY key_id, number`,
				`SELECT version, provider, kek_id, kek_version, blob, created FROM wraps ORDER BY key_id, version, provider`,
			} {
				n, err := countRows(l.ctx, c.(driver.QueryerContext), query)
				if err != nil {
					return err
				}
				rows += n
			}
			return nil
		}))
		expect(rows == 2*wideVersions, "rows are missing")
		check(errors.Join(conn.Close(), db.Close()))
	}
}

func countRows(ctx context.Context, conn driver.QueryerContext, query string) (n int, err error) {
	rows, err := conn.QueryContext(ctx, query, nil)
	if err != nil {
		return 0, err
	}
	values := make([]driver.Value, len(rows.Columns()))
	for err = rows.Next(values); err == nil; err = rows.Next(values) {
		n++
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, errors.Join(err, rows.Close())
}

// openBare opens a database as the store does: the write lock from the start, and a
// commit that waits for the disk.
func openBare(path string) *sql.DB {
	connector := must(sqlite.NewConnector("file:" + path + "?_txlock=immediate&_synchronous=FULL" +
		"&_foreign_keys=true&_defensive=true&_dqs=false&_pragma=secure_delete(true)&_pragma=trusted_schema(false)"))
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db
}

func (l *lab) appendEvent() (turn func()) {
	s := l.subject()
	return func() {
		must(s.store.Update(l.ctx, store.Update{Name: oneVersion, Apply: func(*keyring.Record) ([]history.Event, error) {
			return []history.Event{{Type: history.Usage, Actor: "alice@host", Operation: "op", Version: 1, Count: 64}}, nil
		}}))
	}
}

// insertRow inserts the bytes of an event, and nothing else.
func (l *lab) insertRow() (turn func()) {
	s := l.subject()
	page := must(s.History(l.ctx, history.Query{Key: oneVersion, Limit: 1}))
	db := openBare(l.path("bare.db"))
	l.later(db.Close)
	must(db.ExecContext(l.ctx, `PRAGMA journal_mode = WAL`))
	must(db.ExecContext(l.ctx, `CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT`))
	return func() {
		tx := must(db.BeginTx(l.ctx, nil))
		defer tx.Rollback()
		must(tx.ExecContext(l.ctx, `INSERT INTO events (bytes) VALUES (?)`, []byte(page.Events[0])))
		check(tx.Commit())
	}
}
