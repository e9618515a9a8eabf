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

// Date is a day in the life of a window, or a time on it.
type Date struct {
	clock time.Time
	whole bool
}

// ParseDate reads a day, such as "2026-12-20", or a time on it, "2026-12-20 18:00".
func ParseDate(text string) (Date, error) {
	for _, form := range []string{time.DateOnly, dateAndTime} {
		if t, err := time.Parse(form, text); err == nil && t.Format(form) == text {
			return Date{t, form == time.DateOnly}, nil
		}
	}
	return Date{}, fmt.Errorf("the date %q is not one: write \"2026-12-20\" or \"2026-12-20 18:00\"", text)
}

const dateAndTime = "2006-01-02 15:04"

// String is what ParseDate reads.
func (d Date) String() string {
	if d.whole {
		return d.clock.Format(time.DateOnly)
	}
	return d.clock.Format(dateAndTime)
}

// NewDatedWindow is a window from one date to another. A day without a time is in
// the window as a whole; an end with a time is not. No zone is UTC.
func NewDatedWindow(start, end Date, zone *time.Location) (Window, error) {
	if start.clock.IsZero() || end.clock.IsZero() {
		return Window{}, errors.New("a window with dates needs both its start and its end")
	}
	zone = orUTC(zone)
	until, words := end.clock, "from "+start.String()+" to "
	if end.whole {
		until, words = until.Add(day), words+"the end of "
	}
	w := Window{start: first(start.clock, zone), end: last(until, zone), words: words + end.String() + " " + zone.String()}
	if !w.start.Before(w.end) {
		return Window{}, fmt.Errorf("a window from %s to %s ends before it begins", start, end)
	}
	return w, nil
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
