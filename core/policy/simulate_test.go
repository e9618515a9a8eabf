package policy

import (
	"slices"
	"testing"
	"time"
)

// rotations are those that a simulation tells, in short.
func rotations(policies []Policy, key Key, from, to string, usesPerDay uint64) []string {
	var told []string
	for r := range Simulate(policies, key, at(from), at(to), usesPerDay) {
		told = append(told, r.At.Format(time.RFC3339)+" v"+number(r.Version)+" "+r.Policy+" "+r.Decision.Slot)
	}
	return told
}

func TestSimulate(t *testing.T) {
	age, uses := must(NewMaxAge(30*day)), must(NewMaxUses(1000))
	monthly := must(NewMonthly(1, clockTime("02:00"), nil))
	night := must(NewWindow(nil, clockTime("08:00"), clockTime("18:00"), nil))
	key := madeAt(made)
	used := key
	used.Uses, used.TotalUses = 900, 1900
	limited := key
	limited.HardLimit = 2000
	suspended := key
	suspended.Version = 0
	for _, tt := range []struct {
		name       string
		policies   []Policy
		key        Key
		usesPerDay uint64
		want       []string
	}{
		{"age", []Policy{age, HardLimit{}}, key, 0, []string{
			"2026-02-09T12:00:00Z v3 max_age " + madeSlot,
			"2026-03-11T12:00:00Z v4 max_age v4@1770638400000000",
		}},
		{"uses", []Policy{uses}, used, 50, []string{
			"2026-01-22T00:00:00Z v3 max_uses " + madeSlot,
			"2026-02-11T00:00:00Z v4 max_uses v4@1769040000000000",
			"2026-03-03T00:00:00Z v5 max_uses v5@1770768000000000",
			"2026-03-23T00:00:00Z v6 max_uses v6@1772496000000000",
		}},
		{"uses that nobody counts", []Policy{uses}, used, 0, nil},
		{"the hard limit", []Policy{uses, HardLimit{}}, limited, 20, []string{
			// 1,000 of both: the policy that is named first.
			"2026-03-11T00:00:00Z v3 max_uses " + madeSlot,
		}},
		{"any, held by a blackout", []Policy{must(NewBlackout(must(NewAny(monthly, age)), night))}, key, 0, []string{
			"2026-02-01T02:00:00Z v3 any schedule:2026-02-01T02:00:00Z",
			"2026-03-01T02:00:00Z v4 any schedule:2026-03-01T02:00:00Z",
			"2026-03-31T02:00:00Z v5 any max_age:v5@1772330400000000",
			"2026-04-01T02:00:00Z v6 any schedule:2026-04-01T02:00:00Z",
		}},
		{"all, of which one needs uses", []Policy{must(NewAll(uses, monthly))}, key, 40, []string{
			// 25 days, in which the first of a month has come.
			"2026-02-14T00:00:00Z v3 all " + madeSlot,
			"2026-03-11T00:00:00Z v4 all v4@1771027200000000",
		}},
		{"two numbers of uses", []Policy{must(NewAny(must(NewAll(uses, must(NewMaxAge(300*day)))), must(NewMaxUses(3000))))}, key, 100, []string{
			"2026-02-19T00:00:00Z v3 any max_uses:" + madeSlot,
			"2026-03-21T00:00:00Z v4 any max_uses:v4@1771459200000000",
		}},
		{"no primary", []Policy{age}, suspended, 50, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			to := "2026-04-02T00:00:00Z"
			got := rotations(tt.policies, tt.key, "2026-01-20T00:00:00Z", to, tt.usesPerDay)
			if !slices.Equal(got, tt.want) {
				t.Errorf("\ngot  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// TestSimulateServesEachSlotOnce: over ten years and in each zone, every time of a
// schedule, at that time.
func TestSimulateServesEachSlotOnce(t *testing.T) {
	start, end := at("2009-06-01T00:00:00Z"), at("2019-06-01T00:00:00Z")
	for _, name := range zones {
		s := must(NewDaily(clockTime("00:00"), zone(t, name)))
		var want []time.Time
		beforeTheClock(s.zone, start, end, 15*time.Minute, func(now time.Time, shown []time.Time) {
			if slices.ContainsFunc(shown, func(c time.Time) bool { return c.Hour() == 0 && c.Minute() == 0 }) {
				want = append(want, now)
			}
		})
		i := 0
		for r := range Simulate([]Policy{s}, madeAt(start), start, end, 0) {
			if i == len(want) || !r.At.Equal(want[i]) || r.Decision.Slot != want[i].Format(time.RFC3339) || r.Version != uint32(3+i) {
				t.Fatalf("%s: rotation %d: %+v", name, i, r)
			}
			i++
		}
		if i != len(want) || i < 3650 {
			t.Errorf("%s: %d rotations at %d times", name, i, len(want))
		}
	}
}

// TestSimulateStops: when nobody listens any more, and when a rule is due for ever.
func TestSimulateStops(t *testing.T) {
	always := must(NewCustom("always", "always", func(Key, time.Time) Decision { return Decision{Due: true} }))
	n := 0
	for range Simulate([]Policy{always}, madeAt(made), made, made.Add(365*day), 0) {
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Errorf("%d rotations", n)
	}
	n = 0
	for range Simulate([]Policy{always}, madeAt(made), made, made.Add(10*time.Second), 0) {
		n++
	}
	if n != 10 {
		t.Errorf("%d rotations in ten seconds", n)
	}
	// One occasion that never ends: its slot rotates once.
	once := must(NewCustom("once", "once", func(Key, time.Time) Decision { return Decision{Due: true, Slot: "the only one"} }))
	if got := rotations([]Policy{once}, madeAt(made), "2026-01-20T00:00:00Z", "2027-01-20T00:00:00Z", 5); len(got) != 1 {
		t.Errorf("%q", got)
	}
	// Numbers at their ends.
	most := must(NewMaxUses(1<<64 - 1))
	for _, perDay := range []uint64{1, 1 << 63, 1<<64 - 1} {
		n := 0
		for range Simulate([]Policy{most, HardLimit{}}, Key{Version: 1, HardLimit: 1<<64 - 1}, made, made.Add(10*day), perDay) {
			n++
		}
		if perDay == 1 && n != 0 || perDay > 1 && (n < 8 || n > 20) {
			t.Errorf("%d uses a day: %d rotations in ten days", perDay, n)
		}
	}
}
