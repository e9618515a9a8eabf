package scheduler

import (
	"sync"
	"time"

	"github.com/keyrotor/keyrotor/core/store"
)

// Status is what a scheduler did since it was made.
type Status struct {
	// Running, since Started.
	Running bool
	Started time.Time
	// Checked is the newest check of every key, with the number of keys; Due of them
	// were to be rotated, and that has begun.
	Checked   time.Time
	Keys, Due int
	// Took is how long that check was at it, without the rotations.
	Took time.Duration
	// Err is why the newest check failed, nil if it did not.
	Err error
	// Unrecorded is why what the newest check found is not on record, nil if it is: the
	// store is read, and not written.
	Unrecorded error
	// Rotated and Failed count rotations.
	Rotated, Failed uint64
}

// Status answers what the scheduler did so far.
func (s *Scheduler) Status() Status {
	s.status.mu.Lock()
	defer s.status.mu.Unlock()
	return s.status.Status
}

type status struct {
	mu sync.Mutex
	Status
	// turned is when the loop last began to work, if it is at work, or else ended it.
	turned time.Time
	atWork bool
}

func (s *status) start(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Running, s.Started = true, now
	s.turned, s.atWork = now, false
}

func (s *status) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Running = false
}

// record is a check as the store keeps it: the newest of every key.
func (s *status) record(now time.Time, keys, due int, all bool) store.SchedulerCheck {
	s.mu.Lock()
	defer s.mu.Unlock()
	if all {
		return store.SchedulerCheck{Started: s.Started, Checked: now, Keys: keys, Due: due}
	}
	return store.SchedulerCheck{Started: s.Started, Checked: s.Checked, Keys: s.Keys, Due: s.Due}
}

// checked books a check, when what is due is under way.
func (s *status) checked(now time.Time, took time.Duration, keys, due int, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Err = nil
	if all {
		s.Checked, s.Took, s.Keys, s.Due = now, took, keys, due
	}
}

// turn notes that the loop begins to work, or has ended it.
func (s *status) turn(now time.Time, atWork bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turned, s.atWork = now, atWork
}

// recorded notes whether a check is on record.
func (s *status) recorded(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Unrecorded = err
}

func (s *status) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Err = err
}

func (s *status) rotated() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Rotated++
}

func (s *status) rotationFailed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Failed++
}
