package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/store"
)

const historyRetention check = "history.retention"

// patience is how long after their time events may be there that are to go: whoever takes
// them out by hand does so once a day.
const patience = 24 * time.Hour

// Retention looks for events that should be gone by now. History shows it the log.
type Retention struct {
	keep   time.Duration
	before time.Time
	// slowest of the subscribers, none of which events are taken from before it has passed
	// them; nil if there is none.
	slowest *store.Subscriber

	keeper history.Keeper
	// newest are the last events of their keys so far, if they are old: they stay.
	newest map[string]history.Event
	// overdue are those that could be gone, held those that wait for the slowest.
	overdue, held sum
}

// sum is a number of events, and of when the oldest is.
type sum struct {
	events int
	oldest time.Time
}

// NewRetention is about events that are to stay for keep, 0 is for ever, and about those
// who are to be told of them.
func NewRetention(keep time.Duration, now time.Time, subscribers []store.Subscriber) *Retention {
	r := &Retention{keep: keep, before: now.Add(-keep - patience), newest: make(map[string]history.Event)}
	if len(subscribers) > 0 {
		slowest := slices.MinFunc(subscribers, func(a, b store.Subscriber) int { return cmp.Compare(a.Position.Event, b.Position.Event) })
		r.slowest = &slowest
	}
	return r
}

// add takes the next event of the log.
func (r *Retention) add(e history.Event) {
	if r.keep == 0 {
		return
	}
	if before, ok := r.newest[e.Key]; ok {
		r.count(before)
		delete(r.newest, e.Key)
	}
	if r.keeper.Keeps(e) || !e.Time.Before(r.before) || e.Type == history.Pruned { // which alone is not worth another one
		return
	}
	if begun, ok := r.keeper.Ended(e); ok && begun.Time.Before(r.before) {
		r.count(begun)
	}
	if e.Key != "" {
		r.newest[e.Key] = e
		return
	}
	r.count(e)
}

func (r *Retention) count(e history.Event) {
	s := &r.overdue
	if r.slowest != nil && e.Seq > r.slowest.Position.Event {
		s = &r.held
	}
	if s.events++; s.events == 1 || e.Time.Before(s.oldest) {
		s.oldest = e.Time
	}
}

// Finding is what came of it.
func (r *Retention) Finding() Finding {
	const serve = "run `keyrotor serve` as a service, or start the scheduler of one of your own"
	older := func(s sum) string {
		return fmt.Sprintf("%s older than the %s that the config keeps them, the oldest of %s", isAre(s.events, "event"), ageText(r.keep), timeText(s.oldest))
	}
	switch {
	case r.keep == 0:
		return historyRetention.ok("", "the config keeps events for ever")
	case r.overdue.events > 0:
		return historyRetention.warn("", older(r.overdue)+": nobody takes them out",
			serve+", whose log tells why if that fails; else run `keyrotor history prune` once a day")
	case r.held.events > 0:
		return historyRetention.warn(r.slowest.Target, older(r.held)+": this target was not told of them",
			serve+" with its notifier; else run `keyrotor notify deliver` and `keyrotor history prune` once a day")
	default:
		return historyRetention.ok("", "no event is there that the config, which keeps them %s, has had go for a day", ageText(r.keep))
	}
}
