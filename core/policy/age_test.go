package policy

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestParseAge(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90d": 90 * day, "12w": 84 * day, "36h": 36 * time.Hour, "1d12h": 36 * time.Hour,
		"1w2d3h4m5s": 7*day + 2*day + 3*time.Hour + 4*time.Minute + 5*time.Second,
		"0d1h":       time.Hour, "007d": 7 * day, "106751d": 106751 * day, "9223372036s": 9223372036 * time.Second,
	} {
		if got, err := ParseAge(text); err != nil || got != want {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                                  "is empty",
		"0d":                                "is zero",
		"0w0s":                              "is zero",
		"-1d":                               "no number",
		"+1d":                               "no number",
		"d":                                 "no number",
		"90":                                "a number without a unit",
		"1d12":                              "a number without a unit",
		"1.5d":                              "unknown unit",
		"1M":                                "unknown unit",
		"1y":                                "unknown unit",
		"90 d":                              "unknown unit",
		"1h1d":                              "unit twice, or a shorter one",
		"1d1d":                              "unit twice, or a shorter one",
		"106752d":                           "longer than can be counted",
		"106751d9999h":                      "longer than can be counted",
		"9223372037s":                       "longer than can be counted",
		"9999999999999999999s":              "longer than can be counted",
		"99999999999999999999999999999999d": "longer than can be counted",
	} {
		got, err := ParseAge(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %s, %v; want %q", text, got, err, want)
		}
	}
}

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 seconds", time.Millisecond: "0 seconds", time.Second: "1 second", 90 * time.Second: "1 minute 30 seconds",
		14 * day: "14 days", 25 * time.Hour: "1 day 1 hour", -time.Hour: "minus 1 hour",
		math.MaxInt64: "106,751 days 23 hours 47 minutes 16 seconds", math.MinInt64: "minus 106,751 days 23 hours 47 minutes 16 seconds",
	} {
		if got := Words(d); got != want {
			t.Errorf("%d: %q, want %q", d, got, want)
		}
	}
}

func FuzzParseAge(f *testing.F) {
	for _, seed := range []string{"90d", "12w", "1d12h", "0d", "-1d", "106751d", "99999999999999999999d", "1h1d", "1w2d3h4m5s"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		age, err := ParseAge(text)
		if err != nil {
			if age != 0 {
				t.Fatalf("%q: %s beside %v", text, age, err)
			}
			return
		}
		if age < time.Second || age%time.Second != 0 {
			t.Fatalf("%q: %s", text, age)
		}
		// Said in words and read again: the same.
		words := strings.NewReplacer(",", "", " days", "d", " day", "d", " hours", "h", " hour", "h",
			" minutes", "m", " minute", "m", " seconds", "s", " second", "s", " ", "").Replace(Words(age))
		if again, err := ParseAge(words); err != nil || again != age {
			t.Fatalf("%q is %s; in words %s: %s, %v", text, age, words, again, err)
		}
	})
}
