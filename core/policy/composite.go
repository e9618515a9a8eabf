package policy

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// Any rotates a key when one of its parts does.
type Any struct {
	of    []Policy
	words string
	uses  uint64
}

// All rotates a key when all of its parts do, at the same time.
type All struct {
	of    []Policy
	words string
	uses  uint64
	// holds: a part that is due may be due no longer at a later time.
	holds bool
}

// NewAny is due when any part is.
func NewAny(parts ...Policy) (*Any, error) {
	if err := checkParts("any", parts); err != nil {
		return nil, err
	}
	parts = slices.Clone(parts)
	return &Any{parts, describe(parts, "or"), leastUses(parts...)}, nil
}

// NewAll is due when every part is.
func NewAll(parts ...Policy) (*All, error) {
	if err := checkParts("all", parts); err != nil {
		return nil, err
	}
	parts = slices.Clone(parts)
	return &All{parts, describe(parts, "and"), leastUses(parts...), slices.ContainsFunc(parts, mayHold)}, nil
}

func checkParts(what string, parts []Policy) error {
	if len(parts) == 0 {
		return fmt.Errorf("%q needs at least one policy in it", what)
	}
	for _, part := range parts {
		if part == nil {
			return errors.New("a policy in it is nil")
		}
	}
	return nil
}

// Name is "any".
func (p *Any) Name() string { return "any" }

// Name is "all".
func (p *All) Name() string { return "all" }

// Description is like "every 90 days or every 1,000,000 uses".
func (p *Any) Description() string { return p.words }

// Description is like "every 90 days and every 1,000,000 uses".
func (p *All) Description() string { return p.words }

// MaxUses is the least of its parts'.
func (p *Any) MaxUses() uint64 { return p.uses }

// MaxUses is the least of its parts'.
func (p *All) MaxUses() uint64 { return p.uses }

func (p *Any) parts() []Policy { return p.of }

func (p *All) parts() []Policy { return p.of }

func describe(parts []Policy, last string) string {
	words := make([]string, len(parts))
	for i, part := range parts {
		words[i] = part.Description()
		if of, ok := part.(inner); ok && len(of.parts()) > 1 {
			words[i] = "(" + words[i] + ")"
		}
	}
	return list(words, last)
}

func decideParts(parts []Policy, key Key, now time.Time) []Part {
	decided := make([]Part, len(parts))
	for i, part := range parts {
		decided[i] = Part{part.Name(), part.Description(), part.Decide(key, now)}
	}
	return decided
}

// Decide has the key due if any part has. The slot is that of the part that became
// due first, after its name; a part that does not know when counts as the first, and
// of equals the one that is written first.
func (p *Any) Decide(key Key, now time.Time) Decision {
	d := Decision{Parts: decideParts(p.of, key, now)}
	if key.Version == 0 {
		d.Why = noPrimary
		return d
	}
	var cause *Part
	for i := range d.Parts {
		part := &d.Parts[i]
		switch {
		case !part.Decision.Due:
			d.Next = earlier(d.Next, part.Decision.Next)
		case cause == nil || part.Decision.Since.Before(cause.Decision.Since):
			cause = part
		}
	}
	if cause == nil {
		d.Why = "no part is due"
		return d
	}
	d.Due, d.Reason, d.Next = true, keyring.ReasonComposite, time.Time{}
	d.Slot, d.Since = cause.Name+":"+cause.Decision.Slot, cause.Decision.Since
	d.Why = cause.Name + ": " + cause.Decision.Why
	return d
}

// earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Decide has the key due if every part has. The slot is the version.
func (p *All) Decide(key Key, now time.Time) Decision {
	d := Decision{Parts: decideParts(p.of, key, now)}
	if key.Version == 0 {
		d.Why = noPrimary
		return d
	}
	due, known := 0, true
	for i := range d.Parts {
		part := &d.Parts[i].Decision
		if !part.Due {
			continue
		}
		due++
		known = known && !part.Since.IsZero()
		if part.Since.After(d.Since) {
			d.Since = part.Since
		}
	}
	d.Why = grouped(uint64(due)) + " of " + count(uint64(len(d.Parts)), "part") + " due"
	if due < len(d.Parts) {
		d.Since = time.Time{}
		d.Next = p.next(key, d.Parts)
		return d
	}
	d.Due, d.Reason, d.Slot = true, keyring.ReasonComposite, versionSlot(key)
	switch {
	case !known:
		d.Since = time.Time{}
	case p.holds:
		if then := decideParts(p.of, key, d.Since); !allDue(then) {
			d.Since = p.next(key, then)
		}
	}
	return d
}

// next is when all parts will be due: when the last of those that are not will be,
// unless another is due no longer by then, as one with a blackout may be. Then the
// question begins anew from there. The zero time if a part does not know.
func (p *All) next(key Key, decided []Part) time.Time {
	var before time.Time
	for range maxHolds {
		var at time.Time
		for i := range decided {
			d := &decided[i].Decision
			switch {
			case d.Due:
			case d.Next.IsZero():
				return time.Time{}
			case d.Next.After(at):
				at = d.Next
			}
		}
		if !p.holds {
			return at
		}
		decided = decideParts(p.of, key, at)
		if allDue(decided) {
			return at
		}
		if !at.After(before) {
			break
		}
		before = at
	}
	return time.Time{}
}

// maxHolds bounds how many windows a prediction steps over.
const maxHolds = 1000

// mayHold reports whether a policy that is due may be due no longer at a later time.
func mayHold(p Policy) bool {
	var may bool
	walk(p, func(part Policy) {
		switch part.(type) {
		case *MaxAge, *MaxUses, HardLimit, *Schedule, *Any, *All, *Jitter:
		default:
			may = true
		}
	})
	return may
}

func allDue(decided []Part) bool {
	for i := range decided {
		if !decided[i].Decision.Due {
			return false
		}
	}
	return true
}
