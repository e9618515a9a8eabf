package scheduler_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/scheduler"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/testing/bubble"
	"github.com/keyrotor/keyrotor/testing/faults"
)

func TestMain(m *testing.M) {
	bubble.Prepare()
	os.Exit(m.Run())
}

// bench is one store and two key managers, "a" and "b".
type bench struct {
	*testing.T
	store    *sqlite.Store
	path     string
	managers map[string]*faults.KeyManager
	start    time.Time

	mu       sync.Mutex
	outcomes []scheduler.Outcome
}

// newBench is to be called inside a bubble of synctest.
func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{
		T: t, path: filepath.Join(t.TempDir(), "k.db"), start: time.Now(),
		managers: map[string]*faults.KeyManager{"a": faults.NewLocal(t), "b": faults.NewLocal(t)},
	}
	b.store = b.open()
	return b
}

func (b *bench) open() *sqlite.Store {
	b.Helper()
	s, err := sqlite.Open(b.Context(), sqlite.Config{Path: b.path})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

// process is what one process has: its own connection, and a scheduler. What rotates is
// what is inside an engine; the engine itself would ask the store every five seconds of
// the months that go by here.
type process struct {
	*scheduler.Scheduler
	rotator *rotation.Rotator
}

func (b *bench) process(change ...func(*scheduler.Config)) process {
	b.Helper()
	s := b.open()
	r, err := rotation.New(rotation.Config{Store: s, Actor: "test@host", KeyManager: b.manager})
	if err != nil {
		b.Fatal(err)
	}
	c := scheduler.Config{
		Store: s, Owner: fmt.Sprintf("process/%p", s),
		Rotate: func(ctx context.Context, due scheduler.Rotation) (uint32, error) {
			result, err := r.Rotate(ctx, rotation.Request{Key: due.Key, Reason: due.Reason, Due: due.Due, From: due.Version})
			return result.Primary, err
		},
		OnOutcome: func(o scheduler.Outcome) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.outcomes = append(b.outcomes, o)
		},
	}
	for _, f := range change {
		f(&c)
	}
	sched, err := scheduler.New(c)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = sched.Stop(context.Background()) })
	return process{sched, r}
}

func (b *bench) manager(name string) (wrapping.KeyManager, error) { return b.managers[name], nil }

func (p process) start(b *bench) {
	b.Helper()
	if err := p.Start(); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) create(p process, name string, wrapWith ...string) {
	b.Helper()
	b.createKey(p, name, keyring.Settings{WrapWith: wrapWith})
}

func (b *bench) createKey(p process, name string, s keyring.Settings) {
	b.Helper()
	if _, err := p.rotator.Create(b.Context(), rotation.Request{Key: name, Reason: keyring.ReasonInitial}, s); err != nil {
		b.Fatal(err)
	}
}

// setState is an operator's act.
func (b *bench) setState(key string, version uint32, to keyring.State) {
	b.Helper()
	e, err := engine.New(engine.Config{Store: b.store, Actor: "test@host", KeyManager: b.manager})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := e.SetState(b.Context(), key, version, to, ""); err != nil {
		b.Fatal(err)
	}
	if err := e.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) add(p process, key string, of policy.Policy) {
	b.Helper()
	if err := p.Add(key, of); err != nil {
		b.Fatal(err)
	}
}

// rotations answers how long after the start a key was rotated, by its history.
func (b *bench) rotations(key string) []time.Duration {
	b.Helper()
	page, err := b.store.Events(b.Context(), history.Query{Key: key, Type: history.Rotation, Limit: store.MaxEvents})
	if err != nil {
		b.Fatal(err)
	}
	times := make([]time.Duration, len(page.Events))
	for i, raw := range page.Events {
		e, err := history.Decode(raw)
		if err != nil {
			b.Fatal(err)
		}
		times[len(times)-1-i] = e.Time.Sub(b.start)
	}
	return times
}

func (b *bench) wantRotations(key string, want ...time.Duration) {
	b.Helper()
	got := b.rotations(key)
	if len(got) != len(want) {
		b.Errorf("key %s was rotated after %v, want %v", key, got, want)
		return
	}
	for i := range want {
		if d := got[i] - want[i]; d < 0 || d > time.Millisecond {
			b.Errorf("key %s was rotated after %v, want %v", key, got, want)
			return
		}
	}
}

func maxAge(age time.Duration) policy.Policy {
	p, err := policy.NewMaxAge(age)
	if err != nil {
		panic(err)
	}
	return p
}

func maxUses(n uint64) policy.Policy {
	p, err := policy.NewMaxUses(n)
	if err != nil {
		panic(err)
	}
	return p
}

func interval(d time.Duration) func(*scheduler.Config) {
	return func(c *scheduler.Config) { c.Interval = d }
}
