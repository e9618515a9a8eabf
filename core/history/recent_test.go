package history

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// encoded is the event with a number.
func encoded(tb testing.TB, seq uint64, e Event) json.RawMessage {
	tb.Helper()
	e.Seq = seq
	b, err := e.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestRecent(t *testing.T) {
	r := NewRecent(5)
	if page, err := r.Events(Query{}); err != nil || len(page.Events) != 0 || r.Last() != 0 {
		t.Errorf("empty: %+v, %v", page, err)
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for seq := range uint64(12) {
		e := Event{Type: Usage, Key: "orders", Time: at.Add(time.Duration(seq+1) * time.Minute)}
		if seq%2 == 1 {
			e = Event{Type: Rotation, Key: "payments", Version: uint32(seq + 1), Reason: "manual", Actor: "alice@host", Operation: "op", Time: e.Time}
		}
		if seq == 4 {
			continue // retention took it
		}
		for range 2 { // what was there is passed over
			if err := r.Add(encoded(t, seq+1, e)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if r.Last() != 12 || r.Size() != 5 {
		t.Errorf("the last is %d of %d", r.Last(), r.Size())
	}
	for name, c := range map[string]struct {
		query Query
		want  []uint64
		next  uint64
	}{
		"all":       {Query{}, []uint64{12, 11, 10, 9, 8}, 0},
		"key":       {Query{Key: "orders"}, []uint64{11, 9}, 0},
		"version":   {Query{Version: 10}, []uint64{10}, 0},
		"type":      {Query{Type: Rotation}, []uint64{12, 10, 8}, 0},
		"reason":    {Query{Reason: "manual", Before: 10}, []uint64{8}, 0},
		"actor":     {Query{Actor: "bob@host"}, nil, 0},
		"operation": {Query{Operation: "op", Limit: 2}, []uint64{12, 10}, 10},
		"since":     {Query{Since: at.Add(11 * time.Minute)}, []uint64{12, 11}, 0},
		"until":     {Query{Until: at.Add(11 * time.Minute)}, []uint64{10, 9, 8}, 0},
		"page":      {Query{Limit: 2}, []uint64{12, 11}, 11},
		"last page": {Query{Limit: 2, Before: 10}, []uint64{9, 8}, 0},
	} {
		page, err := r.Events(c.query)
		if err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for _, b := range page.Events {
			e, err := Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Seq)
		}
		if !slices.Equal(got, c.want) || page.Next != c.next {
			t.Errorf("%s: %v, next %d; want %v, next %d", name, got, page.Next, c.want, c.next)
		}
	}
	if _, err := r.Events(Query{Limit: -1}); err == nil {
		t.Error("a negative limit was taken")
	}
	if err := r.Add(json.RawMessage(`{`)); err == nil {
		t.Error("no event was taken")
	}
}

// TestRecentConcurrent: whoever adds and whoever asks do not wait for one another for
// long, and an answer is in order.
func TestRecentConcurrent(t *testing.T) {
	r := NewRecent(10)
	var wg sync.WaitGroup
	for n := range uint64(3) {
		wg.Go(func() {
			for i := range uint64(200) {
				if err := r.Add(encoded(t, i*3+n+1, Event{Type: Usage})); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 200 {
		page, err := r.Events(Query{})
		if err != nil {
			t.Fatal(err)
		}
		last := ^uint64(0)
		for _, b := range page.Events {
			if e, err := Decode(b); err != nil || e.Seq >= last {
				t.Fatalf("event %d after %d, %v", e.Seq, last, err)
			} else {
				last = e.Seq
			}
		}
	}
	wg.Wait()
	if r.Last() != 600 {
		t.Errorf("the last is %d", r.Last())
	}
}

func TestStats(t *testing.T) {
	var s Stats
	for _, e := range []Event{
		{Seq: 3, Type: RotationFailed, Key: "payments", Actor: "svc", ErrorCode: "UNAVAILABLE"},
		{Seq: 5, Type: Rotation, Key: "payments", Actor: "alice@host"},
		{Seq: 2, Type: KEKRotated, Actor: "svc"},
		{Seq: 4, Type: RotationFailed, Key: "orders", Actor: "svc", ErrorCode: "UNAVAILABLE"},
	} {
		s.Add(e)
	}
	got := fmt.Sprint(s.Events, s.First.Seq, s.Last.Seq, s.Types, s.Keys, s.Actors, s.Failures)
	const want = "4 2 5 map[kek_rotated:1 rotation:1 rotation_failed:2] map[orders:1 payments:2] map[alice@host:1 svc:3] map[UNAVAILABLE:2]"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
