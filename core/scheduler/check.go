package scheduler

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/store"
)

// task is a key that is due.
type task struct {
	Rotation
	// group names the key managers that its rotation needs.
	group    string
	failures int
}

// Due answers what is to be rotated now by the policies of all keys, or of those that
// are named, and changes nothing.
func (s *Scheduler) Due(ctx context.Context, names ...string) ([]Rotation, error) {
	found, err := s.look(ctx, s.Clock.Now(), names)
	if err != nil {
		return nil, err
	}
	var due []Rotation
	for _, f := range found {
		if f.due != nil {
			due = append(due, f.due.Rotation)
		}
	}
	return due, nil
}

// look asks the policies of the named keys, or of all if there are none.
func (s *Scheduler) look(ctx context.Context, now time.Time, names []string) ([]findings, error) {
	facts, err := s.Store.Facts(ctx, names...)
	if err != nil {
		return nil, err
	}
	known, err := s.failures(ctx, names)
	if err != nil {
		return nil, err
	}
	found := make([]findings, len(facts))
	for i, f := range facts {
		found[i] = s.decide(f, now, known)
	}
	return found, nil
}

// check looks at the named keys, or at all if there are none, remembers when each is
// due and puts on record what is new. It answers how many keys there are, and those that
// are to be rotated now.
func (s *Scheduler) check(ctx context.Context, now time.Time, names []string) (keys int, due []task, err error) {
	found, err := s.look(ctx, now, names)
	if err != nil {
		return 0, nil, err
	}
	var news []store.PolicyCheck
	next := make(map[string]time.Time, len(found))
	for _, f := range found {
		news = append(news, s.news(f.checks)...)
		for _, soon := range f.soon {
			s.OnSoon(soon)
		}
		if !f.next.IsZero() {
			next[f.key] = f.next
		}
		if f.due != nil {
			due = append(due, *f.due)
		}
	}
	s.expect(next, names)
	if len(names) > 0 && len(news) == 0 {
		return len(found), due, nil // nothing that is worth a write
	}
	by := s.status.record(now, len(found), len(due), len(names) == 0)
	by.Owner, by.Interval = s.Owner, s.Interval()
	err = s.Store.RecordChecks(ctx, by, news)
	s.status.recorded(err)
	if err != nil {
		s.forget(news)
		// What is due is due all the same: the record is for people.
		s.Log.Warn("the check is not on record", "error", err)
	}
	return len(found), due, nil
}

// failures reads which policies had rotations that failed.
func (s *Scheduler) failures(ctx context.Context, names []string) (map[policyOf]store.PolicyCheck, error) {
	checks, err := s.Store.Failing(ctx, names...)
	known := make(map[policyOf]store.PolicyCheck, len(checks))
	for _, c := range checks {
		known[policyOf{c.Key, c.Policy}] = c
	}
	return known, err
}

// findings are what the policies say of one key.
type findings struct {
	key    string
	checks []store.PolicyCheck
	soon   []Soon
	// due is set if the key is to be rotated now; else next is when to look again, as
	// far as that is known.
	due  *task
	next time.Time
}

// decide asks every policy of a key. The first that is due, and has not failed just
// now, is acted on.
func (s *Scheduler) decide(f store.Facts, now time.Time, known map[policyOf]store.PolicyCheck) findings {
	found := findings{key: f.Name}
	policies := s.Policies(f.Name)
	s.mark(f, policies)
	for _, p := range policies {
		d := s.ask(p, f, now)
		if soon, ok := s.soon(p, f, d, now); ok {
			found.soon = append(found.soon, soon)
		}
		held := s.held(p, f.Name, d.Due, now)
		found.checks = append(found.checks, store.PolicyCheck{
			Key: f.Name, Policy: p.Name(), Checked: now, Due: d.Due, Slot: d.Slot, Next: d.Next, Why: d.Why,
		})
		at := d.Next
		failed := known[policyOf{f.Name, p.Name()}]
		retry := retryOf(failed, now)
		switch {
		case d.Due && now.Before(retry):
			at = retry
		case d.Due && now.Before(held):
			at = held
		case d.Due && s.served(f.Name, p.Name(), d.Slot):
			at = now.Add(s.Interval())
		case d.Due && found.due == nil:
			found.due = &task{
				Rotation: Rotation{
					Key: f.Name, Due: store.DueSlot{Policy: p.Name(), Slot: d.Slot}, Reason: d.Reason, Version: f.Version,
				},
				group: strings.Join(slices.Sorted(slices.Values(f.WrapWith)), " "), failures: failed.Failures,
			}
			continue
		case d.Due:
			continue
		}
		if !at.IsZero() && (found.next.IsZero() || at.Before(found.next)) {
			found.next = at
		}
	}
	return found
}

// served reports whether the store has said that a slot was served.
func (s *Scheduler) served(key, policy, slot string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done[policyOf{key, policy}] == slot
}

// ask is one policy's decision. One that panics, or breaks its promises, is not due.
func (s *Scheduler) ask(p policy.Policy, f store.Facts, now time.Time) (d policy.Decision) {
	defer func() {
		if r := recover(); r != nil {
			d = policy.Decision{Why: fmt.Sprintf("the policy panicked: %v", r)}
			s.Log.Error("a policy panicked", "key", f.Name, "policy", p.Name(), "panic", r)
		}
	}()
	d = p.Decide(PolicyKey(f), now)
	switch {
	case !d.Due && !d.Next.After(now):
		d.Next = time.Time{} // it has come: when the key is due is not known
	case !d.Due:
	case d.Slot == "" || !d.Reason.Valid():
		s.Log.Error("a policy says that it is due, and lacks a slot or a reason", "key", f.Name, "policy", p.Name(), "slot", d.Slot, "reason", d.Reason)
		return policy.Decision{Why: fmt.Sprintf("the policy is due without a slot or with the reason %q", d.Reason)}
	case f.Version == 0:
		return policy.Decision{Why: "the key has no primary version"}
	}
	return d
}

// PolicyKey is what a policy may know of a key.
func PolicyKey(f store.Facts) policy.Key {
	return policy.Key{
		Name: f.Name, Created: f.Created, Version: f.Version, Rotated: f.Rotated, Activated: f.Activated,
		Uses: f.Uses - f.Reencrypted, TotalUses: f.Uses, HardLimit: f.HardLimit,
	}
}

// news are the checks that say something new: a check every minute of 10,000 keys
// must not write as many rows.
func (s *Scheduler) news(checks []store.PolicyCheck) []store.PolicyCheck {
	s.mu.Lock()
	defer s.mu.Unlock()
	var news []store.PolicyCheck
	for _, c := range checks {
		id := policyOf{c.Key, c.Policy}
		if before, ok := s.checks[id]; !ok || before.Due != c.Due || before.Slot != c.Slot || !before.Next.Equal(c.Next) {
			s.checks[id] = c
			news = append(news, c)
		}
	}
	return news
}

// forget has checks count as new again.
func (s *Scheduler) forget(checks []store.PolicyCheck) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range checks {
		delete(s.checks, policyOf{c.Key, c.Policy})
	}
}

// expect remembers when each key is due. Without names it is about all keys.
func (s *Scheduler) expect(next map[string]time.Time, names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(names) == 0 {
		s.next = next
		return
	}
	for _, name := range names {
		delete(s.next, name)
	}
	maps.Copy(s.next, next)
}

const (
	// firstRetry is how long after a first failure a rotation is tried again; the time
	// doubles with each failure up to longestRetry.
	firstRetry   = 10 * time.Second
	longestRetry = time.Hour
)

// retryAfter is how long to wait after so many failures in a row, give or take a fifth,
// so that many keys of a key manager that was down do not come back at once.
func retryAfter(failures int) time.Duration {
	d := longestRetry
	if failures < 10 {
		d = min(firstRetry<<max(failures-1, 0), longestRetry)
	}
	return d - d/5 + rand.N(2*d/5) //nolint:gosec // it spreads load and protects nothing
}

// retryOf is when a rotation that failed may be tried again. What is further away than
// any retry was recorded by a clock that was ahead, and holds nothing up.
func retryOf(failed store.PolicyCheck, now time.Time) time.Time {
	if failed.Retry.Sub(now) > 2*longestRetry {
		return time.Time{}
	}
	return failed.Retry
}
