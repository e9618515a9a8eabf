package outage

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

// TestHealthy: one question a TTL, and nothing to tell.
func TestHealthy(t *testing.T) {
	w := relying(t, hours, fine)
	w.until(10*time.Hour + time.Minute)
	w.wantChanges()
	if len(w.asked) != 10 || w.asked[0] != "1h0m0s: 1" {
		t.Errorf("asked %q", w.asked)
	}
	w.wantState(OK)
}

// TestWithinTTL: an outage that begins and ends between two questions is nobody's.
func TestWithinTTL(t *testing.T) {
	w := relying(t, hours, between(time.Minute, 59*time.Minute, errDown))
	w.until(30 * time.Minute)
	w.k.Failed(w.now, "1", errDown) // somebody who opens another version
	w.until(time.Hour)
	w.wantChanges()
	if len(w.asked) != 1 {
		t.Errorf("asked %q", w.asked)
	}
}

func TestBackWithinGrace(t *testing.T) {
	w := relying(t, hours, between(time.Minute, 90*time.Minute, errDown))
	w.until(time.Hour)
	w.wantChanges("1h0m0s: entered UNAVAILABLE: payments")
	if c := w.last; !c.Since.Equal(start) || !c.Until.Equal(start.Add(2*time.Hour)) || c.Budget != hours {
		t.Errorf("%+v", c)
	}
	if s := w.k.Status(); s.State != Degraded || !s.Since.Equal(w.now) || !s.Until.Equal(start.Add(2*time.Hour)) ||
		s.Code != provider.Unavailable || !s.LastSuccess.Equal(start) || !slices.Equal(s.Keys, []string{"payments"}) {
		t.Errorf("%+v", s)
	}
	w.until(89 * time.Minute)
	if n := len(w.asked); n < 20 || n > 70 {
		t.Errorf("asked %d times in half an hour", n)
	}
	if err := w.barred(hours); err != nil || !w.k.Holds(w.now, hours, "1") {
		t.Errorf("within its grace: %v", err)
	}
	w.until(92 * time.Minute)
	if len(w.changes) != 2 || !strings.HasSuffix(w.changes[1], ": left: payments") || !w.last.Since.Equal(start) {
		t.Errorf("%q", w.changes)
	}
	w.wantState(OK)
	asked := len(w.asked)
	w.until(149 * time.Minute)
	if len(w.asked) != asked {
		t.Errorf("after that it is asked %q", w.asked[asked:])
	}
}

func TestLongerThanGrace(t *testing.T) {
	w := relying(t, hours, between(time.Minute, 5*time.Hour, errDown))
	w.until(2*time.Hour - time.Nanosecond)
	if err := w.barred(hours); err != nil {
		t.Error(err)
	}
	w.until(2 * time.Hour)
	w.wantChanges("1h0m0s: entered UNAVAILABLE: payments", "2h0m0s: spent UNAVAILABLE: payments")
	w.wantState(Exhausted)
	err := w.barred(hours)
	if !errors.Is(err, ErrBudget) || !errors.Is(err, provider.Unavailable) || !provider.Transient(err) || w.k.Holds(w.now, hours, "1") {
		t.Errorf("spent: %v", err)
	}
	for _, want := range []string{`provider "prod"`, `"arn:kek"`, `key "payments"`, "1h0m0s (ttl)", "1h0m0s (grace)", "2026-03-01T08:00:00Z", "down"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %s", err, want)
		}
	}
	asked := len(w.asked)
	w.until(3 * time.Hour)
	if n := len(w.asked) - asked; n < 35 {
		t.Errorf("in an hour it is asked %d times", n)
	}
	w.until(5*time.Hour + 91*time.Second)
	if err := w.barred(hours); err != nil || len(w.changes) != 3 {
		t.Errorf("back: %v, %q", err, w.changes)
	}
	w.wantState(OK)
}

// TestRevoked: access that is gone is noticed at the next question, is confirmed
// within seconds and gets no grace.
func TestRevoked(t *testing.T) {
	w := relying(t, hours, between(time.Minute, 3*time.Hour, errDenied))
	w.until(time.Hour)
	w.wantChanges()
	if err := w.barred(hours); err != nil {
		t.Errorf("refused once: %v", err)
	}
	w.until(time.Hour + 5*time.Second)
	w.wantChanges("1h0m5s: entered revoked 1 DENIED: payments")
	if w.last.Until != (time.Time{}) || !w.last.Since.Equal(start) {
		t.Errorf("%+v", w.last)
	}
	err := w.barred(hours)
	if !errors.Is(err, errDenied) || errors.Is(err, ErrBudget) || w.k.Holds(w.now, hours, "1") {
		t.Errorf("refused twice: %v", err)
	}
	w.wantState(Revoked)
	w.until(3*time.Hour + 91*time.Second)
	if len(w.changes) != 2 || !strings.HasSuffix(w.changes[1], ": left revoked 1: payments") {
		t.Errorf("%q", w.changes)
	}
	w.wantState(OK)
}

// TestRefusals: what confirms a refusal, and what does not.
func TestRefusals(t *testing.T) {
	late := 0
	for name, c := range map[string]struct {
		answer  func(since time.Duration) error // since the first question
		revoked bool
	}{
		"one": {func(s time.Duration) error { return when(s < time.Second, errDenied) }, false},
		"two": {func(s time.Duration) error { return when(s < 6*time.Second, errDenied) }, true},
		"another code": {func(s time.Duration) error {
			return cond(s < time.Second, errDenied, provider.Errorf(provider.InvalidState, ""))
		}, true},
		"an outage between": {func(s time.Duration) error {
			return cond(s < time.Second || s > 20*time.Second, errDenied, errDown)
		}, true},
		"too far apart": {func(s time.Duration) error {
			if s < 2*time.Minute {
				return cond(s < time.Second, errDenied, errDown)
			}
			late++
			return when(late == 1, errDenied)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := relying(t, hours, func(at time.Duration, _ string) error { return c.answer(at - time.Hour) })
			w.until(time.Hour + 10*time.Minute)
			got := slices.ContainsFunc(w.changes, func(s string) bool { return strings.Contains(s, "entered revoked") })
			if got != c.revoked {
				t.Errorf("revoked: %v; asked %q, changes %q", got, w.asked, w.changes)
			}
		})
	}
	if late < 2 {
		t.Errorf("asked %d times after the outage", late)
	}
}

func when(b bool, err error) error { return cond(b, err, nil) }

func cond(b bool, yes, no error) error {
	if b {
		return yes
	}
	return no
}

// TestRefusedBySide: that somebody is refused has it asked within seconds, and confirms
// nothing.
func TestRefusedBySide(t *testing.T) {
	w := relying(t, hours, between(0, 20*time.Minute, nil))
	w.until(10 * time.Minute)
	for range 5 {
		w.k.Failed(w.now, "1", errDenied)
		w.now = w.now.Add(time.Second)
	}
	if err := w.barred(hours); err != nil {
		t.Errorf("nobody looked: %v", err)
	}
	w.k.Failed(w.now, "7", errDenied) // that nothing here relies on
	w.until(20 * time.Minute)
	if !slices.Equal(w.asked, []string{"10m5s: 1"}) {
		t.Errorf("asked %q", w.asked)
	}
	w.wantChanges()

	w = relying(t, hours, between(0, 20*time.Minute, errDenied))
	w.until(10 * time.Minute)
	w.k.Failed(w.now, "1", errDenied)
	w.until(10*time.Minute + 5*time.Second)
	w.wantChanges("10m5s: entered revoked 1 DENIED: payments")
	w.k.Opened(w.now, w.now, "1") // by somebody
	w.advance()
	if err := w.barred(hours); err != nil {
		t.Error(err)
	}
}

// TestOrderOfAnswers: what was asked before a refusal does not undo it, and does not
// confirm it.
func TestOrderOfAnswers(t *testing.T) {
	w := relying(t, hours, between(0, 2*time.Hour, errDenied))
	w.until(10 * time.Minute)
	began := w.now
	w.now = w.now.Add(time.Second)
	w.k.Failed(w.now, "1", errDenied)
	w.k.Opened(began, w.now, "1")
	w.until(10*time.Minute + 10*time.Second)
	w.wantChanges("10m6s: entered revoked 1 DENIED: payments")
	w.k.Opened(began, w.now, "1")
	if err := w.barred(hours); !errors.Is(err, errDenied) {
		t.Errorf("after an old answer: %v", err)
	}

	w = relying(t, hours, fine)
	w.now = start.Add(time.Hour)
	w.k.Asked(w.now, "1")
	w.now = w.now.Add(time.Second)
	w.k.Failed(w.now, "1", errDenied)
	w.k.Answered(w.now.Add(time.Second), "1", errDenied)
	if err := w.barred(hours); err != nil {
		t.Errorf("refused side by side: %v", err)
	}
}

// TestWithdrawn: a refusal of a wrap that is not in use any more is none.
func TestWithdrawn(t *testing.T) {
	w := relying(t, hours, between(0, 2*time.Hour, errDenied))
	w.now = start.Add(10 * time.Minute)
	w.k.Failed(w.now, "1", errDenied)
	w.now = w.now.Add(5 * time.Second)
	if due := w.k.Due(w.now); len(due) != 1 {
		t.Fatalf("due %q", due)
	}
	w.k.Asked(w.now, "1")
	w.k.Withdrawn(w.now, "1")
	if due := w.k.Due(w.now); len(due) != 1 {
		t.Errorf("another wrap is not asked for: due %q", due)
	}
	w.k.Asked(w.now, "1")
	w.k.Disregard()
	w.k.Rely("payments", hours, "2")
	w.k.Withdrawn(w.now, "1")
	if next := w.k.Next(); next.After(w.now) {
		t.Errorf("it looks again at %s", next)
	}
	w.advance()
	w.wantChanges()
	if w.k.Due(w.now) != nil {
		t.Error("what nothing relies on is due")
	}
}

// TestCodes: what each code does to a key that is asked for its hour.
func TestCodes(t *testing.T) {
	revoking := []provider.Code{provider.Denied, provider.InvalidState, provider.NotFoundKey, provider.NotFoundVersion}
	for _, code := range provider.Codes() {
		t.Run(string(code), func(t *testing.T) {
			w := relying(t, hours, between(0, 100*time.Hour, provider.Errorf(code, "x")))
			w.until(time.Hour + time.Minute)
			if got := w.barred(hours) != nil; got != slices.Contains(revoking, code) {
				t.Errorf("barred after two refusals: %v", got)
			}
			w.until(2 * time.Hour)
			err := w.barred(hours)
			want := code
			if provider.Transient(code) {
				want = provider.Unavailable
			}
			if !errors.Is(err, want) || errors.Is(err, ErrBudget) == slices.Contains(revoking, code) {
				t.Errorf("after ttl and grace: %v", err)
			}
			if len(w.changes) > 2 || w.last.Code != code {
				t.Errorf("%q", w.changes)
			}
		})
	}
}

// TestTwoBudgets: the smaller TTL is when the KEK is asked, each key's own limits are
// what ends it.
func TestTwoBudgets(t *testing.T) {
	strict := Budget{TTL: time.Minute, Grace: 0}
	w := relying(t, hours, between(150*time.Second, 100*time.Hour, errDown))
	w.k.Rely("strict", strict, "1")
	w.until(3 * time.Minute)
	if want := []string{"1m0s: 1", "2m0s: 1", "3m0s: 1"}; !slices.Equal(w.asked, want) {
		t.Errorf("asked %q", w.asked)
	}
	w.wantChanges("3m0s: entered UNAVAILABLE: payments strict", "3m0s: spent UNAVAILABLE: strict")
	if err := w.k.Barred(w.now, "strict", strict, "1"); !errors.Is(err, ErrBudget) {
		t.Error(err)
	}
	if err := w.barred(hours); err != nil {
		t.Error(err)
	}
	w.until(4 * time.Hour)
	if w.changes[len(w.changes)-1] != "2h2m0s: spent UNAVAILABLE: payments" {
		t.Errorf("%q", w.changes)
	}

	// Without the strict key, an hour is an hour.
	w = relying(t, hours, between(time.Second, 100*time.Hour, errDown))
	w.k.Rely("strict", strict, "1")
	w.until(10 * time.Minute)
	w.k.Disregard()
	w.k.Rely("payments", hours, "1")
	w.changes = nil
	w.advance()
	w.until(time.Hour)
	w.wantChanges("10m0s: left unused: payments strict", "1h0m0s: entered UNAVAILABLE: payments")
}

// TestKEKVersions: one version that is disabled is found out at its turn, and stops
// nothing but what it wrapped.
func TestKEKVersions(t *testing.T) {
	disabled := provider.Errorf(provider.InvalidState, "disabled")
	w := newWorld(t, func(at time.Duration, kekVersion string) error {
		return when(kekVersion == "1" && at > 4*time.Hour && at < 9*time.Hour, disabled)
	})
	for _, v := range []string{"1", "2", "3"} {
		w.k.Rely("payments", hours, v)
		w.k.Opened(start, start, v)
	}
	w.until(6 * time.Hour)
	if want := []string{"1h0m0s: 1", "2h0m0s: 2", "3h0m0s: 3", "4h0m0s: 1", "5h0m0s: 2", "6h0m0s: 3"}; !slices.Equal(w.asked, want) {
		t.Errorf("asked %q", w.asked)
	}
	w.asked = nil
	w.until(7*time.Hour + 5*time.Second)
	w.wantChanges("7h0m5s: entered revoked 1 INVALID_STATE: payments")
	if want := []string{"7h0m0s: 1", "7h0m0s: 2", "7h0m0s: 3", "7h0m5s: 1"}; !slices.Equal(w.asked, want) {
		t.Errorf("asked %q", w.asked)
	}
	w.until(8 * time.Hour)
	if w.barred(hours) == nil || w.k.Barred(w.now, "payments", hours, "2") != nil || !w.k.Holds(w.now, hours, "3") {
		t.Error("one version is disabled, and others are not")
	}
	w.until(10 * time.Hour)
	if len(w.changes) != 2 || w.barred(hours) != nil {
		t.Errorf("%q", w.changes)
	}

	// All of them at once: all are found out at once.
	w = newWorld(t, between(time.Minute, 100*time.Hour, errDenied))
	for _, v := range []string{"1", "2", "3"} {
		w.k.Rely("payments", hours, v)
		w.k.Opened(start, start, v)
	}
	w.until(time.Hour + 5*time.Second)
	if len(w.changes) != 3 {
		t.Errorf("%q", w.changes)
	}
}

// TestUnused: what nothing relies on any more is not asked, and what it had begun ends.
func TestUnused(t *testing.T) {
	for err, want := range map[error]string{errDown: "2h0m0s: left unused: payments", errDenied: "2h0m0s: left revoked 1 unused: payments"} {
		w := relying(t, Budget{time.Hour, 10 * time.Hour}, between(0, 100*time.Hour, err))
		w.until(2 * time.Hour)
		w.k.Disregard()
		w.changes = nil
		w.until(2 * time.Hour)
		w.wantChanges(want)
		if !w.k.Unused() || !w.k.Next().IsZero() || len(w.k.Due(w.now)) > 0 {
			t.Errorf("next at %s", w.k.Next())
		}
		w.k.Answered(w.now, "1", nil) // of a question that was under way
	}
}

// TestNeverOpened: what has not opened anything holds nothing open, and what it is
// asked counts from when it came into use.
func TestNeverOpened(t *testing.T) {
	w := newWorld(t, between(0, 3*time.Hour, errDown))
	w.k.Rely("payments", hours, "1")
	if w.k.Holds(w.now, hours, "1") || w.barred(hours) != nil {
		t.Error("it has opened nothing, and nobody has asked it")
	}
	w.until(2 * time.Hour)
	w.wantChanges("1h0m0s: entered UNAVAILABLE: payments", "2h0m0s: spent UNAVAILABLE: payments")
	if err := w.barred(hours); !errors.Is(err, ErrBudget) || !strings.Contains(err.Error(), "has not opened anything yet") {
		t.Error(err)
	}
	w.until(4 * time.Hour)
	if !w.k.Holds(w.now, hours, "1") {
		t.Error("it opened something")
	}
}

// TestRetryAfter: a key manager is left alone for as long as it says, within reason.
func TestRetryAfter(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{
		0: 0, 2 * time.Minute: 2 * time.Minute, time.Hour: 5 * time.Minute,
	} {
		w := relying(t, hours, between(0, 100*time.Hour, &provider.Error{Code: provider.Throttled, RetryAfter: asked}))
		w.until(time.Hour)
		got := w.k.Next().Sub(w.now)
		if asked == 0 && (got < 500*time.Millisecond || got > 1500*time.Millisecond) || asked != 0 && got != want {
			t.Errorf("asked for %s, it is left alone for %s", asked, got)
		}
	}
}

// TestSlow: while an answer is out, nothing else is asked, and nothing ends.
func TestSlow(t *testing.T) {
	w := relying(t, Budget{TTL: time.Hour}, fine)
	w.now = start.Add(time.Hour)
	if due := w.k.Due(w.now); !slices.Equal(due, []string{"1"}) {
		t.Fatalf("due %q", due)
	}
	w.k.Asked(w.now, "1")
	if w.k.Due(w.now) != nil || !w.k.Next().IsZero() {
		t.Error("it is asked twice")
	}
	w.now = w.now.Add(30 * time.Second)
	if w.advance(); w.barred(Budget{TTL: time.Hour}) != nil {
		t.Error("nobody knows yet")
	}
	w.k.Answered(w.now, "1", errDown)
	w.advance()
	w.wantChanges("1h0m30s: entered UNAVAILABLE: payments", "1h0m30s: spent UNAVAILABLE: payments")
}

func TestBudgetCheck(t *testing.T) {
	for b, ok := range map[Budget]bool{
		DefaultBudget():                       true,
		{TTL: MinTTL}:                         true,
		{TTL: MaxTTL, Grace: MaxGrace}:        true,
		{}:                                    false,
		{TTL: MinTTL - 1}:                     false,
		{TTL: MaxTTL + 1}:                     false,
		{TTL: time.Hour, Grace: -1}:           false,
		{TTL: time.Hour, Grace: MaxGrace + 1}: false,
	} {
		if err := b.Check(); (err == nil) != ok {
			t.Errorf("%+v: %v", b, err)
		}
	}
}

// TestOldVersionHasItsTurn: that one version of a KEK opens wraps all the time says
// nothing of another, which is asked nevertheless.
func TestOldVersionHasItsTurn(t *testing.T) {
	w := relying(t, hours, func(_ time.Duration, kekVersion string) error {
		if kekVersion == "1" {
			return errDenied
		}
		return nil
	})
	w.k.Rely("orders", hours, "2")
	for at := 10 * time.Minute; at <= 24*time.Hour; at += 10 * time.Minute {
		w.k.Opened(w.now, w.now, "2")
		w.until(at)
	}
	w.wantChanges("2h0m5s: entered revoked 1 DENIED: payments")
	if w.barred(hours) == nil {
		t.Error("a disabled version of the KEK is not barred")
	}
}
