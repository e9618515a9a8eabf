package catalog

import (
	"time"

	"github.com/cenkalti/backoff/v5"
)

// restartPolicy says when a plugin that ended may be started again.
type restartPolicy struct {
	// healthy is how long a plugin must have run for its end to count as the first.
	healthy time.Duration
	// first and longest bound the pause before a restart. The very first restart
	// has none: a plugin that was killed is back within a call.
	first, longest time.Duration
	// budget is the number of ends in a row after which calls fail at once,
	// instead of waiting for the next restart: the circuit is open.
	budget int
}

func defaultRestartPolicy() restartPolicy {
	return restartPolicy{healthy: 10 * time.Second, first: 500 * time.Millisecond, longest: 30 * time.Second, budget: 5}
}

// restarts counts the ends of one plugin.
type restarts struct {
	policy restartPolicy
	pauses *backoff.ExponentialBackOff
	ends   int
	next   time.Time // no start before this
}

func newRestarts(p restartPolicy) *restarts {
	return &restarts{policy: p, pauses: &backoff.ExponentialBackOff{
		InitialInterval:     p.first,
		MaxInterval:         p.longest,
		Multiplier:          2,
		RandomizationFactor: backoff.DefaultRandomizationFactor,
	}}
}

// ended records that the plugin ended at now after having run for a while, which
// is zero if it did not even start.
func (r *restarts) ended(now time.Time, ran time.Duration) {
	if ran >= r.policy.healthy {
		r.ends = 0
		r.pauses.Reset()
	}
	r.ends++
	r.next = now
	if r.ends > 1 {
		r.next = now.Add(min(r.pauses.NextBackOff(), r.policy.longest))
	}
}

// pause is how long a start has to wait yet.
func (r *restarts) pause(now time.Time) time.Duration {
	return max(0, r.next.Sub(now))
}

// open reports whether calls should fail at once. Once the pause is over, the
// next call tries a start.
func (r *restarts) open(now time.Time) bool {
	return r.ends > r.policy.budget && now.Before(r.next)
}
