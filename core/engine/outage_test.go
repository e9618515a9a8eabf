package engine_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/outage"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/testing/faults"
)

// TestOutageWithinGrace: a key manager that is away for longer than ttl and comes back
// in time costs nobody anything, and stands in the history.
func TestOutageWithinGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := b.engine(t)
		create(t, e, "payments", 0)
		token := encrypt(t, e, "x", "")
		last := time.Now()
		b.km.Calls.Store(0)
		pass(time.Minute)
		answering(b.km, provider.Unavailable)
		pass(58 * time.Minute)
		wantWorks(t, e, token)
		wantStatus(t, e, outage.OK)
		if calls := b.km.Calls.Load(); calls != 0 {
			t.Errorf("within ttl it took %d calls", calls)
		}
		b.wantTold(t)

		pass(2 * time.Minute)
		wantWorks(t, e, token)
		s := status(t, e)
		if s.State != outage.Degraded || s.Provider != "p" || s.Code != provider.Unavailable || !s.LastSuccess.Equal(last) ||
			!s.Since.Equal(last.Add(time.Hour)) || !s.Until.Equal(last.Add(2*time.Hour)) || !slices.Equal(s.Keys, []string{"payments"}) {
			t.Errorf("%+v", s)
		}
		pass(50 * time.Minute)
		wantWorks(t, e, token)
		if calls := b.km.Calls.Load(); calls < 35 || calls > 100 {
			t.Errorf("in 51 minutes it was asked %d times", calls)
		}
		b.km.Before(nil)
		pass(91 * time.Second)
		wantWorks(t, e, token)
		wantStatus(t, e, outage.OK)

		events := b.wantTold(t, "p degraded UNAVAILABLE", "p recovered")
		kekID := status(t, e).KEKID
		key, err := b.store.Key(t.Context(), "payments")
		if err != nil || key.Versions[0].Wraps[0].KEKID != kekID {
			t.Fatalf("%v, %v", key, err)
		}
		first := events[0]
		since, until := last.UTC().Format(time.RFC3339Nano), last.Add(2*time.Hour).UTC().Format(time.RFC3339Nano)
		for name, want := range map[string]string{
			"kek_id": kekID, "since": since, "until": until, "ttl": "1h0m0s", "grace": "1h0m0s", "keys": "payments",
		} {
			if first.Details[name] != want {
				t.Errorf("%s is %q, want %q", name, first.Details[name], want)
			}
		}
		if first.Count != 1 || first.Key != "" || first.Details["process"] == "" || !first.Time.Equal(last.Add(time.Hour).Truncate(time.Microsecond)) {
			t.Errorf("%+v", first)
		}
		if end := events[1]; end.Operation == "" || end.Operation != first.Operation || end.Details["since"] != since || end.Details["until"] != "" {
			t.Errorf("%+v", end)
		}
	})
}

// TestOutageBeyondGrace: after ttl and grace nothing works, and nothing is asked for
// it; everything works again when the key manager answers.
func TestOutageBeyondGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := b.engine(t)
		create(t, e, "payments", 0)
		token := encrypt(t, e, "x", "")
		answering(b.km, provider.PluginCrashed)
		pass(2*time.Hour - time.Second)
		wantWorks(t, e, token)
		pass(time.Second)
		wantFails(t, e, b.km, token, engine.ErrOutageBudget, provider.Unavailable)
		wantStatus(t, e, outage.Exhausted)
		if leased, err := b.store.Leased(t.Context(), "payments", 1); err != nil || leased != 0 {
			t.Errorf("%d uses are held, %v", leased, err)
		}
		// A version that was not open is not asked for, either.
		pass(time.Hour)
		wantFails(t, e, b.km, token, engine.ErrOutageBudget)
		b.km.Before(nil)
		pass(91 * time.Second)
		wantWorks(t, e, token)
		wantStatus(t, e, outage.OK)
		b.wantTold(t, "p degraded PLUGIN_CRASHED", "p recovered")
	})
}

// TestOneRevalidation: however many keys and versions a process has opened, it is one
// question a KEK and ttl; what was opened or rotated in between counts as one.
func TestOneRevalidation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := b.engine(t)
		if pass(3 * time.Hour); len(e.KeyManagers()) != 0 {
			t.Errorf("nothing is open: %+v", e.KeyManagers())
		}
		for _, name := range []string{"payments", "a", "b", "c"} {
			create(t, e, name, 0)
		}
		for range 5 {
			rotate(t, e)
		}
		b.km.Calls.Store(0)
		pass(10*time.Hour + time.Minute)
		if calls := b.km.Calls.Load(); calls != 10 {
			t.Errorf("in 10 hours it was asked %d times", calls)
		}
		rotate(t, e) // at 10:01
		b.km.Calls.Store(0)
		pass(59 * time.Minute)
		if calls := b.km.Calls.Load(); calls != 0 {
			t.Errorf("it was rotated an hour ago, and asked %d times since", calls)
		}
		pass(2 * time.Minute)
		if calls := b.km.Calls.Load(); calls != 1 {
			t.Errorf("after the hour it was asked %d times", calls)
		}
		if s := status(t, e); s.State != outage.OK || !slices.Equal(s.Keys, []string{"a", "b", "c", "payments"}) {
			t.Errorf("%+v", s)
		}
		b.wantTold(t)
	})
}

// twoWraps is an engine with a key that two key managers wrap.
func (b *bench) twoWraps(t *testing.T) (e *engine.Engine, first, second *faults.KeyManager, token []byte) {
	t.Helper()
	first, second = faults.NewLocal(t), faults.NewLocal(t)
	e = b.engineOn(t, b.store, map[string]*faults.KeyManager{"a": first, "b": second})
	if _, err := e.CreateKey(t.Context(), "payments", keyring.Settings{WrapWith: []string{"a", "b"}}, ""); err != nil {
		t.Fatal(err)
	}
	return e, first, second, encrypt(t, e, "x", "")
}

// TestSecondWrapHolds: a version is usable as long as one of its key managers is.
func TestSecondWrapHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e, first, second, token := b.twoWraps(t)
		answering(first, provider.Unavailable)
		pass(3 * time.Hour)
		wantWorks(t, e, token)
		b.wantTold(t, "a degraded UNAVAILABLE")
		if list := e.KeyManagers(); len(list) != 2 || list[0].State != outage.Exhausted || list[1].State != outage.OK {
			t.Errorf("%+v", list)
		}
		// What is opened now is opened by the other, and nobody waits for the first.
		before := first.Calls.Load()
		setState(t, e, 1, keyring.Suspended)
		setState(t, e, 1, keyring.Active)
		wantWorks(t, e, token)
		if calls := first.Calls.Load() - before; calls != 0 {
			t.Errorf("the key manager that is away got %d calls", calls)
		}
		answering(second, provider.Denied)
		pass(time.Hour + 6*time.Second)
		wantFails(t, e, second, token, provider.Denied, engine.ErrOutageBudget, provider.Unavailable)
		first.Before(nil)
		pass(91 * time.Second)
		wantWorks(t, e, token)
		list, _ := b.told(t)
		if want := []string{"a degraded UNAVAILABLE", "b degraded DENIED revoked", "a recovered"}; !slices.Equal(list, want) {
			t.Errorf("%q", list)
		}
	})
}

// TestLastWrapHolds: when the wrap goes that held a version open, so does the version.
func TestLastWrapHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e, first, _, token := b.twoWraps(t)
		answering(first, provider.Unavailable)
		pass(3 * time.Hour)
		wantWorks(t, e, token)
		_, err := b.store.Update(t.Context(), store.Update{Name: "payments", Apply: func(rec *keyring.Record) ([]history.Event, error) {
			rec.Versions[0].Wraps = rec.Versions[0].Wraps[:1]
			return []history.Event{{Type: history.ConfigChange, Actor: "test@host"}}, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		pass(6 * time.Second)
		wantFails(t, e, first, token, engine.ErrOutageBudget)
	})
}

// TestTwoBudgets: keys under one KEK end by their own budgets, and the KEK is asked by
// the smaller ttl.
func TestTwoBudgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e, err := engine.New(engine.Config{
			Store: b.store, Actor: "test@host",
			KeyManager: func(string) (wrapping.KeyManager, error) { return b.km, nil },
			Budget: func(key string) outage.Budget {
				switch key {
				case "strict":
					return outage.Budget{TTL: time.Minute, Grace: time.Minute}
				case "wrong":
					return outage.Budget{}
				}
				return outage.Budget{TTL: time.Hour, Grace: 2 * time.Hour}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = e.Close(context.Background()) }()
		for _, name := range []string{"payments", "strict", "wrong"} {
			create(t, e, name, 0)
		}
		token := encrypt(t, e, "x", "")
		b.km.Calls.Store(0)
		pass(10*time.Minute + time.Second)
		if calls := b.km.Calls.Load(); calls != 10 {
			t.Errorf("in 10 minutes it was asked %d times", calls)
		}
		answering(b.km, provider.Throttled)
		pass(2 * time.Minute)
		if _, err := e.Encrypt(t.Context(), "strict", nil, nil); !errors.Is(err, engine.ErrOutageBudget) || !strings.Contains(err.Error(), `"strict"`) {
			t.Errorf("the strict key: %v", err)
		}
		wantWorks(t, e, token)
		events := b.wantTold(t, "p degraded THROTTLED")
		if d := events[0].Details; d["ttl"] != "1m0s" || d["keys"] != "payments,strict,wrong" || events[0].Count != 3 {
			t.Errorf("%v", d)
		}
		pass(118 * time.Minute)
		if _, err := e.Encrypt(t.Context(), "wrong", nil, nil); !errors.Is(err, engine.ErrOutageBudget) {
			t.Errorf("a budget that is none is the default: %v", err)
		}
		wantWorks(t, e, token)
		pass(time.Hour)
		wantFails(t, e, b.km, token, engine.ErrOutageBudget)
	})
}

// TestHangingKeyManager: one that hangs is one that does not answer, and holds up no
// other.
func TestHangingKeyManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		hung, healthy := faults.NewLocal(t), faults.NewLocal(t)
		e := b.engineOn(t, b.store, map[string]*faults.KeyManager{"hung": hung, "healthy": healthy})
		for name, with := range map[string]string{"payments": "hung", "other": "healthy"} {
			if _, err := e.CreateKey(t.Context(), name, keyring.Settings{WrapWith: []string{with}}, ""); err != nil {
				t.Fatal(err)
			}
		}
		token := encrypt(t, e, "x", "")
		hung.Before(hang)
		healthy.Calls.Store(0)
		pass(time.Hour + 29*time.Second)
		b.wantTold(t)
		if calls := healthy.Calls.Load(); calls != 1 {
			t.Errorf("the healthy one was asked %d times", calls)
		}
		pass(2 * time.Second)
		b.wantTold(t, "hung degraded UNAVAILABLE")
		wantWorks(t, e, token)
		pass(time.Hour)
		wantFails(t, e, hung, token, engine.ErrOutageBudget)
		if _, err := e.Encrypt(t.Context(), "other", nil, nil); err != nil {
			t.Errorf("under the healthy one: %v", err)
		}
	})
}

// TestCloseWhileRevalidating: Close waits for no key manager, and nothing is left; a
// question that was cut off is nobody's failure.
func TestCloseWhileRevalidating(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := b.engine(t)
		create(t, e, "payments", 0)
		encrypt(t, e, "x", "")
		var asked atomic.Int64
		b.km.Before(func(ctx context.Context, _ string) error {
			asked.Add(1)
			return hang(ctx, "")
		})
		pass(time.Hour + time.Second)
		if asked.Load() != 1 {
			t.Fatalf("asked %d times", asked.Load())
		}
		start := time.Now()
		for range 2 {
			if err := e.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("Close took %s", took)
		}
		if e.KeyManagers() != nil {
			t.Error("a closed engine has key managers")
		}
		b.wantTold(t)
	})
}

// eventless is a store that appends no events while it is told to.
type eventless struct {
	store.Store
	broken *atomic.Bool
	tries  *atomic.Int64
}

func (s eventless) Append(ctx context.Context, fence *store.Intent, events []history.Event) error {
	if s.tries.Add(1); s.broken.Load() {
		return store.ErrReadOnly
	}
	return s.Store.Append(ctx, fence, events)
}

// TestOutageWithStoreDown: with the store away, what is open goes on, and what happened is
// written down when it is back, in order.
func TestOutageWithStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var broken atomic.Bool
		var tries atomic.Int64
		e := b.engineOn(t, eventless{b.store, &broken, &tries}, map[string]*faults.KeyManager{"p": b.km})
		create(t, e, "payments", 0)
		token := encrypt(t, e, "x", "")
		broken.Store(true)
		answering(b.km, provider.Unavailable)
		began := time.Now()
		pass(90 * time.Minute)
		wantWorks(t, e, token)
		b.km.Before(nil)
		pass(2 * time.Minute)
		wantStatus(t, e, outage.OK)
		b.wantTold(t)
		if n := tries.Load(); n < 15 || n > 60 {
			t.Errorf("in half an hour it tried %d times", n)
		}
		broken.Store(false)
		pass(91 * time.Second)
		events := b.wantTold(t, "p degraded UNAVAILABLE", "p recovered")
		if at := events[0].Time.Sub(began); at.Round(time.Second) != time.Hour {
			t.Errorf("it happened after %s", at)
		}

		// What is not written at the end, Close tries, and says so.
		broken.Store(true)
		answering(b.km, provider.Unavailable)
		pass(2 * time.Hour)
		if err := e.Close(t.Context()); !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("Close: %v", err)
		}
		broken.Store(false)
		if err := e.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
		b.wantTold(t, "p degraded UNAVAILABLE", "p recovered", "p degraded UNAVAILABLE")
	})
}
