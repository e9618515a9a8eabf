package policy_test

import (
	"fmt"
	"time"

	"github.com/keyrotor/keyrotor/core/policy"
)

// A key that is rotated every 90 days, after a million uses, or on the first of the
// month, whatever comes first; at night, and not all keys at once.
func Example() {
	age, _ := policy.NewMaxAge(90 * 24 * time.Hour)
	uses, _ := policy.NewMaxUses(1_000_000)
	at, _ := policy.ParseTimeOfDay("02:00")
	monthly, _ := policy.NewMonthly(1, at, time.UTC)
	first, _ := policy.NewAny(age, uses, monthly)
	spread, _ := policy.NewJitter(first, 2*time.Hour)
	day, _ := policy.ParseTimeOfDay("08:00")
	evening, _ := policy.ParseTimeOfDay("18:00")
	office, _ := policy.NewWindow(nil, day, evening, time.UTC)
	p, err := policy.NewBlackout(spread, office)
	if err != nil {
		panic(err)
	}

	made := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	key := policy.Key{Name: "payments", Version: 3, Rotated: made, Activated: made, Uses: 5000}
	d := p.Decide(key, made.AddDate(0, 0, 10))
	fmt.Println(d.Due, d.Next.Format(time.RFC3339))

	key.Uses = 1_000_000 // reached at noon: held until the evening
	d = p.Decide(key, made.AddDate(0, 0, 10))
	fmt.Println(d.Due, d.Next.Format(time.RFC3339))
	d = p.Decide(key, d.Next)
	fmt.Println(d.Due, d.Reason, d.Slot)
	// Output:
	// false 2026-04-01T02:31:01Z
	// false 2026-03-20T18:00:00Z
	// true composite max_uses:v3@1773144000000000
}
