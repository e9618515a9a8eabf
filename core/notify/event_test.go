package notify_test

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/notify"
)

// TestFromEvent decides for each type of the history whether it is told, and as what. A
// new one must be added here.
func TestFromEvent(t *testing.T) {
	at := time.Date(2026, 3, 1, 13, 0, 0, 123456789, time.FixedZone("", 3600))
	full := history.Event{
		Schema: 1, Seq: 7, Time: at, Actor: "alice@host", Operation: "op", Key: "payments", KeyID: "k1", Version: 3, PreviousVersion: 2,
		Reason: "manual", Note: "why", Provider: "prod", KEKVersion: "9", Count: 4, ErrorCode: "denied", Digest: "d",
		Details: map[string]string{"policy": "monthly", "slot": "2026-03", "from": "active", "to": "suspended"},
	}
	rest := func(n notify.Notice) notify.Notice {
		n.Time, n.Key, n.PreviousVersion, n.NewVersion = at.UTC().Truncate(time.Microsecond), "payments", 2, 3
		n.Reason, n.Policy, n.Actor, n.Note, n.Provider, n.KEKVersion = "manual", "monthly", "alice@host", "why", "prod", "9"
		n.ErrorCode, n.Operation = "denied", "op"
		return n
	}
	// details are those that are left, and what is added.
	details := func(add map[string]string) map[string]string {
		d := map[string]string{"slot": "2026-03", "count": "4"}
		maps.Copy(d, add)
		return d
	}
	stay := map[string]string{"from": "active", "to": "suspended"}
	to := map[string]string{"to": "suspended"}
	external := maps.Clone(stay)
	external["external"] = "true"
	want := map[history.Type]*notify.Notice{
		history.Creation:             nil, // of a version that is not the first
		history.Rotation:             {Type: "key_rotated", Details: details(stay)},
		history.RotationFailed:       {Type: "rotation_failed", Details: details(stay)},
		history.Usage:                nil,
		history.StateChange:          {Type: "version_state_changed", StateFrom: "active", StateTo: "suspended", Details: details(nil)},
		history.DestroyScheduled:     {Type: "version_state_changed", StateFrom: "active", StateTo: "quarantined", Details: details(to)},
		history.DestroyCanceled:      {Type: "version_state_changed", StateFrom: "active", StateTo: "suspended", Details: details(nil)},
		history.Destroyed:            {Type: "version_destroyed", StateFrom: "active", StateTo: "destroyed", Details: details(to)},
		history.Rewrapped:            nil,
		history.Reencrypted:          nil,
		history.KEKRotated:           {Type: "kek_rotated", Details: details(stay)},
		history.KEKRotatedExternally: {Type: "kek_rotated", Details: details(external)},
		history.ProviderAdded:        nil,
		history.ProviderRetired:      nil,
		history.Degraded:             {Type: "provider_degraded", Details: details(stay)},
		history.Recovered:            {Type: "provider_recovered", Details: details(stay)},
		history.Access:               nil,
		history.ConfigChange:         nil,
		history.SigningKeyChanged:    nil,
		history.Restored:             {Type: "store_restored", Details: details(stay)},
		history.Pruned:               nil,
		"rotation_due_soon":          {Type: "rotation_due_soon", Details: details(stay)},
		"usage_threshold":            {Type: "usage_threshold", Details: details(stay)},
		"verify_failed":              {Type: "verify_failed", Details: details(stay)},
		"mirror_lag":                 {Type: "mirror_lag", Details: details(stay)},
		"key_rotated":                nil, // nobody may pretend that
		"weather":                    nil,
	}
	for _, typ := range history.Types() {
		if _, ok := want[typ]; !ok {
			t.Errorf("decide whether events of type %s are told", typ)
		}
	}
	told := make(map[notify.Type]bool)
	for typ, w := range want {
		e := full
		e.Type, e.Details = typ, maps.Clone(full.Details)
		got, ok := notify.FromEvent(e)
		if ok != (w != nil) {
			t.Errorf("%s is told: %t", typ, ok)
			continue
		}
		if !ok {
			continue
		}
		told[got.Type] = true
		if g, w := asJSON(t, got), asJSON(t, rest(*w)); g != w {
			t.Errorf("%s: %s, want %s", typ, g, w)
		}
		if !maps.Equal(e.Details, full.Details) {
			t.Errorf("%s: the event's details were changed to %v", typ, e.Details)
		}
	}
	first, ok := notify.FromEvent(history.Event{Type: history.Creation, Version: 1})
	if !ok || first.Type != notify.KeyCreated || first.Details != nil {
		t.Errorf("a new key: %+v, %t", first, ok)
	}
	told[first.Type] = true
	if n, _ := notify.FromEvent(history.Event{Type: history.Destroyed}); n.StateFrom != "quarantined" || n.StateTo != "destroyed" {
		t.Errorf("destroyed after a quarantine: %+v", n)
	}
	for _, typ := range notify.Types() {
		if !told[typ] || !typ.Valid() {
			t.Errorf("nothing is told as %s", typ)
		}
	}
	if len(told) != len(notify.Types()) || notify.TypeTest.Valid() {
		t.Errorf("told are %v", told)
	}
}

func asJSON(t *testing.T, n notify.Notice) string {
	t.Helper()
	b, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestSubject: what it is about, which is also what keeps its order.
func TestSubject(t *testing.T) {
	for want, n := range map[string]notify.Notice{
		"payments":      {Key: "payments", Provider: "prod"},
		"provider/prod": {Provider: "prod"},
		"":              {},
	} {
		if got := n.Subject(); got != want {
			t.Errorf("%+v is about %q", n, got)
		}
	}
}
