package rewrap

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

// TestMigrateBatches: a claim covers one batch, of versions and of time.
func TestMigrateBatches(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", batchSize+1, "a")
	r := b.migrate(t, aToB("payments"))
	if r.Wrapped != batchSize+1 || r.Retired != batchSize+1 {
		t.Errorf("%+v", r)
	}
	b.historyIs(t, "config paymentsb with a,b", fmt.Sprintf("provider_added paymentsb1 n=%d", batchSize),
		"provider_added paymentsb1 n=1", fmt.Sprintf("provider_retired paymentsa n=%d with b", batchSize+1))

	slow := newBench(t)
	slow.create(t, "payments", 3, "a")
	clock := time.Now()
	slow.mover.Now = func() time.Time { clock = clock.Add(20 * time.Second); return clock }
	if r := slow.migrate(t, aToB("payments")); r.Wrapped != 3 || r.Retired != 3 {
		t.Errorf("%+v", r)
	}
	added := 0
	for _, e := range slow.events(t) {
		if e.Type == history.ProviderAdded {
			added++
		}
	}
	if added < 2 {
		t.Errorf("%d batches with a slow key manager", added)
	}
}

// TestMigrateMeanwhile: at each step another process rotates the key, destroys a
// version, or changes a wrap; nothing of it is undone, and no version is left behind.
func TestMigrateMeanwhile(t *testing.T) {
	for _, step := range []rotation.Step{StepWidened, StepMoved} {
		b := newBench(t)
		b.create(t, "payments", 3, "a")
		done := false
		b.onStep = func(s rotation.Step) {
			if s == step && !done {
				done = true
				b.rotate(t, "payments")
			}
		}
		b.migrate(t, aToB("payments"))
		b.wrapsAre(t, "payments", "v1 b1", "v2 b1", "v3 b1", "v4 b1")
		b.wrapWith(t, "payments", "b")
	}
	b := newBench(t)
	b.create(t, "payments", 3, "a")
	var once sync.Once
	b.onStep = func(s rotation.Step) {
		if s == StepProved {
			once.Do(func() {
				b.change(t, "payments", func(r *keyring.Record) {
					for _, s := range []keyring.State{keyring.Quarantined, keyring.Destroyed} {
						if err := r.SetState(1, s, r.Created); err != nil {
							t.Error(err)
						}
					}
					// Somebody who does not know better takes the new provider out again.
					r.Settings.WrapWith = []string{"a"}
				})
			})
		}
	}
	if r := b.migrate(t, aToB("payments")); r.Wrapped != 2 || r.Retired != 2 {
		t.Errorf("%+v", r)
	}
	b.wrapsAre(t, "payments", "v1", "v2 b1", "v3 b1")
	b.wrapWith(t, "payments", "b")
}

// TestRetiredOnce: who finds that a neighbour finished the migration adds nothing.
func TestRetiredOnce(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 1, "a")
	neighbour, err := New(Config{Store: b.store, KeyManager: b.keyManager, Actor: "test@host"})
	if err != nil {
		t.Fatal(err)
	}
	b.onStep = func(s rotation.Step) {
		if s == StepMoved {
			if r, err := neighbour.Migrate(t.Context(), aToB("payments")); err != nil || r.Retired != 1 {
				t.Errorf("the neighbour: %+v, %v", r, err)
			}
		}
	}
	if r := b.migrate(t, aToB("payments")); r.Wrapped != 1 || r.Retired != 0 {
		t.Errorf("%+v", r)
	}
	b.historyIs(t, "config paymentsb with a,b", "provider_added paymentsb1 n=1", "provider_retired paymentsa n=1 with b")
	b.noIntents(t)
}

// TestRetireLooks: the transaction that takes the old wraps away sees for itself that
// every version has a new one that was proved.
func TestRetireLooks(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 2, "a")
	req := aToB("payments")
	req.Keep = true
	b.migrate(t, req)
	req = aToB("payments")
	req.Progress = func(Progress) {}
	k := &keyMigration{migration: &migration{Mover: b.mover, MigrationRequest: req}, name: "payments", proved: map[uint32][]byte{}}
	prove := func() {
		key := b.key(t, "payments")
		for _, v := range key.Versions {
			w, _ := v.Wrap("b")
			k.proved[v.Number] = w.Blob
		}
	}
	for what, spoil := range map[string]func(){
		"an unproved wrap": func() { delete(k.proved, 2) },
		"another wrap":     func() { k.proved[2] = []byte("another") },
		"no wrap":          func() { b.change(t, "payments", func(r *keyring.Record) { r.Versions[1].DropWrap("b") }) },
	} {
		prove()
		spoil()
		if err := k.retire(t.Context()); !errors.Is(err, errUnproved) {
			t.Errorf("%s: %v", what, err)
		}
		if err := k.wrap(t.Context()); err != nil {
			t.Error(err)
		}
	}
	b.wrapsAre(t, "payments", "v1 a1 b1", "v2 a1 b1")
	if err := k.retire(t.Context()); err != nil {
		t.Error(err)
	}
	b.wrapsAre(t, "payments", "v1 b1", "v2 b1")
}

// TestMigrateFenced: who lost its claim commits nothing.
func TestMigrateFenced(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 1, "a")
	b.onStep = func(s rotation.Step) {
		if s == StepProved {
			b.late.Add(int64(time.Hour))
		}
	}
	if _, err := b.mover.Migrate(t.Context(), aToB("payments")); !errors.Is(err, store.ErrFenced) {
		t.Errorf("without its claim: %v", err)
	}
	b.wrapsAre(t, "payments", "v1 a1")
}

// TestMigrateSeveral: a key whose record was tampered with holds up no other.
func TestMigrateSeveral(t *testing.T) {
	b := newBench(t)
	b.create(t, "orders", 1, "a")
	b.create(t, "payments", 2, "a")
	var last Progress
	req := aToB("orders", "payments")
	req.Progress = func(p Progress) { last = p }
	r, err := b.newMover(t, tampered{b.store}).Migrate(t.Context(), req)
	if err != nil || r.Keys != 2 || r.Versions != 3 || r.Wrapped != 2 || len(r.Failed) != 1 || r.Failed[0].Key != "orders" || r.Failed[0].Code != "integrity" {
		t.Errorf("%+v, %v", r, err)
	}
	if last != (Progress{Key: "payments", Done: 2, Total: 3}) {
		t.Errorf("progress %+v", last)
	}
	b.wrapsAre(t, "orders", "v1 a1")
	b.wrapsAre(t, "payments", "v1 b1", "v2 b1")
}

// TestMigrateTogether: several processes at once do the work of one.
func TestMigrateTogether(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 5, "a")
	var wg sync.WaitGroup
	var mu sync.Mutex
	wrapped, retired := 0, 0
	for range 3 {
		m, err := New(Config{Store: b.store, KeyManager: b.keyManager, Actor: "test@host"})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			r, err := m.Migrate(t.Context(), aToB("payments"))
			if err != nil && !errors.Is(err, ErrNotWrapped) {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			wrapped, retired = wrapped+r.Wrapped, retired+r.Retired
		})
	}
	wg.Wait()
	if wrapped != 5 || retired != 5 {
		t.Errorf("%d wraps made, %d retired", wrapped, retired)
	}
	b.wrapsAre(t, "payments", "v1 b1", "v2 b1", "v3 b1", "v4 b1", "v5 b1")
	b.noIntents(t)
}
