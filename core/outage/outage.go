// Package outage decides how long a process goes on with what it has opened while a
// key manager does not answer, and when it must stop because access was taken away.
// A cipher in memory would work for ever; without a rule, neither switching a
// key-encryption key off nor taking a service's rights away would ever reach a
// process that runs.
//
// Everything here is a function of what happened and of the time that the caller
// says it is: it makes no call, waits for nothing and reads no clock.
package outage

import (
	"errors"
	"fmt"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

// ErrBudget: the key manager did not answer for longer than the key's budget.
var ErrBudget = errors.New("the outage budget is spent")

// Budget is how long a key goes on without its key manager, counted from the last
// time that it opened a wrap.
type Budget struct {
	// TTL is how often access is proved anew. Within it nothing is noticed.
	TTL time.Duration
	// Grace is how long after TTL the key still works while the proof fails.
	Grace time.Duration
}

// The bounds of a budget. The longer the TTL, the later it shows that access was
// taken away.
const (
	MinTTL   = time.Second
	MaxTTL   = 7 * 24 * time.Hour
	MaxGrace = 30 * 24 * time.Hour
)

// DefaultBudget is that of a key for which none is set.
func DefaultBudget() Budget { return Budget{TTL: time.Hour, Grace: time.Hour} }

// Check refuses what is out of bounds.
func (b Budget) Check() error {
	switch {
	case b.TTL < MinTTL || b.TTL > MaxTTL:
		return fmt.Errorf("outage: a ttl of %s; it is from %s to %s", b.TTL, MinTTL, MaxTTL)
	case b.Grace < 0 || b.Grace > MaxGrace:
		return fmt.Errorf("outage: a grace of %s; it is from 0 to %s", b.Grace, MaxGrace)
	}
	return nil
}

// total is how long a key works without an answer.
func (b Budget) total() time.Duration { return b.TTL + b.Grace }

// Revokes reports whether a key manager that opened a wrap before says by err that it
// will not any more. Of such an answer, which is confirmed, a key gets no grace: the
// rights were taken away, or the KEK or its version was disabled, destroyed or
// deleted.
//
// Everything else is no answer to that question, and lets the budget run. An expired
// or wrong credential (Unauthenticated) is nearly always an accident of its renewal,
// which must not stop a service at once; but a credential can be revoked too, so it
// must not keep one going for ever. A wrap that does not open to the right root
// (Integrity) says that somebody altered the store or the plugin lies, and nothing
// about rights.
func Revokes(err error) bool {
	switch provider.CodeOf(err) {
	case provider.Denied, provider.InvalidState, provider.NotFoundKey, provider.NotFoundVersion:
		return true
	default:
		return false
	}
}

// State is how it stands with a KEK, from best to worst.
type State string

// The states.
const (
	OK State = "ok"
	// Degraded: it does not answer, and everything still works.
	Degraded State = "degraded"
	// Exhausted: the budget of at least one key is spent.
	Exhausted State = "exhausted"
	// Revoked: it refuses the wraps of at least one of its versions.
	Revoked State = "revoked"
)

// ID names a KEK: several providers may lead to one key manager, each with its own
// credentials.
type ID struct {
	Provider string
	KEK      string
}

// Kind is what became different.
type Kind string

// The kinds of changes.
const (
	// Entered: the process is degraded from here on, or access was taken away.
	Entered Kind = "entered"
	// Spent: the budgets of keys are; what only this KEK opens is to go.
	Spent Kind = "spent"
	// Left is the end of what Entered began.
	Left Kind = "left"
)

// Change is one thing that became different.
type Change struct {
	Kind Kind
	// Revoked tells access that was taken away from an outage. It is about the
	// wraps of one KEKVersion, which is unknown where it is empty; an outage is
	// about all of them.
	Revoked    bool
	KEKVersion string
	// Code is why.
	Code provider.Code
	// Since is when the KEK last opened a wrap, or when the process came to rely on
	// it, if it has not opened one since.
	Since time.Time
	// Until is when the first key stops working, and Budget that key's; both are
	// zero where there is no grace.
	Until  time.Time
	Budget Budget
	// Keys are the names of those concerned, in order.
	Keys []string
	// Unused: nothing relies on it any more, so that it ended without an answer.
	Unused bool
}
