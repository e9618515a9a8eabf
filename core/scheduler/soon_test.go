package scheduler_test

import (
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/scheduler"
)

// TestSoon: a rotation is told of once it is within the lead time, for as long as it
// lasts, and that of a policy that rotates often never.
func TestSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		const day = 24 * time.Hour
		var mu sync.Mutex
		told := make(map[scheduler.Soon]time.Duration) // when for the first time
		p := b.process(interval(time.Hour), func(c *scheduler.Config) {
			c.Lead = day
			c.OnSoon = func(s scheduler.Soon) {
				mu.Lock()
				defer mu.Unlock()
				if s.Why == "" {
					t.Errorf("%+v does not say why", s)
				}
				s.Why = ""
				if _, before := told[s]; !before {
					told[s] = time.Since(b.start)
				}
			}
		})
		b.create(p, "yearly", "a")
		b.create(p, "often", "a")
		b.create(p, "twice", "a")
		b.create(p, "daily", "a")
		b.create(p, "unmanaged", "a")
		b.add(p, "yearly", maxAge(10*day))
		b.add(p, "often", maxAge(2*day-time.Minute))
		b.add(p, "twice", maxAge(2*day))
		at, _ := policy.ParseTimeOfDay("02:00")
		daily, err := policy.NewDaily(at, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		b.add(p, "daily", daily)
		b.add(p, "yearly", bad{"panics at its time", func(k policy.Key, _ time.Time) policy.Decision {
			if k.Version == 2 {
				panic("as the test wants it")
			}
			return policy.Decision{Why: "because", Next: b.start.Add(5 * day)}
		}})
		p.start(b)
		time.Sleep(10*day - time.Minute)
		mu.Lock()
		defer mu.Unlock()
		start := b.start
		want := map[scheduler.Soon]time.Duration{
			{Key: "yearly", Policy: "max_age", Version: 1, Due: start.Add(10 * day)}:           9 * day,
			{Key: "yearly", Policy: "panics at its time", Version: 1, Due: start.Add(5 * day)}: 4 * day,
		}
		for v := range uint32(5) {
			due := time.Duration(v+1) * 2 * day
			want[scheduler.Soon{Key: "twice", Policy: "max_age", Version: v + 1, Due: start.Add(due)}] = due - day
		}
		// A rotation takes place within a moment of its time, and so moves the next.
		got := make(map[scheduler.Soon]time.Duration)
		for s, at := range told {
			s.Due = start.Add(s.Due.Sub(start).Truncate(time.Second))
			got[s] = at.Round(time.Hour)
		}
		if !maps.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	})
}

// TestSoonOff: without a lead time nobody is told.
func TestSoonOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.process(func(c *scheduler.Config) { c.OnSoon = func(s scheduler.Soon) { t.Errorf("%+v", s) } })
		b.create(p, "payments", "a")
		b.add(p, "payments", maxAge(time.Hour))
		p.start(b)
		time.Sleep(59 * time.Minute)
	})
}
