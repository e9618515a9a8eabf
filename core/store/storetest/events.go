package storetest

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// append adds events to a key's history without changing the key.
func (s *suite) append(name string, events ...history.Event) {
	s.Helper()
	_, err := s.Update(s.Context(), store.Update{Name: name, Apply: func(*keyring.Record) ([]history.Event, error) {
		return slices.Clone(events), nil
	}})
	if err != nil {
		s.Fatal(err)
	}
}

// seqs are the numbers of the events on a page.
func (s *suite) seqs(q history.Query) (seqs []uint64, next uint64) {
	s.Helper()
	page, err := s.Events(s.Context(), q)
	if err != nil {
		s.Fatal(err)
	}
	for _, b := range page.Events {
		e, err := history.Decode(b)
		if err != nil {
			s.Fatal(err)
		}
		seqs = append(seqs, e.Seq)
	}
	return seqs, page.Next
}

func testEventFilters(s *suite) {
	start := s.clock.Now()
	s.create("payments") // 1
	s.clock.Advance(time.Second)
	s.create("orders") // 2
	s.clock.Advance(time.Second)
	s.append("payments",
		history.Event{Type: history.Rotation, Version: 2, Reason: "manual", Actor: "bob@host", Operation: "op-rotate"}, // 3
		history.Event{Type: history.Usage, Version: 2, Actor: "svc", Time: start.Add(-time.Hour)})
	for name, c := range map[string]struct {
		query history.Query
		want  []uint64
	}{
		"all":         {history.Query{}, []uint64{4, 3, 2, 1}},
		"key":         {history.Query{Key: "payments"}, []uint64{4, 3, 1}},
		"unknown key": {history.Query{Key: "nothing"}, nil},
		"version":     {history.Query{Version: 2}, []uint64{4, 3}},
		"type":        {history.Query{Type: history.Creation}, []uint64{2, 1}},
		"reason":      {history.Query{Reason: "manual"}, []uint64{3}},
		"operation":   {history.Query{Operation: "op-create"}, []uint64{2, 1}},
		"part of one": {history.Query{Operation: "op"}, nil},
		"actor":       {history.Query{Actor: "svc"}, []uint64{4}},
		"since":       {history.Query{Since: start.Truncate(time.Microsecond).Add(time.Second)}, []uint64{3, 2}},
		"until":       {history.Query{Until: start.Truncate(time.Microsecond).Add(time.Second)}, []uint64{4, 1}},
		"before":      {history.Query{Before: 3}, []uint64{2, 1}},
		"everything": {history.Query{
			Key: "payments", Version: 2, Type: history.Rotation, Reason: "manual", Actor: "bob@host", Operation: "op-rotate",
			Since: start, Until: start.Add(time.Minute), Before: 4, Limit: 9,
		}, []uint64{3}},
	} {
		got, next := s.seqs(c.query)
		if !slices.Equal(got, c.want) || next != 0 {
			s.Errorf("%s: events %v, next %d; want %v", name, got, next, c.want)
		}
	}
	if _, err := s.Events(s.Context(), history.Query{Limit: -1}); err == nil {
		s.Error("a negative limit was taken")
	}
}

func testEventPages(s *suite) {
	s.create("payments")
	s.append("payments", make([]history.Event, store.MaxEvents)...) // 1001 events in all
	for _, c := range []struct {
		query    history.Query
		n        int
		newest   uint64
		wantNext uint64
	}{
		{history.Query{Limit: 2}, 2, 1001, 1000},
		{history.Query{}, history.DefaultLimit, 1001, 902},
		{history.Query{Limit: 5000}, store.MaxEvents, 1001, 2},
		{history.Query{Limit: 5000, Before: 2}, 1, 1, 0},
		{history.Query{Limit: 2, Before: 3}, 2, 2, 0}, // a full page, and the last
	} {
		got, next := s.seqs(c.query)
		if len(got) != c.n || got[0] != c.newest || next != c.wantNext {
			s.Errorf("%+v: %d events from %d, next %d; want %d from %d, next %d", c.query, len(got), got[0], next, c.n, c.newest, c.wantNext)
		}
	}
}

func testEventsCarryTheRecord(s *suite) {
	first := s.create("payments")
	second := s.change("payments", func(r *keyring.Record) { s.addVersion(r) })
	given := time.Date(2020, 1, 2, 3, 4, 5, 6789, time.FixedZone("", 3600))
	s.append("payments", history.Event{Type: history.Usage, Seq: 99, Key: "x", KeyID: "y", Digest: "z", Time: given})

	events, _ := s.events()
	if len(events) != 3 {
		s.Fatalf("%d events, want 3", len(events))
	}
	for i, want := range []struct {
		digest string
		time   time.Time
	}{
		{first.LastDigest, s.clock.Now().Truncate(time.Microsecond)},
		{second.LastDigest, s.clock.Now().Truncate(time.Microsecond)},
		{second.LastDigest, given.UTC().Truncate(time.Microsecond)},
	} {
		e := events[i]
		if e.Seq != uint64(i+1) || e.Key != "payments" || e.KeyID != first.ID.String() || e.Digest != want.digest || !e.Time.Equal(want.time) {
			s.Errorf("event %+v, want digest %s and time %v", e, want.digest, want.time)
		}
	}
	if first.LastDigest == second.LastDigest {
		s.Error("a new version left the digest as it was")
	}
}

func testRoot(s *suite) {
	s.checkRoot() // of nothing
	s.create("payments")
	s.checkRoot()
	for i := range 20 { // every shape of a tree up to 40 leaves
		s.append("payments", history.Event{Type: history.Usage, Note: numbered("n", i)}, history.Event{Type: history.Access})
		s.checkRoot()
	}
	// What is stored is what was hashed, byte for byte.
	events, raw := s.events()
	for i, e := range events {
		b, err := e.Encode()
		if err != nil || !bytes.Equal(b, raw[i]) {
			s.Errorf("event %d reads %s, %v", e.Seq, raw[i], err)
		}
	}
}

// testEventRefused: a text that no event may hold undoes its update.
func testEventRefused(s *suite) {
	before := s.create("payments")
	for _, e := range []history.Event{
		{Type: history.ConfigChange, Note: strings.Repeat("n", history.MaxNote+1)},
		{Type: history.ConfigChange, Actor: "eve\nhost"},
	} {
		_, err := s.Update(s.Context(), store.Update{Name: "payments", Apply: func(r *keyring.Record) ([]history.Event, error) {
			s.addVersion(r)
			return []history.Event{{Type: history.Usage}, e}, nil
		}})
		if !errors.Is(err, history.ErrText) {
			s.Errorf("Update: %v, want history.ErrText", err)
		}
	}
	if after := s.key("payments"); after.Primary != before.Primary || after.LastDigest != before.LastDigest {
		s.Errorf("the key changed to %+v", after)
	}
	if events, _ := s.events(); len(events) != 1 {
		s.Errorf("%d events, want 1", len(events))
	}
}

// testEventsOfNoKey: what is about the store or a key manager stands in the same
// log, and under the same fence.
func testEventsOfNoKey(s *suite) {
	key := s.create("payments")
	at := s.clock.Now().Add(-time.Hour)
	kek := s.begin(claim("kek/prod", "p1"))
	given := []history.Event{{Type: history.KEKRotated, Provider: "prod"}, {Type: history.Restored, Time: at}}
	if err := s.Append(s.Context(), &kek, given); err != nil {
		s.Fatal(err)
	}
	s.claims(kek) // the operation goes on
	if !given[0].Time.IsZero() {
		s.Error("Append changed what it was given")
	}
	events, _ := s.events()
	now := s.clock.Now().UTC().Truncate(time.Microsecond)
	if len(events) != 3 || events[1].Key != "" || events[1].Digest != "" || !events[1].Time.Equal(now) ||
		!events[2].Time.Equal(at.Truncate(time.Microsecond)) {
		s.Errorf("the history reads %+v", events)
	}
	s.checkRoot()
	if after, err := s.Key(s.Context(), "payments"); err != nil || after.LastDigest != key.LastDigest {
		s.Errorf("the digest of a key went from %q to %q, %v", key.LastDigest, after.LastDigest, err)
	}

	taken := claim("kek/prod", "p2")
	taken.Replace = kek.Token
	other := s.begin(taken)
	for what, c := range map[string]struct {
		fence *store.Intent
		event history.Event
		want  error
	}{
		"a fence that was lost": {&kek, history.Event{Type: history.KEKRotated}, store.ErrFenced},
		"an event of a key":     {&other, history.Event{Type: history.Usage, Key: "payments"}, store.ErrRecord},
		"a text of two lines":   {nil, history.Event{Type: history.KEKRotated, Actor: "a\nb"}, history.ErrText},
	} {
		err := s.Append(s.Context(), c.fence, []history.Event{{Type: history.KEKRotated}, c.event})
		if !errors.Is(err, c.want) {
			s.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
	s.claims(other)
	if again, _ := s.events(); len(again) != len(events) {
		s.Errorf("refused events are in the history: %+v", again[len(events):])
	}
}
