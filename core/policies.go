package core

import (
	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/store"
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

// PolicyKey is what policies may know of a key that was read from the store.
func PolicyKey(key store.Key) policy.Key {
	k := policy.Key{Name: key.Name, Created: key.Created.UTC(), HardLimit: key.Settings.HardLimit}
	primary, err := key.PrimaryVersion()
	if err != nil {
		return k
	}
	k.Version, k.Rotated, k.Activated = primary.Number, primary.Created.UTC(), primary.StateChanged.UTC()
	// The store does not tell uses by re-encryption apart, so that they count as others.
	k.Uses, k.TotalUses = key.Uses[primary.Number], key.Uses[primary.Number]
	return k
}
