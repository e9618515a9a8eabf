package core_test

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/scheduler"
)

// TestScheduler: what the config file says of a key's rotation is what its scheduler
// does, through a plugin.
func TestScheduler(t *testing.T) {
	path := newDir(t)
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteString(`
scheduler {
  interval = "10m"
}
key "payments" {
  rotation {
    any {
      max_age  = "30d"
      max_uses = 1000000
    }
  }
}
`)
	if err != nil || file.Close() != nil {
		t.Fatal(err)
	}
	clock := clockwork.NewFakeClock()
	outcomes := make(chan scheduler.Outcome, 10)
	kr, err := core.Opener{Clock: clock, OnOutcome: func(o scheduler.Outcome) { outcomes <- o }}.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kr.Close() }()
	for _, name := range []string{"payments", "orders"} {
		if _, err := kr.CreateKey(t.Context(), name, core.KeyOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for _, p := range kr.Scheduler.Policies("payments") {
		names = append(names, p.Name())
	}
	if want := []string{"hard_limit", "any"}; !slices.Equal(names, want) || kr.Scheduler.Interval() != 10*time.Minute {
		t.Errorf("policies %q, want %q; interval %s", names, want, kr.Scheduler.Interval())
	}
	if err := kr.Scheduler.Start(); err != nil {
		t.Fatal(err)
	}
	for month := range 2 {
		began := clock.Now()
		o := advanceUntil(clock, kr.Scheduler, outcomes)
		if o.Err != nil || o.Key != "payments" || o.Reason != keyring.ReasonComposite || o.New != uint32(month+2) {
			t.Errorf("after %d months: %+v", month+1, o)
		}
		if passed := clock.Since(began); passed < 29*24*time.Hour {
			t.Errorf("rotated after %s", passed)
		}
	}
	if err := kr.Close(); err != nil {
		t.Error(err)
	}
	if s := kr.Scheduler.Status(); s.Running || s.Rotated != 2 || s.Failed != 0 {
		t.Errorf("status %+v", s)
	}
	if len(outcomes) > 0 {
		t.Errorf("the key without a policy: %+v", <-outcomes)
	}
}

// patience is after how many milliseconds without a check the clock goes on all the same:
// it went on just before the scheduler lay down to sleep, which it now does too long.
const patience = 500

// advanceUntil lets hours pass until a rotation was tried. The clock stands still while
// one is under way, or its claim would be over before it is.
func advanceUntil(clock *clockwork.FakeClock, s *scheduler.Scheduler, outcomes <-chan scheduler.Outcome) scheduler.Outcome {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for waited := 0; ; waited++ {
		asleep := clock.Since(s.Status().Checked) < s.Interval() || waited > patience
		if asleep && !s.Rotating("payments") {
			clock.Advance(6 * time.Hour)
			waited = 0
		}
		select {
		case o := <-outcomes:
			return o
		case <-tick.C: // for whoever was woken to get there
		}
	}
}
