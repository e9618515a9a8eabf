package outage

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

var (
	start = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	kekID = ID{Provider: "prod", KEK: "arn:kek"}

	errDown   = provider.Errorf(provider.Unavailable, "down")
	errDenied = provider.Errorf(provider.Denied, "no")
)

// world is a KEK, and a key manager that answers by the time.
type world struct {
	t   *testing.T
	k   *KEK
	now time.Time
	// answer is what a version of the KEK says, after so long.
	answer func(at time.Duration, kekVersion string) error
	asked  []string
	// changes are "at kind code", with the keys.
	changes []string
	last    Change
}

func newWorld(t *testing.T, answer func(time.Duration, string) error) *world {
	w := &world{t: t, k: New(kekID, start), now: start, answer: answer}
	return w
}

// relying is a world in which a key was opened just now.
func relying(t *testing.T, b Budget, answer func(time.Duration, string) error) *world {
	w := newWorld(t, answer)
	w.k.Rely("payments", b, "1")
	w.k.Opened(w.now, w.now, "1")
	return w
}

func (w *world) at() time.Duration { return w.now.Sub(start) }

func (w *world) advance() {
	for _, c := range w.k.Advance(w.now) {
		what := string(c.Kind)
		if c.Revoked {
			what += " revoked " + c.KEKVersion
		}
		if c.Code != "" {
			what += " " + string(c.Code)
		}
		if c.Unused {
			what += " unused"
		}
		w.changes = append(w.changes, fmt.Sprintf("%s: %s: %s", w.at().Round(time.Second), what, strings.Join(c.Keys, " ")))
		w.last = c
	}
}

// until lets time pass, with answers that come at once.
func (w *world) until(end time.Duration) {
	w.t.Helper()
	for range 10_000 {
		next := w.k.Next()
		if next.IsZero() || next.Sub(start) > end {
			w.now = start.Add(end)
			w.advance()
			return
		}
		if next.After(w.now) {
			w.now = next
		}
		w.advance()
		for _, kv := range w.k.Due(w.now) {
			w.asked = append(w.asked, fmt.Sprintf("%s: %s", w.at().Round(time.Second), kv))
			w.k.Asked(w.now, kv)
			w.k.Answered(w.now, kv, w.answer(w.at(), kv))
		}
		w.advance()
	}
	w.t.Fatal("it is busy for ever")
}

func (w *world) wantChanges(want ...string) {
	w.t.Helper()
	if !slices.Equal(w.changes, want) {
		w.t.Errorf("changes\n  %s\nwant\n  %s", strings.Join(w.changes, "\n  "), strings.Join(want, "\n  "))
	}
}

func (w *world) wantState(want State) {
	w.t.Helper()
	if got := w.k.Status(); got.State != want {
		w.t.Errorf("after %s it is %s, want %s", w.at(), got.State, want)
	}
}

func (w *world) barred(b Budget) error { return w.k.Barred(w.now, "payments", b, "1") }

var hours = Budget{TTL: time.Hour, Grace: time.Hour}

func fine(time.Duration, string) error { return nil }

// between answers err from one time on until another.
func between(from, to time.Duration, err error) func(time.Duration, string) error {
	return func(at time.Duration, _ string) error {
		if at >= from && at < to {
			return err
		}
		return nil
	}
}
