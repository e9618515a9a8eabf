package policy

import (
	"fmt"
	"strings"
	"time"
)

// weekdays are days of the week, a bit for each.
type weekdays uint8

const everyDay weekdays = 1<<7 - 1

func newWeekdays(days []time.Weekday) (weekdays, error) {
	var set weekdays
	for _, d := range days {
		if d < time.Sunday || d > time.Saturday {
			return 0, fmt.Errorf("there is no day %d of the week", int(d))
		}
		if set.has(d) {
			return 0, fmt.Errorf("%s is named twice", d)
		}
		set |= 1 << d
	}
	return set, nil
}

func (s weekdays) has(d time.Weekday) bool { return s&(1<<d) != 0 }

// String is like "Monday and Tuesday", the week beginning on Monday.
func (s weekdays) String() string {
	var names []string
	for i := range 7 {
		if d := time.Weekday((i + 1) % 7); s.has(d) {
			names = append(names, d.String())
		}
	}
	return list(names, "and")
}

// ParseWeekday reads a day of the week, such as "monday" or "mon".
func ParseWeekday(text string) (time.Weekday, error) {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if name := d.String(); strings.EqualFold(text, name) || strings.EqualFold(text, name[:3]) {
			return d, nil
		}
	}
	return 0, fmt.Errorf("%q is no day of the week: write \"monday\" or \"mon\" and so on", text)
}
