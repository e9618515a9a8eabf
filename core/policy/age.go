package policy

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// MaxAge rotates a version that has reached an age.
type MaxAge struct {
	age   time.Duration
	words string
}

// NewMaxAge answers the policy for an age above zero.
func NewMaxAge(age time.Duration) (*MaxAge, error) {
	if age <= 0 {
		return nil, fmt.Errorf("a maximum age of %s: it must be above zero", age)
	}
	return &MaxAge{age, Words(age)}, nil
}

// Name is "max_age".
func (p *MaxAge) Name() string { return "max_age" }

// Description is like "every 90 days".
func (p *MaxAge) Description() string { return "every " + p.words }

// Decide has the key due once its primary is as old as the policy allows.
func (p *MaxAge) Decide(key Key, now time.Time) Decision {
	if key.Version == 0 {
		return Decision{Why: noPrimary}
	}
	made := key.Rotated.UTC()
	end := made.Add(p.age)
	if now.Before(end) {
		return Decision{
			Why:  "version " + number(key.Version) + " was made on " + instant(made) + " and may become " + p.words + " old",
			Next: end,
		}
	}
	return Decision{
		Due: true, Reason: keyring.ReasonTimeExpired, Slot: versionSlot(key), Since: end,
		Why: "version " + number(key.Version) + " was made on " + instant(made) + " and has been in use for " + p.words,
	}
}

func (p *MaxAge) spacing() time.Duration { return p.age }

// day is how ages count: always 24 hours, whatever clocks do.
const day = 24 * time.Hour

// units of an age, longest first.
var units = [...]struct {
	letter byte
	word   string
	length time.Duration
}{
	{'w', "week", 7 * day},
	{'d', "day", day},
	{'h', "hour", time.Hour},
	{'m', "minute", time.Minute},
	{'s', "second", time.Second},
}

// ParseAge reads an age such as "90d", "12w", "36h" or "1d12h": whole numbers of
// weeks (w), days (d), hours (h), minutes (m) and seconds (s), the longer unit
// first. A day is 24 hours. There are no months and years, which differ in length:
// a schedule has them.
func ParseAge(text string) (time.Duration, error) {
	fail := func(why string) (time.Duration, error) {
		return 0, fmt.Errorf("%q %s: write whole weeks, days, hours, minutes or seconds, such as \"90d\", \"12w\" or \"1d12h\"", text, why)
	}
	if text == "" {
		return fail("is empty")
	}
	var age time.Duration
	rest, next := text, 0
	for rest != "" {
		n, digits, err := leadingNumber(rest)
		if err != nil {
			return fail(err.Error())
		}
		rest = rest[digits:]
		if rest == "" {
			return fail("has a number without a unit")
		}
		i := next
		for i < len(units) && units[i].letter != rest[0] {
			i++
		}
		if i == len(units) {
			if strings.IndexByte("wdhms", rest[0]) >= 0 {
				return fail("names a unit twice, or a shorter one before a longer one")
			}
			return fail("has an unknown unit")
		}
		if n > int64(1<<63-1-age)/int64(units[i].length) {
			return fail("is longer than can be counted (292 years)")
		}
		age += time.Duration(n) * units[i].length
		rest, next = rest[1:], i+1
	}
	if age == 0 {
		return fail("is zero")
	}
	return age, nil
}

// leadingNumber reads the digits that text begins with.
func leadingNumber(text string) (n int64, digits int, err error) {
	for digits < len(text) && '0' <= text[digits] && text[digits] <= '9' {
		if n > (1<<63-10)/10 {
			return 0, 0, errors.New("is longer than can be counted (292 years)")
		}
		n = n*10 + int64(text[digits]-'0')
		digits++
	}
	if digits == 0 {
		return 0, 0, errors.New("has no number where one should be")
	}
	return n, digits, nil
}

// Words says a length of time for a person: "90 days", "1 day 12 hours". Weeks are
// told as days. What is below a second is left out.
func Words(d time.Duration) string {
	if d < 0 {
		return "minus " + Words(-max(d, -1<<63+1))
	}
	if d < time.Second {
		return "0 seconds"
	}
	var words []string
	for _, unit := range units[1:] {
		n := int64(d / unit.length)
		d %= unit.length
		if n > 0 {
			words = append(words, count(uint64(n), unit.word))
		}
	}
	return strings.Join(words, " ")
}
