package outage

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

// Advance answers what became different since it was last called.
func (k *KEK) Advance(now time.Time) []Change {
	changes := k.advanceOutage(now)
	changes = append(changes, k.spend(now)...)
	for _, name := range slices.Sorted(maps.Keys(k.versions)) {
		changes = append(changes, k.advanceVersion(now, name)...)
	}
	return changes
}

func (k *KEK) advanceOutage(now time.Time) []Change {
	unused := false
	if k.failure != nil && (k.Unused() || !k.overdue(now)) {
		// Those that it mattered to rely on it no more.
		k.failure, unused = nil, true
	}
	switch {
	case k.failure != nil && k.outage == nil:
		k.outage = &trouble{now, k.base(), slices.Sorted(maps.Keys(k.budgets))}
		return []Change{{
			Kind: Entered, Code: provider.CodeOf(k.failure.err), Since: k.base(), Until: k.base().Add(k.first.total()),
			Budget: k.first, Keys: k.outage.keys,
		}}
	case k.failure == nil && k.outage != nil:
		was := k.outage
		k.outage = nil
		return []Change{{Kind: Left, Since: was.since, Keys: was.keys, Unused: unused}}
	}
	return nil
}

// spend notes which budgets are spent by now.
func (k *KEK) spend(now time.Time) []Change {
	if k.failure == nil {
		clear(k.spent)
		return nil
	}
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(k.budgets)) {
		if k.isSpent(now, k.budgets[key]) && !k.spent[key] {
			k.spent[key] = true
			keys = append(keys, key)
		}
	}
	maps.DeleteFunc(k.spent, func(key string, _ bool) bool {
		b, ok := k.budgets[key]
		return !ok || !k.isSpent(now, b)
	})
	if len(keys) == 0 {
		return nil
	}
	return []Change{{Kind: Spent, Code: provider.CodeOf(k.failure.err), Since: k.base(), Keys: keys}}
}

func (k *KEK) advanceVersion(now time.Time, name string) []Change {
	v := k.versions[name]
	unused := len(v.keys) == 0
	if unused {
		delete(k.versions, name)
	}
	switch {
	case v.revocation != nil && (unused || v.revoked == nil):
		was := v.revocation
		v.revocation = nil
		return []Change{{Kind: Left, Revoked: true, KEKVersion: name, Since: was.since, Keys: was.keys, Unused: unused}}
	case v.revocation == nil && !unused && v.revoked != nil:
		v.revocation = &trouble{now, k.base(), slices.Sorted(maps.Keys(v.keys))}
		return []Change{{
			Kind: Entered, Revoked: true, KEKVersion: name, Code: provider.CodeOf(v.revoked.err),
			Since: k.base(), Keys: v.revocation.keys,
		}}
	}
	return nil
}

// Holds reports whether a wrap of a key by a version of the KEK justifies that what it
// opened stays open.
func (k *KEK) Holds(now time.Time, b Budget, kekVersion string) bool {
	v := k.versions[kekVersion]
	return !k.opened.IsZero() && (v == nil || v.revoked == nil) && !k.isSpent(now, b)
}

// Barred says why a wrap of a key is not to be opened now: the KEK refuses it, or has
// been away for longer than the key's budget. The KEK is asked in the background, not
// by whoever wants to open something.
//
// The error's code is the one of the key manager's answer, and Unavailable for an
// outage; in that case, and if a credential or the like is in the way, it is
// [ErrBudget], too.
func (k *KEK) Barred(now time.Time, key string, b Budget, kekVersion string) error {
	if v := k.versions[kekVersion]; v != nil && v.revoked != nil {
		return fmt.Errorf("provider %q has lost access to its key %q, and asks again in the background; the answer at %s: %w",
			k.id.Provider, k.id.KEK, clock(v.revoked.at), v.revoked.err)
	}
	if !k.isSpent(now, b) {
		return nil
	}
	return k.spentError(key, b)
}

func (k *KEK) spentError(key string, b Budget) error {
	code := provider.CodeOf(k.failure.err)
	if provider.Transient(k.failure.err) {
		code = provider.Unavailable
	}
	last := "has not opened anything yet"
	if !k.opened.IsZero() {
		last = "last opened something at " + clock(k.opened)
	}
	return provider.Errorf(code, "%w: the key manager of provider %q (its key %q) %s, and key %q goes on without it for %s (ttl) and %s (grace); "+
		"it is asked again in the background, and everything works again as soon as it answers; its last failure, at %s: %v",
		ErrBudget, k.id.Provider, k.id.KEK, last, key, b.TTL, b.Grace, clock(k.failure.at), k.failure.err)
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Status is how it stands with a KEK.
type Status struct {
	// Provider is the name of the provider that leads to it, KEKID its full name there.
	Provider string
	KEKID    string
	State    State
	// LastSuccess is when it last opened a wrap; zero if it has not yet.
	LastSuccess time.Time
	// Since is when the process became degraded, or access was gone; zero if neither.
	Since time.Time
	// Until is when the first key stops working, or has; zero if nothing is wrong, and
	// where access is gone.
	Until time.Time
	// Code is why; empty if nothing is wrong.
	Code provider.Code
	// Keys are the names of those that have something open under it, or would have.
	Keys []string
}

// Status answers how it stood at the last Advance.
func (k *KEK) Status() Status {
	s := Status{
		Provider: k.id.Provider, KEKID: k.id.KEK, State: OK, LastSuccess: k.opened,
		Keys: slices.Sorted(maps.Keys(k.budgets)),
	}
	for _, name := range slices.Sorted(maps.Keys(k.versions)) {
		if v := k.versions[name]; v.revocation != nil && v.revoked != nil {
			s.State, s.Since, s.Code = Revoked, v.revocation.entered, provider.CodeOf(v.revoked.err)
			return s
		}
	}
	if k.outage == nil || k.failure == nil {
		return s
	}
	s.State, s.Since, s.Code = Degraded, k.outage.entered, provider.CodeOf(k.failure.err)
	s.Until = k.base().Add(k.first.total())
	if len(k.spent) > 0 {
		s.State = Exhausted
	}
	return s
}
