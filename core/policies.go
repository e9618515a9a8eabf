package core

import (
	"context"

	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/scheduler"
)

// Policies answers what rotates a key by itself: what the config's key block asks for,
// if anything, and the policy that every key has.
func (s *Setup) Policies(name string) []policy.Policy {
	var policies []policy.Policy
	if p := s.Config.Key(name).Rotation; p != nil {
		policies = append(policies, p)
	}
	return append(policies, policy.HardLimit{})
}

// PolicyKeys answers what policies may know of all keys, in the order of their names, or
// of those that are named. keyring.ErrUnknownKey if one of those does not exist.
func (kr *Keyrotor) PolicyKeys(ctx context.Context, names ...string) ([]policy.Key, error) {
	for _, name := range names {
		if _, err := kr.Describe(ctx, name); err != nil {
			return nil, err
		}
	}
	facts, err := kr.store.Facts(ctx, names...)
	if err != nil {
		return nil, err
	}
	keys := make([]policy.Key, len(facts))
	for i, f := range facts {
		keys[i] = scheduler.PolicyKey(f)
	}
	return keys, nil
}
