package simulation

import (
	"sort"
	"time"

	"github.com/keyrotor/keyrotor/core/policy"
)

// fate is what became of one slot of a plain schedule.
type fate byte

const (
	pending fate = iota
	// served: a rotation names it.
	served
	// caughtUp: nothing looked while it was the latest one, and the rotation for a
	// later one counts for it.
	caughtUp
	// covered: a rotation that was not for a slot came first, by hand, or in a
	// process whose clock is ahead.
	covered
)

// upTo is the number of a schedule's slots that are not after a time.
func (k *key) upTo(at int64) int {
	return sort.Search(len(k.rule.slots), func(i int) bool { return k.rule.slots[i] > at })
}

// plain books a rotation for a slot of a plain schedule, which must be the latest on
// the process's clock, and was not served before.
func (w *world) plain(p *process, k *key, d policy.Decision) {
	clock := w.now + p.ahead
	n := k.upTo(clock)
	latest := time.Unix(0, k.rule.slots[n-1]).UTC()
	if d.Slot != latest.Format(time.RFC3339) {
		w.Errorf("%s: slot %s at %s, when the latest was %s", k.name, d.Slot, time.Unix(0, clock).UTC(), latest)
		return
	}
	if k.fates[n-1] == served {
		w.Errorf("%s: slot %s served twice", k.name, d.Slot)
	}
	k.fates[n-1] = served
	k.pass(clock, caughtUp)
}

// pass gives those slots a fate that have none and are not after a time.
func (k *key) pass(at int64, to fate) {
	for ; k.passed < len(k.rule.slots) && k.rule.slots[k.passed] <= at; k.passed++ {
		if k.fates[k.passed] == pending {
			k.fates[k.passed] = to
		}
	}
}

// settle counts what became of every slot of every plain schedule.
func (w *world) settle() {
	c := &w.counts
	for _, k := range w.keys {
		if len(k.rule.slots) == 0 {
			continue
		}
		for i := k.upTo(began.UnixNano()); i < k.upTo(ended.UnixNano()); i++ {
			at := time.Unix(0, k.rule.slots[i]).UTC()
			switch k.fates[i] {
			case served:
				c.served++
			case caughtUp:
				c.caughtUp++
			case covered:
				c.covered++
			case pending:
				// Nothing has looked since, or a jitter or a window holds it at the end.
				if ended.Sub(at) > 20*day {
					w.Errorf("%s (%s): nothing became of %s", k.name, k.policies[0].Description(), at)
				}
				c.pending++
			}
			c.slots++
		}
	}
	if c.served+c.caughtUp+c.covered+c.pending != c.slots {
		w.Errorf("%d slots, of which %+v", c.slots, *c)
	}
}
