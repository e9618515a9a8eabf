package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errStopped: there is no loop to speak of.
var errStopped = errors.New("the scheduler does not run")

// turnLimit is how long the loop may be at work, or may sleep beyond its interval. A
// check waits for the store's lock twice, for some seconds each time.
const turnLimit = 2 * time.Minute

// FirstCheck waits until every key was looked at once since Start, and answers why
// that failed, if it did. It is for one caller.
func (s *Scheduler) FirstCheck(ctx context.Context) error {
	s.mu.Lock()
	r := s.running
	s.mu.Unlock()
	if r == nil {
		return errStopped
	}
	select {
	case err := <-r.first:
		return err
	case <-r.done:
		return errStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Alive says why the scheduler looks at no keys, nil if it does. A check that fails is
// made again and no reason to worry here, see [Status]; one that does not come to an
// end is: nothing in this process will help then.
func (s *Scheduler) Alive() error {
	now := s.Clock.Now()
	s.status.mu.Lock()
	defer s.status.mu.Unlock()
	since := now.Sub(s.status.turned).Round(time.Second)
	switch {
	case !s.status.Running:
		return errStopped
	case s.status.atWork && since > turnLimit:
		return fmt.Errorf("a check of policies has been under way for %s", since)
	case !s.status.atWork && since > s.Interval()+turnLimit:
		return fmt.Errorf("no policy was checked for %s, and the interval is %s", since, s.Interval())
	}
	return nil
}
