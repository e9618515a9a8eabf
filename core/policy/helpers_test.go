package policy

import (
	"testing"
	"time"

	_ "time/tzdata"
)

// zones are those that bite: half-hour steps, offsets of three quarters, a day that
// was skipped, gaps and repetitions at midnight, and none of it.
var zones = []string{
	"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu",
	"Pacific/Apia", "America/Sao_Paulo",
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// must is for constructors of what is known to be right.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// at reads an instant.
func at(text string) time.Time { return must(time.Parse(time.RFC3339, text)) }

func clockTime(text string) TimeOfDay { return must(ParseTimeOfDay(text)) }

// madeAt is a key whose third version was made at a time.
func madeAt(rotated time.Time) Key {
	return Key{
		Name: "payments", Created: rotated.Add(-1000 * day), Version: 3, Rotated: rotated, Activated: rotated,
		HardLimit: 1 << 32,
	}
}
