package policy

import (
	"errors"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// Counted is a policy that uses can make due: whoever counts them asks it after so
// many.
type Counted interface {
	// MaxUses is the least number of uses at which anything in the policy may
	// become due; 0 if no number does.
	MaxUses() uint64
}

// MaxUses rotates a version that has encrypted so often. Re-encryption does not
// count: else rewriting a million values would cause the next rotation.
type MaxUses struct{ max uint64 }

// NewMaxUses answers the policy for a number above zero.
func NewMaxUses(limit uint64) (*MaxUses, error) {
	if limit == 0 {
		return nil, errors.New("a maximum of 0 uses: it must be above zero")
	}
	return &MaxUses{limit}, nil
}

// Name is "max_uses".
func (p *MaxUses) Name() string { return "max_uses" }

// Description is like "every 1,000,000 uses".
func (p *MaxUses) Description() string { return "every " + count(p.max, "use") }

// MaxUses is the number.
func (p *MaxUses) MaxUses() uint64 { return p.max }

// Decide has the key due once its primary has been used as often as the policy
// allows. When that was is not known.
func (p *MaxUses) Decide(key Key, _ time.Time) Decision {
	if key.Version == 0 {
		return Decision{Why: noPrimary}
	}
	why := "version " + number(key.Version) + " has " + count(key.Uses, "use") + " of " + grouped(p.max)
	if key.Uses < p.max {
		return Decision{Why: why}
	}
	return Decision{Due: true, Reason: keyring.ReasonUsageLimit, Slot: versionSlot(key), Why: why}
}

// HardLimit rotates a version that has had half of the uses after which it stops
// encrypting, those by re-encryption included. Every key has this policy, beside
// what is configured, and nothing delays it: the other half is the time that there
// is for a rotation to succeed.
type HardLimit struct{}

// Name is "hard_limit".
func (HardLimit) Name() string { return "hard_limit" }

// Description says what the policy is.
func (HardLimit) Description() string { return "at half of the hard limit of uses (built in)" }

// Decide has the key due once half of the limit, rounded up, is reached.
func (HardLimit) Decide(key Key, _ time.Time) Decision {
	switch {
	case key.Version == 0:
		return Decision{Why: noPrimary}
	case key.HardLimit == 0:
		return Decision{Why: "no hard limit is known"}
	}
	half := half(key.HardLimit)
	why := "version " + number(key.Version) + " has " + count(key.TotalUses, "use") + ", re-encryption included, of " +
		grouped(half) + ", half of its hard limit"
	if key.TotalUses < half {
		return Decision{Why: why}
	}
	return Decision{Due: true, Reason: keyring.ReasonUsageLimit, Slot: versionSlot(key), Why: why}
}

// half is rounded up: a limit of 1 leaves no room, and must not be due unused.
func half(limit uint64) uint64 { return limit/2 + limit%2 }

// leastUses is MaxUses of a policy made of others.
func leastUses(parts ...Policy) uint64 {
	var least uint64
	for _, part := range parts {
		if counted, ok := part.(Counted); ok {
			if n := counted.MaxUses(); n > 0 && (least == 0 || n < least) {
				least = n
			}
		}
	}
	return least
}
