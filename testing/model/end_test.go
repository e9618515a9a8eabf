package model

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core/destruction"
	"github.com/keyrotor/keyrotor/core/keyring"
)

// quarantine is how long every version stays there before it may be destroyed.
const quarantine = destruction.MinPeriod

// end is what the model knows beside the record about whether a version may be
// destroyed.
type end struct {
	due time.Time
	// attempted: a decryption was refused in this quarantine, and is on record.
	// suspected: one may have been, in this or an earlier one.
	attempted, suspected bool
}

// gateReasons predicts why the gate is closed: what must be said, and what may.
func (a *account) gateReasons(o op) (must, may []destruction.ReasonCode) {
	if a.mayBeLeased(o.Version) {
		may = append(may, destruction.Leased)
	}
	e := a.ends[o.Version]
	if o.Kind == destroy {
		if time.Now().Before(e.due) {
			must = append(must, destruction.NotDue)
		}
		if e.attempted {
			must = append(must, destruction.Attempted)
		} else if e.suspected {
			may = append(may, destruction.Attempted)
		}
	}
	if o.Kind != force && slices.Contains(a.filed, o.Version) {
		must = append(must, destruction.Tokens)
	}
	return must, may
}

// settleEnd: a step towards the end of a version is made, or is refused by the gate
// for the reasons that there are.
func (a *account) settleEnd(process int, o op, got result) error {
	_, want, _ := a.change(o)
	if want.Class != ok || o.Kind == cancel {
		return a.settleChange(process, o, got)
	}
	must, may := a.gateReasons(o)
	if codes, closed := strings.CutPrefix(got.Class, gate); closed {
		for code := range strings.SplitSeq(codes, "+") {
			if !slices.Contains(append(must, may...), destruction.ReasonCode(code)) {
				return fmt.Errorf("%s (%s), though there is no reason but %q, and perhaps %q", got.outcome, got.Error, must, may)
			}
		}
		for _, code := range must {
			if !slices.Contains(strings.Split(codes, "+"), string(code)) {
				return fmt.Errorf("%s (%s), want %q too", got.outcome, got.Error, must)
			}
		}
		return nil
	}
	if len(must) > 0 {
		return fmt.Errorf("%s (%s), want the gate closed: %q", got.outcome, got.Error, must)
	}
	if err := a.settleChange(process, o, got); err != nil {
		return err
	}
	if o.Kind == schedule {
		a.ends[o.Version] = end{due: time.Now().Add(quarantine), suspected: a.ends[o.Version].suspected}
	}
	return nil
}

// attempt takes down that a decryption was refused, by a process that knows one of
// some records.
func (a *account) attempt(number uint32, known []*record) {
	all, some := true, false
	for _, r := range known {
		v := r.version(number)
		quarantined := v != nil && v.state == keyring.Quarantined
		all, some = all && quarantined, some || quarantined
	}
	e := a.ends[number]
	a.ends[number] = end{due: e.due, attempted: e.attempted || all && some, suspected: e.suspected || some}
}

// leased takes down that a process encrypted under a version: it holds uses of it from
// then on.
func (a *account) leased(process int, number uint32) {
	if !slices.Contains(a.holders[process], number) {
		a.holders[process] = append(slices.Clip(a.holders[process]), number)
	}
}

// outdated: the process gave back what it held of versions that are not the primary.
func (a *account) outdated(process int) {
	if a.exists() && slices.Contains(a.holders[process], a.now().primary) {
		a.holders[process] = []uint32{a.now().primary}
	} else {
		a.released(process)
	}
}

// released: the process gave its uses back.
func (a *account) released(process int) { delete(a.holders, process) }

// abandoned: the process was killed, and its uses are out until they expire.
func (a *account) abandoned(process int) {
	a.unreturned = append(a.unreturned, a.holders[process]...)
	delete(a.holders, process)
}

// mayBeLeased reports whether uses of a version may be out.
func (a *account) mayBeLeased(number uint32) bool {
	for _, numbers := range a.holders {
		if slices.Contains(numbers, number) {
			return true
		}
	}
	return slices.Contains(a.unreturned, number)
}
