package policy_test

import (
	"fmt"
	"time"

	"github.com/keyrotor/keyrotor/core/policy"
)

// made is when the version of the examples' key was made.
var made = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

// show says what a policy decides of a key that was rotated on 10 March, 30 days
// later.
func show(p policy.Policy, err error) {
	if err != nil {
		fmt.Println(err)
		return
	}
	key := policy.Key{Name: "payments", Version: 3, Rotated: made, Activated: made, Uses: 1_200_000, HardLimit: 1 << 32}
	fmt.Println(p.Description())
	switch d := p.Decide(key, made.AddDate(0, 0, 30)); {
	case d.Due:
		fmt.Println("due:", d.Slot)
	case d.Next.IsZero():
		fmt.Println("not due:", d.Why)
	default:
		fmt.Println("next:", d.Next.UTC().Format(time.RFC3339))
	}
}

func berlin() *time.Location {
	loc, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	return loc
}

func ExampleNewMaxAge() {
	age, err := policy.ParseAge("90d")
	if err != nil {
		panic(err)
	}
	show(policy.NewMaxAge(age))
	// Output:
	// every 90 days
	// next: 2026-06-08T12:00:00Z
}

func ExampleNewMaxUses() {
	show(policy.NewMaxUses(1_000_000))
	// Output:
	// every 1,000,000 uses
	// due: v3@1773144000000000
}

func ExampleHardLimit() {
	show(policy.HardLimit{}, nil)
	// Output:
	// at half of the hard limit of uses (built in)
	// not due: version 3 has 0 uses, re-encryption included, of 2,147,483,648, half of its hard limit
}

func ExampleNewDaily() {
	at, err := policy.ParseTimeOfDay("02:00")
	if err != nil {
		panic(err)
	}
	show(policy.NewDaily(at, berlin()))
	// Output:
	// every day at 02:00 Europe/Berlin
	// due: 2026-04-09T00:00:00Z
}

func ExampleNewWeekly() {
	day, err := policy.ParseWeekday("sunday")
	if err != nil {
		panic(err)
	}
	show(policy.NewWeekly([]time.Weekday{day}, 0, time.UTC))
	// Output:
	// every Sunday at 00:00 UTC
	// due: 2026-04-05T00:00:00Z
}

func ExampleNewMonthly() {
	show(policy.NewMonthly(policy.LastDay, 0, berlin()))
	// Output:
	// on the last day of each month at 00:00 Europe/Berlin
	// due: 2026-03-30T22:00:00Z
}

func ExampleNewCron() {
	show(policy.NewCron("30 4 1 1,7 *", time.UTC))
	show(policy.NewCron("0 0 30 2 *", time.UTC))
	// Output:
	// on the cron schedule "30 4 1 1,7 *" UTC
	// next: 2026-07-01T04:30:00Z
	// the cron expression "0 0 30 2 *" never fires: no month has that day
}

func ExampleNewAny() {
	age, _ := policy.NewMaxAge(90 * 24 * time.Hour)
	uses, _ := policy.NewMaxUses(1_000_000)
	show(policy.NewAny(age, uses))
	// Output:
	// every 90 days or every 1,000,000 uses
	// due: max_uses:v3@1773144000000000
}

func ExampleNewAll() {
	age, _ := policy.NewMaxAge(90 * 24 * time.Hour)
	uses, _ := policy.NewMaxUses(1_000_000)
	show(policy.NewAll(age, uses))
	// Output:
	// every 90 days and every 1,000,000 uses
	// next: 2026-06-08T12:00:00Z
}

// Keys are rotated when the quarter ends.
func ExampleNewCustom() {
	quarter := func(t time.Time) string { return fmt.Sprintf("%d-Q%d", t.Year(), (t.Month()+2)/3) }
	show(policy.NewCustom("quarterly", "when a quarter ends", func(key policy.Key, now time.Time) policy.Decision {
		return policy.Decision{
			Due: quarter(key.Rotated) != quarter(now), Slot: quarter(now),
			Why: "the key was rotated in " + quarter(key.Rotated),
		}
	}))
	// Output:
	// when a quarter ends
	// due: 2026-Q2
}

func ExampleNewJitter() {
	age, _ := policy.NewMaxAge(90 * 24 * time.Hour)
	show(policy.NewJitter(age, 2*time.Hour))
	// Output:
	// every 90 days, up to 2 hours later
	// next: 2026-06-08T13:52:34Z
}

func ExampleNewBlackout() {
	uses, _ := policy.NewMaxUses(1_000_000)
	start, _ := policy.ParseDate("2026-04-01")
	end, _ := policy.ParseDate("2026-04-12")
	freeze, err := policy.NewDatedWindow(start, end, berlin())
	if err != nil {
		panic(err)
	}
	show(policy.NewBlackout(uses, freeze))
	// Output:
	// every 1,000,000 uses, but not from 2026-04-01 to the end of 2026-04-12 Europe/Berlin
	// next: 2026-04-12T22:00:00Z
}

func ExampleNewWindow() {
	from, _ := policy.ParseTimeOfDay("22:00")
	to, _ := policy.ParseTimeOfDay("06:00")
	night, err := policy.NewWindow([]time.Weekday{time.Friday, time.Saturday}, from, to, berlin())
	fmt.Println(night, err)
	// Output: on Friday and Saturday from 22:00 to 06:00 of the next day Europe/Berlin <nil>
}

func ExampleNewDatedWindow() {
	start, _ := policy.ParseDate("2026-12-24 18:00")
	end, _ := policy.ParseDate("2027-01-01")
	fmt.Println(policy.NewDatedWindow(start, end, time.UTC))
	// Output: from 2026-12-24 18:00 to the end of 2027-01-01 UTC <nil>
}

func ExampleParseAge() {
	fmt.Println(policy.ParseAge("1d12h"))
	// Output: 36h0m0s <nil>
}

func ExampleWords() {
	fmt.Println(policy.Words(36 * time.Hour))
	// Output: 1 day 12 hours
}

func ExampleParseTimeOfDay() {
	fmt.Println(policy.ParseTimeOfDay("02:00"))
	// Output: 02:00 <nil>
}

func ExampleParseWeekday() {
	fmt.Println(policy.ParseWeekday("mon"))
	// Output: Monday <nil>
}

func ExampleParseDate() {
	_, err := policy.ParseDate("2026-02-30")
	fmt.Println(err)
	// Output: the date "2026-02-30" is not one: write "2026-12-20" or "2026-12-20 18:00"
}

func ExampleSimulate() {
	age, _ := policy.NewMaxAge(30 * 24 * time.Hour)
	uses, _ := policy.NewMaxUses(1_000_000)
	p, _ := policy.NewAny(age, uses)
	key := policy.Key{Name: "payments", Version: 3, Rotated: made, Activated: made, Uses: 400_000}
	for r := range policy.Simulate([]policy.Policy{p}, key, made, made.AddDate(0, 0, 60), 35_000) {
		fmt.Println(r.At.Format(time.DateOnly), r.Decision.Why)
	}
	// Output:
	// 2026-03-27 max_uses: version 3 has 1,000,000 uses of 1,000,000
	// 2026-04-25 max_uses: version 4 has 1,000,000 uses of 1,000,000
}
