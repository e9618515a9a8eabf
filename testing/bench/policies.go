package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/scheduler"
	keystore "github.com/keyrotor/keyrotor/core/store/sqlite"
)

// manyKeys is how many keys a large store has.
const manyKeys = 10_000

// policyRows are about the checks of a scheduler; the reference is the query that reads
// what it needs, with the driver alone.
func (l *lab) policyRows() []row {
	keys := sync.OnceValue(l.newManyKeys)
	return []row{
		singly("policy check of 10,000 keys, against the query alone", atMost(5),
			func() func() { return l.checkPolicies(keys()) }, func() func() { return l.readFacts(keys()) }),
	}
}

// newManyKeys fills a store with keys that nobody encrypts with, in one transaction.
func (l *lab) newManyKeys() (path string) {
	path = l.path("keys.db")
	check(must(keystore.Open(l.ctx, keystore.Config{Path: path})).Close())
	db := openBare(path)
	defer func() { check(db.Close()) }()
	tx := must(db.BeginTx(l.ctx, nil))
	defer tx.Rollback()
	made := time.Now().UnixMicro()
	for i := range manyKeys {
		id := fmt.Sprintf("%08x%08x", i, i) // 8 bytes tell keys apart
		insert(l.ctx, tx, `INSERT INTO keys (id, name, created, algorithm, min_decrypt_version, hard_limit, wrap_with, primary_version)
			VALUES (?, ?, ?, 'AES-256-GCM', 0, 4294967296, '["prod"]', 1)`, []byte(id), "key-"+id, made)
		insert(l.ctx, tx, `INSERT INTO versions (key_id, number, label, state, algorithm, created, activated, state_changed, reason, kcv)
			VALUES (?, 1, 'v1', 'active', 'AES-256-GCM', ?, ?, ?, 'initial', ?)`, []byte(id), made, made, made, []byte(id))
	}
	check(tx.Commit())
	return path
}

func insert(ctx context.Context, tx *sql.Tx, query string, args ...any) {
	must(tx.ExecContext(ctx, query, args...))
}

// checkPolicies asks a policy of the usual kind, and the one that every key has, about
// each key.
func (l *lab) checkPolicies(path string) (turn func()) {
	st := must(keystore.Open(l.ctx, keystore.Config{Path: path}))
	l.later(st.Close)
	s := must(scheduler.New(scheduler.Config{
		Store: st, Owner: "bench",
		Rotate: func(context.Context, scheduler.Rotation) (uint32, error) { return 0, errors.New("nothing is due") },
	}))
	monthly := must(policy.NewMonthly(1, 2*60, time.UTC))
	check(s.Add("", must(policy.NewAny(must(policy.NewMaxAge(90*24*time.Hour)), must(policy.NewMaxUses(keyring.MaxUses/4)), monthly))))
	return func() {
		due := must(s.Due(l.ctx))
		expect(len(due) == 0, "a new key is due")
	}
}

func (l *lab) readFacts(path string) (turn func()) {
	db := openBare(path)
	l.later(db.Close)
	conn := must(db.Conn(l.ctx))
	return func() {
		check(conn.Raw(func(c any) error {
			n, err := countRows(l.ctx, c.(driver.QueryerContext), keystore.FactsQuery)
			expect(n == manyKeys, "keys are missing")
			return err
		}))
	}
}
