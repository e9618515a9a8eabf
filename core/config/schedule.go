package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/provider"
)

// repeats are the attributes of a schedule of which there must be exactly one.
var repeats = []string{"daily", "weekly", "monthly", "cron"}

// schedule reads a schedule block, nil if it is wrong.
func (l *loader) schedule(s scope) policy.Policy {
	before := len(*l.found)
	content := l.found.content(s, attributesOnly(append([]string{"at", "timezone"}, repeats...)...))
	var set []string
	for _, name := range repeats {
		if content.Attributes[name] != nil {
			set = append(set, name)
		}
	}
	loc := parsed(l, s, content, "timezone", zone)
	at := parsed(l, s, content, "at", policy.ParseTimeOfDay)
	switch {
	case len(set) != 1:
		found := "none of them"
		if len(set) > 0 {
			found = strings.Join(set, ", ")
		}
		l.found.add(s.at, s.path, fmt.Sprintf("%s has %s", s.title, found), "set exactly one of "+strings.Join(repeats, ", "))
	case set[0] == "cron" && content.Attributes["at"] != nil:
		l.found.add(content.Attributes["at"].NameRange, s.attribute("at"), fmt.Sprintf(`attribute "at"%s beside "cron"`, s.in()),
			"leave it out: the cron expression has the time")
	case set[0] != "cron" && content.Attributes["at"] == nil:
		l.found.add(s.at, s.attribute("at"), fmt.Sprintf(`missing attribute "at"%s`, s.in()), `the time of day, such as "02:00"`)
	}
	if len(*l.found) > before {
		return nil
	}
	a := content.Attributes[set[0]]
	p, err := l.repeat(s, a, at, loc)
	switch {
	case len(*l.found) > before: // its type, or a day of the week
		return nil
	case err != nil:
		l.wrong(s, a, err)
		return nil
	}
	return p
}

// repeat makes the schedule that the one of its attributes asks for.
func (l *loader) repeat(s scope, a *hcl.Attribute, at policy.TimeOfDay, loc *time.Location) (policy.Policy, error) {
	switch a.Name {
	case "daily":
		if yes, ok := l.attribute(s, provider.Attribute{Name: a.Name, Type: provider.Bool}, a).(bool); ok && !yes {
			return nil, errors.New("must be true, if it is there")
		}
		return policy.NewDaily(at, loc)
	case "weekly":
		days := l.weekdays(s, a)
		if len(days) == 0 {
			return nil, errNoDay
		}
		return policy.NewWeekly(days, at, loc)
	case "monthly":
		n, err := l.dayOfMonth(a)
		if err != nil {
			return nil, err
		}
		return policy.NewMonthly(n, at, loc)
	default:
		text, _ := l.attribute(s, provider.Attribute{Name: a.Name, Type: provider.String}, a).(string)
		return policy.NewCron(text, loc)
	}
}

var errNoDay = errors.New(`must be a day of the week, such as "sunday", or a list of them`)

// weekdays reads one day of the week, or a list of them.
func (l *loader) weekdays(s scope, a *hcl.Attribute) []time.Weekday {
	value, err := l.eval(a.Expr)
	if err == nil && value.kind == kindText {
		return l.weekday(s, a, a.Expr)
	}
	texts, ok := l.attribute(s, provider.Attribute{Name: a.Name, Type: provider.StringList}, a).([]string)
	if !ok {
		return nil
	}
	var days []time.Weekday
	for i := range texts {
		days = append(days, l.weekday(s, a, element(a.Expr, i))...)
	}
	return days
}

func (l *loader) weekday(s scope, a *hcl.Attribute, expr hcl.Expression) []time.Weekday {
	value, _ := l.eval(expr) // it has just been read without error
	d, err := policy.ParseWeekday(value.text)
	if err != nil {
		l.wrong(s, &hcl.Attribute{Name: a.Name, Expr: expr}, err)
		return nil
	}
	return []time.Weekday{d}
}

// dayOfMonth reads a number, or "last".
func (l *loader) dayOfMonth(a *hcl.Attribute) (int, error) {
	value, err := l.eval(a.Expr)
	if err != nil {
		return 0, err
	}
	if value.kind == kindNumber {
		if n, exact := value.number.Int64(); exact == 0 && n == int64(int32(n)) {
			return int(n), nil
		}
	}
	if n, err := strconv.Atoi(value.text); err == nil && value.outside {
		return n, nil
	}
	if value.text == "last" {
		return policy.LastDay, nil
	}
	return 0, errors.New(`must be a day of the month, from 1 to 31, or "last"`)
}

func attributesOnly(names ...string) *hcl.BodySchema {
	out := &hcl.BodySchema{}
	for _, name := range names {
		out.Attributes = append(out.Attributes, hcl.AttributeSchema{Name: name})
	}
	return out
}

// blackouts reads the windows in which a key is not rotated.
func (l *loader) blackouts(rotation scope, blocks hcl.Blocks) []policy.Window {
	var windows []policy.Window
	for _, b := range blocks {
		s := nested(rotation, b, "")
		before := len(*l.found)
		w := l.blackout(s)
		if len(*l.found) == before {
			windows = append(windows, w)
		}
	}
	return windows
}

func (l *loader) blackout(s scope) policy.Window {
	content := l.found.content(s, attributesOnly("days", "from", "to", "start", "end", "timezone"))
	has := func(name string) bool { return content.Attributes[name] != nil }
	loc := parsed(l, s, content, "timezone", zone)
	dated, recurring := has("start") || has("end"), has("days") || has("from") || has("to")
	switch {
	case dated && recurring:
		l.found.add(s.at, s.path, s.title+" has both dates and times of the day", "write two blackout blocks")
	case dated:
		return l.datedWindow(s, content, loc)
	case recurring:
		return l.window(s, content, loc)
	default:
		l.found.add(s.at, s.path, s.title+" says nothing", "set from and to, or start and end")
	}
	return policy.Window{}
}

func (l *loader) window(s scope, content *hcl.BodyContent, loc *time.Location) (w policy.Window) {
	before := len(*l.found)
	var days []time.Weekday
	if a := content.Attributes["days"]; a != nil {
		if days = l.weekdays(s, a); len(days) == 0 && len(*l.found) == before {
			l.wrong(s, a, errNoDay)
		}
	}
	l.both(s, content, "from", "to")
	from := parsed(l, s, content, "from", policy.ParseTimeOfDay)
	to := parsed(l, s, content, "to", policy.ParseTimeOfDay)
	if len(*l.found) > before {
		return w
	}
	w, err := policy.NewWindow(days, from, to, loc)
	if err != nil {
		l.wrong(s, content.Attributes["days"], err)
	}
	return w
}

func (l *loader) datedWindow(s scope, content *hcl.BodyContent, loc *time.Location) (w policy.Window) {
	before := len(*l.found)
	l.both(s, content, "start", "end")
	start := parsed(l, s, content, "start", policy.ParseDate)
	end := parsed(l, s, content, "end", policy.ParseDate)
	if len(*l.found) > before {
		return w
	}
	w, err := policy.NewDatedWindow(start, end, loc)
	if err != nil {
		l.wrong(s, content.Attributes["end"], err)
	}
	return w
}

// both reports that one of two attributes is missing.
func (l *loader) both(s scope, content *hcl.BodyContent, names ...string) {
	for _, name := range names {
		if content.Attributes[name] == nil {
			l.found.add(s.at, s.attribute(name), fmt.Sprintf("missing attribute %q%s", name, s.in()), "")
		}
	}
}
