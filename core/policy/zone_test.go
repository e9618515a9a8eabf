package policy

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// changes are the instants in some years at which a zone's clocks change.
func changes(loc *time.Location, from, to int) []time.Time {
	var found []time.Time
	end := time.Date(to, 1, 1, 0, 0, 0, 0, time.UTC)
	before := time.Date(from, 1, 1, 0, 0, 0, 0, time.UTC)
	for t := before; t.Before(end); t = t.Add(time.Hour) {
		if wall(t, loc).Sub(wall(before, loc)) != t.Sub(before) {
			found = append(found, t)
		}
		before = t
	}
	return found
}

// TestWallClockAgainstClocks watches the clocks of each zone for two days around
// each of its changes, every quarter of an hour, and compares what is calculated with when
// they showed what.
func TestWallClockAgainstClocks(t *testing.T) {
	for _, name := range zones {
		t.Run(name, func(t *testing.T) {
			loc := zone(t, name)
			around := append(changes(loc, 2005, 2022), at("2026-07-01T00:00:00Z"), at("2040-12-31T12:00:00Z"), at("2044-12-31T23:30:00Z"))
			for _, change := range around {
				watch(t, loc, change)
			}
		})
	}
}

func watch(t *testing.T, loc *time.Location, change time.Time) {
	const (
		every = 15 * time.Minute
		span  = int(2 * day / every)
	)
	start := change.Add(-day)
	var shown [span]time.Time
	for i := range shown {
		shown[i] = wall(start.Add(time.Duration(i)*every), loc)
	}
	for clock := shown[0].Add(every); clock.Before(shown[span-1]); clock = clock.Add(every) {
		var wantFirst, wantLast time.Time
		for i := range shown {
			if !shown[i].Before(clock) && wantFirst.IsZero() {
				wantFirst = start.Add(time.Duration(i) * every)
			}
			if shown[i].Before(clock) {
				wantLast = start.Add(time.Duration(i+1) * every)
			}
		}
		if got := first(clock, loc); !got.Equal(wantFirst) {
			t.Fatalf("first %s: %s, but the clocks showed it at %s", clock, got, wantFirst)
		}
		if got := last(clock, loc); !got.Equal(wantLast) {
			t.Fatalf("last %s: %s, but the clocks showed an earlier time up to %s", clock, got, wantLast)
		}
	}
	latest := shown[0]
	for i := range shown {
		if shown[i].After(latest) {
			latest = shown[i]
		}
		now := start.Add(time.Duration(i) * every)
		// Right after a change back, the latest is a nanosecond before what was never shown.
		if got := reached(now, loc); got.Sub(latest) < 0 || got.Sub(latest) >= every {
			t.Fatalf("at %s the clocks have reached %s, not %s", now, latest, got)
		}
	}
}

// TestReachedAndFirst holds the sentence by which schedules find their times.
func TestReachedAndFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		loc := must(time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone")))
		now := anInstant(loc).Draw(t, "now")
		clock := reached(now, loc).Add(time.Duration(rapid.Int64Range(-int64(day), int64(day)).Draw(t, "away")))
		if rapid.Bool().Draw(t, "exactly") {
			clock = reached(now, loc)
		}
		if isIn, hasBeen := !first(clock, loc).After(now), !clock.After(reached(now, loc)); isIn != hasBeen {
			t.Fatalf("first(%s) = %s at %s, when the clocks had reached %s", clock, first(clock, loc), now, reached(now, loc))
		}
		if first(clock, loc).After(last(clock, loc)) {
			t.Fatalf("%s: first %s after last %s", clock, first(clock, loc), last(clock, loc))
		}
	})
}

// anInstant is often near a change of the clocks.
func anInstant(loc *time.Location) *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		now := time.Unix(rapid.Int64Range(800000000, 2500000000).Draw(t, "unix"), 0).UTC()
		if rapid.Bool().Draw(t, "near a change") {
			if _, end := now.In(loc).ZoneBounds(); !end.IsZero() {
				now = end.UTC().Add(time.Duration(rapid.Int64Range(-int64(3*time.Hour), int64(3*time.Hour)).Draw(t, "away")))
			}
		}
		return now
	})
}
