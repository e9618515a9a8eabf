package simulation

import (
	"math/bits"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/policy"
)

// key is one key, as the store has it, and what the oracle makes of that.
type key struct {
	name     string
	kind     string
	policies []policy.Policy
	rule     rule
	jitter   time.Duration
	windows  []window
	numbers  []uint64
	perDay   uint64

	version uint32
	rotated int64 // on the clock of the process that did it
	truly   int64 // when that was
	served  map[slot]bool
	// fates are those of a plain schedule's slots; before passed, all have one.
	fates  []fate
	passed int

	// reached is how many of the numbers of uses are, and next when another is.
	reached  int
	reaching int64
	// may and must say when the key is due, by the oracle, if no window holds it: not
	// before the one, and at the other at the latest.
	may, must int64
	// wake is when a policy said that it would be due.
	wake int64
}

// slot is a row of the store.
type slot struct{ policy, slot string }

// facts are what a process reads of the key.
func (k *key) facts(now int64) policy.Key {
	uses := k.uses(now)
	rotated := time.Unix(0, k.rotated).UTC()
	return policy.Key{
		Name: k.name, Created: began, Version: k.version, Rotated: rotated, Activated: rotated,
		Uses: uses, TotalUses: uses, HardLimit: 1 << 32,
	}
}

func (k *key) uses(now int64) uint64 {
	high, low := bits.Mul64(k.perDay, uint64(now-k.truly))
	n, _ := bits.Div64(high, low, uint64(day))
	return n
}

// rotate is what a rotation changes, at a true time and on a process's clock.
func (k *key) rotate(now, clock int64) {
	k.version++
	k.pass(clock, covered)
	k.rotated, k.truly, k.reached = clock, now, 0
	k.look(now)
}

// look has the oracle look at the key anew.
func (k *key) look(now int64) {
	uses := k.uses(now)
	for k.reached < len(k.numbers) && uses >= k.numbers[k.reached] {
		k.reached++
	}
	k.reaching = never
	if k.reached < len(k.numbers) {
		high, low := bits.Mul64(k.numbers[k.reached], uint64(day))
		wait, rest := bits.Div64(high, low, k.perDay)
		if rest > 0 {
			wait++
		}
		k.reaching = k.truly + int64(wait)
	}
	d := k.rule.since(k.rotated, func(n uint64) bool { return uses >= n })
	k.may, k.must, k.wake = d.from(), d.delayed(k.jitter), 0
}

// process is one that runs policies.
type process struct {
	// ahead is by how much its clock is, behind if negative.
	ahead int64
	// next is when it looks, on no clock but the true one.
	next int64
	down int64 // until then
}

// counts is what happened.
type counts struct {
	looks, decisions, due, rotations, manual  int
	jumps, jumpsBack, outages, allDown        int
	slots, served, caughtUp, covered, pending int
	races, refused, refusedLater, twice       int
	held, delayed                             int
	kinds                                     map[string]int
}

type world struct {
	*testing.T
	rng       *rand.Rand
	keys      []*key
	processes []*process
	now       int64
	counts    counts
}

func newWorld(t *testing.T, rng *rand.Rand, keys []*key) *world {
	w := &world{T: t, rng: rng, keys: keys, now: began.UnixNano(), processes: []*process{{}, {ahead: int64(7 * time.Minute)}, {ahead: -int64(2 * time.Hour)}}}
	w.counts.kinds = make(map[string]int)
	for _, k := range keys {
		k.served = make(map[slot]bool)
		k.fates = make([]fate, len(k.rule.slots))
		k.rotate(w.now, w.now)
	}
	return w
}

// step lets the process look whose turn it is. It answers false at the end.
func (w *world) step() bool {
	p := w.processes[0]
	for _, other := range w.processes {
		if max(other.next, other.down) < max(p.next, p.down) {
			p = other
		}
	}
	w.now = max(w.now, p.next, p.down)
	if w.now >= ended.UnixNano() {
		return false
	}
	w.disturb(p)
	w.counts.looks++
	clock := w.now + p.ahead
	for _, k := range w.keys {
		if w.now >= k.reaching {
			k.look(w.now)
		}
		// What was said to be due later is not asked about again, as long as the
		// oracle agrees; now and then all are.
		if clock >= k.wake || clock >= k.must && !inWindow(k.windows, clock) || w.rng.IntN(5000) == 0 {
			w.decide(p, k)
		}
	}
	p.next = w.now + int64(time.Minute) + w.rng.Int64N(int64(4*time.Hour))
	return true
}

// disturb lets clocks jump, processes fail, and an operator rotate a key by hand.
func (w *world) disturb(p *process) {
	switch n := w.rng.IntN(1000); {
	case n < 4: // every three weeks or so
		before := p.ahead
		p.ahead = w.rng.Int64N(int64(12*time.Hour)) - int64(6*time.Hour)
		if w.rng.IntN(2) == 0 {
			p.ahead /= 720 // half a minute
		}
		w.counts.jumps++
		if p.ahead < before {
			w.counts.jumpsBack++
		}
	case n < 6:
		w.counts.outages++
		p.down = w.now + w.rng.Int64N(int64(10*day))
	case n < 7:
		w.counts.allDown++
		until := w.now + int64(day) + w.rng.Int64N(int64(9*day))
		for _, p := range w.processes {
			p.down = max(p.down, until)
		}
	case n < 20:
		k := w.keys[w.rng.IntN(len(w.keys))]
		k.rotate(w.now, w.now+p.ahead)
		w.counts.manual++
	}
}

// decide has a process ask the policies of a key, and do what they say. At times
// another process has read the same and does the same a moment later.
func (w *world) decide(p *process, k *key) {
	before := *k
	d, by := w.ask(p, &before)
	if !d.Due {
		k.wake = never
		if !d.Next.IsZero() {
			k.wake = d.Next.UnixNano()
		}
		return
	}
	w.counts.due++
	first := w.serve(p, k, by, d)
	if !first {
		w.counts.refusedLater++
	}
	other := w.processes[w.rng.IntN(len(w.processes))]
	if other == p || other.down > w.now || w.rng.IntN(4) != 0 {
		return
	}
	again, by := w.ask(other, &before)
	if !again.Due {
		return
	}
	w.counts.races++
	if served := w.serve(other, k, by, again); served && first {
		w.counts.twice++
		if again.Slot == d.Slot || p.ahead == other.ahead {
			w.Errorf("%s: rotated twice, for %s and for %s", k.name, d.Slot, again.Slot)
		}
	}
}

// ask has a process ask the policies of a key, and the oracle whether they are right.
func (w *world) ask(p *process, k *key) (policy.Decision, string) {
	w.counts.decisions++
	at := w.now + p.ahead
	facts, clock := k.facts(w.now), time.Unix(0, at).UTC()
	held := inWindow(k.windows, at)
	d := k.policies[0].Decide(facts, clock)
	switch {
	case d.Due && held:
		w.Errorf("%s (%s): due at %s, in a blackout", k.name, k.policies[0].Description(), clock)
	case d.Due && at < k.may:
		w.Errorf("%s (%s): due at %s, not before %s", k.name, k.policies[0].Description(), clock, time.Unix(0, k.may).UTC())
	case d.Due && d.Since.After(clock):
		w.Errorf("%s (%s): due at %s, since %s", k.name, k.policies[0].Description(), clock, d.Since)
	case !d.Due && !held && at >= k.must:
		w.Errorf("%s (%s): not due at %s, but since %s at the latest: %+v", k.name, k.policies[0].Description(), clock, time.Unix(0, k.must).UTC(), d)
	case !d.Due && at >= k.must:
		w.counts.held++
	case !d.Due && at >= k.may && !held:
		w.counts.delayed++
	}
	if limit := k.policies[1].Decide(facts, clock); limit.Due {
		w.Errorf("%s: at half of its hard limit", k.name)
	}
	return d, k.policies[0].Name()
}

// serve is the store: a slot rotates a key once. The real one refuses, too, what was
// decided about a version that is the primary no longer; here slots have to do alone.
func (w *world) serve(p *process, k *key, by string, d policy.Decision) bool {
	row := slot{by, d.Slot}
	if k.served[row] {
		w.counts.refused++
		return false
	}
	if len(k.rule.slots) > 0 {
		w.plain(p, k, d)
	}
	k.served[row] = true
	k.rotate(w.now, w.now+p.ahead)
	w.counts.rotations++
	w.counts.kinds[k.kind]++
	return true
}
