package engine

import (
	"context"
	"math"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// Usage is how often the versions of a key were used, and how far that goes.
type Usage struct {
	Key       string
	HardLimit uint64
	// MaxUses is the least number of encryptions at which a policy may have the key
	// rotated; 0 if none counts them.
	MaxUses uint64
	// Primary is 0 if the key has none; then there is no pace either.
	Primary uint32
	// Since is when the primary was made, and PerDay its uses in a day since then, on
	// average; 0 if it is too new to tell.
	Since  time.Time
	PerDay float64
	// LimitReached is when the primary has no uses left at that pace; zero if that is
	// not known, or is over a hundred years away.
	LimitReached time.Time
	// Versions are the newest first.
	Versions []VersionUsage
}

// VersionUsage is that of one version.
type VersionUsage struct {
	Version uint32
	State   keyring.State
	Created time.Time
	// Uses count towards the hard limit: those for good and those on lease. Reencrypted
	// are the part that re-encryption had, which no policy counts.
	Uses, Reencrypted uint64
	// Leased are on leases that have not expired, which so many processes hold.
	Leased    uint64
	Processes int
}

const (
	// leastPace is how old a version is at least for its pace to mean anything.
	leastPace = time.Minute
	// mostAhead is how far the pace is believed to go on.
	mostAhead = 100 * 365 * 24 * time.Hour
	day       = 24 * time.Hour
)

// Usage reads how often a key was used.
func (e *Engine) Usage(ctx context.Context, name string) (Usage, error) {
	stored, err := e.Describe(ctx, name)
	if err != nil {
		return Usage{}, err
	}
	held, err := e.store.Held(ctx, name)
	if err != nil {
		return Usage{}, err
	}
	now, err := e.store.Now(ctx)
	if err != nil {
		return Usage{}, err
	}
	u := Usage{Key: name, HardLimit: stored.Settings.HardLimit, MaxUses: e.maxUses(name), Primary: stored.Primary}
	for i := len(stored.Versions) - 1; i >= 0; i-- {
		v := usageOf(stored, &stored.Versions[i], held)
		if u.Versions = append(u.Versions, v); v.Version == u.Primary {
			u.extrapolate(v, now)
		}
	}
	return u, nil
}

func usageOf(stored store.Key, v *keyring.Version, held []store.Holding) VersionUsage {
	u := VersionUsage{
		Version: v.Number, State: v.State, Created: v.Created,
		Uses: stored.Uses[v.Number], Reencrypted: stored.Reencrypted[v.Number],
	}
	for _, h := range held {
		if h.Version == v.Number {
			u.Leased += h.Uses
			u.Processes++
		}
	}
	return u
}

// extrapolate says how fast the primary is used. What is on lease may not be used yet.
func (u *Usage) extrapolate(primary VersionUsage, now time.Time) {
	u.Since = primary.Created
	age := now.Sub(primary.Created)
	if age < leastPace {
		return
	}
	used := primary.Uses - min(primary.Leased, primary.Uses)
	u.PerDay = float64(used) / (float64(age) / float64(day))
	left := float64(u.HardLimit - min(primary.Uses, u.HardLimit))
	if ahead := left / u.PerDay * float64(day); ahead <= float64(mostAhead) { // not if it is infinite
		u.LimitReached = now.Add(time.Duration(math.Ceil(ahead)))
	}
}
