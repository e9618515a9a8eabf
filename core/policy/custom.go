package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// Custom is a rule of your own.
type Custom struct {
	name, description string
	decide            func(Key, time.Time) Decision
}

var (
	customName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	builtIn    = []string{"max_age", "max_uses", "hard_limit", "schedule", "any", "all"}
)

// NewCustom makes a policy of a pure function. A decision of it that is due needs
// no slot: without one the version is the occasion, so that each is rotated once
// by the rule. Without a valid reason it is "composite". A key without a primary
// is never given to the function.
func NewCustom(name, description string, decide func(Key, time.Time) Decision) (*Custom, error) {
	switch {
	case !customName.MatchString(name):
		return nil, fmt.Errorf("the policy name %q: use 1 to 63 of a-z, 0-9 and '_', starting with a letter", name)
	case slices.Contains(builtIn, name):
		return nil, fmt.Errorf("the policy name %q is that of a policy which is built in", name)
	case decide == nil:
		return nil, errors.New("a policy of your own needs a function")
	}
	return &Custom{name, description, decide}, nil
}

// Name is the one that was given.
func (p *Custom) Name() string { return p.name }

// Description is the one that was given.
func (p *Custom) Description() string { return p.description }

// Decide asks the function.
func (p *Custom) Decide(key Key, now time.Time) Decision {
	if key.Version == 0 {
		return Decision{Why: noPrimary}
	}
	d := p.decide(key, now)
	if !d.Due {
		d.Slot, d.Since, d.Reason = "", time.Time{}, ""
		return d
	}
	if d.Slot == "" {
		d.Slot = versionSlot(key)
	}
	if !d.Reason.Valid() {
		d.Reason = keyring.ReasonComposite
	}
	d.Next = time.Time{}
	return d
}
