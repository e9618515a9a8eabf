package scheduler_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrotor/keyrotor/core/scheduler"
	"github.com/keyrotor/keyrotor/core/store"
)

// TestAlive: a loop that hangs is found out, whatever it hangs in, and one whose checks
// fail is none.
func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		stuck := &stuckStore{Policies: b.store, hangs: make(chan struct{})}
		p := b.process(interval(time.Minute), func(c *scheduler.Config) { c.Store = stuck })
		if p.Alive() == nil || p.FirstCheck(t.Context()) == nil {
			t.Error("it lives before it was started")
		}
		p.start(b)
		if err := p.FirstCheck(t.Context()); err != nil {
			t.Error(err)
		}
		alive := func(want string) {
			t.Helper()
			synctest.Wait()
			err := p.Alive()
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("after %s: %v, want %q", time.Since(b.start), err, want)
			}
		}
		time.Sleep(3 * time.Hour)
		alive("")
		stuck.broken.Store(true)
		time.Sleep(time.Hour)
		alive("")
		if s := p.Status(); s.Err == nil || time.Since(s.Checked) < 59*time.Minute {
			t.Errorf("status %+v", s)
		}
		stuck.broken.Store(false)
		stuck.hanging.Store(true)
		time.Sleep(2*time.Minute + 30*time.Second)
		alive("")
		time.Sleep(time.Minute)
		alive("has been under way for")
		close(stuck.hangs)
		alive("")
		if err := p.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		alive("does not run")
	})
}

// stuckStore does not answer while it hangs, not even when its context ends.
type stuckStore struct {
	store.Policies
	broken, hanging atomic.Bool
	hangs           chan struct{}
}

func (s *stuckStore) Facts(ctx context.Context, names ...string) ([]store.Facts, error) {
	if s.hanging.Load() {
		<-s.hangs
	}
	if s.broken.Load() {
		return nil, store.ErrBusy
	}
	return s.Policies.Facts(ctx, names...)
}

// TestFirstCheck answers what came of the first check, and not of later ones.
func TestFirstCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		stuck := &stuckStore{Policies: b.store}
		stuck.broken.Store(true)
		p := b.process(func(c *scheduler.Config) { c.Store = stuck })
		p.start(b)
		if err := p.FirstCheck(t.Context()); !errors.Is(err, store.ErrBusy) {
			t.Errorf("got %v", err)
		}
		if err := p.Stop(t.Context()); err != nil {
			t.Error(err)
		}

		stuck = &stuckStore{Policies: b.store, hangs: make(chan struct{})}
		stuck.hanging.Store(true)
		p = b.process(func(c *scheduler.Config) { c.Store = stuck })
		p.start(b)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := p.FirstCheck(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("of a check that hangs: %v", err)
		}
		close(stuck.hangs)
		if err := p.FirstCheck(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestUnrecorded: a store that can be read alone is told apart.
func TestUnrecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.process(func(c *scheduler.Config) { c.Store = readOnly{b.store} })
		p.start(b)
		if err := p.FirstCheck(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := p.Status(); !errors.Is(s.Unrecorded, store.ErrReadOnly) || s.Err != nil || s.Checked.IsZero() {
			t.Errorf("status %+v", s)
		}
	})
}

type readOnly struct{ store.Policies }

func (readOnly) RecordChecks(context.Context, store.SchedulerCheck, []store.PolicyCheck) error {
	return store.ErrReadOnly
}

// TestAlongside: what runs beside the checks begins and ends with them.
func TestAlongside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		began, ended := 0, 0
		p := b.process(func(c *scheduler.Config) {
			c.Alongside = func(ctx context.Context) {
				began++
				<-ctx.Done()
				time.Sleep(time.Second) // it ends as soon as it can
				ended++
			}
		})
		for run := range 2 {
			p.start(b)
			synctest.Wait()
			if began != run+1 || ended != run {
				t.Errorf("run %d: it began %d times and ended %d times", run, began, ended)
			}
			if err := p.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			if ended != run+1 {
				t.Errorf("run %d: stopped before it ended", run)
			}
		}
	})
}
