package model

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
)

const (
	// processes is how many work on the store at a time, and keys on how many keys.
	processes = 3
	keys      = 4
	// perRound is how many operations each key gets in a round.
	perRound = 20
	// patience is how long an answer may take, on a machine that is slow.
	patience = time.Minute
)

// troupe is some processes on one store, and what the model knows of them.
type troupe struct {
	dir       string
	config    string
	store     *sqlite.Store
	processes []*process
	random    *rand.Rand
	accounts
	backups int
	backup  *backup // the newest
}

// TestProcesses: whatever processes are asked to do, each answers as the model says,
// also when two of them act on one key at the same time, and when one is killed in
// the middle of it. Keys have nothing to do with one another, so that they are
// worked on side by side, each in a known order.
func TestProcesses(t *testing.T) {
	tr := newTroupe(t)
	for n := range keys {
		a := newAccount(fmt.Sprintf("key-%d", n), processes)
		tr.all = append(tr.all, a)
		tr.run(t, a, tr.random, op{Kind: create, Key: a.name, Limit: []uint64{0, 0, 0, 500}[n%4]})
	}
	for n := range *rounds {
		var wg sync.WaitGroup
		for i, a := range tr.all {
			random := rand.New(rand.NewPCG(*seed, uint64(n*keys+i)))
			wg.Go(func() { tr.play(t, a, random) })
		}
		wg.Wait()
		if t.Failed() {
			t.Fatalf("in round %d of -seed %d", n, *seed)
		}
		tr.interlude(t, n)
	}
	tr.catchUp(t)
	for _, p := range tr.processes {
		p.end(t, false)
	}
	tr.audit(t)
}

func newTroupe(t *testing.T) *troupe {
	t.Helper()
	// A short path: the plugins' sockets go here too.
	dir, err := os.MkdirTemp("/tmp", "kr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Setenv("TMPDIR", dir)
	tr := &troupe{dir: dir, random: rand.New(rand.NewPCG(*seed, 1<<32))}
	tr.config, err = core.Init(t.Context(), filepath.Join(dir, "kr"), core.InitOptions{PluginDir: pluginDir})
	if err := errors.Join(err, tr.register(filepath.Join(dir, "data")), tr.configure(t.Context())); err != nil {
		t.Fatal(err)
	}
	tr.openStore(t)
	t.Cleanup(func() { _ = tr.store.Close() })
	for range processes {
		tr.processes = append(tr.processes, startProcess(t, tr.config))
	}
	return tr
}

func (tr *troupe) database() string { return filepath.Join(filepath.Dir(tr.config), "keyrotor.db") }

// openStore opens the store beside all processes.
func (tr *troupe) openStore(t *testing.T) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: tr.database()})
	if err != nil {
		t.Fatal(err)
	}
	tr.store = s
}

// with opens the configuration for the time of a call.
func (tr *troupe) with(ctx context.Context, f func(*core.Keyrotor) error) error {
	kr, err := core.Open(ctx, tr.config)
	if err != nil {
		return err
	}
	return errors.Join(f(kr), kr.Close())
}

// configure adds a second provider and registers the data.
func (tr *troupe) configure(ctx context.Context) error {
	f, err := os.OpenFile(tr.config, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "\nprovider \"local\" %q {\n  path = \"second.kek\"\n}\n\ndata \"files\" \"registered\" {\n  paths = [%q]\n}\n",
		secondProvider, tr.data)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return tr.with(ctx, func(kr *core.Keyrotor) error {
		_, err := kr.CreateKEK(ctx, secondProvider)
		return err
	})
}

func from(random *rand.Rand) choose {
	return func(_ string, n int) int { return random.IntN(n) }
}

// play works on one key for a round: one operation after the other, and now and then
// two at a time.
func (tr *troupe) play(t *testing.T, a *account, random *rand.Rand) {
	for range perRound {
		if t.Failed() {
			return
		}
		if random.IntN(4) == 0 {
			tr.race(t, a, random)
			continue
		}
		tr.run(t, a, random, a.draw(pick(from(random), "kind", kinds()...), from(random)))
	}
}

// run has one of the processes do it, and the model judge.
func (tr *troupe) run(t *testing.T, a *account, random *rand.Rand, o op) {
	i := random.IntN(processes)
	got, err := await(tr.processes[i].ask(o))
	if err == nil {
		err = a.settle(i, o, got)
	}
	if err != nil {
		t.Error(a.story(err))
	}
}

func await(came <-chan result) (result, error) {
	select {
	case r := <-came:
		return r, nil
	case <-time.After(patience):
		return result{}, fmt.Errorf("no answer within %s", patience)
	}
}

// race has two processes, or one, do two things at the same time, the first of which
// is likely a change.
func (tr *troupe) race(t *testing.T, a *account, random *rand.Rand) {
	var turns [2]turn
	var came [2]<-chan result
	for n := range turns {
		turns[n] = turn{process: random.IntN(processes), op: a.draw(pick(from(random), "kind", kinds()...), from(random))}
	}
	if random.IntN(2) == 0 {
		turns[0].op = a.draw(pick(from(random), "kind", rotate, rotate, importVersion, setState), from(random))
	}
	for n, turn := range turns {
		came[n] = tr.processes[turn.process].ask(turn.op)
	}
	for n := range turns {
		got, err := await(came[n])
		if err != nil {
			t.Error(a.story(err))
			return
		}
		turns[n].got = got
	}
	stored, err := tr.describe(t, a)
	if err == nil {
		err = a.settleRace(turns[0], turns[1], stored)
	}
	if err != nil {
		t.Error(a.story(err))
	}
}

// describe reads the key beside all processes.
func (tr *troupe) describe(t *testing.T, a *account) (result, error) {
	key, err := tr.store.Key(t.Context(), a.name)
	if err != nil {
		return result{}, err
	}
	newest, _, err := eventPage(t.Context(), tr.store, history.Query{Key: a.name, Limit: 10})
	return result{Record: recordOf(key).String(), Uses: tallies(key), newest: newest}, err
}

// catchUp waits until every process encrypts as the store says, without having been
// told. By the design that takes the interval of its polling.
func (tr *troupe) catchUp(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for i, p := range tr.processes {
		for _, a := range tr.all {
			for known := false; !known; {
				o := a.draw(encrypt, from(tr.random))
				got, err := await(p.ask(o))
				if err == nil {
					err = a.settle(i, o, got)
				}
				if known = got.outcome == a.now().encrypt() || got.Class == usageLimit; !known && time.Now().After(deadline) {
					err = errors.Join(err, fmt.Errorf("process %d does not learn within %s that %s", i, patience, a.now()))
				}
				if err != nil {
					t.Fatal(a.story(err))
				}
				if !known {
					<-time.After(50 * time.Millisecond)
				}
			}
		}
	}
}

// audit is of what is left when every process has ended.
func (tr *troupe) audit(t *testing.T) {
	t.Helper()
	tokens, events, lost, outcomes := 0, 0, 0, map[string]int{}
	err := tr.with(t.Context(), func(kr *core.Keyrotor) error {
		for _, a := range tr.all {
			if err := a.audit(t.Context(), tr.store); err != nil {
				t.Error(err)
			}
			lost += a.openAll(t, node{Engine: kr.Engine})
			tokens, events = tokens+len(a.tokens), events+len(a.events)
			for name, n := range a.outcomes {
				outcomes[name] += n
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(outcomes)) {
		fmt.Fprintf(&b, "\n  %-40s %d", name, outcomes[name])
	}
	t.Logf("-seed %d: %d rounds, %d tokens, %d events; operations:%s\n  %-40s %d", *seed, *rounds, tokens, events, &b, "tokens lost", lost)
}

// openAll decrypts every token as a process does that knows nothing yet, and answers
// how many it could not although it should.
func (a *account) openAll(t *testing.T, n node) (lost int) {
	t.Helper()
	fresh := newAccount(a.name, 1)
	fresh.past = a.past
	for _, token := range a.tokens {
		o := op{Kind: decrypt, Token: token.bytes, AAD: token.aad, of: token.version, plain: token.plain}
		if err := fresh.settle(0, o, n.do(t.Context(), o)); err != nil {
			lost++
			t.Error(fresh.story(err))
		}
	}
	return lost
}
