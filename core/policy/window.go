package policy

import (
	"errors"
	"fmt"
	"time"
)

// Window is a time in which no policy rotates a key.
type Window struct {
	// Recurring ones.
	days     weekdays
	from, to TimeOfDay
	zone     *time.Location
	// Dated ones.
	start, end time.Time
	words      string
}

// NewWindow is a window on some days of each week, or on all if none is named, from
// one time of the day to another. If to is not after from, the window ends on the
// next day. No zone is UTC.
//
// Where clocks go back, a window holds whenever they show a time in it, and all the
// time between its beginning and its end.
func NewWindow(days []time.Weekday, from, to TimeOfDay, zone *time.Location) (Window, error) {
	if !from.valid() || !to.valid() {
		return Window{}, fmt.Errorf("a window from minute %d to minute %d of the day", int(from), int(to))
	}
	set, err := newWeekdays(days)
	if err != nil {
		return Window{}, err
	}
	w := Window{days: set, from: from, to: to, zone: orUTC(zone)}
	w.words = "on " + set.String()
	if set == 0 || set == everyDay {
		w.days, w.words = everyDay, "every day"
	}
	w.words += " from " + from.String() + " to " + to.String()
	if to <= from {
		w.words += " of the next day"
	}
	w.words += " " + w.zone.String()
	return w, nil
}

// NewDatedWindow is a window between two instants, the second of which is outside.
func NewDatedWindow(start, end time.Time) (Window, error) {
	switch {
	case start.IsZero() || end.IsZero():
		return Window{}, errors.New("a window with dates needs both its start and its end")
	case !start.Before(end):
		return Window{}, fmt.Errorf("a window from %s to %s ends before it begins", instant(start), instant(end))
	}
	return Window{start: start, end: end, words: "from " + instant(start) + " to " + instant(end)}, nil
}

// String is like "on Monday and Tuesday from 08:00 to 18:00 Europe/Berlin".
func (w Window) String() string { return w.words }

// holding answers the end of the window that a time lies in.
func (w Window) holding(t time.Time) (end time.Time, ok bool) {
	if w.zone == nil {
		return w.end, !t.Before(w.start) && t.Before(w.end)
	}
	// A window of the day before may reach into this one. One day more to either
	// side is for clocks that go back over midnight.
	year, month, date := wall(t, w.zone).Date()
	for d := date - 2; d <= date+1; d++ {
		from := w.from.on(year, month, d)
		if !w.days.has(from.Weekday()) {
			continue
		}
		to := w.to.on(year, month, d)
		if w.to <= w.from {
			to = w.to.on(year, month, d+1)
		}
		if last := last(to, w.zone); t.Before(last) && !t.Before(first(from, w.zone)) {
			end, ok = last, true
		}
	}
	return end, ok
}
