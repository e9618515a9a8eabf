package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyrotor/keyrotor/core/store"
)

const topic = "notify"

// ops is the subscriber of most tests.
func ops() store.Subscription { return store.Subscription{Topic: topic, Target: "ops"} }

// row is a delivery of an order key.
func row(key, id string) store.Delivery {
	return store.Delivery{OrderKey: key, Idempotency: id, Event: 7, Payload: []byte("payload of " + id)}
}

// route puts rows of the subscriber ops in the outbox, which is there already.
func (s *suite) route(rows ...store.Delivery) {
	s.Helper()
	at := s.only().Position
	to := at
	to.Event++
	if err := s.Route(s.Context(), ops(), at, to, rows); err != nil {
		s.Fatal(err)
	}
}

// pass moves the subscriber behind everything.
func (s *suite) pass() {
	s.Helper()
	if err := s.Route(s.Context(), ops(), s.only().Position, s.end(), nil); err != nil {
		s.Fatal(err)
	}
}

// testRoute: rows and position move together.
func testRoute(s *suite) {
	s.subscribe("ops")
	var from store.Position
	to := store.Position{Event: 3, Notice: 1}
	rows := []store.Delivery{row("k", "1"), row("k", "2"), row("l", "3")}
	if err := s.Route(s.Context(), ops(), from, to, rows); err != nil {
		s.Fatal(err)
	}
	// Somebody was there before, and with another view of what is to be told.
	for _, at := range []store.Position{from, {Event: 3}, {Notice: 1}, {Event: 4, Notice: 1}} {
		if err := s.Route(s.Context(), ops(), at, store.Position{Event: 9, Notice: 9}, []store.Delivery{row("k", "4")}); !errors.Is(err, store.ErrMoved) {
			s.Errorf("from %+v: %v", at, err)
		}
	}
	nobody := store.Subscription{Topic: topic, Target: "nobody"}
	if err := s.Route(s.Context(), nobody, from, to, rows); !errors.Is(err, store.ErrMoved) {
		s.Errorf("to nobody: %v", err)
	}
	if sub := s.only(); sub.Position != to || sub.Open != 3 {
		s.Errorf("subscriber %+v", sub)
	}
	// Ids that are known are passed over, within one subscriber.
	s.route(row("k", "1"), row("k", "5"), row("x", "3"))
	if sub := s.only(); sub.Open != 4 {
		s.Errorf("subscriber %+v", sub)
	}
	// Without rows, it is the position alone.
	s.route()
	if sub := s.only(); sub.Open != 4 || sub.Position != (store.Position{Event: 5, Notice: 1}) {
		s.Errorf("subscriber %+v", sub)
	}
}

// heads asserts the ids of what is due.
func (s *suite) heads(limit int, want ...string) (heads []store.Delivery, next time.Time) {
	s.Helper()
	heads, next, err := s.Heads(s.Context(), ops(), limit)
	if err != nil {
		s.Fatal(err)
	}
	var ids []string
	for _, h := range heads {
		ids = append(ids, h.Idempotency)
	}
	if !slices.Equal(ids, want) {
		s.Errorf("due are %q, want %q", ids, want)
	}
	return heads, next
}

func (s *suite) hold(owner string) {
	s.Helper()
	if err := s.Hold(s.Context(), ops(), owner, time.Minute); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) settle(settled ...store.Settled) {
	s.Helper()
	if err := s.Settle(s.Context(), ops(), "p1", settled); err != nil {
		s.Fatal(err)
	}
}

// testHeads: of each order key the oldest open row alone.
func testHeads(s *suite) {
	s.subscribe("ops")
	if _, next := s.heads(10); !next.IsZero() {
		s.Errorf("nothing is open, and the next at %s", next)
	}
	s.hold("p1")
	begun := s.clock.Now().Truncate(time.Microsecond)
	s.route(row("k", "k1"), row("", "1"), row("k", "k2"), row("l", "l1"), row("l", "l2"))
	s.clock.Advance(time.Second)
	now := s.clock.Now().Truncate(time.Microsecond)
	heads, next := s.heads(10, "k1", "1", "l1")
	if !next.IsZero() {
		s.Errorf("all heads are due, and the next at %s", next)
	}
	want := row("k", "k1")
	want.ID, want.Created = heads[0].ID, begun
	if !reflect.DeepEqual(heads[0], want) {
		s.Errorf("delivery %+v, want %+v", heads[0], want)
	}
	if heads[0].ID >= heads[1].ID || heads[1].ID >= heads[2].ID {
		s.Errorf("ids do not grow: %+v", heads)
	}
	if _, next := s.heads(2, "k1", "1"); !next.Equal(now) {
		s.Errorf("a third is due, and the next at %s", next)
	}

	// A head that waits holds up those behind it, and no other.
	later := now.Add(time.Hour)
	s.settle(store.Settled{ID: heads[0].ID, Next: later, Error: "down"}, store.Settled{ID: heads[2].ID, Done: true})
	if _, next = s.heads(10, "1", "l2"); !next.Equal(later) {
		s.Errorf("the next at %s, want %s", next, later)
	}
	s.clock.Advance(time.Hour)
	again, _ := s.heads(10, "k1", "1", "l2")
	if again[0].Attempts != 1 || !again[0].Created.Equal(begun) {
		s.Errorf("delivery %+v", again[0])
	}
	// The next is the first of those that wait.
	s.settle(store.Settled{ID: again[0].ID, Next: later.Add(3 * time.Hour)}, store.Settled{ID: again[1].ID, Next: later.Add(2 * time.Hour)},
		store.Settled{ID: again[2].ID, Terminal: true})
	if _, next = s.heads(10); !next.Equal(later.Add(2 * time.Hour)) {
		s.Errorf("the next at %s", next)
	}
	// What is given up lets the next one through.
	s.clock.Advance(4 * time.Hour)
	s.settle(store.Settled{ID: again[0].ID, Terminal: true, Error: "too old"})
	s.heads(10, "1", "k2")
	if heads, _, err := s.Heads(s.Context(), store.Subscription{Topic: topic, Target: "nobody"}, 10); err != nil || len(heads) > 0 {
		s.Errorf("of nobody: %+v, %v", heads, err)
	}
}

// testHold: one process at a time, until its time is over on the store's clock.
func testHold(s *suite) {
	s.subscribe("ops")
	nobody := store.Subscription{Topic: topic, Target: "nobody"}
	if err := s.Hold(s.Context(), nobody, "p1", time.Minute); !errors.Is(err, store.ErrMoved) {
		s.Errorf("of nobody: %v", err)
	}
	s.hold("p1")
	until := s.clock.Now().Add(time.Minute).Truncate(time.Microsecond)
	if sub := s.only(); sub.Owner != "p1" || !sub.Expires.Equal(until) {
		s.Errorf("subscriber %+v, want until %s", sub, until)
	}
	s.clock.Advance(59 * time.Second)
	if err := s.Hold(s.Context(), ops(), "p2", time.Minute); !errors.Is(err, store.ErrMoved) {
		s.Errorf("while p1 has it: %v", err)
	}
	s.hold("p1") // renewed
	s.clock.Advance(59 * time.Second)
	if err := s.Hold(s.Context(), ops(), "p2", time.Minute); !errors.Is(err, store.ErrMoved) {
		s.Errorf("after p1 renewed: %v", err)
	}
	s.clock.Advance(time.Second)
	s.hold("p2")
	if err := s.Hold(s.Context(), ops(), "p1", time.Minute); !errors.Is(err, store.ErrMoved) {
		s.Errorf("after p2 took it: %v", err)
	}
	if err := s.Release(s.Context(), ops(), "p1"); err != nil {
		s.Errorf("who lost it gives it back: %v", err)
	}
	if sub := s.only(); sub.Owner != "p2" {
		s.Errorf("subscriber %+v", sub)
	}
	for range 2 {
		if err := s.Release(s.Context(), ops(), "p2"); err != nil {
			s.Error(err)
		}
	}
	if sub := s.only(); sub.Owner != "" || !sub.Expires.IsZero() {
		s.Errorf("subscriber %+v", sub)
	}
	s.hold("p1")
}

// testSettle: what is recorded, and by whom it may be.
func testSettle(s *suite) {
	s.subscribe("ops")
	s.route(row("a", "a"), row("b", "b"), row("c", "c"), row("d", "d"))
	heads, _ := s.heads(10, "a", "b", "c", "d")
	done := store.Settled{ID: heads[0].ID, Done: true}
	if err := s.Settle(s.Context(), ops(), "p1", []store.Settled{done}); !errors.Is(err, store.ErrMoved) {
		s.Errorf("by nobody who holds it: %v", err)
	}
	s.heads(10, "a", "b", "c", "d")
	s.hold("p1")
	begun := s.clock.Now().Truncate(time.Microsecond)
	later := begun.Add(time.Hour)
	s.settle(done, store.Settled{ID: heads[1].ID, Next: later, Error: "first"}, store.Settled{ID: heads[2].ID, Next: later, Error: "second"})
	if sub := s.only(); sub.Open != 3 || sub.Failing != 2 || sub.Terminal != 0 || sub.LastError != "second" || !sub.Oldest.Equal(begun) {
		s.Errorf("subscriber %+v", sub)
	}
	s.settle(store.Settled{ID: heads[2].ID, Done: true}, store.Settled{ID: heads[3].ID, Terminal: true, Error: "too old"})
	if sub := s.only(); sub.Open != 1 || sub.Failing != 1 || sub.Terminal != 1 || sub.LastError != "too old" {
		s.Errorf("subscriber %+v", sub)
	}
	// What is finished stays as it is.
	s.settle(store.Settled{ID: heads[0].ID, Next: later}, store.Settled{ID: heads[3].ID, Done: true})
	if sub := s.only(); sub.Open != 1 || sub.Terminal != 1 {
		s.Errorf("subscriber %+v", sub)
	}
	// After its time a process may still tell what it did, until another one begins.
	s.clock.Advance(2 * time.Minute)
	s.settle(store.Settled{ID: heads[1].ID, Next: later, Error: "third"})
	s.hold("p2")
	if err := s.Settle(s.Context(), ops(), "p1", []store.Settled{{ID: heads[1].ID, Done: true}}); !errors.Is(err, store.ErrMoved) {
		s.Errorf("while p2 has it: %v", err)
	}
	s.clock.Advance(time.Hour)
	if again, _ := s.heads(10, "b"); again[0].Attempts != 2 {
		s.Errorf("%d attempts", again[0].Attempts)
	}
	// Rows of another subscriber are out of reach.
	s.subscribe("dev")
	dev := store.Subscription{Topic: topic, Target: "dev"}
	if err := s.Hold(s.Context(), dev, "p1", time.Minute); err != nil {
		s.Fatal(err)
	}
	if err := s.Settle(s.Context(), dev, "p1", []store.Settled{{ID: heads[1].ID, Done: true}}); err != nil {
		s.Fatal(err)
	}
	s.heads(10, "b")
}

// testSweep: what is over is forgotten in time, and what is open never, unless nobody
// names its subscriber any more.
func testSweep(s *suite) {
	s.subscribe("ops")
	s.notify(notices("old")...)
	s.route(row("a", "a"), row("b", "b"), row("c", "c"))
	s.hold("p1")
	heads, _ := s.heads(10, "a", "b", "c")
	s.settle(store.Settled{ID: heads[0].ID, Done: true}, store.Settled{ID: heads[1].ID, Terminal: true, Error: "too old"})
	s.clock.Advance(48 * time.Hour)
	s.notify(notices("new")...)
	s.subscribe("ops") // still there
	end := s.end()
	middle := s.clock.Now().Add(-time.Hour)
	if err := s.Sweep(s.Context(), middle.Add(-72*time.Hour), middle.Add(-72*time.Hour)); err != nil {
		s.Fatal(err)
	}
	if sub := s.only(); sub.Open != 1 || sub.Terminal != 1 || len(s.after(store.Position{}, 10).Notices) != 2 {
		s.Errorf("too early a sweep left %+v", sub)
	}
	if err := s.Sweep(s.Context(), middle, middle); err != nil {
		s.Fatal(err)
	}
	if sub := s.only(); sub.Open != 1 || sub.Terminal != 0 || sub.LastError != "" {
		s.Errorf("the sweep left %+v", sub)
	}
	if b := s.after(store.Position{}, 10); len(b.Notices) != 2 {
		s.Errorf("the sweep took what a subscriber has not passed: %+v", b)
	}
	s.pass()
	if err := s.Sweep(s.Context(), middle, middle); err != nil {
		s.Fatal(err)
	}
	if b := s.after(store.Position{}, 10); len(b.Notices) != 1 || b.Notices[0].ID != "new" || b.To != end {
		s.Errorf("the sweep left the notices %+v", b)
	}
	if got := s.end(); got != end {
		s.Errorf("the feed ended at %+v and ends at %+v", end, got)
	}
	// A number is not used again, or who was there already would miss what has it.
	s.clock.Advance(48 * time.Hour)
	s.subscribe("ops")
	if err := s.Sweep(s.Context(), s.clock.Now(), middle); err != nil {
		s.Fatal(err)
	}
	s.notify(notices("old")...) // it was forgotten
	if b := s.after(end, 10); len(b.Notices) != 1 || b.Notices[0].Number <= end.Notice {
		s.Errorf("after a sweep of all notices: %+v, the feed ended at %+v", b, end)
	}
	// The route knows the ids that it forgot no more, and the others still.
	s.route(row("a", "a"), row("c", "c"))
	if sub := s.only(); sub.Open != 2 {
		s.Errorf("subscriber %+v", sub)
	}
	// Nobody names it: it goes, with what is open.
	s.clock.Advance(48 * time.Hour)
	if err := s.Sweep(s.Context(), middle, s.clock.Now().Add(-time.Hour)); err != nil {
		s.Fatal(err)
	}
	if list := s.subscribers(topic); len(list) != 0 {
		s.Errorf("subscribers %+v", list)
	}
	s.heads(10)
}

// testRacingDeliverers: of several that hold at the same time one does, of several that
// route from one position one does, and nobody tells twice.
func testRacingDeliverers(s *suite) {
	s.subscribe("ops")
	const racers = 4
	for round := range 10 {
		var held, routed, told atomic.Int32
		var wg sync.WaitGroup
		at := s.only().Position
		to := at
		to.Event++
		for i := range racers {
			wg.Go(func() {
				owner := fmt.Sprintf("p%d", i)
				switch err := s.Hold(s.Context(), ops(), owner, time.Minute); {
				case err == nil:
					held.Add(1)
				case !errors.Is(err, store.ErrMoved):
					s.Error(err)
				}
				switch err := s.Route(s.Context(), ops(), at, to, []store.Delivery{row("k", fmt.Sprintf("%d by %s", round, owner))}); {
				case err == nil:
					routed.Add(1)
				case !errors.Is(err, store.ErrMoved):
					s.Error(err)
				}
				if err := s.Notify(s.Context(), notices(numbered("n", round))...); err != nil {
					s.Error(err)
				}
				told.Add(1)
			})
		}
		wg.Wait()
		if held.Load() != 1 || routed.Load() != 1 || told.Load() != racers {
			s.Errorf("%d hold it, %d routed", held.Load(), routed.Load())
		}
		if sub := s.only(); sub.Open != round+1 || sub.Position != to {
			s.Errorf("subscriber %+v", sub)
		}
		if n := len(s.after(store.Position{}, 100).Notices); n != round+1 {
			s.Errorf("%d notices", n)
		}
		if err := s.Release(s.Context(), ops(), s.only().Owner); err != nil {
			s.Fatal(err)
		}
	}
}
