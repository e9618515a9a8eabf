package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"time"
)

// Jitter spreads the rotations of many keys that come due at the same time: each
// waits for a while that is drawn from its name, the policy and the slot, so that
// it is another for every occasion and the same in every process. A policy that
// does not know since when it is due is not delayed.
type Jitter struct {
	of    Policy
	most  time.Duration
	words string
	// holds: the policy inside, once due, may be due no longer at a later time.
	holds bool
}

// NewJitter delays what a policy decides, by less than most. That may not be more
// than the time between two rotations: some would be left out.
func NewJitter(of Policy, most time.Duration) (*Jitter, error) {
	switch {
	case of == nil:
		return nil, errors.New("there is no policy to delay")
	case most <= 0:
		return nil, fmt.Errorf("a jitter of %s: it must be above zero", most)
	}
	var err error
	walk(of, func(p Policy) {
		if between, ok := p.(spaced); ok && most > between.spacing() {
			err = fmt.Errorf("a jitter of %s is longer than the %s that can lie between two rotations %s",
				Words(most), Words(between.spacing()), p.Description())
		}
	})
	if err != nil {
		return nil, err
	}
	return &Jitter{of, most, of.Description() + ", up to " + Words(most) + " later", mayHold(of)}, nil
}

// spaced are policies that know the shortest time between two of their rotations.
type spaced interface{ spacing() time.Duration }

// Name is that of the policy inside: a delay does not make another occasion.
func (p *Jitter) Name() string { return p.of.Name() }

// Description is that of the policy inside and the delay.
func (p *Jitter) Description() string { return p.words }

// MaxUses is that of the policy inside.
func (p *Jitter) MaxUses() uint64 { return leastUses(p.of) }

func (p *Jitter) parts() []Policy { return []Policy{p.of} }

// Decide delays what the policy inside decides.
func (p *Jitter) Decide(key Key, now time.Time) Decision {
	in := p.of.Decide(key, now)
	d := in
	d.Parts = []Part{{p.of.Name(), p.of.Description(), in}}
	switch {
	case in.Due && !in.Since.IsZero():
		at := p.from(key, in, now)
		if now.Before(at) {
			d = Decision{Why: "due, and delayed by a jitter of " + Words(at.Sub(in.Since)), Next: p.whenDue(key, at), Parts: d.Parts}
		} else {
			d.Since = at
		}
	case !in.Due && !in.Next.IsZero():
		if then := p.of.Decide(key, in.Next); then.Due && !then.Since.IsZero() {
			d.Next = p.whenDue(key, later(p.from(key, then, in.Next), in.Next))
		}
	}
	return d
}

// from is when a policy that is due now will be, delayed. The delay is that of the
// occasion on which the key became due: later slots, while it waits or nothing runs,
// do not move it.
func (p *Jitter) from(key Key, due Decision, now time.Time) time.Time {
	slot := due.Slot
	if !now.Equal(due.Since) {
		if then := p.of.Decide(key, due.Since); then.Due {
			slot = then.Slot
		}
	}
	return due.Since.Add(delay(p.most, key.Name, p.of.Name(), slot))
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// whenDue is at, unless the policy inside is held up then.
func (p *Jitter) whenDue(key Key, at time.Time) time.Time {
	if !p.holds {
		return at
	}
	if then := p.of.Decide(key, at); !then.Due && then.Next.After(at) {
		return then.Next
	}
	return at
}

// delay draws whole seconds from zero to below most, evenly, from what names an
// occasion. The form of the input is final: processes of different releases must
// agree.
func delay(most time.Duration, key, policy, slot string) time.Duration {
	sum := sha256.Sum256([]byte(key + "\x00" + policy + "\x00" + slot))
	high, _ := bits.Mul64(binary.BigEndian.Uint64(sum[:8]), uint64(most))
	return time.Duration(high).Truncate(time.Second)
}
