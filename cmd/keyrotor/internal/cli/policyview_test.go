package cli

import (
	"strings"
	"testing"
	"time"
)

// TestExplainFailing: a policy whose rotation fails says so, under what it decides.
func TestExplainFailing(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	d := decisionView{
		Policy: "any", Description: "every 90 days", Due: true, Since: now.Add(-time.Hour), Why: "max_age: it is old",
		Failing: &failingView{Failures: 3, ErrorCode: "denied", Retry: now.Add(2 * time.Minute)},
		Parts:   []decisionView{{Policy: "max_age", Description: "every 90 days", Due: true, Why: "it is old"}},
	}
	const want = `  any: every 90 days
      due since 2026-03-01T11:00:00Z, 1 hour ago: max_age: it is old
      its rotation failed (3 in a row, the last with denied) and is tried again 2026-03-01T12:02:00Z, in 2 minutes
    max_age: every 90 days
        due: it is old`
	if got := strings.Join(d.lines("  ", now), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
