package policy

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// Schedule rotates a key at set times. A time that a key was not rotated at, because
// nothing ran or nothing could be reached, is caught up with once, however many went
// by; a rotation for another reason counts for all times before it.
//
// Times are what clocks in the schedule's zone show. One that is skipped when clocks
// go forward is due when they do; one that comes twice is due the first time.
type Schedule struct {
	calendar calendar
	zone     *time.Location
	words    string
}

// NewDaily is due once a day. No zone is UTC.
func NewDaily(at TimeOfDay, zone *time.Location) (*Schedule, error) {
	return newSchedule(weekly{everyDay, at}, at, zone, "every day")
}

// NewWeekly is due on some days of each week. No zone is UTC.
func NewWeekly(days []time.Weekday, at TimeOfDay, zone *time.Location) (*Schedule, error) {
	if len(days) == 0 {
		return nil, errors.New("a weekly schedule needs a day of the week")
	}
	set, err := newWeekdays(days)
	if err != nil {
		return nil, err
	}
	return newSchedule(weekly{set, at}, at, zone, "every "+set.String())
}

// NewMonthly is due on one day of each month, from 1 to 31, and on the last day of a
// month that has no such day. No zone is UTC.
func NewMonthly(dayOfMonth int, at TimeOfDay, zone *time.Location) (*Schedule, error) {
	if dayOfMonth < 1 || dayOfMonth > LastDay {
		return nil, fmt.Errorf("there is no day %d of the month: 1 to 31 are possible, and 31 is always the last", dayOfMonth)
	}
	words := "on day " + strconv.Itoa(dayOfMonth) + " of each month"
	switch {
	case dayOfMonth == LastDay:
		words = "on the last day of each month"
	case dayOfMonth > 28:
		words += ", or its last,"
	}
	return newSchedule(monthly{dayOfMonth, at}, at, zone, words)
}

// NewCron is due when a cron expression is: five fields (minute, hour, day of the
// month, month, day of the week from 0, Sunday, to 6), or @hourly, @daily, @weekly,
// @monthly, @yearly. Day of the month and day of the week, both given, mean either.
// No zone is UTC.
func NewCron(expression string, zone *time.Location) (*Schedule, error) {
	times, err := parseCron(expression)
	if err != nil {
		return nil, err
	}
	zone = orUTC(zone)
	return &Schedule{times, zone, fmt.Sprintf("on the cron schedule %q %s", expression, zone)}, nil
}

func newSchedule(c calendar, at TimeOfDay, zone *time.Location, words string) (*Schedule, error) {
	if !at.valid() {
		return nil, fmt.Errorf("there is no minute %d of the day", int(at))
	}
	zone = orUTC(zone)
	return &Schedule{c, zone, words + " at " + at.String() + " " + zone.String()}, nil
}

func orUTC(zone *time.Location) *time.Location {
	if zone == nil {
		return time.UTC
	}
	return zone
}

// Name is "schedule".
func (s *Schedule) Name() string { return "schedule" }

// Description is like "on the last day of each month at 02:00 Europe/Berlin".
func (s *Schedule) Description() string { return s.words }

// Decide has the key due if one of the schedule's times lies after its last
// rotation and not after now. The slot is the latest such time, in UTC; the key is
// due since the earliest.
func (s *Schedule) Decide(key Key, now time.Time) Decision {
	if key.Version == 0 {
		return Decision{Why: noPrimary}
	}
	since := s.after(key.Rotated)
	if since.IsZero() {
		return Decision{Why: "no time of the schedule is left"}
	}
	if since.After(now) {
		return Decision{Why: lastRotation(key), Next: since}
	}
	slot := s.upTo(now)
	return Decision{
		Due: true, Reason: keyring.ReasonScheduled, Slot: slot.Format(time.RFC3339), Since: since,
		Why: lastRotation(key) + ", before " + instant(slot.In(s.zone)),
	}
}

// spacing looks at the times of a year, changes of the clocks among them, but at not
// more than a daily schedule has.
func (s *Schedule) spacing() time.Duration {
	at := s.after(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	end := at.Add(366 * day)
	shortest := time.Duration(1<<63 - 1)
	for i := 0; i < 366 && at.Before(end); i++ {
		next := s.after(at)
		shortest = min(shortest, next.Sub(at))
		at = next
	}
	return shortest
}

func lastRotation(key Key) string {
	return "version " + number(key.Version) + " was made on " + instant(key.Rotated.UTC())
}

// lastYear is the last that RFC 3339 can write.
const lastYear = 9999

// after is the first of the schedule's instants after another; zero if there is
// none up to the year 9999.
func (s *Schedule) after(t time.Time) time.Time {
	clock := s.calendar.after(reached(t, s.zone))
	if clock.IsZero() || clock.Year() > lastYear {
		return time.Time{}
	}
	return first(clock, s.zone)
}

// upTo is the latest of the schedule's instants that is not after another.
func (s *Schedule) upTo(t time.Time) time.Time {
	return first(s.calendar.upTo(reached(t, s.zone)), s.zone)
}
