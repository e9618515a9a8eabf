package scheduler

import (
	"time"

	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/store"
)

// Soon is a rotation that comes: its policy says when the key will be due.
type Soon struct {
	Key    string
	Policy string
	// Version is the primary that is to be replaced.
	Version uint32
	Due     time.Time
	Why     string
}

// soon answers whether the policy will have the key rotated within the lead time. A
// policy that rotates so often that it would be soon for half of the time, or longer, is
// no news.
func (s *Scheduler) soon(p policy.Policy, f store.Facts, d policy.Decision, now time.Time) (Soon, bool) {
	if s.Lead <= 0 || d.Due || d.Next.IsZero() || f.Version == 0 || d.Next.Sub(now) > s.Lead {
		return Soon{}, false
	}
	// As it will be when that rotation is done.
	then := f
	then.Version, then.Rotated, then.Activated, then.Uses, then.Reencrypted = f.Version+1, d.Next, d.Next, 0, 0
	if after := s.ask(p, then, d.Next); !after.Next.IsZero() && after.Next.Sub(d.Next) < 2*s.Lead {
		return Soon{}, false
	}
	return Soon{Key: f.Name, Policy: p.Name(), Version: f.Version, Due: d.Next, Why: d.Why}, true
}
