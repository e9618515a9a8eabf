package scheduler

import (
	"time"

	"github.com/keyrotor/keyrotor/core/policy"
)

// A policy that is due again at once, however often its key is rotated, must not make
// versions as fast as the machine can. What it asks for is done, later each time.

// rerun is what came of a policy's own rotation.
type rerun struct {
	// fresh: the policy was not asked since.
	fresh bool
	// count is how often in a row it was due again at once, and until when it is held.
	count int
	until time.Time
}

// countedPause is the pause where uses make the policy due: a limit that is reached
// that fast is small, and must not be passed by far.
const countedPause = time.Second

// watch has the next decision of the policy tell whether its rotation was of any use.
func (s *Scheduler) watch(r Rotation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := policyOf{r.Key, r.Due.Policy}
	s.again[id] = rerun{fresh: true, count: s.again[id].count}
}

// held answers until when a policy that is due is not acted on, the zero time if it is.
// The built-in policy is never held: it keeps a version from its hard stop.
func (s *Scheduler) held(p policy.Policy, key string, due bool, now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := policyOf{key, p.Name()}
	r, ok := s.again[id]
	switch {
	case !ok:
		return time.Time{}
	case !r.fresh:
		return r.until
	case !due || p == (policy.HardLimit{}):
		delete(s.again, id)
		return time.Time{}
	}
	r.fresh = false
	r.count++
	pause := retryAfter(r.count)
	if counted, ok := p.(policy.Counted); ok && counted.MaxUses() > 0 {
		pause = countedPause
	}
	r.until = now.Add(pause)
	s.again[id] = r
	s.Log.Warn("a policy is due again right after its own rotation", "key", key, "policy", p.Name(), "times", r.count, "held", pause)
	return r.until
}
