package store

import (
	"testing"
	"time"
)

// TestHeldError: who holds the key, since when, and when to come back.
func TestHeldError(t *testing.T) {
	err := &HeldError{
		Intent: Intent{
			Key: "payments", Kind: "rotate", Owner: "host/17/5",
			Started: time.Date(2026, 3, 1, 13, 0, 0, 999, time.FixedZone("", 3600)),
		},
		Wait: 61*time.Second + time.Millisecond,
	}
	const want = `key "payments" is being worked on (rotate, since 2026-03-01T12:00:00Z, by host/17/5): try again when that is done, or in 1m1s`
	if got := err.Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
