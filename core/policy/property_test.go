package policy

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// aKey was rotated around the change of some zone's clocks, often.
func aKey() *rapid.Generator[Key] {
	return rapid.Custom(func(t *rapid.T) Key {
		loc := must(time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "key's zone")))
		key := madeAt(anInstant(loc).Draw(t, "rotated"))
		key.Name = rapid.SampledFrom([]string{"payments", "sessions", "a", "b", "c"}).Draw(t, "name")
		key.Uses = rapid.Uint64Range(0, 2000).Draw(t, "uses")
		key.TotalUses = key.Uses + rapid.Uint64Range(0, 2000).Draw(t, "re-encrypted")
		key.HardLimit = 3000
		return key
	})
}

// kinds of policies to draw from.
type kinds struct{ held, delayed bool }

// aPolicy draws a tree.
func aPolicy(k kinds, depth int) *rapid.Generator[Policy] {
	return rapid.Custom(func(t *rapid.T) Policy {
		last := 3
		if depth > 0 {
			last = 7
		}
		kind := rapid.IntRange(0, last).Draw(t, "kind")
		switch kind {
		case 0:
			return must(NewMaxAge(time.Duration(rapid.Int64Range(int64(time.Hour), int64(400*day)).Draw(t, "age"))))
		case 1:
			return must(NewMaxUses(rapid.Uint64Range(1, 3000).Draw(t, "uses")))
		case 2:
			return HardLimit{}
		case 4, 5:
			parts := rapid.SliceOfN(aPolicy(k, depth-1), 1, 3).Draw(t, "parts")
			if kind == 4 {
				return must(NewAny(parts...))
			}
			return must(NewAll(parts...))
		case 6:
			if k.delayed {
				in := aPolicy(k, depth-1).Draw(t, "delayed")
				if p, err := NewJitter(in, time.Duration(rapid.Int64Range(1, int64(2*day)).Draw(t, "jitter"))); err == nil {
					return p
				}
				return in // its times are too close together
			}
		case 7:
			if k.held {
				return must(NewBlackout(aPolicy(k, depth-1).Draw(t, "held"), rapid.SliceOfN(aWindow(), 1, 3).Filter(leaveTime).Draw(t, "windows")...))
			}
		}
		return aSchedule().Draw(t, "schedule")
	})
}

func leaveTime(windows []Window) bool { return checkWindows(windows...) == nil }

func aWindow() *rapid.Generator[Window] {
	return rapid.Custom(func(t *rapid.T) Window {
		loc := must(time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone")))
		if rapid.IntRange(0, 4).Draw(t, "dated") == 0 {
			start := Date{wall(anInstant(loc).Draw(t, "start"), loc), false}
			end := Date{start.clock.Add(time.Duration(rapid.Int64Range(0, int64(30*day)).Draw(t, "length"))), rapid.Bool().Draw(t, "whole")}
			if w, err := NewDatedWindow(start, end, loc); err == nil {
				return w
			}
			end.clock = end.clock.Add(2 * day)
			return must(NewDatedWindow(start, end, loc))
		}
		days := rapid.SliceOfNDistinct(rapid.Map(rapid.IntRange(0, 6), func(d int) time.Weekday { return time.Weekday(d) }), 0, 5, rapid.ID).Draw(t, "days")
		minute := rapid.Map(rapid.IntRange(0, 24*60-1), func(m int) TimeOfDay { return TimeOfDay(m) })
		return must(NewWindow(days, minute.Draw(t, "from"), minute.Draw(t, "to"), loc))
	})
}

func someTimeAfter(t *rapid.T, from time.Time, name string) time.Time {
	return from.Add(time.Duration(rapid.Int64Range(0, int64(600*day)).Draw(t, name)))
}

// TestDueStaysDue: without blackouts, a key that is due stays so until something
// about it changes, and has always been due since the same instant.
func TestDueStaysDue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, key := aPolicy(kinds{delayed: true}, 2).Draw(t, "policy"), aKey().Draw(t, "key")
		now := someTimeAfter(t, key.Rotated, "now")
		then := someTimeAfter(t, now, "then")
		d, later := p.Decide(key, now), p.Decide(key, then)
		if d.Due && (!later.Due || !later.Since.Equal(d.Since)) {
			t.Fatalf("%s: due at %s since %s; at %s: %+v", p.Description(), now, d.Since, then, later)
		}
		if d.Due && !d.Since.IsZero() {
			if d.Since.After(now) || !p.Decide(key, d.Since).Due || p.Decide(key, d.Since.Add(-1)).Due {
				t.Fatalf("%s: due at %s, but not since %s", p.Description(), now, d.Since)
			}
		}
		if !d.Due && later.Due && !later.Since.IsZero() && !later.Since.After(now) {
			t.Fatalf("%s: not due at %s, and at %s since %s", p.Description(), now, then, later.Since)
		}
	})
}

// TestNextIsWhenItBecomesDue: to the nanosecond, not early and not late, with
// blackouts, too.
func TestNextIsWhenItBecomesDue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, key := aPolicy(kinds{held: true, delayed: true}, 3).Draw(t, "policy"), aKey().Draw(t, "key")
		now := someTimeAfter(t, key.Rotated, "now")
		d := p.Decide(key, now)
		switch {
		case d.Due:
			if !d.Next.IsZero() || d.Slot == "" || !d.Reason.Valid() {
				t.Fatalf("%+v", d)
			}
			return
		case d.Slot != "" || d.Reason != "" || !d.Since.IsZero():
			t.Fatalf("%+v", d)
		case d.Next.IsZero():
			if at := someTimeAfter(t, now, "later"); p.Decide(key, at).Due {
				t.Fatalf("%s: never, and due at %s", p.Description(), at)
			}
			return
		}
		if !d.Next.After(now) || !p.Decide(key, d.Next).Due {
			t.Fatalf("%s at %s: next %s: %+v", p.Description(), now, d.Next, p.Decide(key, d.Next))
		}
		between := now.Add(time.Duration(rapid.Int64Range(0, int64(d.Next.Sub(now)-1)).Draw(t, "between")))
		for _, before := range []time.Time{between, d.Next.Add(-1)} {
			if early := p.Decide(key, before); early.Due {
				t.Fatalf("%s at %s: next %s, but due at %s: %+v", p.Description(), now, d.Next, before, early)
			}
		}
	})
}

// TestJitterBounds: later than the policy inside by less than the jitter, alike for
// all who ask.
func TestJitterBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, key := aPolicy(kinds{}, 2).Draw(t, "policy"), aKey().Draw(t, "key")
		most := time.Duration(rapid.Int64Range(1, int64(2*day)).Draw(t, "jitter"))
		p, err := NewJitter(in, most)
		if err != nil {
			return
		}
		now := someTimeAfter(t, key.Rotated, "now")
		inside, d := in.Decide(key, now), p.Decide(key, now)
		switch {
		case d.Due && !inside.Due:
			t.Fatal("due before the policy inside")
		case inside.Due && inside.Since.IsZero() && !d.Due:
			t.Fatal("delayed, although nobody knows since when")
		case inside.Due && !inside.Since.IsZero() && !d.Due && !now.Before(inside.Since.Add(most)):
			t.Fatalf("due since %s, and at %s still delayed", inside.Since, now)
		case d.Due && !d.Since.IsZero() && (d.Since.Before(inside.Since) || !d.Since.Before(inside.Since.Add(most))):
			t.Fatalf("due since %s, inside since %s", d.Since, inside.Since)
		case d.Due && d.Slot != inside.Slot:
			t.Fatalf("slot %s, inside %s", d.Slot, inside.Slot)
		case !inside.Due && !inside.Next.IsZero() && (d.Next.Before(inside.Next) || !d.Next.Before(inside.Next.Add(most))):
			t.Fatalf("next %s, inside %s", d.Next, inside.Next)
		}
	})
}

// TestJitterSpreads: over many keys the delays fill what there is, and they are what
// they are: replicas of other releases must come to the same.
func TestJitterSpreads(t *testing.T) {
	const keys = 1000
	var buckets [10]int
	for i := range keys {
		d := delay(10*time.Hour, "key"+number(uint32(i)), "schedule", "2026-01-01T00:00:00Z")
		buckets[d/time.Hour]++
	}
	for i, n := range buckets {
		if n < keys/20 || n > keys/5 {
			t.Errorf("%d of %d keys wait for %d hours", n, keys, i)
		}
	}
	if got := delay(2*time.Hour, "payments", "any", "schedule:2026-04-01T02:00:00Z"); got != 1861*time.Second {
		t.Errorf("%d", got)
	}
}

// TestCompositesAgreeWithTheirParts: any is or, all is and.
func TestCompositesAgreeWithTheirParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(aPolicy(kinds{held: true, delayed: true}, 1), 1, 4).Draw(t, "parts")
		key := aKey().Draw(t, "key")
		now := someTimeAfter(t, key.Rotated, "now")
		due := func(p Policy) bool { return p.Decide(key, now).Due }
		isAny, isAll := must(NewAny(parts...)).Decide(key, now), must(NewAll(parts...)).Decide(key, now)
		if isAny.Due != slices.ContainsFunc(parts, due) {
			t.Fatalf("any: %+v", isAny)
		}
		if isAll.Due == slices.ContainsFunc(parts, func(p Policy) bool { return !due(p) }) {
			t.Fatalf("all: %+v", isAll)
		}
		for i, p := range parts {
			want := p.Decide(key, now)
			if got := isAny.Parts[i]; got.Name != p.Name() || got.Decision.Slot != want.Slot || got.Decision.Due != want.Due {
				t.Fatalf("part %d: %+v, want %+v", i, got, want)
			}
		}
	})
}

// TestNothingInABlackout: whenever clocks show a time inside a window, nothing is
// due, and what was waits for a time outside.
func TestNothingInABlackout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		windows := rapid.SliceOfN(aWindow(), 1, 4).Filter(leaveTime).Draw(t, "windows")
		in, key := aPolicy(kinds{}, 1).Draw(t, "policy"), aKey().Draw(t, "key")
		p := must(NewBlackout(in, windows...))
		now := someTimeAfter(t, key.Rotated, "now")
		inside := slices.ContainsFunc(windows, func(w Window) bool { return shows(w, now) })
		d := p.Decide(key, now)
		if d.Due && inside {
			t.Fatalf("%s: due at %s", p.Description(), now)
		}
		if !d.Next.IsZero() && slices.ContainsFunc(windows, func(w Window) bool { return shows(w, d.Next) }) {
			t.Fatalf("%s: next %s", p.Description(), d.Next)
		}
	})
}

// shows looks at the clock only: is the time that it shows one of the window's?
func shows(w Window, t time.Time) bool {
	if w.zone == nil {
		return !t.Before(w.start) && t.Before(w.end)
	}
	local := t.In(w.zone)
	minute := TimeOfDay(local.Hour()*60 + local.Minute())
	today, yesterday := w.days.has(local.Weekday()), w.days.has((local.Weekday()+6)%7)
	if w.from < w.to {
		return today && w.from <= minute && minute < w.to
	}
	return today && minute >= w.from || yesterday && minute < w.to
}

// TestOddInput: times that cannot be, or never were meant: an answer, and no panic.
func TestOddInput(t *testing.T) {
	odd := []time.Time{
		{},
		time.Unix(0, 0), time.Unix(1<<62, 0), time.Unix(-1<<62, 0), at("9999-12-31T23:59:59Z"),
		at("0000-01-01T00:00:00Z"), time.Unix(1<<62, 0).In(zone(t, "Europe/Berlin")), at("2026-05-01T00:00:00Z"),
		time.Unix(1<<63-1, 999999999), time.Unix(-1<<63, 0),
	}
	window := must(NewWindow(nil, clockTime("22:00"), clockTime("06:00"), zone(t, "America/Sao_Paulo")))
	rapid.Check(t, func(t *rapid.T) {
		p := aPolicy(kinds{held: true, delayed: true}, 2).Draw(t, "policy")
		held := must(NewBlackout(p, window))
		for _, rotated := range odd {
			for _, now := range odd {
				key := Key{Name: "odd", Version: 1, Rotated: rotated, Activated: now, Uses: 1<<64 - 1, TotalUses: 1<<64 - 1, HardLimit: 1<<64 - 1}
				if d := held.Decide(key, now); d.Due == (d.Slot == "") {
					t.Fatalf("%s: rotated %s, now %s: %+v", p.Description(), rotated, now, d)
				}
			}
		}
	})
}
