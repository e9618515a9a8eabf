package core_test

import (
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/store"
)

func TestPolicyKey(t *testing.T) {
	made := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	record := keyring.Record{
		Name: "payments", Created: made.AddDate(0, -1, 0), Primary: 2,
		Settings: keyring.Settings{HardLimit: 5000},
		Versions: []keyring.Version{
			{Number: 1, State: keyring.Deactivated, Created: made.AddDate(0, -1, 0)},
			// Suspended for a while: its age counts from when it was made.
			{Number: 2, State: keyring.Active, Created: made, Activated: made, StateChanged: made.Add(time.Hour)},
		},
	}
	stored := store.Key{Record: record, Uses: map[uint32]uint64{1: 900, 2: 70}}
	want := policy.Key{
		Name: "payments", Created: made.AddDate(0, -1, 0), Version: 2, Rotated: made, Activated: made.Add(time.Hour),
		Uses: 70, TotalUses: 70, HardLimit: 5000,
	}
	if got := core.PolicyKey(stored); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	stored.Primary, stored.Versions[1].State = 0, keyring.Suspended
	want = policy.Key{Name: "payments", Created: made.AddDate(0, -1, 0), HardLimit: 5000}
	if got := core.PolicyKey(stored); got != want {
		t.Errorf("without a primary: got %+v, want %+v", got, want)
	}
}
