package core_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/scheduler"
)

// policiesOf tells of a key's policies in words, the built-in one aside.
func policiesOf(kr *core.Keyrotor, key string) (words []string) {
	for _, p := range kr.Scheduler.Policies(key)[1:] {
		words = append(words, p.Name()+" "+p.Description())
	}
	return words
}

// TestScheduleKeyRotation: one call, and keys rotate by their age and by their uses.
func TestScheduleKeyRotation(t *testing.T) {
	clock := clockwork.NewFakeClock()
	outcomes := make(chan scheduler.Outcome, 10)
	kr, err := core.Opener{Clock: clock, CreateStore: true, OnOutcome: func(o scheduler.Outcome) { outcomes <- o }}.Open(t.Context(), newDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := kr.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := kr.CreateKey(t.Context(), "payments", core.KeyOptions{}); err != nil {
		t.Fatal(err)
	}
	began := clock.Now()
	if err := kr.ScheduleKeyRotation(t.Context(), "", core.Schedule{Interval: time.Hour, MaxAge: 30 * 24 * time.Hour, MaxUses: 500}); err != nil {
		t.Fatal(err)
	}
	o := advanceUntil(clock, kr.Scheduler, outcomes)
	if o.Err != nil || o.New != 2 || o.Reason != keyring.ReasonTimeExpired || o.Due.Policy != "max_age" || clock.Since(began) < 29*24*time.Hour {
		t.Errorf("by age: %+v after %s", o, clock.Since(began))
	}
	// Uses are counted in leases; what is granted counts.
	for range 500 {
		if _, err := kr.Encrypt(t.Context(), "payments", []byte("s3cret"), nil); err != nil {
			t.Fatal(err)
		}
	}
	began = clock.Now()
	o = advanceUntil(clock, kr.Scheduler, outcomes)
	if o.Err != nil || o.New != 3 || o.Reason != keyring.ReasonUsageLimit || o.Due.Policy != "max_uses" || clock.Since(began) > 24*time.Hour {
		t.Errorf("by uses: %+v after %s", o, clock.Since(began))
	}
	if kr.Scheduler.Interval() != time.Hour || !kr.Scheduler.Status().Running {
		t.Errorf("interval %s, status %+v", kr.Scheduler.Interval(), kr.Scheduler.Status())
	}
}

// TestScheduleAgain: the same call again replaces what it asked for, and nothing else.
func TestScheduleAgain(t *testing.T) {
	path := newDir(t)
	appendTo(t, path, `
key "payments" {
  rotation {
    max_age = "30d"
  }
}
`)
	kr, err := core.Opener{CreateStore: true}.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kr.Close() }()
	for _, name := range []string{"payments", "orders"} {
		if _, err := kr.CreateKey(t.Context(), name, core.KeyOptions{HardLimit: 1000}); err != nil {
			t.Fatal(err)
		}
	}
	const day = 24 * time.Hour
	for _, c := range []struct {
		key              string
		schedule         core.Schedule
		payments, orders []string
	}{
		{"", core.Schedule{MaxAge: 90 * day, MaxUses: 400}, []string{"max_uses every 400 uses", "max_age every 30 days"}, []string{"max_age every 90 days", "max_uses every 400 uses"}},
		{"", core.Schedule{MaxAge: 60 * day}, []string{"max_age every 30 days"}, []string{"max_age every 60 days"}},
		{"orders", core.Schedule{MaxAge: 7 * day, MaxUses: 500}, []string{"max_age every 30 days"}, []string{"max_age every 7 days", "max_uses every 500 uses"}},
		{"payments", core.Schedule{MaxUses: 100}, []string{"max_age every 30 days", "max_uses every 100 uses"}, []string{"max_age every 7 days", "max_uses every 500 uses"}},
		{"orders", core.Schedule{MaxUses: 50}, []string{"max_age every 30 days", "max_uses every 100 uses"}, []string{"max_age every 60 days", "max_uses every 50 uses"}},
	} {
		if err := kr.ScheduleKeyRotation(t.Context(), c.key, c.schedule); err != nil {
			t.Errorf("%q %+v: %v", c.key, c.schedule, err)
		}
		if p, o := policiesOf(kr, "payments"), policiesOf(kr, "orders"); !slices.Equal(p, c.payments) || !slices.Equal(o, c.orders) {
			t.Errorf("%q %+v: payments has %q, orders %q", c.key, c.schedule, p, o)
		}
	}
	payments, orders, interval := policiesOf(kr, "payments"), policiesOf(kr, "orders"), kr.Scheduler.Interval()
	for name, c := range map[string]struct {
		key      string
		schedule core.Schedule
		want     error
		says     string
	}{
		"nothing":        {"orders", core.Schedule{Interval: time.Hour}, nil, "rotates nothing"},
		"the config's":   {"payments", core.Schedule{MaxAge: day, MaxUses: 7, Interval: time.Hour}, scheduler.ErrPolicyExists, `the config has max_age "every 30 days" for it`},
		"no such key":    {"cards", core.Schedule{MaxAge: day}, keyring.ErrUnknownKey, ""},
		"negative age":   {"orders", core.Schedule{MaxAge: -day}, nil, "maximum age"},
		"too many uses":  {"orders", core.Schedule{MaxUses: 501}, nil, "above 500, half of the hard limit"},
		"too many":       {"", core.Schedule{MaxUses: keyring.MaxUses/2 + 1}, nil, "half of the hard limit"},
		"short interval": {"orders", core.Schedule{MaxAge: day, Interval: time.Millisecond}, nil, "interval 1ms: must be from"},
	} {
		err := kr.ScheduleKeyRotation(t.Context(), c.key, c.schedule)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v and %q", name, err, c.want, c.says)
		}
	}
	if p, o := policiesOf(kr, "payments"), policiesOf(kr, "orders"); !slices.Equal(p, payments) || !slices.Equal(o, orders) || kr.Scheduler.Interval() != interval {
		t.Errorf("something was changed: payments has %q, orders %q, interval %s", p, o, kr.Scheduler.Interval())
	}
}

// TestScheduleClosed: after Close nothing is set going that nobody would stop.
func TestScheduleClosed(t *testing.T) {
	kr, err := core.Open(t.Context(), newDir(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := kr.Close(); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", "payments"} {
		if err := kr.ScheduleKeyRotation(t.Context(), key, core.Schedule{MaxAge: 24 * time.Hour}); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("key %q: %v, want ErrClosed", key, err)
		}
	}
	if err := kr.Scheduler.Start(); !errors.Is(err, scheduler.ErrClosed) {
		t.Errorf("Start: %v, want ErrClosed", err)
	}
	if kr.Scheduler.Alive() == nil {
		t.Error("the scheduler runs")
	}
}
