package scheduler

import (
	"context"
	"errors"
	"time"

	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

// places is how many keys that need the same key managers are rotated at a time. A key
// manager that hangs holds up its own keys only.
const places = 4

// begin has a key rotated, unless that is under way here.
func (s *Scheduler) begin(r *run, t task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rotating[t.Key] {
		return
	}
	s.rotating[t.Key] = true
	group, ok := s.groups[t.group]
	if !ok {
		group = make(chan struct{}, places)
		s.groups[t.group] = group
	}
	r.tasks.Go(func() {
		again := s.serve(r, group, t)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.rotating, t.Key)
		if again.IsZero() {
			delete(s.next, t.Key)
			s.wake(t.Key)
			return
		}
		s.next[t.Key] = again
		s.signal()
	})
}

// serve rotates a key when there is a place, and answers when to look at it again; the
// zero time is at once.
func (s *Scheduler) serve(r *run, group chan struct{}, t task) time.Time {
	select {
	case group <- struct{}{}:
		defer func() { <-group }()
	case <-r.done:
	}
	ctx, now := r.ctx, s.Clock.Now()
	select {
	case <-r.done: // what has not begun does not
		return now.Add(s.Interval())
	default:
	}
	// It may have waited for long: another process may have served it, or a blackout
	// may have begun.
	_, fresh, err := s.check(ctx, now, []string{t.Key})
	if err != nil || len(fresh) == 0 {
		return s.looked(t.Key, now)
	}
	t = fresh[0]
	version, err := s.Rotate(ctx, t.Rotation)
	return s.settle(ctx, t, version, err)
}

// looked answers when the check just now wants the key to be looked at again.
func (s *Scheduler) looked(key string, now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.next[key]; ok && at.After(now) {
		return at
	}
	return now.Add(s.Interval())
}

// settle says what became of a rotation, and when to look at the key again.
func (s *Scheduler) settle(ctx context.Context, t task, version uint32, err error) time.Time {
	now := s.Clock.Now()
	var held *store.HeldError
	switch {
	case err == nil:
		s.Log.Info("rotated", "key", t.Key, "version", version, "policy", t.Due.Policy, "reason", t.Reason)
		s.status.rotated()
		s.watch(t.Rotation)
		s.OnOutcome(Outcome{Rotation: t.Rotation, New: version})
		return time.Time{}
	case errors.Is(err, rotation.ErrRotated):
		return time.Time{}
	case errors.Is(err, store.ErrDone):
		// By the clock of whoever served it, it was due; by this one it still is. There
		// is nothing to do until the policy means another occasion.
		s.Log.Debug("an occasion was served before", "key", t.Key, "policy", t.Due.Policy, "slot", t.Due.Slot)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.done[policyOf{t.Key, t.Due.Policy}] = t.Due.Slot
		return now.Add(s.Interval())
	case errors.As(err, &held):
		return now.Add(lookAgain)
	case ctx.Err() != nil:
		return now.Add(s.Interval())
	}
	code, retry := rotation.ErrorCode(err), now.Add(retryAfter(t.failures+1))
	s.Log.Warn("a rotation failed; the key stays in use, and it is tried again", "key", t.Key, "policy", t.Due.Policy,
		"code", code, "failures", t.failures+1, "retry", retry, "error", err)
	s.status.rotationFailed()
	s.OnOutcome(Outcome{Rotation: t.Rotation, Err: err, Retry: retry})
	if err := s.Store.RecordFailure(ctx, t.Key, t.Due.Policy, code, retry); err != nil {
		s.Log.Warn("the failure is not on record; other processes do not know when to try again", "key", t.Key, "error", err)
	}
	return retry
}
