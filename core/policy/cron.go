package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// cronTimes are the wall-clock times of a cron expression. The library is asked in
// UTC only, about wall-clock times: asked in a zone, it leaves out what falls into
// a gap.
type cronTimes struct{ spec *cron.SpecSchedule }

var cronParser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// parseCron reads five fields, or @hourly, @daily, @weekly, @monthly, @yearly.
func parseCron(expression string) (cronTimes, error) {
	fail := func(why string) error { return fmt.Errorf("the cron expression %q %s", expression, why) }
	trimmed := strings.TrimSpace(expression)
	switch {
	case trimmed == "":
		return cronTimes{}, fail("is empty")
	case strings.Contains(trimmed, "TZ="):
		return cronTimes{}, fail("names a time zone: set the schedule's time zone instead")
	case strings.HasPrefix(trimmed, "@every"):
		return cronTimes{}, fail("counts from the start of a process: use a maximum age instead")
	}
	for field := range strings.FieldsSeq(trimmed) {
		for item := range strings.SplitSeq(field, ",") {
			if item == "" {
				return cronTimes{}, fail("has a comma with nothing before or after it")
			}
		}
	}
	parsed, err := cronParser.Parse(trimmed)
	if err != nil {
		return cronTimes{}, fail("is not one: " + err.Error())
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return cronTimes{}, fail("is not one of five fields")
	}
	spec.Location = time.UTC
	c := cronTimes{spec}
	if c.after(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return cronTimes{}, fail("never fires: no month has that day")
	}
	return c, nil
}

// after asks the library, which gives up after five years, once more for the next
// ones: between 29 February 2096 and that of 2104 there are eight.
func (c cronTimes) after(t time.Time) time.Time {
	next := c.spec.Next(t)
	if next.IsZero() {
		next = c.spec.Next(t.AddDate(5, 0, 0))
	}
	return next
}

// upTo has to look back with a library that looks ahead only. It doubles a window
// that ends at t until there is a time in it, and then halves what may lie between
// the latest time that it knows and t. That takes some 40 questions for a yearly
// schedule and a few for one that fires each minute, instead of one for every time
// on the way.
func (c cronTimes) upTo(t time.Time) time.Time {
	found := c.someUpTo(t)
	if found.IsZero() {
		return found
	}
	beyond := t // there is none after this, up to t
	for beyond.Sub(found) >= time.Minute {
		middle := found.Add(beyond.Sub(found) / 2)
		if next := c.after(middle); !next.IsZero() && !next.After(t) {
			found = next
		} else {
			beyond = middle
		}
	}
	return found
}

// someUpTo is the first time in the smallest window before t that has one.
func (c cronTimes) someUpTo(t time.Time) time.Time {
	for window := time.Minute; window < 20*366*day; window *= 2 {
		if next := c.after(t.Add(-window)); !next.IsZero() && !next.After(t) {
			return next
		}
	}
	return time.Time{}
}
