package policy

import (
	"testing"
	"time"
)

// BenchmarkDecide asks each policy about one key, not due and due.
func BenchmarkDecide(b *testing.B) {
	berlin := zone(b, "Europe/Berlin")
	two := clockTime("02:00")
	age, uses := must(NewMaxAge(90*day)), must(NewMaxUses(1_000_000))
	monthly := must(NewMonthly(1, two, berlin))
	either := must(NewAny(age, uses, monthly))
	office := must(NewWindow([]time.Weekday{1, 2, 3, 4, 5}, clockTime("08:00"), clockTime("18:00"), berlin))
	key := madeAt(made)
	for _, p := range []struct {
		name   string
		policy Policy
	}{
		{"max_age", age},
		{"max_uses", uses},
		{"hard_limit", HardLimit{}},
		{"daily", must(NewDaily(two, berlin))},
		{"weekly", must(NewWeekly([]time.Weekday{0}, two, berlin))},
		{"monthly", monthly},
		{"cron", must(NewCron("0 2 * * 1-5", berlin))},
		{"cron_yearly", must(NewCron("0 0 1 1 *", berlin))},
		{"any", either},
		{"all", must(NewAll(age, uses, monthly))},
		{"jitter", must(NewJitter(either, 2*time.Hour))},
		{"blackout", must(NewBlackout(either, office))},
		{"blackout_of_jitter", must(NewBlackout(must(NewJitter(either, 2*time.Hour)), office))},
	} {
		for _, when := range []struct {
			name string
			now  time.Time
		}{{"not_due", made.Add(time.Hour)}, {"due", made.Add(400 * day)}} {
			b.Run(p.name+"/"+when.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					decision = p.policy.Decide(key, when.now)
				}
			})
		}
	}
}

var decision Decision
