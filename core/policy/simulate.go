package policy

import (
	"iter"
	"math/bits"
	"time"
)

// Rotation is one that would happen.
type Rotation struct {
	At time.Time
	// Version is the one that it replaces.
	Version  uint32
	Policy   string
	Decision Decision
}

// Simulate tells which rotations of a key policies would cause from one time up to
// another, if nothing else happened to it, each of them at once when it is due. Uses
// grow evenly by so many a day. It goes from one due time to the next, and so tells
// what is predicted: the time when a rule of your own becomes due is known to it
// only if the rule says so, by [Decision.Next].
func Simulate(policies []Policy, key Key, from, to time.Time, usesPerDay uint64) iter.Seq[Rotation] {
	return func(yield func(Rotation) bool) {
		s := simulation{policies: policies, key: key, counted: from, perDay: usesPerDay, served: make(map[[2]string]bool)}
		for now := from; !now.IsZero() && now.Before(to); {
			s.use(now)
			rotation, next, due := s.step(now)
			if due {
				if !yield(rotation) {
					return
				}
				s.rotate(now)
				// What is due again at once would be without end.
				next = now.Add(time.Second)
			}
			now = next
		}
	}
}

type simulation struct {
	policies []Policy
	key      Key
	// counted is when the key's uses were what they say.
	counted time.Time
	perDay  uint64
	// served are the policies and slots that rotated the key.
	served map[[2]string]bool
}

// step asks every policy; it answers the rotation that is due, or else when to ask
// again: the zero time for never.
func (s *simulation) step(now time.Time) (due Rotation, next time.Time, ok bool) {
	for _, p := range s.policies {
		d := p.Decide(s.key, now)
		slot := [2]string{p.Name(), d.Slot}
		if d.Due && !s.served[slot] {
			s.served[slot] = true
			return Rotation{At: now, Version: s.key.Version, Policy: p.Name(), Decision: d}, time.Time{}, true
		}
		if d.Next.After(now) {
			next = earlier(next, d.Next)
		}
		walk(p, func(p Policy) {
			switch p := p.(type) {
			case *MaxUses:
				next = earlier(next, s.reaching(p.max, s.key.Uses))
			case HardLimit:
				next = earlier(next, s.reaching(half(s.key.HardLimit), s.key.TotalUses))
			}
		})
	}
	return due, next, false
}

// use counts what is used up to now.
func (s *simulation) use(now time.Time) {
	more := s.usesIn(now.Sub(s.counted))
	if more == 0 {
		return
	}
	s.key.Uses, s.key.TotalUses = add(s.key.Uses, more), add(s.key.TotalUses, more)
	// The time of whole uses only: what began counts for the next.
	s.counted = s.counted.Add(s.timeFor(more))
}

func (s *simulation) rotate(now time.Time) {
	s.key.Version++
	s.key.Rotated, s.key.Activated, s.counted = now, now, now
	s.key.Uses, s.key.TotalUses = 0, 0
}

// reaching is when uses will have grown to a limit; zero if they have already, or
// never will.
func (s *simulation) reaching(limit, uses uint64) time.Time {
	if uses >= limit || s.perDay == 0 {
		return time.Time{}
	}
	wait := s.timeFor(limit - uses)
	if wait <= 0 {
		return time.Time{}
	}
	return s.counted.Add(wait)
}

// usesIn is how many whole uses there are in a time.
func (s *simulation) usesIn(d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	high, low := bits.Mul64(s.perDay, uint64(d))
	if high >= uint64(day) {
		return 1<<64 - 1
	}
	n, _ := bits.Div64(high, low, uint64(day))
	return n
}

// timeFor is how long so many uses take, rounded up; zero if longer than can be
// counted.
func (s *simulation) timeFor(uses uint64) time.Duration {
	high, low := bits.Mul64(uses, uint64(day))
	if high >= s.perDay {
		return 0
	}
	d, rest := bits.Div64(high, low, s.perDay)
	if rest > 0 {
		d++
	}
	if d > 1<<63-1 {
		return 0
	}
	return time.Duration(d)
}

// add is the sum, or the largest number there is.
func add(a, b uint64) uint64 {
	if sum, carry := bits.Add64(a, b, 0); carry == 0 {
		return sum
	}
	return 1<<64 - 1
}
