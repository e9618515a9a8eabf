package core

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyrotor/keyrotor/core/config"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/scheduler"
)

// Schedule is when keys are rotated by themselves.
type Schedule struct {
	// Interval is how often policies are looked at; unless it is zero it replaces the one
	// that the scheduler has, for all keys.
	Interval time.Duration
	// MaxAge is how old a version may become, MaxUses how often it may encrypt. The one
	// that comes first rotates the key; zero leaves one out.
	MaxAge  time.Duration
	MaxUses uint64
}

// scheduled are the names of the policies that ScheduleKeyRotation adds.
var scheduled = []string{"max_age", "max_uses"}

// ScheduleKeyRotation has a key rotated by itself, or every key if it is empty, as long as
// this process runs, and starts the scheduler if it does not run. The same call for the same
// key replaces what the one before asked for.
//
// The policies are named max_age and max_uses. Those of one key take the place of those of
// all keys that have the same name, be they from such a call or from its block in the
// config. Other policies of the config stay beside them. scheduler.ErrPolicyExists if the
// config has a policy of that name for this very key, which is changed there.
// keyring.ErrUnknownKey if there is no such key. engine.ErrClosed after Close. Nothing is
// changed then.
func (kr *Keyrotor) ScheduleKeyRotation(ctx context.Context, key string, s Schedule) error {
	policies, err := kr.scheduledPolicies(ctx, key, s)
	if err != nil {
		return err
	}
	for _, p := range policies {
		if own := kr.Config.Key(key).Rotation; key != "" && own != nil && own.Name() == p.Name() {
			return fmt.Errorf("%w: key %q: the config has %s %q for it: change it there", scheduler.ErrPolicyExists, key, p.Name(), own.Description())
		}
	}
	if err := kr.Scheduler.Replace(key, kr.ofCalls(key), policies...); err != nil {
		return fmt.Errorf("key %q: %w", key, err)
	}
	if s.Interval > 0 {
		if err := kr.Scheduler.SetInterval(s.Interval); err != nil {
			return err
		}
	}
	switch err := kr.Scheduler.Start(); {
	case errors.Is(err, scheduler.ErrRunning):
		return nil
	case errors.Is(err, scheduler.ErrClosed): // since the policies were made
		return engine.ErrClosed
	default:
		return err
	}
}

// ofCalls are the policies that a call before may have added: all of these names but for
// the config's.
func (kr *Keyrotor) ofCalls(key string) (names []string) {
	own := kr.Config.Key(key).Rotation
	for _, name := range scheduled {
		if key == "" || own == nil || own.Name() != name {
			names = append(names, name)
		}
	}
	return names
}

// scheduledPolicies makes the policies, and refuses what the config file would refuse.
func (kr *Keyrotor) scheduledPolicies(ctx context.Context, key string, s Schedule) (policies []policy.Policy, err error) {
	if s.MaxAge == 0 && s.MaxUses == 0 {
		return nil, errors.New("a schedule without a maximum age and a maximum number of uses rotates nothing: set one of them")
	}
	if s.Interval != 0 {
		if err := config.CheckInterval(s.Interval); err != nil {
			return nil, fmt.Errorf("interval %s: %w", s.Interval, err)
		}
	}
	limit := uint64(keyring.MaxUses)
	if key == "" { // engine.ErrClosed, as of one key
		if _, err := kr.Keys(ctx); err != nil {
			return nil, err
		}
	} else {
		stored, err := kr.Describe(ctx, key)
		if err != nil {
			return nil, err
		}
		limit = stored.Settings.HardLimit
	}
	if half := limit/2 + limit%2; s.MaxUses > half {
		return nil, fmt.Errorf("a maximum of %d uses is above %d, half of the hard limit, at which every key is rotated anyway", s.MaxUses, half)
	}
	if s.MaxAge != 0 {
		p, err := policy.NewMaxAge(s.MaxAge)
		if err != nil {
			return nil, err
		}
		policies = append(policies, p)
	}
	if s.MaxUses != 0 {
		p, err := policy.NewMaxUses(s.MaxUses)
		if err != nil {
			return nil, err
		}
		policies = append(policies, p)
	}
	return policies, nil
}
