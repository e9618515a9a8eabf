package notify_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/notify"
)

var errDown = errors.New("as the test wants it")

func down(context.Context, notify.Message) error { return errDown }

// TestDelivers: what any process commits arrives within a second, and at once after a
// nudge, with what it says, under an id that can be told apart.
func TestDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t)
		b.commit("payments", history.Event{Type: history.RotationFailed, Operation: "before"})
		r := &receiver{}
		n := b.notifier("p1", nil, notify.Target{Name: "ops", Sender: r})
		start(t, n)
		if err := n.Start(); !errors.Is(err, notify.ErrRunning) {
			t.Errorf("a second start: %v", err)
		}
		time.Sleep(time.Minute)
		b.happen("payments")
		b.commit("payments", history.Event{Type: history.ConfigChange, Operation: "not told"})
		b.happen("orders")
		b.happen("payments")
		time.Sleep(1500 * time.Millisecond)
		if repeats := b.wantAll(r); repeats > 0 {
			t.Errorf("%d repeats", repeats)
		}
		b.happen("orders")
		n.Nudge()
		synctest.Wait()
		b.wantAll(r)
		if s := status(t, n); !s.Subscribed || s.Owner != "p1" || s.Open != 0 || s.Behind != 0 || s.LastError != "" {
			t.Errorf("status %+v", s)
		}
		time.Sleep(time.Minute)
		if s := status(t, n); s.Owner != "" {
			t.Errorf("with nothing to do, %s holds the target", s.Owner)
		}
	})
}

// TestDown: a target that is away is left alone for longer and longer, gets one probe at
// a time, and everything in order when it is back.
func TestDown(t *testing.T) {
	for name, answer := range map[string]func(context.Context, notify.Message) error{
		"fails": down,
		"hangs": func(ctx context.Context, _ notify.Message) error {
			<-ctx.Done()
			return ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := inBubble(t)
				r := &receiver{answer: answer}
				n := b.notifier("p1", nil, notify.Target{Name: "ops", Sender: r})
				start(t, n)
				for range 10 {
					for _, key := range []string{"payments", "orders", "users"} {
						b.happen(key)
					}
					time.Sleep(time.Minute)
				}
				time.Sleep(50 * time.Minute)
				// Four may be under way when the first fails; then each try is a probe.
				tries := r.tries()
				if len(tries) < 12 || len(tries) > 70 {
					t.Errorf("%d tries in about an hour", len(tries))
				}
				for i := 5; i < len(tries); i++ {
					if gap := tries[i].Sub(tries[i-1]); gap > 5*time.Minute+12*time.Second {
						t.Errorf("a pause of %s", gap)
					}
				}
				if s := status(t, n); s.Open != 30 || s.Failing == 0 || s.Oldest.IsZero() || s.LastError == "" || s.GivenUp != 0 {
					t.Errorf("status %+v", s)
				}
				r.answers(nil)
				time.Sleep(6 * time.Minute)
				if repeats := b.wantAll(r); repeats > 0 {
					t.Errorf("%d repeats", repeats)
				}
				if s := status(t, n); s.Open != 0 || s.Failing != 0 || s.LastError != "" {
					t.Errorf("status %+v", s)
				}
			})
		})
	}
}

// TestLater: who says when to come again is believed, for an hour at most.
func TestLater(t *testing.T) {
	for _, c := range []struct{ after, want time.Duration }{
		{20 * time.Minute, 20 * time.Minute},
		{1000 * time.Hour, time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := inBubble(t)
			r := &receiver{answer: func(context.Context, notify.Message) error {
				return &notify.LaterError{Err: errDown, After: c.after}
			}}
			start(t, b.notifier("p1", nil, notify.Target{Name: "ops", Sender: r}))
			b.happen("payments")
			time.Sleep(c.want - time.Minute)
			if tries := r.tries(); len(tries) != 1 {
				t.Fatalf("after %s: tried at %s", c.after, tries)
			}
			r.answers(nil)
			time.Sleep(2 * time.Minute)
			b.wantAll(r)
		})
	}
}

// TestRefused: what the receiver does not take holds up its own key only, and is given up
// in the end, so that what follows is tried.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t)
		r := &receiver{}
		n := b.notifier("p1", nil, notify.Target{Name: "ops", Sender: r, GiveUp: 40 * time.Minute})
		start(t, n)
		poison := "op-1"
		r.answers(func(_ context.Context, m notify.Message) error {
			if m.Notice.Operation == poison {
				return fmt.Errorf("%w: as the test wants it", notify.ErrRefused)
			}
			return nil
		})
		b.happen("payments")
		b.happen("payments")
		b.happen("orders")
		time.Sleep(33 * time.Minute)
		got, _ := r.operations(t)
		if !slices.Equal(got["orders"], b.happened["orders"]) {
			t.Errorf("of the other key came %q", got["orders"])
		}
		if s := status(t, n); s.Open != 2 || s.Failing != 1 {
			t.Errorf("status %+v", s)
		}
		time.Sleep(15 * time.Minute)
		got, _ = r.operations(t)
		if !slices.Equal(got["payments"], b.happened["payments"][1:]) {
			t.Errorf("of the key came %q", got["payments"])
		}
		if s := status(t, n); s.Open != 0 || s.GivenUp != 1 || s.LastError == "" {
			t.Errorf("status %+v", s)
		}
		stop(t, n)
		time.Sleep(31 * 24 * time.Hour)
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if s := status(t, n); s.GivenUp != 0 || !s.Subscribed {
			t.Errorf("a month later: status %+v", s)
		}
	})
}

// TestKeysBeyondTheNamed: an event names the first keys that it touches, and counts all.
func TestKeysBeyondTheNamed(t *testing.T) {
	about := func(count uint64) notify.Notice {
		n, _ := notify.FromEvent(history.Event{
			Type: history.Degraded, Time: time.Now(), Provider: "vault", Count: count, Details: map[string]string{"keys": "cards,orders"},
		})
		return n
	}
	target := notify.Target{Keys: []string{"payments"}}
	if target.Wants(about(2)) {
		t.Error("it is told of what touches other keys alone")
	}
	if !target.Wants(about(3)) {
		t.Error("it may be touched, and is not told")
	}
}

// TestPoison: a message that the target answers as if it were away keeps no other key
// from being told.
func TestPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t)
		tries := 0
		r := &receiver{}
		r.answer = func(_ context.Context, m notify.Message) error {
			if m.Notice.Operation != "op-1" {
				return nil
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			tries++
			return errDown
		}
		n := b.notifier("p1", nil, notify.Target{Name: "ops", Sender: r})
		start(t, n)
		b.happen("payments")
		b.happen("payments")
		for range 20 {
			b.happen("orders")
			b.happen("users")
		}
		time.Sleep(time.Hour)
		got, _ := r.operations(t)
		for _, key := range []string{"orders", "users"} {
			if !slices.Equal(got[key], b.happened[key]) {
				t.Errorf("of %s came %q", key, got[key])
			}
		}
		if len(got["payments"]) > 0 {
			t.Errorf("of the key came %q", got["payments"])
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if tries > 60 {
			t.Errorf("%d tries in an hour", tries)
		}
	})
}

// TestDeliverSweeps: where nothing but passes delivers, what is over goes all the same.
func TestDeliverSweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t)
		r := &receiver{answer: func(context.Context, notify.Message) error {
			return fmt.Errorf("%w: as the test wants it", notify.ErrRefused)
		}}
		n := b.notifier("p1", nil, notify.Target{Name: "ops", Sender: r, GiveUp: time.Minute})
		b.happen("payments")
		for range 2 {
			if _, err := n.Deliver(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		if s := status(t, n); s.GivenUp != 1 {
			t.Fatalf("status %+v", s)
		}
		time.Sleep(31 * 24 * time.Hour)
		if _, err := n.Deliver(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := status(t, n); s.GivenUp != 0 || !s.Subscribed {
			t.Errorf("a month later: status %+v", s)
		}
	})
}

// TestQuietTarget: a target that is told next to nothing does not keep retention from what
// it was not told for longer than a day.
func TestQuietTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t)
		n := b.notifier("p1", nil, notify.Target{Name: "ops", Types: []notify.Type{notify.VerifyFailed}, Sender: &receiver{}})
		passes := func(why string, want bool) {
			t.Helper()
			b.happen("payments")
			if _, err := n.Deliver(t.Context()); err != nil {
				t.Fatal(err)
			}
			end, err := n.Store.FeedEnd(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			known, err := n.Store.Subscribers(t.Context(), notify.Topic)
			if err != nil || len(known) != 1 {
				t.Fatal(known, err)
			}
			if got := known[0].Position == end; got != want {
				t.Errorf("%s: the store has it at %+v, and the feed ends at %+v", why, known[0].Position, end)
			}
		}
		passes("at the start", true)
		passes("at once again", false)
		time.Sleep(25 * time.Hour)
		passes("a day later", true)
	})
}

// TestBacklog: what happened while nobody delivered comes in its order, however much it
// is, notices among events.
func TestBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t)
		r := &receiver{}
		n := b.notifier("p1", nil, notify.Target{Name: "ops", Sender: r})
		var want []string
		for i := range 300 {
			want = append(want, b.happen("payments"))
			time.Sleep(time.Second)
			if i%100 == 99 {
				e := due("payments")
				e.Operation = fmt.Sprintf("soon-%d", i)
				if err := n.Tell(t.Context(), e.Operation, e); err != nil {
					t.Fatal(err)
				}
				want = append(want, e.Operation)
				time.Sleep(time.Second)
			}
		}
		if s := status(t, n); s.Behind != len(want) {
			t.Errorf("behind by %d, want %d", s.Behind, len(want))
		}
		if _, err := n.Deliver(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, _ := r.operations(t); !slices.Equal(got["payments"], want) {
			t.Errorf("came %q, want %q", got["payments"], want)
		}
	})
}

// TestGiveUp: a target that is away for good loses what is too old, without a try for
// each, and gets what is newer.
func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t)
		r := &receiver{answer: down}
		n := b.notifier("p1", nil, notify.Target{Name: "ops", Sender: r, GiveUp: time.Hour})
		start(t, n)
		for range 100 {
			b.happen("payments")
			b.happen("orders")
		}
		time.Sleep(time.Hour + 11*time.Minute)
		if s := status(t, n); s.GivenUp != 200 || s.Open != 0 || s.LastError != errDown.Error() {
			t.Errorf("status %+v", s)
		}
		if tries := r.tries(); len(tries) > 100 {
			t.Errorf("%d tries", len(tries))
		}
		r.answers(nil)
		clear(b.happened)
		b.happen("payments")
		time.Sleep(6 * time.Minute)
		b.wantAll(r)
	})
}

// TestTargets: each gets what it asks for, and none waits for another.
func TestTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t)
		all, some, dead := &receiver{}, &receiver{}, &receiver{answer: down}
		n := b.notifier("p1", nil,
			notify.Target{Name: "all", Sender: all},
			notify.Target{Name: "dead", Sender: dead},
			notify.Target{Name: "some", Sender: some, Types: []notify.Type{notify.RotationFailed, notify.KEKRotated, notify.ProviderDegraded}, Keys: []string{"payments"}},
		)
		start(t, n)
		b.happen("payments")
		b.happen("orders")
		b.commit("payments", history.Event{Type: history.StateChange, Operation: "state", Version: 1})
		b.commit("", history.Event{Type: history.KEKRotated, Operation: "kek", Provider: "prod"},
			history.Event{Type: history.Degraded, Operation: "others", Provider: "prod", Details: map[string]string{"keys": "orders,users"}},
			history.Event{Type: history.Degraded, Operation: "mine", Provider: "prod", Details: map[string]string{"keys": "orders,payments"}})
		time.Sleep(2 * time.Second)
		got, _ := all.operations(t)
		if len(got["payments"]) != 2 || len(got["orders"]) != 1 || !slices.Equal(got[""], []string{"kek", "others", "mine"}) {
			t.Errorf("all: %q", got)
		}
		got, _ = some.operations(t)
		if len(got["payments"]) != 1 || len(got["orders"]) != 0 || !slices.Equal(got[""], []string{"kek", "mine"}) {
			t.Errorf("some: %q", got)
		}
	})
}

// due is the event of a notice.
func due(key string) history.Event {
	return history.Event{Type: history.Type(notify.RotationDueSoon), Key: key, Operation: "soon", Version: 3}
}

// TestTell: a notice is told once, whoever tells it.
func TestTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t)
		r := &receiver{}
		n := b.notifier("p1", nil, notify.Target{Name: "ops", Sender: r})
		start(t, n)
		soon := due("payments")
		for range 2 {
			if err := n.Tell(t.Context(), "due_soon/payments/v3", soon); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if len(r.got) != 1 || r.got[0].Notice.Type != notify.RotationDueSoon || r.got[0].Notice.NewVersion != 3 || !r.got[0].Notice.Time.Equal(time.Now()) {
			t.Errorf("told: %+v", r.got)
		}
		for name, c := range map[string]struct {
			id string
			e  history.Event
		}{
			"no id":        {"", soon},
			"of a history": {"x", history.Event{Type: history.Rotation}},
			"unknown":      {"x", history.Event{Type: "weather"}},
			"a bad text":   {"x", history.Event{Type: soon.Type, Note: "two\nlines"}},
		} {
			if err := n.Tell(t.Context(), c.id, c.e); err == nil {
				t.Errorf("%s: it is told", name)
			}
		}
	})
}

// TestSenderPanics: it is like a refusal.
func TestSenderPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t)
		r := &receiver{answer: func(_ context.Context, m notify.Message) error {
			if m.Notice.Key == "payments" {
				panic("as the test wants it")
			}
			return nil
		}}
		n := b.notifier("p1", nil, notify.Target{Name: "ops", Sender: r})
		start(t, n)
		b.happen("payments")
		b.happen("orders")
		time.Sleep(10 * time.Second)
		if got, _ := r.operations(t); len(got["orders"]) != 1 {
			t.Errorf("came %q", got)
		}
		r.answers(nil)
		time.Sleep(10 * time.Minute)
		b.wantAll(r)
	})
}

// TestDeliver: one pass delivers what is due, and tells what it did.
func TestDeliver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t)
		r := &receiver{}
		n := b.notifier("p1", nil, notify.Target{Name: "ops", Sender: r})
		for range 40 {
			b.happen("payments")
			b.happen("orders")
		}
		if s := status(t, n); s.Behind != 80 || s.Open != 0 {
			t.Errorf("status %+v", s)
		}
		report, err := n.Deliver(t.Context())
		if err != nil || report.Targets[0] != (notify.TargetReport{Target: "ops", Delivered: 80}) {
			t.Errorf("report %+v, %v", report, err)
		}
		b.wantAll(r)

		r.answers(down)
		b.happen("payments")
		b.happen("payments")
		report, err = n.Deliver(t.Context())
		if err != nil || report.Targets[0] != (notify.TargetReport{Target: "ops", Failed: 1, Open: 2, Error: errDown.Error()}) {
			t.Errorf("report %+v, %v", report, err)
		}
		if s := status(t, n); s.Owner != "" {
			t.Errorf("after the pass %q holds the target", s.Owner)
		}

		r.answers(nil)
		start(t, b.notifier("p2", nil, notify.Target{Name: "ops", Sender: r}))
		time.Sleep(10 * time.Second)
		b.wantAll(r)
		report, err = n.Deliver(t.Context())
		if err != nil || report.Targets[0] != (notify.TargetReport{Target: "ops", HeldBy: "p2"}) {
			t.Errorf("report %+v, %v", report, err)
		}
	})
}

// TestTest: a test goes straight to its target, once, and nothing stays.
func TestTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t)
		r := &receiver{}
		n := b.notifier("p1", nil, notify.Target{Name: "ops", Sender: r, Types: []notify.Type{notify.KEKRotated}, Keys: []string{"payments"}})
		if err := n.Test(t.Context(), "ops"); err != nil || len(r.got) != 1 || r.got[0].Notice.Type != notify.TypeTest || r.got[0].ID == "" {
			t.Errorf("%+v, %v", r.got, err)
		}
		if err := n.Test(t.Context(), "dev"); !errors.Is(err, notify.ErrUnknownTarget) {
			t.Errorf("an unknown target: %v", err)
		}
		r.answers(down)
		if err := n.Test(t.Context(), "ops"); !errors.Is(err, errDown) {
			t.Errorf("a target that is down: %v", err)
		}
		r.answers(func(ctx context.Context, _ notify.Message) error { <-ctx.Done(); return ctx.Err() })
		begun := time.Now()
		if err := n.Test(t.Context(), "ops"); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != notify.DefaultTimeout {
			t.Errorf("a target that hangs: %v after %s", err, time.Since(begun))
		}
		if s := status(t, n); s.Open != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

// TestRefusedConfig: what could not work is refused.
func TestRefusedConfig(t *testing.T) {
	b := newBench(t, t.TempDir(), nil)
	t.Cleanup(b.close)
	good := notify.Target{Name: "ops", Sender: &receiver{}}
	for name, change := range map[string]func(*notify.Config){
		"no store":        func(c *notify.Config) { c.Store = nil },
		"no store id":     func(c *notify.Config) { c.StoreID = [16]byte{} },
		"no owner":        func(c *notify.Config) { c.Owner = "" },
		"no name":         func(c *notify.Config) { c.Targets[0].Name = "" },
		"no sender":       func(c *notify.Config) { c.Targets[0].Sender = nil },
		"a name twice":    func(c *notify.Config) { c.Targets = append(c.Targets, good) },
		"no such type":    func(c *notify.Config) { c.Targets[0].Types = []notify.Type{"weather"} },
		"the test's type": func(c *notify.Config) { c.Targets[0].Types = []notify.Type{notify.TypeTest} },
		"no key":          func(c *notify.Config) { c.Targets[0].Keys = []string{"Not A Key"} },
		"too long":        func(c *notify.Config) { c.Targets[0].Timeout = notify.MaxTimeout + 1 },
		"negative":        func(c *notify.Config) { c.Targets[0].Timeout = -1 },
		"given up before": func(c *notify.Config) { c.Targets[0].GiveUp = -1 },
	} {
		c := notify.Config{Store: b.store, StoreID: b.store.ID(), Owner: "p1", Targets: []notify.Target{good}}
		if _, err := notify.New(c); err != nil {
			t.Fatal(err)
		}
		change(&c)
		if _, err := notify.New(c); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
}
