package simulation

import (
	"math"
	"slices"
	"sort"
	"time"
)

const day = 24 * time.Hour

// zones are those in which the keys' schedules and windows are.
var zones = []*time.Location{
	load("UTC"), load("Europe/Berlin"), load("America/New_York"), load("Australia/Lord_Howe"),
	load("Asia/Kathmandu"), load("Pacific/Apia"), load("America/Sao_Paulo"),
}

func load(name string) *time.Location {
	loc, err := time.LoadLocation(name)
	if err != nil {
		panic(err)
	}
	return loc
}

// timetable is a schedule as one says it to a person who watches a clock.
type timetable struct {
	name   string
	zone   int
	weight int
	shows  func(c clock) bool
}

// clock is what somebody reads off the wall.
type clock struct {
	year, day, hour, minute int
	month                   time.Month
	weekday                 time.Weekday
}

func (c clock) is(hour, minute int) bool { return c.hour == hour && c.minute == minute }

// watchClocks looks at the clocks of each zone every five minutes and notes, for each
// timetable, when they came to show one of its times, or jumped over it.
func watchClocks() map[string][]int64 {
	const every = 5 * time.Minute
	noted := make(map[string][]int64)
	for i, loc := range zones {
		tables := slices.DeleteFunc(slices.Clone(timetables), func(tt timetable) bool { return tt.zone != i })
		start := began.Add(-40 * day)
		wall := func(t time.Time) time.Time {
			_, offset := t.In(loc).Zone()
			return t.Add(time.Duration(offset) * time.Second)
		}
		high := wall(start)
		for now := start.Add(every); now.Before(ended.Add(800 * day)); now = now.Add(every) {
			for shown := wall(now); high.Before(shown); {
				high = high.Add(every)
				year, month, date := high.Date()
				c := clock{year, date, high.Hour(), high.Minute(), month, high.Weekday()}
				for _, tt := range tables {
					at := noted[tt.name]
					if tt.shows(c) && (len(at) == 0 || at[len(at)-1] != now.UnixNano()) {
						noted[tt.name] = append(at, now.UnixNano())
					}
				}
			}
		}
	}
	return noted
}

// never is later than everything; always earlier.
const (
	never  = math.MaxInt64
	always = math.MinInt64
)

// rule is what the oracle knows of a policy. One of its fields says what kind it is.
type rule struct {
	age      time.Duration
	uses     uint64
	slots    []int64
	all, any []rule
}

// due is since when a key is due. Both are set if it depends: a policy that comes to
// know less is no longer delayed.
type due struct {
	known   int64 // from then on, and one knows
	unknown int64 // from then on, and nobody knows since when
}

func (d due) from() int64 { return min(d.known, d.unknown) }

// delayed is when at the latest, if what is known is delayed by less than so much.
func (d due) delayed(jitter time.Duration) int64 {
	if d.known == never {
		return d.unknown
	}
	return min(d.known+int64(jitter), d.unknown)
}

// since is when a key that was rotated at a time becomes due.
func (r rule) since(rotated int64, enough func(uint64) bool) due {
	switch {
	case r.age > 0:
		return due{rotated + int64(r.age), never}
	case r.uses > 0:
		if enough(r.uses) {
			return due{never, always}
		}
		return due{never, never}
	case r.slots != nil:
		i := sort.Search(len(r.slots), func(i int) bool { return r.slots[i] > rotated })
		return due{r.slots[i], never}
	case r.any != nil:
		d := due{never, never}
		for _, part := range r.any {
			p := part.since(rotated, enough)
			d = due{min(d.known, p.known), min(d.unknown, p.unknown)}
		}
		return d
	}
	d := due{always, never}
	for _, part := range r.all {
		p := part.since(rotated, enough)
		d = due{max(d.known, p.from()), min(d.unknown, p.unknown)}
	}
	d.unknown = max(d.known, d.unknown)
	return d
}

// numbers are the numbers of uses in a rule, ascending.
func (r rule) numbers() []uint64 {
	var n []uint64
	if r.uses > 0 {
		n = append(n, r.uses)
	}
	for _, part := range slices.Concat(r.any, r.all) {
		n = append(n, part.numbers()...)
	}
	slices.Sort(n)
	return slices.Compact(n)
}

// window is a blackout as one reads it off a clock.
type window struct {
	zone     int
	days     []time.Weekday // none: all
	from, to int            // minutes; to at most from: until the next day
	start    int64          // dated, if set
	end      int64
}

func (w window) shows(at int64) bool {
	if w.start != 0 {
		return w.start <= at && at < w.end
	}
	local := time.Unix(0, at).In(zones[w.zone])
	minute := local.Hour()*60 + local.Minute()
	on := func(d time.Weekday) bool { return len(w.days) == 0 || slices.Contains(w.days, d) }
	today, yesterday := on(local.Weekday()), on((local.Weekday()+6)%7)
	if w.from < w.to {
		return today && w.from <= minute && minute < w.to
	}
	return today && minute >= w.from || yesterday && minute < w.to
}

func inWindow(windows []window, at int64) bool {
	return slices.ContainsFunc(windows, func(w window) bool { return w.shows(at) })
}
