package scheduler

import (
	"context"
	"sync"
	"time"

	"github.com/keyrotor/keyrotor/core/rotation"
)

// lookAgain is when a key is looked at again that another process works on.
const lookAgain = time.Second

// run is the time from Start to Stop.
type run struct {
	cancel context.CancelFunc // of checks
	abort  context.CancelFunc // of rotations that are under way
	done   chan struct{}      // the loop has ended
	first  chan error         // what came of the first check
	ctx    context.Context    //nolint:containedctx // of the rotations, which the loop starts and Stop ends
	tasks  sync.WaitGroup
}

// Start begins to check: every key at once, then each when it is due, and every key
// again at each interval. ErrRunning if it was started before and no Stop has returned
// since: one that is under way still waits for rotations. A scheduler that was stopped may
// be started again; ErrClosed if it was closed.
func (s *Scheduler) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.running != nil:
		return ErrRunning
	}
	checks, cancel := context.WithCancel(context.Background())
	rotations, abort := context.WithCancel(context.Background())
	s.running = &run{cancel: cancel, abort: abort, done: make(chan struct{}), first: make(chan error, 1), ctx: rotations}
	s.status.start(s.Clock.Now())
	go s.loop(checks, s.running)
	if s.Alongside != nil {
		s.running.tasks.Go(func() { s.Alongside(checks) })
	}
	return nil
}

// Stop ends the checking and waits for rotations that are under way; when ctx ends,
// they are cancelled, which leaves the keys as they were. A scheduler that does not run
// is stopped.
func (s *Scheduler) Stop(ctx context.Context) error {
	s.mu.Lock()
	r := s.running
	s.mu.Unlock()
	if r == nil {
		return nil
	}
	r.cancel()
	<-r.done
	ended := make(chan struct{})
	go func() {
		r.tasks.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		r.abort()
		<-ended
	}
	r.abort()
	s.mu.Lock()
	last := s.running == r
	if last {
		s.running = nil
	}
	s.mu.Unlock()
	if !last {
		return nil // somebody else stopped it, too
	}
	s.status.stop()
	return s.Store.RemoveScheduler(context.WithoutCancel(ctx), s.Owner)
}

// Close is Stop for good. It may be called again, if Stop failed.
func (s *Scheduler) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return s.Stop(ctx)
}

func (s *Scheduler) loop(ctx context.Context, r *run) {
	defer close(r.done)
	s.clear(ctx)
	full := s.Clock.Now() // when every key is to be looked at
	timer := s.Clock.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.Chan():
		case <-s.nudged:
		}
		names, all := s.waiting()
		now := s.Clock.Now()
		s.status.turn(now, true)
		// The clock may have been set back: an interval is never longer than it is.
		if all = all || !now.Before(full) || full.Sub(now) > s.Interval(); all {
			full = now.Add(s.Interval())
			names = nil
		} else {
			names = append(names, s.dueBy(now)...)
		}
		if all || len(names) > 0 {
			err := s.checkAndRotate(ctx, r, now, names)
			select {
			case r.first <- err: // the first turn is about every key
			default:
			}
		}
		s.endLook()
		s.status.turn(s.Clock.Now(), false)
		timer.Stop()
		timer.Reset(max(s.wakeAt(full).Sub(s.Clock.Now()), 0))
	}
}

// dueBy lists the keys whose time has come.
func (s *Scheduler) dueBy(now time.Time) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name, at := range s.next {
		if !now.Before(at) {
			names = append(names, name)
		}
	}
	return names
}

// wakeAt is when there is something to do, full at the latest.
func (s *Scheduler) wakeAt(full time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range s.next {
		if at.Before(full) {
			full = at
		}
	}
	return full
}

// checkAndRotate looks at the named keys, at all if there are none, and sets to work on
// those that are due.
func (s *Scheduler) checkAndRotate(ctx context.Context, r *run, now time.Time, names []string) error {
	keys, due, err := s.check(ctx, now, names)
	if err != nil {
		if ctx.Err() == nil {
			s.Log.Error("policies could not be checked", "error", err)
			s.status.failed(err)
		}
		s.postpone(names, now.Add(s.Interval()))
		return err
	}
	took := s.Clock.Since(now)
	for _, d := range due {
		s.begin(r, d)
	}
	s.status.checked(now, took, keys, len(due), len(names) == 0)
	return nil
}

// postpone keeps keys that could not be looked at from being so at once again.
func (s *Scheduler) postpone(names []string, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		s.next[name] = until
	}
}

// forgetAfter is when a scheduler is forgotten of which nobody can tell whether it is
// gone: its machine had another name, as that of a container has.
const forgetAfter = 7 * 24 * time.Hour

// clear forgets schedulers whose processes were killed.
func (s *Scheduler) clear(ctx context.Context) {
	known, err := s.Store.Schedulers(ctx)
	for _, k := range known {
		old := s.Clock.Since(k.Checked) > max(forgetAfter, 2*k.Interval)
		if err == nil && (old || rotation.ParseOwner(k.Owner).Gone()) {
			err = s.Store.RemoveScheduler(ctx, k.Owner)
		}
	}
	if err != nil && ctx.Err() == nil {
		s.Log.Warn("schedulers that are gone are not forgotten", "error", err)
	}
}
