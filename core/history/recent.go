package history

import (
	"encoding/json"
	"fmt"
	"sync"
)

// Recent keeps the newest events in memory, so that there is an answer while the store
// cannot be read. It is safe for concurrent use.
type Recent struct {
	size int

	mu   sync.Mutex
	ring []recent
	// next is where the next event goes once the ring is full: in place of the oldest.
	next int
	last uint64
}

type recent struct {
	event Event
	bytes json.RawMessage
}

// NewRecent makes one that keeps at most size events, which is at least 1.
func NewRecent(size int) *Recent { return &Recent{size: max(size, 1)} }

// Add takes in an event, which drops the oldest one if there are too many. Events come
// in the order of their numbers; one that came before is passed over.
func (r *Recent) Add(b json.RawMessage) error {
	e, err := Decode(b)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Seq <= r.last {
		return nil
	}
	r.last = e.Seq
	if len(r.ring) < r.size {
		r.ring = append(r.ring, recent{e, b})
		return nil
	}
	r.ring[r.next] = recent{e, b}
	r.next = (r.next + 1) % r.size
	return nil
}

// Last is the number of the newest event, 0 if there is none.
func (r *Recent) Last() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// Size is the most that it keeps.
func (r *Recent) Size() int { return r.size }

// Events answers a query as a store does, from what is in memory.
func (r *Recent) Events(q Query) (Page, error) {
	limit := q.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	if limit < 0 {
		return Page{}, fmt.Errorf("history: the limit %d is negative", q.Limit)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var page Page
	var last uint64
	for i := range r.ring {
		e := r.ring[(r.next+len(r.ring)-1-i)%len(r.ring)]
		if !q.Selects(e.event) {
			continue
		}
		if len(page.Events) == limit {
			page.Next = last
			break
		}
		page.Events = append(page.Events, e.bytes)
		last = e.event.Seq
	}
	return page, nil
}

// Selects reports whether an event is one of those that the query asks for.
func (q Query) Selects(e Event) bool {
	return (q.Key == "" || e.Key == q.Key) &&
		(q.Version == 0 || e.Version == q.Version) &&
		(q.Type == "" || e.Type == q.Type) &&
		(q.Reason == "" || e.Reason == q.Reason) &&
		(q.Actor == "" || e.Actor == q.Actor) &&
		(q.Operation == "" || e.Operation == q.Operation) &&
		(q.Since.IsZero() || !e.Time.Before(q.Since)) &&
		(q.Until.IsZero() || e.Time.Before(q.Until)) &&
		(q.Before == 0 || e.Seq < q.Before)
}
