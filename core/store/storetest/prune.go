package storetest

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// prune takes out what is older than now, and answers how many events went.
func (s *suite) prune() uint64 {
	s.Helper()
	n, err := s.Prune(s.Context(), store.Prune{Before: s.clock.Now(), Actor: "svc", Operation: "op-prune"})
	if err != nil {
		s.Fatal(err)
	}
	return n
}

// left asserts which events there are, the oldest first.
func (s *suite) left(want ...uint64) {
	s.Helper()
	events, _ := s.events()
	var got []uint64
	for _, e := range events {
		got = append(got, e.Seq)
	}
	if !slices.Equal(got, want) {
		s.Errorf("events %v are left, want %v", got, want)
	}
	s.checkRoot()
}

// usage adds n events to a key's history, and lets a second pass.
func (s *suite) usage(name string, n int) {
	s.Helper()
	s.append(name, slices.Repeat([]history.Event{{Type: history.Usage, Actor: "svc"}}, n)...)
	s.clock.Advance(time.Second)
}

// testPrune: old events go, and everything that the tree says of them stays.
func testPrune(s *suite) {
	if n := s.prune(); n != 0 {
		s.Errorf("%d events of an empty history went", n)
	}
	s.create("payments") // 1
	s.clock.Advance(time.Second)
	s.usage("payments", 3) // 2 to 4
	before, root, err := s.Root(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	record, err := s.Record(s.Context(), 2, 0)
	if err != nil {
		s.Fatal(err)
	}
	digest := s.key("payments").LastDigest

	cut := s.clock.Now()
	s.clock.Advance(time.Hour)
	n, err := s.Prune(s.Context(), store.Prune{Before: cut, Actor: "svc", Operation: "op-prune"})
	if err != nil || n != 3 { // 4 is the newest of the key
		s.Errorf("%d events went, %v; want 3", n, err)
	}
	s.left(4, 5)
	extent, err := s.Extent(s.Context())
	if err != nil || extent.Size != before+1 || extent.Pruned != 3 || extent.Events != 2 || extent.Bytes == 0 {
		s.Errorf("%+v, %v", extent, err)
	}
	events, _ := s.events()
	told := events[1]
	pruning, err := history.ReadPruning(told)
	if told.Type != history.Pruned || told.Count != 3 || told.Actor != "svc" || told.Operation != "op-prune" || told.Key != "" ||
		!told.Time.Equal(s.clock.Now().Truncate(time.Microsecond)) {
		s.Errorf("the history says %+v", told)
	}
	if err != nil || pruning.Through != 3 || pruning.Total != 3 || !pruning.Before.Equal(cut) {
		s.Errorf("it tells of %+v, %v", pruning, err)
	}

	// What was proved of an event before is so afterwards.
	gone, err := s.Record(s.Context(), 2, 0)
	if err != nil || gone.Bytes != nil || gone.Leaf != record.Leaf || record.Leaf != history.Leaf(record.Bytes) {
		s.Errorf("event 2 is %+v, %v; it was %+v", gone, err, record)
	}
	if record.Root != root {
		s.Errorf("the root was %v, and the proof led to %v", root, record.Root)
	}
	for seq := range extent.Size {
		r, err := s.Record(s.Context(), seq+1, 0)
		if err == nil {
			err = r.Check()
		}
		if err != nil || (r.Bytes == nil) != (seq < 3) || r.Size != extent.Size || r.Root != extent.Root {
			s.Errorf("event %d: %+v, %v", seq+1, r, err)
		}
	}
	// And what was proved to the root of before is proved to it again.
	then, err := s.Record(s.Context(), 2, before)
	if err != nil || then.Size != before || then.Root != root || then.Check() != nil {
		s.Errorf("event 2 of the first %d: %+v, %v, %v", before, then, err, then.Check())
	}
	for seq, size := range map[uint64]uint64{before + 1: before, 1: extent.Size + 1} {
		if _, err := s.Record(s.Context(), seq, size); !errors.Is(err, history.ErrNoEvent) {
			s.Errorf("event %d of the first %d: %v, want ErrNoEvent", seq, size, err)
		}
	}
	for _, seq := range []uint64{0, extent.Size + 1} {
		if _, err := s.Record(s.Context(), seq, 0); !errors.Is(err, history.ErrNoEvent) {
			s.Errorf("event %d: %v, want ErrNoEvent", seq, err)
		}
	}
	if key := s.key("payments"); key.LastDigest != digest {
		s.Errorf("the digest went from %q to %q", digest, key.LastDigest)
	}
	s.change("payments", func(r *keyring.Record) { s.addVersion(r) }) // 6
	s.checkRoot()
}

// testPruneAgain: what is to be told of pruning is itself no reason to prune.
func testPruneAgain(s *suite) {
	s.create("payments")
	s.usage("payments", 2)
	if n := s.prune(); n != 2 { // 1 and 2
		s.Errorf("%d events went, want 2", n)
	}
	s.left(3, 4)
	for range 3 {
		s.clock.Advance(time.Hour)
		if n := s.prune(); n != 0 {
			s.Errorf("%d events went of those that must stay", n)
		}
	}
	s.left(3, 4)
	s.usage("payments", 1) // 5
	if n := s.prune(); n != 2 {
		s.Errorf("%d events went, want 2", n)
	}
	s.left(5, 6)
	events, _ := s.events()
	if p, err := history.ReadPruning(events[1]); err != nil || p.Through != 4 || p.Total != 4 {
		s.Errorf("the history tells of %+v, %v", p, err)
	}
}

// testPruneKeeps: what something is built upon stays, however old it is.
func testPruneKeeps(s *suite) {
	named := func(version string) map[string]string {
		return map[string]string{"kek_id.local": "kek/1", "kek_version.local": version}
	}
	s.create("payments") // 1
	s.append(
		"payments",
		history.Event{Type: history.Creation, Version: 2, Details: named("1")}, // 2: the first to name its KEK
		history.Event{Type: history.Creation, Version: 3, Details: named("2")},
		history.Event{Type: history.DestroyScheduled, Version: 1}, // 4
		history.Event{Type: history.DestroyCanceled, Version: 1},
		history.Event{Type: history.Destroyed, Version: 1},                                                         // 6
		history.Event{Type: history.Restored, Version: 3},                                                          // 7
		history.Event{Type: history.ProviderAdded, KEKVersion: "1", Details: map[string]string{"kek_id": "kek/2"}}, // 8
		history.Event{Type: history.ProviderAdded, KEKVersion: "2", Details: map[string]string{"kek_id": "kek/2"}},
		history.Event{Type: history.Access},
	)
	if err := s.Append(s.Context(), nil, []history.Event{
		{Type: history.KEKRotated}, {Type: history.KEKRotatedExternally}, {Type: history.SigningKeyChanged}, // 11 to 13
	}); err != nil {
		s.Fatal(err)
	}
	s.clock.Advance(time.Second)
	if n := s.prune(); n != 4 {
		s.Errorf("%d events went, want 4", n)
	}
	s.left(2, 4, 6, 7, 8, 10, 11, 12, 13, 14)
	s.clock.Advance(time.Second)
	if n := s.prune(); n != 0 {
		s.Errorf("%d events went at the second time", n)
	}
}

// testPruneOutages: the beginning of an outage stays until its end goes.
func testPruneOutages(s *suite) {
	tell := func(events ...history.Event) {
		if err := s.Append(s.Context(), nil, events); err != nil {
			s.Fatal(err)
		}
	}
	tell(history.Event{Type: history.Degraded, Operation: "a"}, history.Event{Type: history.Degraded, Operation: "b"}) // 1 and 2
	tell(history.Event{Type: history.SigningKeyChanged})                                                               // 3
	s.clock.Advance(time.Second)
	if n := s.prune(); n != 0 {
		s.Errorf("%d events of outages that last went", n)
	}
	cut := s.clock.Now()
	tell(history.Event{Type: history.Recovered, Operation: "b"}, history.Event{Type: history.Recovered, Operation: "long gone"}) // 4 and 5
	s.clock.Advance(time.Second)
	if n, err := s.Prune(s.Context(), store.Prune{Before: cut, Actor: "svc", Operation: "op-prune"}); n != 0 || err != nil {
		s.Errorf("%d events went of an outage whose end is to stay, %v", n, err)
	}
	if n := s.prune(); n != 3 {
		s.Errorf("%d events went, want 3", n)
	}
	s.left(1, 3, 6)
	events, _ := s.events()
	if p, err := history.ReadPruning(events[2]); err != nil || p.Through != 5 || p.Total != 3 {
		s.Errorf("the history tells of %+v, %v", p, err)
	}
}

// testPruneUnrouted: nothing goes that a subscriber has not passed.
func testPruneUnrouted(s *suite) {
	s.create("payments")   // 1
	s.usage("payments", 1) // 2
	slow := store.Subscription{Topic: "notify", Target: "slow"}
	if err := s.Subscribe(s.Context(), slow.Topic, slow.Target, "quick"); err != nil {
		s.Fatal(err)
	}
	s.usage("payments", 3) // 3 to 5
	if n := s.prune(); n != 2 {
		s.Errorf("%d events went, want 2", n)
	}
	s.left(3, 4, 5, 6)
	from := store.Position{Event: 2}
	batch, err := s.After(s.Context(), from, 1)
	if err != nil {
		s.Fatal(err)
	}
	if err := s.Route(s.Context(), slow, from, batch.To, nil); err != nil {
		s.Fatal(err)
	}
	if n := s.prune(); n != 0 { // the other one is still where it was
		s.Errorf("%d events went, want 0", n)
	}
	if err := s.Route(s.Context(), store.Subscription{Topic: "notify", Target: "quick"}, from, store.Position{Event: 6}, nil); err != nil {
		s.Fatal(err)
	}
	if n := s.prune(); n != 1 {
		s.Errorf("%d events went, want 1", n)
	}
	s.left(4, 5, 6, 7)
}

// testPruneUnordered: an event of a clock that was wrong goes by its own time, and holds
// up no other.
func testPruneUnordered(s *suite) {
	s.create("payments")                                                                              // 1
	s.append("payments", history.Event{Type: history.Usage, Time: s.clock.Now().Add(24 * time.Hour)}) // 2
	s.usage("payments", 2)                                                                            // 3 and 4
	if n := s.prune(); n != 2 {
		s.Errorf("%d events went, want 2", n)
	}
	s.left(2, 4, 5)
	s.clock.Advance(48 * time.Hour)
	if n := s.prune(); n != 2 { // 2 and 5
		s.Errorf("%d events went, want 2", n)
	}
	s.left(4, 6)
	if e, err := s.Extent(s.Context()); err != nil || e.Pruned != 5 {
		s.Errorf("%+v, %v", e, err)
	}
}

// testPruneName: the name of a key is taken for ever, and its record is compared with
// its history, whatever went.
func testPruneName(s *suite) {
	s.create("payments")
	s.usage("payments", 1)
	s.prune()
	_, err := s.Update(s.Context(), store.Update{Name: "payments", Create: true, Apply: func(r *keyring.Record) ([]history.Event, error) {
		*r = s.newRecord("payments")
		return []history.Event{{Type: history.Creation}}, nil
	}})
	if !errors.Is(err, store.ErrKeyExists) {
		s.Errorf("Update: %v, want ErrKeyExists", err)
	}
	key := s.key("payments")
	if err := key.Verify(s.ID(), key.LastDigest); err != nil {
		s.Error(err)
	}
}

// testRacingPrunes: several at once take each event out once, beside writers.
func testRacingPrunes(s *suite) {
	s.create("payments")
	s.create("orders")
	for range 10 {
		s.usage("payments", 60)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var total uint64
	for range 4 {
		wg.Go(func() {
			n, err := s.Prune(s.Context(), store.Prune{Before: s.clock.Now()})
			mu.Lock()
			defer mu.Unlock()
			total += n
			if err != nil {
				s.Error(err)
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			if _, err := s.Update(s.Context(), store.Update{Name: "orders", Apply: func(*keyring.Record) ([]history.Event, error) {
				return []history.Event{{Type: history.Usage, Time: s.clock.Now().Add(time.Hour)}}, nil
			}}); err != nil {
				s.Error(err)
			}
		}
	})
	wg.Wait()
	s.checkRoot()
	extent, err := s.Extent(s.Context())
	if err != nil || total < 600 || extent.Size-extent.Events != total {
		s.Errorf("%d events went, and of %+v there are too many, %v", total, extent, err)
	}
}
