package policy

import (
	"fmt"
	"time"
)

// TimeOfDay is a time on a clock, in minutes since midnight.
type TimeOfDay int

// ParseTimeOfDay reads a time such as "02:00" or "23:59".
func ParseTimeOfDay(text string) (TimeOfDay, error) {
	digit := func(i int) int { return int(text[i]) - '0' }
	if len(text) == 5 && text[2] == ':' {
		hour, minute := digit(0)*10+digit(1), digit(3)*10+digit(4)
		t := TimeOfDay(hour*60 + minute)
		if t.valid() && t.String() == text {
			return t, nil
		}
	}
	if text == "24:00" {
		return 0, fmt.Errorf("the time of day %q: the end of a day is the next one's 00:00", text)
	}
	return 0, fmt.Errorf("the time of day %q is not one: write hours and minutes from 00:00 to 23:59, such as \"02:00\"", text)
}

func (t TimeOfDay) valid() bool { return 0 <= t && t < 24*60 }

// String is like "02:00".
func (t TimeOfDay) String() string { return fmt.Sprintf("%02d:%02d", int(t)/60, int(t)%60) }

func (t TimeOfDay) on(year int, month time.Month, day int) time.Time {
	return time.Date(year, month, day, 0, int(t), 0, 0, time.UTC)
}

// calendar is a set of wall-clock times. Both methods answer the zero time if there
// is none within reach.
type calendar interface {
	// after is the first that comes after a wall-clock time.
	after(time.Time) time.Time
	// upTo is the last that is not after a wall-clock time.
	upTo(time.Time) time.Time
}

// weekly holds a time on some days of the week, a bit for each.
type weekly struct {
	days weekdays
	at   TimeOfDay
}

func (w weekly) after(t time.Time) time.Time { return w.seek(t, 1) }

func (w weekly) upTo(t time.Time) time.Time { return w.seek(t, -1) }

// seek looks at the day of t and the seven next, or those before.
func (w weekly) seek(t time.Time, step int) time.Time {
	year, month, day := t.Date()
	for range 8 {
		at := w.at.on(year, month, day)
		if w.days.has(at.Weekday()) && (step > 0) == at.After(t) {
			return at
		}
		day += step
	}
	return time.Time{}
}

// LastDay is the last day of a month, whatever its number.
const LastDay = 31

// monthly holds a time on one day of each month, or on the month's last if it has
// no such day.
type monthly struct {
	day int
	at  TimeOfDay
}

func (m monthly) after(t time.Time) time.Time {
	year, month, _ := t.Date()
	if at := m.in(year, month); at.After(t) {
		return at
	}
	return m.in(year, month+1)
}

func (m monthly) upTo(t time.Time) time.Time {
	year, month, _ := t.Date()
	if at := m.in(year, month); !at.After(t) {
		return at
	}
	return m.in(year, month-1)
}

func (m monthly) in(year int, month time.Month) time.Time {
	lastDay := time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
	return m.at.on(year, month, min(m.day, lastDay))
}
