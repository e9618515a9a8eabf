package policy

import (
	"errors"
	"slices"
	"time"
)

// Blackout keeps a policy from rotating a key in some windows: what comes due in one
// waits for its end.
type Blackout struct {
	of      Policy
	windows []Window
	words   string
	// holds: the policy inside may be held, too.
	holds bool
}

// NewBlackout holds what a policy decides while any of the windows lasts. Windows
// that leave no time at all are refused.
func NewBlackout(of Policy, windows ...Window) (*Blackout, error) {
	switch {
	case of == nil:
		return nil, errors.New("there is no policy to hold")
	case len(windows) == 0:
		return nil, errors.New("a blackout needs at least one window")
	}
	if err := checkWindows(windows...); err != nil {
		return nil, err
	}
	words := make([]string, len(windows))
	for i, w := range windows {
		words[i] = w.String()
	}
	return &Blackout{
		of: of, windows: slices.Clone(windows), holds: mayHold(of),
		words: of.Description() + ", but not " + list(words, "or"),
	}, nil
}

// checkWindows says whether windows leave time for a rotation: an error if those
// that come back each week cover all of it, in winter or in summer.
func checkWindows(windows ...Window) error {
	recurring := slices.DeleteFunc(slices.Clone(windows), func(w Window) bool { return w.zone == nil })
	for _, month := range []time.Month{time.January, time.July} {
		from := time.Date(2026, month, 5, 0, 0, 0, 0, time.UTC)
		if free := after(recurring, from); free.IsZero() || free.Sub(from) > 8*day {
			return errors.New("the blackout windows leave no time at all")
		}
	}
	return nil
}

// Name is that of the policy inside: waiting does not make another occasion.
func (p *Blackout) Name() string { return p.of.Name() }

// Description is that of the policy inside and the windows.
func (p *Blackout) Description() string { return p.words }

// MaxUses is that of the policy inside.
func (p *Blackout) MaxUses() uint64 { return leastUses(p.of) }

func (p *Blackout) parts() []Policy { return []Policy{p.of} }

// Decide holds what the policy inside decides.
func (p *Blackout) Decide(key Key, now time.Time) Decision {
	in := p.of.Decide(key, now)
	d := in
	d.Parts = []Part{{p.of.Name(), p.of.Description(), in}}
	if !in.Due {
		if !in.Next.IsZero() {
			d.Next = p.free(key, in.Next)
		}
		return d
	}
	if end := after(p.windows, now); !end.Equal(now) {
		return Decision{Why: "due, and held by a blackout: " + in.Why, Next: p.free(key, end), Parts: d.Parts}
	}
	if !in.Since.IsZero() {
		d.Since = p.free(key, in.Since)
	}
	return d
}

// free is the first time from t on that no window holds, and at which the policy
// inside, which is due at t, is not held by windows of its own. The zero time if
// there is none.
func (p *Blackout) free(key Key, t time.Time) time.Time {
	for range maxHolds {
		t = after(p.windows, t)
		if t.IsZero() || !p.holds {
			return t
		}
		d := p.of.Decide(key, t)
		if d.Due || !d.Next.After(t) {
			return t
		}
		t = d.Next
	}
	return time.Time{}
}

// after is the first time from t on that lies in no window. Windows that leave no
// time are refused beforehand, but zones may change: then it is the zero time.
func after(windows []Window, t time.Time) time.Time {
	for range maxHolds {
		held := false
		for _, w := range windows {
			if end, ok := w.holding(t); ok {
				t, held = end, true
			}
		}
		if !held {
			return t
		}
	}
	return time.Time{}
}
