package rotation_test

import (
	"slices"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

// TestTakeover: the claim of a process that is gone is taken over at once.
func TestTakeover(t *testing.T) {
	gone := rotation.CurrentOwner()
	gone.PID = 1 << 30 // beyond any
	b := newBench(t)
	b.create(t)
	if _, err := b.store.Begin(t.Context(), store.Claim{Key: "payments", Kind: "rotate", Operation: "x", Owner: gone.String(), TTL: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if result, err := b.rotator.Rotate(t.Context(), manual()); err != nil || result.Primary != 2 || slices.Contains(b.steps, rotation.StepWaiting) {
		t.Errorf("primary %d, %v, steps %v", result.Primary, err, b.steps)
	}
}
