// Package policy decides when a key is due for rotation: by its age, by the number
// of its uses, at set times, by any or all of these, or by a rule of your own.
//
// It exists apart from what acts on it, because several processes on machines whose
// clocks disagree must come to the same answer, and because an operator wants to
// know the answer before it happens. A policy is therefore a pure function of what
// is known of a key and of the time that it is asked for; it keeps nothing, reads no
// clock and touches no store. Whatever decides the same of the same facts names the
// occasion alike, by [Decision.Slot]; a store that lets each slot rotate a key once
// then makes sure of it, whatever clocks and replicas do.
package policy

import (
	"strconv"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// Key is what a policy may know of a key.
type Key struct {
	Name    string
	Created time.Time
	// Version is the primary; 0 if the key has none.
	Version uint32
	// Rotated is when that version was made. Ages count from here.
	Rotated time.Time
	// Activated is when it last became active.
	Activated time.Time
	// Uses are the encryptions under it, with those that are leased and not yet
	// used, without those that re-encryption made.
	Uses uint64
	// TotalUses are those of re-encryption, too.
	TotalUses uint64
	// HardLimit is the number of uses at which the version stops encrypting.
	HardLimit uint64
}

// Policy says when a key is to be rotated. Decide is a pure function: it may be
// called for any time, past or future, from several goroutines at once.
type Policy interface {
	// Name tells the policies of a key apart, and stays the same for as long as
	// the occasions that it names are to be remembered.
	Name() string
	// Description says in words what the policy asks for: "every 90 days".
	Description() string
	Decide(key Key, now time.Time) Decision
}

// Decision is what a policy says of a key at one time.
type Decision struct {
	// Due: the key is to be rotated now.
	Due bool
	// Reason is for the history; set when due.
	Reason keyring.Reason
	// Why says in words why the key is due, or what is missing.
	Why string
	// Slot names the occasion, alike in all processes; set when due. One slot
	// rotates a key once.
	Slot string
	// Since is when the key became due, and does not move while nothing about the
	// key changes. It is zero if that instant is not known: nobody wrote down when
	// a count was reached.
	Since time.Time
	// Next is when a key that is not due will be, if nothing else happens. Zero:
	// not known, or never.
	Next time.Time
	// Parts are the decisions of the policies that this one is made of.
	Parts []Part
}

// Part is one of the policies that another is made of, and what it says.
type Part struct {
	Name        string
	Description string
	Decision    Decision
}

// noPrimary is the answer for a key that an operator left without a version that
// encrypts. A rotation would undo that, so no policy asks for one.
const noPrimary = "the key has no primary version: an operator suspended it, and no policy rotates it"

// versionSlot names the occasion that a version came to the end of its time. A
// version that was suspended and became active again is another occasion.
func versionSlot(key Key) string {
	slot := make([]byte, 0, 32)
	slot = append(slot, 'v')
	slot = strconv.AppendUint(slot, uint64(key.Version), 10)
	slot = append(slot, '@')
	return string(strconv.AppendInt(slot, key.Activated.UnixMicro(), 10))
}

// inner is what policies have that are made of others.
type inner interface{ parts() []Policy }

// walk visits a policy and all that it is made of.
func walk(p Policy, visit func(Policy)) {
	visit(p)
	if of, ok := p.(inner); ok {
		for _, part := range of.parts() {
			walk(part, visit)
		}
	}
}

// instant is how words name a time.
func instant(t time.Time) string { return t.Format("2006-01-02 15:04 MST") }
