package history

import "context"

// walkPage is how many events Walk asks for at once.
const walkPage = 1000

// Walk reads all events that a query selects, newest first, whatever its Limit, from
// whatever answers a page of them.
func Walk(ctx context.Context, read func(context.Context, Query) (Page, error), q Query, f func(Event)) error {
	q.Limit = walkPage
	for {
		page, err := read(ctx, q)
		if err != nil {
			return err
		}
		for _, raw := range page.Events {
			e, err := Decode(raw)
			if err != nil {
				return err
			}
			f(e)
		}
		if page.Next == 0 {
			return nil
		}
		q.Before = page.Next
	}
}

// Stats counts events. The zero Stats has counted none.
type Stats struct {
	Events uint64
	// First and Last have the lowest and the highest number.
	First, Last Event
	Types       map[Type]uint64
	// Keys and Actors leave out events without one.
	Keys, Actors map[string]uint64
	// Failures are by error code.
	Failures map[string]uint64
}

// Add counts an event; they may come in any order.
func (s *Stats) Add(e Event) {
	if s.Events == 0 {
		s.Types = make(map[Type]uint64)
		s.Keys, s.Actors, s.Failures = make(map[string]uint64), make(map[string]uint64), make(map[string]uint64)
	}
	if s.Events == 0 || e.Seq < s.First.Seq {
		s.First = e
	}
	if s.Events == 0 || e.Seq > s.Last.Seq {
		s.Last = e
	}
	s.Events++
	s.Types[e.Type]++
	count(s.Keys, e.Key)
	count(s.Actors, e.Actor)
	count(s.Failures, e.ErrorCode)
}

func count(counts map[string]uint64, name string) {
	if name != "" {
		counts[name]++
	}
}
