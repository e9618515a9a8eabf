package e2e

import (
	"fmt"
	"time"

	"github.com/keyrotor/keyrotor/core/policy"
)

// plan is one key of the year.
type plan struct {
	key    string
	policy policy.Policy // nil: none
	// fixed: when it rotates does not depend on when it did before.
	fixed bool
	// uses: its rotations depend on use, which the year's worker does not repeat.
	uses bool
	// quiet reports whether it must not rotate at a time, in the test's own arithmetic.
	quiet func(time.Time) bool
}

const day = 24 * time.Hour

// yearStep is how far the clock goes at once, and yearInterval how often every key is
// looked at.
const (
	yearStep     = 6 * time.Hour
	yearInterval = time.Hour
)

// yearStart is a Thursday.
var yearStart = time.Date(2026, time.January, 1, 0, 30, 0, 0, time.UTC)

// yearPlans are 20 keys: of each policy some, in zones whose clocks are moved.
func yearPlans() []plan {
	zone := func(name string) *time.Location { return must(time.LoadLocation(name)) }
	var plans []plan
	add := func(p plan) {
		p.key = fmt.Sprintf("key%02d", len(plans))
		plans = append(plans, p)
	}
	add(plan{fixed: true, policy: must(policy.NewDaily(2*60, nil))})
	add(plan{fixed: true, policy: must(policy.NewDaily(2*60+30, zone("Europe/Berlin")))}) // not on March 29
	add(plan{fixed: true, policy: must(policy.NewWeekly([]time.Weekday{time.Sunday}, 2*60, zone("America/New_York")))})
	add(plan{fixed: true, policy: must(policy.NewWeekly([]time.Weekday{time.Monday, time.Thursday}, 12*60, zone("Asia/Kathmandu")))})
	add(plan{fixed: true, policy: must(policy.NewMonthly(1, 2*60, nil))})
	add(plan{fixed: true, policy: must(policy.NewMonthly(31, 23*60+30, zone("Australia/Lord_Howe")))})
	add(plan{fixed: true, policy: must(policy.NewCron("0 5 * * 1-5", nil))})
	add(plan{fixed: true, policy: must(policy.NewCron("30 1 1,15 * *", zone("Europe/Berlin")))})
	for _, age := range []time.Duration{7 * day, 30 * day, 45 * day} {
		add(plan{policy: must(policy.NewMaxAge(age))})
	}
	add(plan{policy: must(policy.NewJitter(must(policy.NewMaxAge(20*day)), 12*time.Hour))})
	add(plan{uses: true, policy: must(policy.NewMaxUses(1000))})
	add(plan{uses: true, policy: must(policy.NewAny(must(policy.NewMaxAge(10*day)), must(policy.NewMaxUses(1000))))})
	add(plan{policy: must(policy.NewAll(must(policy.NewMaxAge(10*day)), must(policy.NewWeekly([]time.Weekday{time.Saturday}, 60, nil))))})
	add(plan{policy: must(policy.NewAny(must(policy.NewMonthly(15, 6*60, nil)), must(policy.NewMaxAge(20*day))))})

	// Working hours, on working days: what is due at ten waits until six.
	office := must(policy.NewWindow([]time.Weekday{time.Monday, time.Tuesday, time.Wednesday, time.Thursday, time.Friday}, 8*60, 18*60, nil))
	add(plan{
		fixed: true, policy: must(policy.NewBlackout(must(policy.NewDaily(10*60, nil)), office)),
		quiet: func(t time.Time) bool {
			weekend := t.Weekday() == time.Saturday || t.Weekday() == time.Sunday
			return !weekend && t.Hour() >= 8 && t.Hour() < 18
		},
	})
	// Three weeks in which nothing changes.
	freeze := must(policy.NewDatedWindow(must(policy.ParseDate("2026-01-21 00:30")), must(policy.ParseDate("2026-02-11 00:30")), nil))
	inFreeze := func(t time.Time) bool { return !t.Before(yearStart.Add(20*day)) && t.Before(yearStart.Add(41*day)) }
	add(plan{policy: must(policy.NewBlackout(must(policy.NewMaxAge(14*day)), freeze)), quiet: inFreeze})
	add(plan{policy: must(policy.NewBlackout(must(policy.NewWeekly([]time.Weekday{time.Tuesday}, 3*60, nil)), freeze)), quiet: inFreeze})
	add(plan{})
	return plans
}

// must is for policies that are written down in this file.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
