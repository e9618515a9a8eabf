package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestSlots tells the times of schedules where clocks change, in full.
func TestSlots(t *testing.T) {
	zoned := func(name string) *time.Location { return zone(t, name) }
	for _, tt := range []struct {
		name     string
		schedule *Schedule
		after    string
		want     []string
	}{
		{
			"skipped in Berlin: when the clocks go forward",
			must(NewDaily(clockTime("02:30"), zoned("Europe/Berlin"))), "2026-03-27T12:00:00Z",
			[]string{"2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"},
		},
		{
			"twice in Berlin: the first time",
			must(NewDaily(clockTime("02:30"), zoned("Europe/Berlin"))), "2026-10-23T12:00:00Z",
			[]string{"2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		},
		{
			"half an hour in Lord Howe",
			must(NewDaily(clockTime("02:15"), zoned("Australia/Lord_Howe"))), "2026-10-02T12:00:00Z",
			[]string{"2026-10-02T15:45:00Z", "2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"},
		},
		{
			"three quarters in Kathmandu",
			must(NewDaily(clockTime("00:00"), zoned("Asia/Kathmandu"))), "2026-05-01T12:00:00Z",
			[]string{"2026-05-01T18:15:00Z", "2026-05-02T18:15:00Z"},
		},
		{
			"a midnight that Sao Paulo skipped",
			must(NewDaily(clockTime("00:00"), zoned("America/Sao_Paulo"))), "2018-11-02T12:00:00Z",
			[]string{"2018-11-03T03:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"},
		},
		{
			// 30 December 2011 and 31 December 00:00 are one instant.
			"a day that Apia skipped",
			must(NewDaily(clockTime("00:00"), zoned("Pacific/Apia"))), "2011-12-28T12:00:00Z",
			[]string{"2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"},
		},
		{
			"every quarter of an hour over a gap: once at its end",
			must(NewCron("*/15 1-3 * * *", zoned("Europe/Berlin"))), "2026-03-29T00:40:00Z",
			[]string{"2026-03-29T00:45:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:15:00Z"},
		},
		{
			"every half hour over a repetition: not twice",
			must(NewCron("*/30 * * * *", zoned("Europe/Berlin"))), "2026-10-25T00:20:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z", "2026-10-25T02:30:00Z"},
		},
		{
			"the last day of a month",
			must(NewMonthly(LastDay, clockTime("23:59"), nil)), "2028-01-31T23:59:00Z",
			[]string{"2028-02-29T23:59:00Z", "2028-03-31T23:59:00Z", "2028-04-30T23:59:00Z"},
		},
		{
			"day 30",
			must(NewMonthly(30, clockTime("00:00"), nil)), "2027-01-30T00:00:00Z",
			[]string{"2027-02-28T00:00:00Z", "2027-03-30T00:00:00Z", "2027-04-30T00:00:00Z"},
		},
		{
			"two days of the week",
			must(NewWeekly([]time.Weekday{time.Sunday, time.Thursday}, clockTime("04:00"), nil)), "2026-01-01T04:00:00Z",
			[]string{"2026-01-04T04:00:00Z", "2026-01-08T04:00:00Z", "2026-01-11T04:00:00Z"},
		},
		{
			"a cron day of the month or of the week",
			must(NewCron("0 0 13 * FRI", nil)), "2026-03-10T00:00:00Z",
			[]string{"2026-03-13T00:00:00Z", "2026-03-20T00:00:00Z", "2026-03-27T00:00:00Z", "2026-04-03T00:00:00Z", "2026-04-10T00:00:00Z", "2026-04-13T00:00:00Z"},
		},
		{
			"eight years without a 29 February",
			must(NewCron("0 0 29 2 *", nil)), "2092-03-01T00:00:00Z",
			[]string{"2096-02-29T00:00:00Z", "2104-02-29T00:00:00Z"},
		},
		{
			"@yearly", must(NewCron("@yearly", nil)), "2026-03-01T00:00:00Z",
			[]string{"2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"},
		},
		{
			"the end of what can be written", must(NewDaily(0, nil)), "9999-12-30T00:00:00Z",
			[]string{"9999-12-31T00:00:00Z", "0001-01-01T00:00:00Z"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := at(tt.after)
			for _, want := range tt.want {
				next := tt.schedule.after(now)
				if next.Format(time.RFC3339) != want {
					t.Fatalf("after %s: %s, want %s", now, next.Format(time.RFC3339), want)
				}
				if next.IsZero() {
					break
				}
				if got := tt.schedule.upTo(next); !got.Equal(next) {
					t.Errorf("up to %s: %s", next, got)
				}
				if got := tt.schedule.after(next.Add(-1)); !got.Equal(next) {
					t.Errorf("after just before %s: %s", next, got)
				}
				if got := tt.schedule.upTo(next.Add(-1)); !got.Before(next) || got.After(now) {
					t.Errorf("up to just before %s: %s", next, got)
				}
				now = next
			}
		})
	}
}

// TestUpToIsTheLast: no time of a schedule lies between the one that is said to be
// the last and now, nor between now and the next.
func TestUpToIsTheLast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := aSchedule().Draw(t, "schedule")
		now := anInstant(s.zone).Draw(t, "now")
		last, next := s.upTo(now), s.after(now)
		if last.After(now) || !next.After(now) {
			t.Fatalf("%s: last %s, now %s, next %s", s.Description(), last, now, next)
		}
		if after := s.after(last); !after.Equal(next) {
			t.Fatalf("%s: %s follows %s, and %s follows %s", s.Description(), after, last, next, now)
		}
		if before := s.upTo(next.Add(-1)); !before.Equal(last) {
			t.Fatalf("%s: %s precedes %s, and %s precedes %s", s.Description(), before, next, last, now)
		}
	})
}

func aSchedule() *rapid.Generator[*Schedule] {
	return rapid.Custom(func(t *rapid.T) *Schedule {
		loc := must(time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone")))
		at := TimeOfDay(rapid.IntRange(0, 24*60-1).Draw(t, "at"))
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			return must(NewDaily(at, loc))
		case 1:
			days := rapid.SliceOfNDistinct(rapid.Map(rapid.IntRange(0, 6), func(d int) time.Weekday { return time.Weekday(d) }), 1, 7, rapid.ID).Draw(t, "days")
			return must(NewWeekly(days, at, loc))
		case 2:
			return must(NewMonthly(rapid.IntRange(1, 31).Draw(t, "day"), at, loc))
		default:
			return must(NewCron(rapid.SampledFrom([]string{
				"* * * * *", "*/7 * * * *", "30 2 * * *", "0 0 29 2 *", "15 1,2,3 * * 0", "0 2 * * 1-5",
				"0 0 1,15 * 3", "59 23 31 12 *", "@monthly", "5 4 * 3,10 sun", "*/20 0-3 31 * *",
			}).Draw(t, "expression"), loc))
		}
	})
}

// TestDecadeBeforeTheClock compares the times of schedules over ten years with
// somebody who looks at the clock every quarter of an hour and notes when it shows one of
// them, or has jumped over one, for the first time.
func TestDecadeBeforeTheClock(t *testing.T) {
	start, end := at("2009-06-01T00:00:00Z"), at("2019-06-01T00:00:00Z")
	for _, name := range zones {
		t.Run(name, func(t *testing.T) {
			loc := zone(t, name)
			schedules := []struct {
				schedule *Schedule
				shows    func(clock time.Time) bool
			}{
				{must(NewDaily(clockTime("02:15"), loc)), func(c time.Time) bool { return c.Hour() == 2 && c.Minute() == 15 }},
				{must(NewDaily(clockTime("00:00"), loc)), func(c time.Time) bool { return c.Hour() == 0 && c.Minute() == 0 }},
				{must(NewWeekly([]time.Weekday{time.Sunday, time.Friday}, clockTime("00:30"), loc)), func(c time.Time) bool {
					return c.Hour() == 0 && c.Minute() == 30 && (c.Weekday() == time.Sunday || c.Weekday() == time.Friday)
				}},
				{must(NewMonthly(30, clockTime("12:00"), loc)), func(c time.Time) bool {
					return c.Hour() == 12 && c.Minute() == 0 && (c.Day() == 30 || c.Month() == time.February && c.AddDate(0, 0, 1).Day() == 1)
				}},
				{must(NewCron("*/30 1-2 * * 0", loc)), func(c time.Time) bool {
					return c.Weekday() == time.Sunday && (c.Hour() == 1 || c.Hour() == 2) && c.Minute()%30 == 0
				}},
			}
			noted := make([][]time.Time, len(schedules))
			beforeTheClock(loc, start, end, 15*time.Minute, func(now time.Time, shown []time.Time) {
				for i, s := range schedules {
					if slices.ContainsFunc(shown, s.shows) {
						noted[i] = append(noted[i], now)
					}
				}
			})
			for i, s := range schedules {
				var got []time.Time
				for slot := s.schedule.after(start); slot.Before(end); slot = s.schedule.after(slot) {
					got = append(got, slot)
				}
				if len(got) != len(noted[i]) || len(got) < 100 {
					t.Errorf("%s: %d times, and the clock showed %d", s.schedule.Description(), len(got), len(noted[i]))
				}
				for j := range min(len(got), len(noted[i])) {
					if !got[j].Equal(noted[i][j]) {
						t.Fatalf("%s: %s, and the clock showed it at %s", s.schedule.Description(), got[j], noted[i][j])
					}
				}
			}
		})
	}
}

// beforeTheClock looks at the clocks of a zone every so often, and tells what they
// have come to show since the last look, for the first time.
func beforeTheClock(loc *time.Location, start, end time.Time, every time.Duration, see func(now time.Time, shown []time.Time)) {
	high := wall(start, loc)
	var shown []time.Time
	for now := start.Add(every); now.Before(end); now = now.Add(every) {
		shown = shown[:0]
		for clock := wall(now, loc); high.Before(clock); {
			high = high.Add(every)
			shown = append(shown, high)
		}
		see(now, shown)
	}
}

func TestRefusedSchedules(t *testing.T) {
	for expression, want := range map[string]string{
		"":                      "is empty",
		"   ":                   "is empty",
		"@every 1h":             "counts from the start of a process",
		"TZ=UTC 0 2 * * *":      "names a time zone",
		"CRON_TZ=UTC 0 2 * * *": "names a time zone",
		"TZ=":                   "names a time zone",
		"0 0 30 2 *":            "never fires",
		"0 0 31 4,6,9,11 *":     "never fires",
		"0 2 * *":               "expected exactly 5 fields",
		"0 0 2 * * *":           "expected exactly 5 fields",
		"60 2 * * *":            "above maximum",
		"0 2 * * 7":             "above maximum",
		"0 , * * *":             "comma",
		"0 1,,2 * * *":          "comma",
		"@fortnightly":          "unrecognized",
		"0 2 L * *":             "failed to parse",
	} {
		if _, err := NewCron(expression, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", expression, err, want)
		}
	}
	for _, text := range []string{"", "2:00", "02:0", "24:00", "02:60", "-1:00", "0a:00", "02.00", "02:00:00", "+2:00"} {
		if got, err := ParseTimeOfDay(text); err == nil {
			t.Errorf("%q: %s", text, got)
		}
	}
	for text, want := range map[string]TimeOfDay{"00:00": 0, "02:05": 125, "23:59": 1439} {
		if got, err := ParseTimeOfDay(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for text, want := range map[string]time.Weekday{"sun": time.Sunday, "Monday": time.Monday, "SAT": time.Saturday} {
		if got, err := ParseWeekday(text); err != nil || got != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "s", "sund", "montag", "0"} {
		if got, err := ParseWeekday(text); err == nil {
			t.Errorf("%q: %s", text, got)
		}
	}
	for name, err := range map[string]error{
		"no day":             second(NewWeekly(nil, 0, nil)),
		"a day twice":        second(NewWeekly([]time.Weekday{1, 1}, 0, nil)),
		"an eighth day":      second(NewWeekly([]time.Weekday{7}, 0, nil)),
		"day 0":              second(NewMonthly(0, 0, nil)),
		"day 32":             second(NewMonthly(32, 0, nil)),
		"a time after hours": second(NewDaily(24*60, nil)),
		"a negative time":    second(NewDaily(-1, nil)),
	} {
		if err == nil {
			t.Errorf("%s is possible", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func FuzzCron(f *testing.F) {
	for _, seed := range []string{"0 2 * * 1-5", "@daily", "*/15 0-3 29 2 mon", "TZ=UTC 0 0 * * *", "0 0 30 2 *", "@every 1s", "? ? ? ? ?"} {
		f.Add(seed, int64(1700000000))
	}
	f.Fuzz(func(t *testing.T, expression string, unix int64) {
		s, err := NewCron(expression, time.UTC)
		if err != nil {
			if s != nil || err.Error() == "" {
				t.Fatal("an error beside a schedule, or without words")
			}
			return
		}
		now := time.Unix(unix%4e9, 0).UTC()
		last, next := s.upTo(now), s.after(now)
		if last.After(now) || !next.After(now) || !s.after(last).Equal(next) {
			t.Fatalf("%q at %s: last %s, next %s", expression, now, last, next)
		}
	})
}

func FuzzSchedule(f *testing.F) {
	f.Add("02:00", "sun", 1, "Europe/Berlin", int64(1700000000), int64(1600000000))
	f.Add("24:00", "montag", 32, "Mars", int64(1)<<62, -int64(1)<<62)
	f.Fuzz(func(t *testing.T, text, dayText string, dayOfMonth int, zoneName string, now, rotated int64) {
		at, err := ParseTimeOfDay(text)
		if err != nil {
			return
		}
		if at.String() != text {
			t.Fatalf("%q became %s", text, at)
		}
		loc, err := time.LoadLocation(zoneName)
		if err != nil {
			return
		}
		policies := []Policy{must(NewDaily(at, loc))}
		if d, err := ParseWeekday(dayText); err == nil {
			policies = append(policies, must(NewWeekly([]time.Weekday{d}, at, loc)))
		}
		if monthly, err := NewMonthly(dayOfMonth, at, loc); err == nil {
			policies = append(policies, monthly)
		}
		key := madeAt(time.Unix(rotated, 0))
		for _, p := range policies {
			// Any time at all: an answer, and no panic.
			if d := p.Decide(key, time.Unix(now, 0)); d.Why == "" || d.Due == (d.Slot == "") {
				t.Fatalf("%s: %+v", p.Description(), d)
			}
		}
	})
}
