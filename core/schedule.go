package core

import (
	"cmp"
	"context"

	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/scheduler"
)

// newScheduler builds the scheduler of an opened Keyrotor, with the policies of its
// config; it is started by whoever wants this process to rotate keys.
func (kr *Keyrotor) newScheduler() (*scheduler.Scheduler, error) {
	s, err := scheduler.New(scheduler.Config{
		Store: kr.store, Owner: rotation.CurrentOwner().String(), Interval: cmp.Or(kr.opener.Interval, kr.Config.Scheduler.Interval),
		Clock: kr.opener.Clock, Log: kr.opener.Log, OnOutcome: kr.opener.OnOutcome,
		Alongside: kr.tendHistory,
		Lead:      kr.Config.Scheduler.DueSoon, OnSoon: kr.dueSoon,
		Rotate: func(ctx context.Context, r scheduler.Rotation) (uint32, error) {
			result, err := kr.RotateDue(ctx, r.Key, r.Version, r.Reason, r.Due)
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

// What the engine asks of the scheduler, which is built after it. A scheduler that does
// not run knows the policies nevertheless, which another process may act upon.

// maxUses is the least number of uses at which a policy of the key may be due.
func (kr *Keyrotor) maxUses(key string) uint64 {
	least, _ := kr.leastUses(key)
	return least
}

// leastUses is maxUses with the policy's name.
func (kr *Keyrotor) leastUses(key string) (least uint64, name string) {
	for _, p := range kr.Scheduler.Policies(key) {
		if counted, ok := p.(policy.Counted); ok {
			if n := counted.MaxUses(); n > 0 && (least == 0 || n < least) {
				least, name = n, p.Name()
			}
		}
	}
	return least, name
}

func (kr *Keyrotor) rotating(key string) bool { return kr.Scheduler.Rotating(key) }
