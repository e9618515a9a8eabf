package policy

import "time"

// Wall-clock times are kept as times in UTC that read like the clocks of the zone:
// plain calendar arithmetic, without gaps and repetitions. They become instants
// only at the end, here, so that every wall-clock time is one instant, whatever a
// zone does: first is when the clocks show it, or a later time because it was
// skipped, for the first time; last is when they show an earlier one for the last
// time. The two differ where clocks go back.

// widest is more than any zone was ever off UTC.
const widest = 17 * time.Hour

// wall is what the clocks of a zone show.
func wall(t time.Time, loc *time.Location) time.Time {
	_, offset := t.In(loc).Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// segment is a stretch of time in which a zone keeps its offset. A zero start or
// end is open.
type segment struct {
	start, end time.Time
	offset     time.Duration
}

func segmentAt(t time.Time, loc *time.Location) segment {
	local := t.In(loc)
	start, end := local.ZoneBounds()
	if !end.IsZero() && !end.After(t) {
		// Years that the zone's rules calculate have 365 days there (Go 1.26): on
		// the last day of a leap year, the end lies behind. The offset stays.
		end = t.UTC().Truncate(day).Add(day)
	}
	_, offset := local.Zone()
	return segment{start.UTC(), end.UTC(), time.Duration(offset) * time.Second}
}

// first is the first instant at which the clocks of a zone show a wall-clock time
// or a later one.
func first(clock time.Time, loc *time.Location) time.Time {
	for s := segmentAt(clock.Add(-widest), loc); ; s = segmentAt(s.end, loc) {
		at := clock.Add(-s.offset)
		switch {
		case !s.start.IsZero() && at.Before(s.start):
			return s.start // it was skipped
		case s.end.IsZero() || at.Before(s.end):
			return at
		}
	}
}

// last is the instant from which on the clocks of a zone show a wall-clock time or
// a later one, for good.
func last(clock time.Time, loc *time.Location) time.Time {
	for s := segmentAt(clock.Add(widest), loc); ; s = segmentAt(s.start.Add(-1), loc) {
		at := clock.Add(-s.offset)
		switch {
		case !s.end.IsZero() && at.After(s.end):
			return s.end // it was skipped
		case s.start.IsZero() || at.After(s.start):
			return at
		}
	}
}

// reached is the latest wall-clock time that clocks of a zone have shown up to an
// instant: what they show, or, after they went back, what they had shown before.
// For every wall-clock time c, first(c) is not after t if and only if c is not
// after reached(t).
func reached(t time.Time, loc *time.Location) time.Time {
	s := segmentAt(t, loc)
	latest := t.UTC().Add(s.offset)
	for !s.start.IsZero() && t.Sub(s.start) < 2*widest {
		end := s.start.Add(-1)
		s = segmentAt(end, loc)
		if shown := end.Add(s.offset); shown.After(latest) {
			latest = shown
		}
	}
	return latest
}
