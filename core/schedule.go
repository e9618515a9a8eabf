package core

import (
	"context"

	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/scheduler"
)

// newScheduler builds the scheduler of an opened Keyrotor, with the policies of its
// config; it is started by whoever wants this process to rotate keys.
func (kr *Keyrotor) newScheduler() (*scheduler.Scheduler, error) {
	s, err := scheduler.New(scheduler.Config{
		Store: kr.store, Owner: rotation.CurrentOwner().String(), Interval: kr.Config.Scheduler.Interval,
		Clock: kr.opener.Clock, Log: kr.opener.Log, OnOutcome: kr.opener.OnOutcome,
		Rotate: func(ctx context.Context, r scheduler.Rotation) (uint32, error) {
			result, err := kr.Engine.RotateDue(ctx, r.Key, r.Version, r.Reason, r.Due)
			return result.Primary, err
		},
	})
	if err != nil {
		return nil, err
	}
	for _, k := range kr.Config.Keys {
		if k.Rotation == nil {
			continue
		}
		if err := s.Add(k.Name, k.Rotation); err != nil {
			return nil, err
		}
	}
	return s, nil
}
