package engine_test

import (
	"errors"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/testing/faults"
)

// TestHardStopPastTheGone: nobody waits for a rotation whose process is gone.
func TestHardStopPastTheGone(t *testing.T) {
	b := newBench(t)
	e := stopped(t, b, faults.NewLedger(b.openStore(t)), nil)
	gone := rotation.CurrentOwner()
	gone.PID = 1 << 30 // beyond any
	if _, err := b.store.Begin(t.Context(), store.Claim{Key: "payments", Kind: "rotate", Operation: "x", Owner: gone.String(), TTL: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if got := <-try(t.Context(), e); !errors.Is(got.err, keyring.ErrUsageLimit) {
		t.Errorf("after %s: %v", got.waited, got.err)
	}
}
