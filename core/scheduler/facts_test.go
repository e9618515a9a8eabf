package scheduler_test

import (
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/scheduler"
	"github.com/keyrotor/keyrotor/core/store"
)

// TestPolicyKey: a policy's uses leave re-encryption out, all uses do not.
func TestPolicyKey(t *testing.T) {
	made := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	got := scheduler.PolicyKey(store.Facts{
		Name: "payments", Created: made.AddDate(0, -1, 0), Version: 2, Rotated: made, Activated: made.Add(time.Hour),
		Uses: 70, Reencrypted: 30, HardLimit: 5000, WrapWith: []string{"a"},
	})
	want := policy.Key{
		Name: "payments", Created: made.AddDate(0, -1, 0), Version: 2, Rotated: made, Activated: made.Add(time.Hour),
		Uses: 40, TotalUses: 70, HardLimit: 5000,
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
