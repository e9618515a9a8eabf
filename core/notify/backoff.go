package notify

import (
	"math/rand/v2"
	"time"
)

// After a failure it is tried again after a pause from nothing up to a bound, which is
// firstPause, twice that, and so on up to lastPause: many that failed together do not
// come back together. Who says when to come again is believed up to longestAfter.
const (
	firstPause   = time.Second
	lastPause    = 5 * time.Minute
	longestAfter = time.Hour
)

// pause is how long to wait after so many failures in a row, at least after.
func pause(failures int, after time.Duration) time.Duration {
	bound := lastPause
	if failures < 9 { // 2^8 s are just below
		bound = firstPause << max(failures-1, 0)
	}
	jittered := rand.N(bound) //nolint:gosec // it spreads load and keeps nothing secret
	return max(jittered, min(after, longestAfter))
}
