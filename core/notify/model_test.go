package notify_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"
	"pgregory.net/rapid"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/testing/tier"
)

// TestModel: processes come, deliver, and are killed at any step; the receiver answers as
// it likes; time goes by. In the end everything has come, in order per key: the sequence
// of a key without its repeats is what was committed.
func TestModel(t *testing.T) {
	folder := t.TempDir()
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		clock := clockwork.NewFakeClockAt(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		b := newBench(t, fmt.Sprintf("%s/%d", folder, runs), clock.Now)
		defer b.close()
		r := &receiver{}
		processes := 0
		newProcess := func(left int) *notify.Notifier {
			processes++
			p := &mortal{Outbox: b.store, receiver: r, left: left}
			return b.configured(notify.Config{
				Store: p, Owner: fmt.Sprintf("p%d", processes), Clock: clock,
				Targets: []notify.Target{{Name: "ops", Sender: p}},
			})
		}
		alive := []*notify.Notifier{newProcess(0)}
		keys := rapid.SampledFrom([]string{"payments", "orders", "users"})
		process := rapid.IntRange(0, 2)
		t.Repeat(map[string]func(*rapid.T){
			"commit": func(t *rapid.T) {
				for range rapid.IntRange(1, 5).Draw(t, "events") {
					b.happen(keys.Draw(t, "key"))
				}
			},
			"deliver": func(t *rapid.T) {
				i := process.Draw(t, "process") % len(alive)
				if _, err := alive[i].Deliver(context.Background()); err != nil && !errors.Is(err, errKilled) {
					t.Error(err)
				}
			},
			"start a process that is killed": func(t *rapid.T) {
				alive = append(alive[max(0, len(alive)-2):], newProcess(rapid.IntRange(10, 60).Draw(t, "steps")))
			},
			"start a process": func(*rapid.T) {
				alive = append(alive[max(0, len(alive)-2):], newProcess(0))
			},
			"the receiver answers otherwise": func(t *rapid.T) {
				switch rapid.IntRange(0, 3).Draw(t, "answer") {
				case 0:
					r.answers(nil)
				case 1:
					r.answers(down)
				case 2:
					key := keys.Draw(t, "key")
					r.answers(func(_ context.Context, m notify.Message) error {
						if m.Notice.Key == key {
							return fmt.Errorf("%w: as the test wants it", notify.ErrRefused)
						}
						return nil
					})
				case 3: // it has the message, and its answer is lost
					r.answers(nil)
					later := rapid.IntRange(0, 3).Draw(t, "messages")
					r.answers(func(_ context.Context, m notify.Message) error {
						if later--; later == 0 {
							r.mu.Lock()
							defer r.mu.Unlock()
							r.got = append(r.got, m)
							return errDown
						}
						return nil
					})
				}
			},
			"time goes by": func(t *rapid.T) {
				clock.Advance(time.Duration(rapid.IntRange(1, 200).Draw(t, "seconds")) * time.Second)
			},
		})
		r.answers(nil)
		last := newProcess(0)
		for range 4 {
			clock.Advance(6 * time.Minute)
			if _, err := last.Deliver(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		b.wantAll(r)
		if s := status(t, last); s.Open != 0 || s.Behind != 0 || s.GivenUp != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

// TestSeveralProcesses: three processes deliver to one target that fails at random, and
// come and go, cleanly or not, while things happen in all of them.
func TestSeveralProcesses(t *testing.T) {
	for seed := range tier.Pick[uint64](1, 4) {
		synctest.Test(t, func(t *testing.T) {
			b := inBubble(t)
			var mu sync.Mutex
			random := rand.New(rand.NewPCG(seed, 1))
			draw := func(n int) int {
				mu.Lock()
				defer mu.Unlock()
				return random.IntN(n)
			}
			chance := func(n int) bool { return draw(n) == 0 }
			r := &receiver{answer: func(ctx context.Context, _ notify.Message) error {
				switch n := draw(20); {
				case n < 2:
					return errDown
				case n < 4:
					return fmt.Errorf("%w: as the test wants it", notify.ErrRefused)
				case n < 5:
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			}}
			count := 0
			process := func() *mortal {
				count++
				p := &mortal{Outbox: b.open(), receiver: r}
				n := b.notifier(fmt.Sprintf("p%d", count), p, notify.Target{Name: "ops", Sender: p})
				start(t, n)
				return p
			}
			alive := []*mortal{process(), process(), process()}
			for range 60 {
				b.happen([]string{"payments", "orders", "users"}[draw(3)])
				if chance(8) {
					victim := draw(len(alive))
					alive[victim].mu.Lock()
					alive[victim].left = alive[victim].steps + 1 + draw(6)
					alive[victim].mu.Unlock()
					alive[victim] = process()
				}
				time.Sleep(time.Duration(draw(20_000)) * time.Millisecond)
			}
			r.answers(nil)
			time.Sleep(20 * time.Minute)
			if repeats := b.wantAll(r); repeats > 30 {
				t.Errorf("%d repeats", repeats)
			}
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		})
	}
}

// TestHandlers: each hears of what it asks for, in order, whoever commits it; one that
// panics, is slow or hangs harms no other, and nothing else.
func TestHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t)
		b.commit("payments", history.Event{Type: history.RotationFailed, Operation: "before"})
		r := &receiver{}
		n := b.notifier("p1", nil, notify.Target{Name: "ops", Sender: r})
		var mu sync.Mutex
		heard := make(map[string][]string)
		hears := func(name string) notify.Handler {
			return func(_ context.Context, n notify.Notice) {
				mu.Lock()
				defer mu.Unlock()
				heard[name] = append(heard[name], n.Operation)
			}
		}
		n.Handle("all", hears("all"))
		n.Handle("none", hears("none"), notify.KEKRotated)
		n.Handle("panics", func(context.Context, notify.Notice) { panic("as the test wants it") })
		n.Handle("slow", func(ctx context.Context, x notify.Notice) {
			select {
			case <-time.After(time.Minute):
				hears("slow")(ctx, x)
			case <-ctx.Done():
			}
		})
		hanging := 0
		n.Handle("hangs", func(ctx context.Context, _ notify.Notice) {
			hanging++
			<-ctx.Done()
		})
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			b.happen("payments")
		}
		time.Sleep(1500 * time.Millisecond)
		n.Handle("late", hears("late"), notify.RotationFailed)
		last := b.happen("payments")
		n.Nudge()
		time.Sleep(time.Second)
		b.wantAll(r)
		mu.Lock()
		if !slices.Equal(heard["all"], b.happened["payments"]) || heard["none"] != nil || !slices.Equal(heard["late"], []string{last}) {
			t.Errorf("heard %q, want %q", heard, b.happened["payments"])
		}
		mu.Unlock()
		for range 2 { // more than a queue holds
			b.commit("payments", slices.Repeat([]history.Event{{Type: history.RotationFailed}}, 550)...)
			time.Sleep(time.Minute)
		}
		// What was committed just before the end is heard of.
		last = b.happen("orders")
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begun := time.Now()
		if err := n.Stop(ctx); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took < 59*time.Minute || took > 62*time.Minute {
			t.Errorf("to stop took %s", took)
		}
		if got := heard["all"]; got[len(got)-1] != last || len(got) != 1107 {
			t.Errorf("%d heard, the last was %s, want 1107 and %s", len(got), got[len(got)-1], last)
		}
		list := n.Handlers()
		if all := list[0]; all != (notify.HandlerStatus{Name: "all", Handled: 1107}) {
			t.Errorf("%+v", all)
		}
		if p := list[2]; p.Panics != 1107 || p.Handled != 1107 {
			t.Errorf("%+v", p)
		}
		if h := list[4]; h.Handled != 1 || h.Dropped != 1107-1-1024 || hanging != 1 {
			t.Errorf("%+v", h)
		}
	})
}

// TestStop: it waits for what is being sent as long as it may, and names what does not
// end.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t)
		r := &receiver{answer: func(context.Context, notify.Message) error {
			time.Sleep(5 * time.Second)
			return nil
		}}
		n := b.notifier("p1", nil, notify.Target{Name: "ops", Sender: r})
		if err := n.Stop(t.Context()); err != nil {
			t.Errorf("stopped before it began: %v", err)
		}
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		b.happen("payments")
		time.Sleep(1500 * time.Millisecond)
		stop(t, n)
		b.wantAll(r)
		if s := status(t, n); s.Owner != "" || s.Open != 0 {
			t.Errorf("status %+v", s)
		}

		// One that is told to end does, and its message stays for another time.
		r.answers(func(ctx context.Context, _ notify.Message) error { <-ctx.Done(); return ctx.Err() })
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		b.happen("payments")
		time.Sleep(1500 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := n.Stop(ctx); err != nil {
			t.Error(err)
		}
		if s := status(t, n); s.Owner != "" || s.Open != 1 || s.Failing != 0 {
			t.Errorf("status %+v", s)
		}

		// A handler that ends for nobody is left behind.
		r.answers(nil)
		wake := make(chan struct{})
		defer close(wake)
		n.Handle("stubborn", func(context.Context, notify.Notice) { <-wake })
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		b.happen("payments")
		time.Sleep(1500 * time.Millisecond)
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := n.Stop(ctx); err == nil || err.Error() != "notify: handler stubborn: still busy, and left behind" {
			t.Error(err)
		}
		b.wantAll(r)
	})
}
