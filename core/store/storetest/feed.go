package storetest

import (
	"encoding/json"
	"reflect"
	"slices"
	"time"

	"github.com/keyrotor/keyrotor/core/store"
)

// notices are what is told under some ids.
func notices(ids ...string) []store.Notice {
	list := make([]store.Notice, len(ids))
	for i, id := range ids {
		list[i] = store.Notice{ID: id, Bytes: json.RawMessage(`{"schema":1,"note":"` + id + `"}`)}
	}
	return list
}

func (s *suite) notify(list ...store.Notice) {
	s.Helper()
	if err := s.Notify(s.Context(), list...); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) end() store.Position {
	s.Helper()
	end, err := s.FeedEnd(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return end
}

func (s *suite) after(p store.Position, limit int) store.Batch {
	s.Helper()
	b, err := s.After(s.Context(), p, limit)
	if err != nil {
		s.Fatal(err)
	}
	return b
}

// testFeed: the history and the notices in the order of committing, piece by piece.
func testFeed(s *suite) {
	if end := s.end(); end != (store.Position{}) {
		s.Errorf("the feed of an empty store ends at %+v", end)
	}
	if b := s.after(store.Position{}, 10); b.To != (store.Position{}) || len(b.Events)+len(b.Notices) > 0 {
		s.Errorf("of an empty store: %+v", b)
	}
	s.create("payments")
	for range 4 {
		s.change("payments", s.addVersion)
	}
	s.notify(notices("a", "b")...)
	s.notify(notices("b", "c")...) // b is known
	s.notify(notices("a")...)
	_, raw := s.events()
	end := s.end()
	if end != (store.Position{Event: 5, Notice: end.Notice}) || end.Notice < 3 {
		s.Errorf("the feed ends at %+v", end)
	}
	for _, limit := range []int{1, 2, 3, 100} {
		var events [][]byte
		var ids []string
		var p store.Position
		for {
			b := s.after(p, limit)
			if b.To == p {
				break
			}
			if len(b.Events) > limit || len(b.Notices) > limit {
				s.Errorf("%d events and %d notices, asked for %d", len(b.Events), len(b.Notices), limit)
			}
			for _, e := range b.Events {
				if events = append(events, e.Bytes); e.Seq != uint64(len(events)) {
					s.Errorf("event %d has number %d", len(events), e.Seq)
				}
			}
			for _, n := range b.Notices {
				if ids = append(ids, n.ID); string(n.Bytes) != string(notices(n.ID)[0].Bytes) || n.Number <= p.Notice || n.Number > b.To.Notice {
					s.Errorf("notice %+v, from %+v to %+v", n, p, b.To)
				}
			}
			p = b.To
		}
		if p != end || !reflect.DeepEqual(events, raw) || !slices.Equal(ids, []string{"a", "b", "c"}) {
			s.Errorf("in pieces of %d: %q and notices %q up to %+v", limit, events, ids, p)
		}
	}
}

func (s *suite) subscribe(targets ...string) {
	s.Helper()
	if err := s.Subscribe(s.Context(), topic, targets...); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) subscribers(topic string) []store.Subscriber {
	s.Helper()
	list, err := s.Subscribers(s.Context(), topic)
	if err != nil {
		s.Fatal(err)
	}
	return list
}

// only is the one subscriber.
func (s *suite) only() store.Subscriber {
	s.Helper()
	list := s.subscribers(topic)
	if len(list) != 1 {
		s.Fatalf("subscribers %+v", list)
	}
	return list[0]
}

// testSubscribers: a new one starts at the end of the feed, a known one goes on.
func testSubscribers(s *suite) {
	if list := s.subscribers(topic); len(list) != 0 {
		s.Errorf("of an empty store: %+v", list)
	}
	s.create("payments")
	s.notify(notices("a")...)
	first := s.end()
	s.subscribe("ops", "dev")
	s.change("payments", s.addVersion)
	if err := s.Subscribe(s.Context(), "mirror", "ops"); err != nil {
		s.Fatal(err)
	}
	second := s.end()
	s.clock.Advance(48 * time.Hour)
	s.change("payments", s.addVersion)
	s.subscribe("ops", "audit")
	want := []store.Subscriber{
		{Subscription: store.Subscription{Topic: topic, Target: "audit"}, Position: s.end()},
		{Subscription: store.Subscription{Topic: topic, Target: "dev"}, Position: first},
		{Subscription: ops(), Position: first},
	}
	if list := s.subscribers(topic); !reflect.DeepEqual(list, want) {
		s.Errorf("subscribers %+v, want %+v", list, want)
	}
	want = []store.Subscriber{{Subscription: store.Subscription{Topic: "mirror", Target: "ops"}, Position: second}}
	if list := s.subscribers("mirror"); !reflect.DeepEqual(list, want) {
		s.Errorf("subscribers of another topic %+v, want %+v", list, want)
	}
}
