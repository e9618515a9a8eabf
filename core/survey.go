package core

import (
	"context"
	"slices"

	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/store"
)

// Survey is what the store knows of all keys, for whoever watches them.
type Survey struct {
	Keys     []store.Facts
	Versions []store.StateCount
	// Checks are the newest ones, in whichever process, of the policies that this one has.
	Checks []store.PolicyCheck
}

// Survey reads about all keys, with a query for each part of the answer.
func (kr *Keyrotor) Survey(ctx context.Context) (Survey, error) {
	var s Survey
	var err error
	if s.Keys, err = kr.store.Facts(ctx); err != nil {
		return Survey{}, err
	}
	if s.Versions, err = kr.store.States(ctx); err != nil {
		return Survey{}, err
	}
	if s.Checks, err = kr.store.Checks(ctx); err != nil {
		return Survey{}, err
	}
	s.Checks = kr.inForce(s.Checks)
	return s, nil
}

// Failing answers the newest checks of the policies of this process whose last rotation
// failed, in whichever process. Usually there are none, and little is read.
func (kr *Keyrotor) Failing(ctx context.Context) ([]store.PolicyCheck, error) {
	checks, err := kr.store.Failing(ctx)
	return kr.inForce(checks), err
}

// inForce leaves out what the store remembers of policies that are no more.
func (kr *Keyrotor) inForce(checks []store.PolicyCheck) []store.PolicyCheck {
	var key string
	var policies []policy.Policy
	return slices.DeleteFunc(checks, func(c store.PolicyCheck) bool {
		if c.Key != key || policies == nil {
			key, policies = c.Key, kr.Scheduler.Policies(c.Key)
		}
		return !slices.ContainsFunc(policies, func(p policy.Policy) bool { return p.Name() == c.Policy })
	})
}
