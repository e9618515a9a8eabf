package policy

import (
	"strings"
	"testing"
	"time"
)

// TestWindowEnds tells when windows hold and until when, where clocks change.
func TestWindowEnds(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	date := func(text string) Date { return must(ParseDate(text)) }
	night := must(NewWindow(nil, clockTime("22:00"), clockTime("06:00"), berlin))
	friday := must(NewWindow([]time.Weekday{time.Friday}, clockTime("22:00"), clockTime("06:00"), berlin))
	early := must(NewWindow(nil, clockTime("01:00"), clockTime("02:30"), berlin))
	gone := must(NewWindow(nil, clockTime("02:00"), clockTime("03:00"), berlin))
	whole := must(NewWindow([]time.Weekday{time.Sunday}, clockTime("00:00"), clockTime("00:00"), berlin))
	days := must(NewDatedWindow(date("2026-12-20"), date("2027-01-02"), berlin))
	hours := must(NewDatedWindow(date("2026-12-20 18:00"), date("2026-12-20 18:01"), nil))
	autumn := must(NewDatedWindow(date("2026-10-25 02:30"), date("2026-10-25 02:30"), berlin))
	for _, tt := range []struct {
		window    Window
		now, want string // no want: outside
	}{
		{night, "2026-07-01T19:59:59Z", ""},
		{night, "2026-07-01T20:00:00Z", "2026-07-02T04:00:00Z"},
		{night, "2026-07-02T03:59:59Z", "2026-07-02T04:00:00Z"},
		{night, "2026-07-02T04:00:00Z", ""},
		{night, "2026-03-28T21:30:00Z", "2026-03-29T04:00:00Z"}, // 8 hours less one
		{night, "2026-10-24T20:00:00Z", "2026-10-25T05:00:00Z"}, // and one more
		{friday, "2026-07-03T21:00:00Z", "2026-07-04T04:00:00Z"},
		{friday, "2026-07-04T03:00:00Z", "2026-07-04T04:00:00Z"},
		{friday, "2026-07-04T21:00:00Z", ""},
		// 02:30 comes twice: the window holds whenever clocks show a time in it.
		{early, "2026-10-25T00:15:00Z", "2026-10-25T01:30:00Z"},
		{early, "2026-10-25T01:15:00Z", "2026-10-25T01:30:00Z"},
		{early, "2026-10-25T01:30:00Z", ""},
		// A window that clocks jump over.
		{gone, "2026-03-29T00:59:59Z", ""},
		{gone, "2026-03-29T01:00:00Z", ""},
		{gone, "2026-03-30T00:30:00Z", "2026-03-30T01:00:00Z"},
		{whole, "2026-07-04T21:59:59Z", ""},
		{whole, "2026-07-04T22:00:00Z", "2026-07-05T22:00:00Z"},
		{whole, "2026-07-05T22:00:00Z", ""},
		{days, "2026-12-19T22:59:59Z", ""},
		{days, "2026-12-19T23:00:00Z", "2027-01-02T23:00:00Z"},
		{days, "2027-01-02T23:00:00Z", ""},
		{hours, "2026-12-20T18:00:59Z", "2026-12-20T18:01:00Z"},
		{hours, "2026-12-20T18:01:00Z", ""},
		// From the first 02:30 to the second.
		{autumn, "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"},
	} {
		end, held := tt.window.holding(at(tt.now))
		got := ""
		if held {
			got = end.UTC().Format(time.RFC3339)
		}
		if got != tt.want {
			t.Errorf("%s at %s: until %q, want %q", tt.window, tt.now, got, tt.want)
		}
	}
}

func TestRefusedWindows(t *testing.T) {
	berlin, lordHowe := zone(t, "Europe/Berlin"), zone(t, "Australia/Lord_Howe")
	date := func(text string) Date { return must(ParseDate(text)) }
	window := func(days []time.Weekday, from, to string, loc *time.Location) Window {
		return must(NewWindow(days, clockTime(from), clockTime(to), loc))
	}
	week := []time.Weekday{1, 2, 3, 4, 5}
	age := must(NewMaxAge(time.Hour))
	for name, windows := range map[string][]Window{
		"all day":           {window(nil, "00:00", "00:00", nil)},
		"all day, from 6":   {window(nil, "06:00", "06:00", berlin)},
		"day and night":     {window(nil, "06:00", "18:00", berlin), window(nil, "18:00", "06:00", berlin)},
		"week and weekend":  {window(week, "00:00", "00:00", nil), window([]time.Weekday{6, 0}, "00:00", "00:00", nil)},
		"in two zones":      {window(nil, "00:00", "16:00", lordHowe), window(nil, "04:00", "16:00", nil)},
		"and one with date": {window(nil, "00:00", "00:00", nil), must(NewDatedWindow(date("2026-01-01"), date("2026-01-02"), nil))},
	} {
		if _, err := NewBlackout(age, windows...); err == nil || !strings.Contains(err.Error(), "no time at all") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, windows := range map[string][]Window{
		"all but a minute":     {window(nil, "00:01", "00:00", nil)},
		"a week but an hour":   {window(week, "00:00", "00:00", nil), window([]time.Weekday{6}, "00:00", "00:00", nil), window([]time.Weekday{0}, "01:00", "00:00", nil)},
		"a hundred years":      {must(NewDatedWindow(date("2000-01-01"), date("2100-01-01"), nil))},
		"one that ends it all": {must(NewDatedWindow(date("2000-01-01"), date("9999-12-31"), berlin))},
	} {
		if _, err := NewBlackout(age, windows...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"no policy":       second(NewBlackout(nil, window(nil, "01:00", "02:00", nil))),
		"no window":       second(NewBlackout(age)),
		"a day twice":     second(NewWindow([]time.Weekday{1, 1}, 0, 1, nil)),
		"no such minute":  second(NewWindow(nil, 0, 24*60, nil)),
		"end first":       second(NewDatedWindow(date("2026-01-02"), date("2026-01-01"), nil)),
		"no length":       second(NewDatedWindow(date("2026-01-02 10:00"), date("2026-01-02 10:00"), nil)),
		"no start":        second(NewDatedWindow(Date{}, date("2026-01-01"), nil)),
		"no age":          second(NewMaxAge(0)),
		"no uses":         second(NewMaxUses(0)),
		"nothing in any":  second(NewAny()),
		"nil in all":      second(NewAll(age, nil)),
		"jitter of none":  second(NewJitter(nil, time.Hour)),
		"no jitter":       second(NewJitter(age, 0)),
		"too much jitter": second(NewJitter(must(NewAny(age, must(NewMaxUses(1)))), 61*time.Minute)),
		"jitter of a day": second(NewJitter(must(NewDaily(0, berlin)), 24*time.Hour)), // one day has 23 hours
		"custom's name":   second(NewCustom("Mine", "", func(Key, time.Time) Decision { return Decision{} })),
		"a taken name":    second(NewCustom("any", "", func(Key, time.Time) Decision { return Decision{} })),
		"custom of none":  second(NewCustom("mine", "", nil)),
	} {
		if err == nil {
			t.Errorf("%s is possible", name)
		}
	}
	for _, text := range []string{"", "2026-1-1", "2026-02-30", "2026-01-01T10:00", "2026-01-01 9:00", "2026-01-01 24:00", "20260101"} {
		if d, err := ParseDate(text); err == nil {
			t.Errorf("%q: %s", text, d)
		}
	}
}

func FuzzDatedWindow(f *testing.F) {
	f.Add("2026-12-20", "2027-01-02 12:00", int64(1800000000))
	f.Add("2026-03-29 02:30", "2026-03-29 02:45", int64(1774746000))
	f.Add("0000-01-01", "9999-12-31 23:59", int64(0))
	f.Add("2026-02-30", "24:00", int64(1)<<62)
	f.Fuzz(func(t *testing.T, from, to string, unix int64) {
		start, err := ParseDate(from)
		if err != nil {
			return
		}
		if start.String() != from {
			t.Fatalf("%q became %s", from, start)
		}
		end, err := ParseDate(to)
		if err != nil {
			return
		}
		now := time.Unix(unix, 0)
		for _, name := range zones {
			w, err := NewDatedWindow(start, end, zone(t, name))
			if err != nil {
				continue
			}
			if until, held := w.holding(now); held && !until.After(now) {
				t.Fatalf("%s holds at %s until %s", w, now, until)
			}
			if _, held := w.holding(w.start); !held {
				t.Fatalf("%s does not hold at its start", w)
			}
		}
	})
}
