package engine_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/outage"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
)

// TestClosedForEverybody: while many read and write, a spent budget ends it for all of
// them, and none fails in another way; when the key manager is back, all go on.
func TestClosedForEverybody(t *testing.T) {
	// On as many processors as there are, in FIPS 140 mode too; see testing/bubble.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU()))
	b := newBench(t)
	clock := clockwork.NewFakeClockAt(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: b.path, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	e, err := engine.New(engine.Config{Store: s, Actor: "test@host", Clock: clock, KeyManager: func(string) (wrapping.KeyManager, error) {
		return b.km, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close(context.Background()) }()
	create(t, e, "payments", 0)
	token := encrypt(t, e, "x", "")

	var closed, done atomic.Bool
	var worked, failed, late atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !done.Load() {
				was := closed.Load()
				_, err := e.Decrypt(t.Context(), token, nil)
				if err == nil {
					_, err = e.Encrypt(t.Context(), "payments", []byte("y"), nil)
				}
				switch {
				case err == nil && was:
					late.Add(1)
				case err == nil:
					worked.Add(1)
				case errors.Is(err, engine.ErrOutageBudget) || provider.Transient(err):
					failed.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	until := func(state outage.State) {
		for e.KeyManagers()[0].State != state {
			clock.Advance(10 * time.Minute)
			runtime.Gosched()
		}
	}
	more := func(n *atomic.Int64) {
		for before := n.Load(); n.Load() < before+20; {
			runtime.Gosched()
		}
	}
	const rounds = 5
	for range rounds {
		more(&worked)
		answering(b.km, provider.Unavailable)
		until(outage.Exhausted)
		closed.Store(true)
		more(&failed)
		closed.Store(false)
		b.km.Before(nil)
		until(outage.OK)
	}
	more(&worked)
	done.Store(true)
	wg.Wait()
	// Who was handed uses at that very moment may have had them for one more.
	if n := late.Load(); n > rounds {
		t.Errorf("%d calls worked that began after the end", n)
	}
}
