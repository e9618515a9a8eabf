package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/keyrotor/keyrotor/core/destruction"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/rewrap"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/testing/faults"
)

// engines is how many engines share a store, as so many processes would.
const engines = 3

// pollInterval is how long a process may act upon what it knew, by the design.
const pollInterval = 5 * time.Second

// machine is some engines on one store, in a bubble with a clock of its own, and
// what the model knows of them.
type machine struct {
	path     string
	managers map[string]*faults.KeyManager
	log      *sqlite.Store
	nodes    []node
	stores   []*sqlite.Store
	accounts
	feed
}

// TestEngines: whatever engines on one store are asked to do, in any order, each
// answers as the model says, and knows within the interval of its polling what the
// others did.
func TestEngines(t *testing.T) {
	managers := map[string]*faults.KeyManager{firstProvider: faults.NewLocal(t), secondProvider: faults.NewLocal(t)}
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.db")
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: empty})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		sub := filepath.Join(dir, strconv.Itoa(n))
		m := &machine{path: filepath.Join(sub, "kr.db"), managers: managers, nodes: make([]node, engines), stores: make([]*sqlite.Store, engines)}
		if err := errors.Join(m.register(filepath.Join(sub, "data")), copyFile(m.path, empty)); err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(sub)
		rapid.SyncTest(t, m.test)
	})
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (m *machine) test(t *rapid.T) {
	m.log = m.openStore(t)
	t.Cleanup(func() { _ = m.log.Close() })
	if err := m.log.Subscribe(t.Context(), listener.Topic, listener.Target); err != nil {
		t.Fatal(err)
	}
	for i := range engines {
		m.start(t, i)
	}
	t.Cleanup(func() {
		for i := range engines {
			m.stop(t, i)
		}
	})
	for len(m.all) == 0 {
		m.newKey(t)
	}
	actions := map[string]func(*rapid.T){
		"":        m.check,
		"new key": m.newKey,
		"restart": m.restart,
		"wait":    m.wait,
		"nobody":  m.nobody,
		"file":    m.file,
		"KEK":     m.kek,
		"tell":    m.tell,
	}
	for i := range 3 {
		actions[fmt.Sprintf("listen %d", i)], actions[fmt.Sprintf("prune %d", i)] = m.listen, m.prune
	}
	for i, k := range kinds() {
		actions[fmt.Sprintf("%s %d", k, i)] = func(t *rapid.T) { m.operate(t, k) }
	}
	t.Repeat(actions)
	for _, a := range m.all {
		if err := a.audit(t.Context(), m.log); err != nil {
			t.Fatal(err)
		}
	}
}

func (m *machine) openStore(t *rapid.T) *sqlite.Store {
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: m.path})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (m *machine) start(t *rapid.T, i int) {
	m.stores[i] = m.openStore(t)
	actor := fmt.Sprintf("engine-%d@host", i)
	manager := func(name string) (wrapping.KeyManager, error) { return m.managers[name], nil }
	e, err := engine.New(engine.Config{Store: m.stores[i], Actor: actor, KeyManager: manager})
	if err != nil {
		t.Fatal(err)
	}
	mover, err := rewrap.New(rewrap.Config{Store: m.stores[i], Actor: actor, KeyManager: manager})
	if err != nil {
		t.Fatal(err)
	}
	destroyer, err := destruction.New(destruction.Config{
		Store: m.stores[i], Keys: e, Actor: actor, Paths: []string{m.data}, Changed: e.Changed,
	})
	if err != nil {
		t.Fatal(err)
	}
	m.nodes[i] = node{e, mover, destroyer}
}

func (m *machine) stop(t *rapid.T, i int) {
	if err := m.nodes[i].Close(context.Background()); err != nil {
		t.Error(err)
	}
	if err := m.stores[i].Close(); err != nil {
		t.Error(err)
	}
}

func chooser(t *rapid.T) choose {
	return func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) }
}

// run has one of the engines do it, and the model judge.
func (m *machine) run(t *rapid.T, a *account, o op) {
	i := chooser(t)("engine", engines)
	if err := a.settle(i, o, m.nodes[i].do(t.Context(), o)); err != nil {
		t.Fatal(a.story(err))
	}
}

func (m *machine) operate(t *rapid.T, k kind) {
	choose := chooser(t)
	a := pick(choose, "key", m.all...)
	m.run(t, a, a.draw(k, choose))
}

// newKey makes another key, which a limit may keep from encrypting for long.
func (m *machine) newKey(t *rapid.T) {
	if len(m.all) == 4 {
		t.Skip("enough keys")
	}
	choose := chooser(t)
	a := newAccount(fmt.Sprintf("key-%d", len(m.all)), engines)
	m.all = append(m.all, a)
	o := a.draw(pick(choose, "how", create, create, importKey), choose)
	o.Limit = pick(choose, "limit", uint64(0), 0, 3, 100)
	m.run(t, a, o)
	if !a.exists() { // its root was refused
		m.all = m.all[:len(m.all)-1]
	}
}

// nobody asks for a key that there is not.
func (m *machine) nobody(t *rapid.T) {
	choose := chooser(t)
	k := pick(choose, "kind", encrypt, rotate, setState, setMin, setBlock, describe)
	m.run(t, newAccount("nobody", engines), op{Kind: k, Key: "nobody"})
}

// restart ends an engine and starts another one in its place.
func (m *machine) restart(t *rapid.T) {
	i := chooser(t)("engine", engines)
	m.stop(t, i)
	m.start(t, i)
	m.restarted(i, false)
}

// wait lets the interval of polling pass, or so long that every lease is over.
func (m *machine) wait(t *rapid.T) {
	long := pick(chooser(t), "how long", pollInterval, pollInterval, store.MaxLeaseTTL, quarantine)
	time.Sleep(long)
	synctest.Wait()
	time.Sleep(time.Second) // for whoever waits for another one to write
	synctest.Wait()
	for _, a := range m.all {
		a.allKnow()
		if long >= store.MaxLeaseTTL {
			a.leasesEnd()
		}
	}
}

// file changes the registered data.
func (m *machine) file(t *rapid.T) {
	choose := chooser(t)
	if err := m.accounts.file(pick(choose, "key", m.all...), choose); err != nil {
		t.Fatal(err)
	}
}

// kek has an engine rotate a key-encryption key, or look whether it has been.
func (m *machine) kek(t *rapid.T) {
	choose := chooser(t)
	o := op{Kind: pick(choose, "kind", rotateKEK, rewrapKEK), To: pick(choose, "provider", firstProvider, secondProvider)}
	if err := m.settleKEK(o, m.nodes[choose("engine", engines)].do(t.Context(), o)); err != nil {
		t.Fatal(err)
	}
}

// check compares every key with what the store holds.
func (m *machine) check(t *rapid.T) {
	for _, a := range m.all {
		if err := a.settleDescription(m.nodes[0].do(t.Context(), op{Kind: describe, Key: a.name})); err != nil {
			t.Fatal(a.story(err))
		}
	}
}
