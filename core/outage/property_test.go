package outage

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyrotor/keyrotor/core/provider"
)

// model says in the plainest words what must hold for one key under one version of a
// KEK; the KEK itself is compared with it after every step.
type model struct {
	budget Budget
	opened time.Time
	// failing: the newest question that was not about a refusal has no answer.
	failing bool
	// first is when the first of two refusals was, zero if there is none.
	first   time.Time
	revoked bool
}

func (m *model) opens(now time.Time) {
	m.opened, m.failing, m.first, m.revoked = now, false, time.Time{}, false
}

// refused is somebody's refusal, or that of a question that was asked at a time.
func (m *model) refused(now time.Time, asked ...time.Time) {
	switch {
	case m.revoked:
	case m.first.IsZero() || now.Sub(m.first) > time.Minute:
		m.first = now
	case len(asked) > 0 && asked[0].After(m.first):
		m.revoked, m.first = true, time.Time{}
	}
}

// TestAnyCourse: whatever a key manager does, a key works while its budget lasts and
// nothing was refused twice within a minute, and at no other time; it is told of in
// pairs, and is asked no more often than it should be.
func TestAnyCourse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := Budget{
			TTL:   time.Duration(rapid.Int64Range(int64(MinTTL), int64(3*time.Hour)).Draw(t, "ttl")),
			Grace: time.Duration(rapid.Int64Range(0, int64(3*time.Hour)).Draw(t, "grace")),
		}
		now := start
		k := New(kekID, now)
		k.Rely("payments", b, "1")
		k.Opened(now, now, "1")
		m := &model{budget: b, opened: now}
		var degraded, revoked bool
		var asked time.Time

		check := func() {
			for _, c := range k.Advance(now) {
				flag := &degraded
				if c.Revoked {
					flag = &revoked
				}
				switch {
				case c.Kind == Entered && *flag, c.Kind == Left && !*flag:
					t.Fatalf("%s twice", c.Kind)
				case c.Kind == Spent && !degraded:
					t.Fatal("spent without being degraded")
				}
				*flag = c.Kind == Entered || *flag && c.Kind == Spent
				if !slices.Equal(c.Keys, []string{"payments"}) || c.Unused {
					t.Fatalf("%+v", c)
				}
			}
			spent := m.failing && !now.Before(m.opened.Add(b.TTL+b.Grace))
			err := k.Barred(now, "payments", b, "1")
			if (err != nil) != (spent || m.revoked) || errors.Is(err, ErrBudget) != (spent && !m.revoked) || k.Holds(now, b, "1") != (err == nil) {
				t.Fatalf("after %s: %v; spent %v, revoked %v", now.Sub(start), err, spent, m.revoked)
			}
			if degraded != m.failing || revoked != m.revoked {
				t.Fatalf("degraded %v, revoked %v; %+v", degraded, revoked, m)
			}
			want := OK
			switch {
			case m.revoked:
				want = Revoked
			case spent:
				want = Exhausted
			case m.failing:
				want = Degraded
			}
			if s := k.Status(); s.State != want {
				t.Fatalf("status %+v, want %s", s, want)
			}
		}
		errs := rapid.SampledFrom([]error{nil, nil, errDown, errDenied, provider.Throttled, provider.Integrity, provider.Unauthenticated, provider.NotFoundKey})
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { check() },
			"wait for it": func(t *rapid.T) {
				if next := k.Next(); next.After(now) {
					now = next
				}
			},
			"time passes": func(t *rapid.T) {
				d := rapid.Int64Range(0, int64(2*time.Hour)).Draw(t, "d")
				if rapid.Bool().Draw(t, "short") {
					d /= 1000
				}
				now = now.Add(time.Duration(d))
			},
			"a call": func(t *rapid.T) {
				err := errs.Draw(t, "answer")
				if err == nil {
					k.Opened(now, now, "1")
					m.opens(now)
					return
				}
				if k.Failed(now, "1", err); Revokes(err) {
					m.refused(now)
				}
			},
			"its turn": func(t *rapid.T) {
				due := k.Due(now)
				if len(due) == 0 {
					if next := k.Next(); next.IsZero() || !next.After(now) {
						t.Fatalf("nothing is due, and next is %s", next)
					}
					return
				}
				if quiet := !m.failing && m.first.IsZero() && !m.revoked; quiet && now.Before(m.opened.Add(b.TTL)) {
					t.Fatal("asked before its time")
				}
				if now.Sub(asked) < 500*time.Millisecond && m.failing {
					t.Fatal("asked again at once")
				}
				asked = now
				k.Asked(now, "1")
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(30*time.Second)).Draw(t, "takes")))
				err := errs.Draw(t, "answer")
				k.Answered(now, "1", err)
				switch {
				case err == nil:
					m.opens(now)
				case Revokes(err):
					m.refused(now, asked)
				case !m.revoked && !now.Before(m.opened.Add(b.TTL)):
					m.failing = true
				}
			},
		})
	})
}
