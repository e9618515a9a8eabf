package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/keyrotor/keyrotor/core/policy"
)

// timetables are the schedules, each in the zone where its time bites. Their names
// are those by which schedule makes the policy.
var timetables = []timetable{
	{"daily", 1, 12, func(c clock) bool { return c.is(2, 30) }},
	{"midnight", 6, 8, func(c clock) bool { return c.is(0, 0) }},
	{"weekly", 2, 60, func(c clock) bool { return c.weekday == time.Sunday && c.is(2, 15) }},
	{"weekly twice", 3, 40, func(c clock) bool {
		return (c.weekday == time.Sunday || c.weekday == time.Wednesday) && c.is(2, 10)
	}},
	{"weekly Friday", 5, 60, func(c clock) bool { return c.weekday == time.Friday && c.is(9, 0) }},
	{"monthly", 0, 80, func(c clock) bool { return c.day == 1 && c.is(2, 0) }},
	{"monthly last", 4, 80, func(c clock) bool { return c.last() && c.is(5, 45) }},
	{"monthly 30", 5, 60, func(c clock) bool { return (c.day == 30 || c.month == time.February && c.last()) && c.is(23, 55) }},
	{"cron workdays", 1, 12, func(c clock) bool { return 1 <= c.weekday && c.weekday <= 5 && c.is(2, 0) }},
	{"cron quarters", 2, 10, func(c clock) bool {
		return c.weekday == 0 && c.minute%15 == 0 && (c.hour == 1 || c.hour == 2)
	}},
	{"cron leap day", 3, 10, func(c clock) bool { return c.month == time.February && c.day == 29 && c.is(12, 0) }},
	{"cron either", 6, 30, func(c clock) bool { return (c.day == 13 || c.weekday == time.Saturday) && c.is(0, 20) }},
}

func (c clock) last() bool {
	return time.Date(c.year, c.month, c.day+1, 0, 0, 0, 0, time.UTC).Day() == 1
}

func schedule(tt timetable) policy.Policy {
	zone := zones[tt.zone]
	clock := func(text string) policy.TimeOfDay { return must(policy.ParseTimeOfDay(text)) }
	switch tt.name {
	case "daily":
		return must(policy.NewDaily(clock("02:30"), zone))
	case "midnight":
		return must(policy.NewDaily(clock("00:00"), zone))
	case "weekly":
		return must(policy.NewWeekly([]time.Weekday{time.Sunday}, clock("02:15"), zone))
	case "weekly twice":
		return must(policy.NewWeekly([]time.Weekday{time.Sunday, time.Wednesday}, clock("02:10"), zone))
	case "weekly Friday":
		return must(policy.NewWeekly([]time.Weekday{time.Friday}, clock("09:00"), zone))
	case "monthly":
		return must(policy.NewMonthly(1, clock("02:00"), zone))
	case "monthly last":
		return must(policy.NewMonthly(policy.LastDay, clock("05:45"), zone))
	case "monthly 30":
		return must(policy.NewMonthly(30, clock("23:55"), zone))
	case "cron workdays":
		return must(policy.NewCron("0 2 * * 1-5", zone))
	case "cron quarters":
		return must(policy.NewCron("*/15 1,2 * * SUN", zone))
	case "cron leap day":
		return must(policy.NewCron("0 12 29 2 *", zone))
	case "cron either":
		return must(policy.NewCron("20 0 13 * 6", zone))
	}
	panic("no timetable " + tt.name)
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// drawn is a policy and what the oracle knows of it.
type drawn struct {
	policy policy.Policy
	rule   rule
	kind   string
}

type drawer struct {
	*rand.Rand
	slots map[string][]int64
}

func drawKeys(rng *rand.Rand, slots map[string][]int64) []*key {
	d := drawer{rng, slots}
	list := make([]*key, keys)
	for i := range list {
		p := d.top()
		k := &key{name: fmt.Sprintf("key-%04d", i), rule: p.rule, kind: p.kind, perDay: 20 + rng.Uint64N(2000)}
		if rng.IntN(10) < 4 {
			most := time.Duration(1+rng.Int64N(int64(4*time.Hour)/1000)) * 1000
			if jitter, err := policy.NewJitter(p.policy, most); err == nil {
				p.policy, k.jitter = jitter, most
			}
		}
		if rng.IntN(10) < 3 {
			p.policy, k.windows = d.blackout(p.policy)
		}
		k.policies = []policy.Policy{p.policy, policy.HardLimit{}}
		k.numbers = k.rule.numbers()
		list[i] = k
	}
	return list
}

// top draws a key's policy; kinds that rotate often are drawn less.
func (d drawer) top() drawn {
	switch n := d.IntN(100); {
	case n < 15:
		return d.age()
	case n < 25:
		return d.uses()
	case n < 65:
		return d.schedule()
	case n < 80:
		return d.composite("any", d.age(), d.uses(), d.rare())
	case n < 90:
		return d.composite("all", d.age(), d.rare())
	case n < 95:
		return d.composite("any", d.composite("all", d.uses(), d.rare()), d.age())
	default:
		return d.composite("all", d.composite("any", d.uses(), d.age()), d.rare())
	}
}

func (d drawer) age() drawn {
	age := time.Duration(7*24+d.IntN(400*24)) * time.Hour
	return drawn{must(policy.NewMaxAge(age)), rule{age: age}, "max_age"}
}

func (d drawer) uses() drawn {
	n := 10_000 + d.Uint64N(200_000)
	return drawn{must(policy.NewMaxUses(n)), rule{uses: n}, "max_uses"}
}

func (d drawer) schedule() drawn {
	var total int
	for _, tt := range timetables {
		total += tt.weight
	}
	n := d.IntN(total)
	for _, tt := range timetables {
		if n -= tt.weight; n < 0 {
			return d.timetable(tt)
		}
	}
	panic("unreachable")
}

// rare is a weekly or monthly schedule, for composites.
func (d drawer) rare() drawn { return d.timetable(timetables[2+d.IntN(6)]) }

func (d drawer) timetable(tt timetable) drawn {
	return drawn{schedule(tt), rule{slots: d.slots[tt.name]}, tt.name}
}

func (d drawer) composite(kind string, parts ...drawn) drawn {
	var policies []policy.Policy
	var rules []rule
	for _, p := range parts {
		policies, rules = append(policies, p.policy), append(rules, p.rule)
	}
	if kind == "any" {
		return drawn{must(policy.NewAny(policies...)), rule{any: rules}, kind}
	}
	return drawn{must(policy.NewAll(policies...)), rule{all: rules}, kind}
}

// blackout draws windows, so that each night on which clocks change is inside or
// outside as a whole.
func (d drawer) blackout(p policy.Policy) (policy.Policy, []window) {
	zone := d.IntN(len(zones))
	var windows []window
	switch d.IntN(3) {
	case 0:
		windows = []window{{zone: zone, days: []time.Weekday{1, 2, 3, 4, 5}, from: 8 * 60, to: 18 * 60}}
	case 1:
		windows = []window{{zone: zone, from: 22 * 60, to: 6 * 60}}
	default:
		windows = []window{
			{zone: zone, days: []time.Weekday{6, 0}, from: 0, to: 0},
			{zone: d.IntN(len(zones)), days: []time.Weekday{5}, from: 12 * 60, to: 20 * 60},
		}
	}
	// And a freeze in some of the years.
	for year := began.Year(); year < ended.Year(); year++ {
		if d.IntN(3) == 0 {
			start := time.Date(year, 12, 20, 0, 0, 0, 0, time.UTC)
			windows = append(windows, window{start: start.UnixNano(), end: start.Add(14 * day).UnixNano()})
		}
	}
	held := make([]policy.Window, len(windows))
	for i, w := range windows {
		if w.start != 0 {
			date := func(at int64) policy.Date {
				return must(policy.ParseDate(time.Unix(0, at).UTC().Format("2006-01-02 15:04")))
			}
			held[i] = must(policy.NewDatedWindow(date(w.start), date(w.end), time.UTC))
			continue
		}
		held[i] = must(policy.NewWindow(slices.Clone(w.days), policy.TimeOfDay(w.from), policy.TimeOfDay(w.to), zones[w.zone]))
	}
	return must(policy.NewBlackout(p, held...)), windows
}
