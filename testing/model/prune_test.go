package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/storetest"
)

// feed is a subscriber of the feed as the model sees it: nothing is taken from it that it
// has not heard of.
type feed struct {
	at   store.Position
	told int // notices, which are named by their numbers from 1 on
}

var listener = store.Subscription{Topic: "notify", Target: "listener"}

func noticeID(n int64) string { return fmt.Sprintf("notice-%d", n) }

// tell puts a notice into the feed.
func (m *machine) tell(t *rapid.T) {
	m.told++
	notice := store.Notice{ID: noticeID(int64(m.told)), Bytes: json.RawMessage(`{}`)}
	if err := m.stores[chooser(t)("engine", engines)].Notify(t.Context(), notice); err != nil {
		t.Fatal(err)
	}
}

// listen has the subscriber hear of some of what it has not heard of yet.
func (m *machine) listen(t *rapid.T) {
	choose := chooser(t)
	batch, err := m.log.After(t.Context(), m.at, 1+choose("limit", 100))
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range batch.Events {
		if want := m.at.Event + uint64(i) + 1; e.Seq != want {
			t.Fatalf("event %d follows in the feed, want %d", e.Seq, want)
		}
	}
	for i, n := range batch.Notices {
		if want := noticeID(m.at.Notice + int64(i) + 1); n.ID != want {
			t.Fatalf("%s follows in the feed, want %s", n.ID, want)
		}
	}
	want := store.Position{Event: m.at.Event + uint64(len(batch.Events)), Notice: m.at.Notice + int64(len(batch.Notices))}
	if batch.To != want {
		t.Fatalf("the feed goes on at %+v, want %+v", batch.To, want)
	}
	if err := m.log.Route(t.Context(), listener, m.at, batch.To, nil); err != nil {
		t.Fatal(err)
	}
	m.at = batch.To
}

// prune has an engine's store take out what is old, and compares what is left, event by
// event, with what must stay.
func (m *machine) prune(t *rapid.T) {
	choose := chooser(t)
	time.Sleep(time.Millisecond) // all that there is shall be of before
	before := time.Now().Add(-pick(choose, "keep", 0, 0, pollInterval, store.MaxLeaseTTL, quarantine)).Truncate(time.Microsecond)
	for _, a := range m.all {
		if err := a.compareEvents(t.Context(), m.log); err != nil {
			t.Fatal(err)
		}
	}
	all := m.history(t)
	was, err := m.log.Extent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := stays(all, before, m.at.Event)
	s := m.stores[choose("engine", engines)]
	n, err := s.Prune(t.Context(), store.Prune{Before: before, Actor: "model@host", Operation: "prune"})
	if err := errors.Join(err, s.Sweep(t.Context(), before, time.Time{})); err != nil {
		t.Fatal(err)
	}
	now := m.history(t)
	if int(n) != len(all)-len(want) || len(now) < len(want) || !slices.EqualFunc(now[:len(want)], want, func(a, b logged) bool { return bytes.Equal(a.bytes, b.bytes) }) {
		t.Fatalf("%d of %d events went, and are left\n%v\nwant\n%v", n, len(all), now, want)
	}
	told := now[len(want):]
	if (len(told) == 0) != (n == 0) || slices.ContainsFunc(told, func(e logged) bool { return e.Type != history.Pruned }) {
		t.Fatalf("%d events went, and the history tells %v of it", n, told)
	}
	if err := storetest.CheckLog(t.Context(), m.log); err != nil {
		t.Fatal(err)
	}
	m.prove(t, was, now)
	for _, a := range m.all {
		a.events = nil
		for _, e := range now {
			if w := words(e.Event); e.Key == a.name && w != "" {
				a.events = append(a.events, w)
			}
		}
	}
}

// prove asks for the proof of an event in the log as it was, whether the event is there or
// only its leaf.
func (m *machine) prove(t *rapid.T, was history.Extent, now []logged) {
	if was.Size == 0 {
		return
	}
	seq := uint64(chooser(t)("event", int(was.Size))) + 1
	r, err := m.log.Record(t.Context(), seq, was.Size)
	if err == nil {
		err = r.Check()
	}
	there := slices.ContainsFunc(now, func(e logged) bool { return e.Seq == seq })
	if err != nil || r.Root != was.Root || (r.Bytes != nil) != there {
		t.Fatalf("event %d in the log of %d: root %v, want %v; there: %v, want %v; %v", seq, was.Size, r.Root, was.Root, r.Bytes != nil, there, err)
	}
}

// logged is an event with its bytes.
type logged struct {
	history.Event
	bytes []byte
}

func (e logged) String() string { return fmt.Sprintf("%d %s %s", e.Seq, e.Key, e.Type) }

// history reads all of it, oldest first.
func (m *machine) history(t *rapid.T) (list []logged) {
	for q := (history.Query{Limit: store.MaxEvents}); ; {
		page, err := m.log.Events(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range page.Events {
			e, err := history.Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, logged{e, b})
		}
		if q.Before = page.Next; page.Next == 0 {
			slices.Reverse(list)
			return list
		}
	}
}

// stays are the events that stay when those from before a time go, of which the subscriber
// has heard of as many as passed.
func stays(all []logged, before time.Time, passed uint64) (stay []logged) {
	newest := make(map[string]uint64)
	for _, e := range all {
		newest[e.Key] = e.Seq
	}
	keks := make(map[string]bool)
	worth := false
	for _, e := range all {
		built := false
		switch e.Type {
		case history.DestroyScheduled, history.Destroyed, history.Restored, history.KEKRotated, history.KEKRotatedExternally:
			built = true
		case history.Creation, history.ProviderAdded:
			for id := range e.KEKs() {
				built = built || !keks[id]
				keks[id] = true
			}
		default:
		}
		if built || e.Key != "" && newest[e.Key] == e.Seq || !e.Time.Before(before) || e.Seq > passed {
			stay = append(stay, e)
		} else {
			worth = worth || e.Type != history.Pruned
		}
	}
	if !worth { // of what tells of pruning alone, there would be no end
		return all
	}
	return stay
}
