package storetest

import (
	"errors"
	"reflect"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// testFacts: one answer about all keys, with the primary of each.
func testFacts(s *suite) {
	if facts, err := s.Facts(s.Context()); err != nil || len(facts) != 0 {
		s.Errorf("of an empty store: %+v, %v", facts, err)
	}
	s.create("payments")
	s.create("orders")
	made := s.clock.Now().Truncate(time.Microsecond)
	s.clock.Advance(time.Hour)
	s.giveBack(s.acquire(64), 7)
	s.change("orders", func(r *keyring.Record) {
		if err := r.SetState(1, keyring.Suspended, s.clock.Now()); err != nil {
			s.Fatal(err)
		}
	})
	wrapWith := []string{"local", "vault"}
	orders := store.Facts{Name: "orders", Created: made, HardLimit: 1000, WrapWith: wrapWith}
	payments := store.Facts{
		Name: "payments", Created: made, Version: 1, Rotated: made, Activated: made,
		Uses: 7, HardLimit: 1000, WrapWith: wrapWith,
	}
	s.facts([]store.Facts{orders, payments})
	s.facts([]store.Facts{payments}, "payments", "nothing")

	// Back in use: as old as it is, and active since now.
	s.change("orders", func(r *keyring.Record) {
		if err := r.SetPrimary(1, s.clock.Now()); err != nil {
			s.Fatal(err)
		}
	})
	orders.Version, orders.Rotated, orders.Activated = 1, made, made.Add(time.Hour)
	s.facts([]store.Facts{orders}, "orders")
}

func (s *suite) facts(want []store.Facts, names ...string) {
	s.Helper()
	got, err := s.Facts(s.Context(), names...)
	if err != nil || !reflect.DeepEqual(got, want) {
		s.Errorf("facts of %q: %+v, %v, want %+v", names, got, err, want)
	}
}

// testDueSlots: an occasion is served once, in the transaction that serves it.
func testDueSlots(s *suite) {
	s.create("payments")
	s.create("orders")
	if err := s.rotateOn("payments", store.DueSlot{Policy: "monthly", Slot: "2026-03-01"}); err != nil {
		s.Fatal(err)
	}
	before := s.key("payments")
	err := s.rotateOn("payments", store.DueSlot{Policy: "monthly", Slot: "2026-03-01"})
	if !errors.Is(err, store.ErrDone) {
		s.Errorf("a second time: %v", err)
	}
	if after := s.key("payments"); !reflect.DeepEqual(after, before) {
		s.Errorf("the second time changed the key from %+v to %+v", before, after)
	}
	failed := errors.New("as the test wants it")
	_, err = s.Update(s.Context(), store.Update{
		Name: "payments", Due: &store.DueSlot{Policy: "monthly", Slot: "2026-04-01"},
		Apply: func(*keyring.Record) ([]history.Event, error) { return nil, failed },
	})
	if !errors.Is(err, failed) {
		s.Error(err)
	}
	s.done(true, "payments", "monthly", "2026-03-01")
	for _, c := range []struct {
		key  string
		slot store.DueSlot
	}{
		{"payments", store.DueSlot{Policy: "monthly", Slot: "2026-04-01"}}, // the update failed
		{"payments", store.DueSlot{Policy: "daily", Slot: "2026-03-01"}},
		{"orders", store.DueSlot{Policy: "monthly", Slot: "2026-03-01"}},
	} {
		s.done(false, c.key, c.slot.Policy, c.slot.Slot)
		if err := s.rotateOn(c.key, c.slot); err != nil {
			s.Errorf("another occasion %+v: %v", c, err)
		}
		s.done(true, c.key, c.slot.Policy, c.slot.Slot)
	}
	s.done(false, "nothing", "monthly", "2026-03-01")
}

func (s *suite) done(want bool, key, policy, slot string) {
	s.Helper()
	if got, err := s.Done(s.Context(), key, store.DueSlot{Policy: policy, Slot: slot}); err != nil || got != want {
		s.Errorf("slot %s of policy %s of key %s is served: %t, %v", slot, policy, key, got, err)
	}
}

func (s *suite) rotateOn(key string, slot store.DueSlot) error {
	s.Helper()
	_, err := s.Update(s.Context(), store.Update{Name: key, Due: &slot, Apply: func(r *keyring.Record) ([]history.Event, error) {
		s.addVersion(r)
		return []history.Event{{Type: history.Rotation, Operation: "op"}}, nil
	}})
	return err
}

// testPolicyChecks: the newest check of a policy replaces the one before; failures
// add up until the key is rotated, for whatever reason.
func testPolicyChecks(s *suite) {
	s.create("payments")
	s.create("orders")
	at := s.clock.Now().Truncate(time.Microsecond)
	by := store.SchedulerCheck{Owner: "p1", Started: at, Interval: time.Minute, Checked: at, Keys: 2, Due: 1}
	first := store.PolicyCheck{Key: "payments", Policy: "monthly", Checked: at, Next: at.Add(time.Hour), Why: "not yet"}
	other := store.PolicyCheck{Key: "orders", Policy: "max_age", Checked: at, Due: true, Slot: "v1@1", Why: "too old"}
	unknown := store.PolicyCheck{Key: "nothing", Policy: "max_age", Checked: at}
	s.record(by, first, other, unknown)
	s.checks([]store.PolicyCheck{other, first})

	retry := at.Add(time.Minute)
	for _, code := range []string{"denied", "unavailable"} {
		if err := s.RecordFailure(s.Context(), "payments", "monthly", code, retry); err != nil {
			s.Fatal(err)
		}
	}
	if err := s.RecordFailure(s.Context(), "nothing", "monthly", "denied", retry); err != nil {
		s.Errorf("a failure of a key that is gone: %v", err)
	}
	first.Due, first.Slot, first.Next, first.Why = true, "2026-03-01", time.Time{}, "now"
	by.Checked, by.Due = at.Add(time.Second), 2
	s.record(by, first)
	s.failing(nil, "orders")
	first.Failures, first.Retry, first.ErrorCode = 2, retry, "unavailable"
	s.checks([]store.PolicyCheck{first}, "payments")
	s.failing([]store.PolicyCheck{first})
	s.failing([]store.PolicyCheck{first}, "payments", "orders")
	if got, err := s.Schedulers(s.Context()); err != nil || !reflect.DeepEqual(got, []store.SchedulerCheck{by}) {
		s.Errorf("schedulers %+v, %v, want %+v", got, err, by)
	}

	if err := s.rotateOn("payments", store.DueSlot{Policy: "monthly", Slot: "2026-03-01"}); err != nil {
		s.Fatal(err)
	}
	first.Failures, first.Retry, first.ErrorCode = 0, time.Time{}, ""
	s.checks([]store.PolicyCheck{first}, "payments")
	s.failing(nil)

	// The first thing that is known of a policy may be a failure.
	if err := s.RecordFailure(s.Context(), "payments", "max_uses", "denied", retry); err != nil {
		s.Fatal(err)
	}
	if got, err := s.Checks(s.Context(), "payments"); err != nil || len(got) != 2 || got[0].Policy != "max_uses" || got[0].Failures != 1 || !got[0].Due {
		s.Errorf("checks %+v, %v", got, err)
	}

	s.change("payments", s.addVersion)
	s.failing(nil)

	for range 2 { // the second time there is nothing to do
		if err := s.RemoveScheduler(s.Context(), "p1"); err != nil {
			s.Error(err)
		}
	}
	if got, err := s.Schedulers(s.Context()); err != nil || len(got) != 0 {
		s.Errorf("schedulers after the last has stopped: %+v, %v", got, err)
	}
}

func (s *suite) record(by store.SchedulerCheck, checks ...store.PolicyCheck) {
	s.Helper()
	if err := s.RecordChecks(s.Context(), by, checks); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) failing(want []store.PolicyCheck, names ...string) {
	s.Helper()
	got, err := s.Failing(s.Context(), names...)
	if err != nil || !reflect.DeepEqual(got, want) {
		s.Errorf("failing policies of %q: %+v, %v, want %+v", names, got, err, want)
	}
}

func (s *suite) checks(want []store.PolicyCheck, names ...string) {
	s.Helper()
	got, err := s.Checks(s.Context(), names...)
	if err != nil || !reflect.DeepEqual(got, want) {
		s.Errorf("checks of %q: %+v, %v, want %+v", names, got, err, want)
	}
}
