package model

import (
	"errors"
	"fmt"
	"slices"
)

// turn is an operation of one process, and its answer.
type turn struct {
	process int
	op      op
	got     result
}

// settleRace: two operations at the same time come out as if one had been done after
// the other; in which order, the store tells, unless it makes no difference there. A
// rotation may find that the other one took the primary away, and then leaves
// everything as it is.
func (a *account) settleRace(x, y turn, stored result) error {
	var errs []error
	var fit []*account
	for _, order := range [][2]turn{{x, y}, {y, x}} {
		c := a.clone()
		err := c.settleBoth(order[0], order[1])
		if err == nil {
			err = c.settleStored(stored)
		}
		if err == nil {
			fit = append(fit, c)
		} else {
			errs = append(errs, fmt.Errorf("if process %d was first: %w", order[0].process, err))
		}
	}
	switch len(fit) {
	case 0:
		a.trace = append(a.trace, fmt.Sprintf("process %d: %s: %s, while process %d: %s: %s",
			x.process, x.op, x.got.outcome, y.process, y.op, y.got.outcome))
		return errors.Join(errs...)
	case 2:
		fit[0].knowLess(fit[1])
	}
	*a = *fit[0]
	a.trace = append(a.trace, "(these two at the same time)")
	return nil
}

// knowLess: each process knows what it does by either of two accounts.
func (a *account) knowLess(b *account) {
	for i := range a.views {
		a.views[i].from = min(a.views[i].from, b.views[i].from)
		a.views[i].met = a.views[i].met || b.views[i].met
	}
}

func (a *account) settleBoth(first, second turn) error {
	before := a.now()
	if err := a.settle(first.process, first.op, first.got); err != nil {
		return err
	}
	rotating := second.op.Kind == rotate || second.op.Kind == importVersion
	if rotating && second.got.Class == rotated && a.now().primary != before.primary {
		a.note(second.process, second.op, second.got)
		return nil
	}
	// What ends a version is done to the version as it was looked at, or not at all.
	if second.op.Kind.ends() && second.got.Class == badState && a.now() != before {
		a.note(second.process, second.op, second.got)
		return nil
	}
	return a.settle(second.process, second.op, second.got)
}

// settleStored: what the store holds is what the model knows, the newest events
// included.
func (a *account) settleStored(stored result) error {
	tail := a.events[max(0, len(a.events)-len(stored.newest)):]
	if !slices.Equal(tail, stored.newest) {
		return fmt.Errorf("the newest events are %q, want %q", stored.newest, tail)
	}
	return a.settleDescription(stored)
}

// settleCrash: the operation of a process that was killed in the middle of it was
// done or was not, as the store tells.
func (a *account) settleCrash(o op, stored result) error {
	a.trace = append(a.trace, fmt.Sprintf("killed in the middle: %s", o))
	a.claimed = a.claimed || o.Kind == rotate || o.Kind == importVersion
	if o.Kind == encrypt { // it may hold uses by now
		a.unreturned = append(a.unreturned, a.now().primary)
		return a.settleStored(stored)
	}
	before := a.settleStored(stored)
	if before == nil {
		return nil
	}
	after, want, events := a.change(o)
	if want.Class != ok {
		return before
	}
	a.past, a.events = append(a.past, after), append(a.events, events...)
	a.highest = max(a.highest, after.newest())
	if o.Kind == importVersion {
		a.roots = append(a.roots, o.Root)
	}
	return a.settleStored(stored)
}
