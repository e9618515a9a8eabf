package metrics

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/scheduler"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/testing/procs"
)

// pluginDir holds the local plugin, built once.
var pluginDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "keyrotor-metrics-")
	if err == nil {
		pluginDir = filepath.Join(dir, "plugins")
		err = procs.BuildLocal(pluginDir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func open(t *testing.T, o core.Opener) *core.Keyrotor {
	t.Helper()
	config, err := core.Init(t.Context(), filepath.Join(t.TempDir(), "kr"), core.InitOptions{PluginDir: pluginDir})
	if err != nil {
		t.Fatal(err)
	}
	kr, err := o.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kr.Close(); err != nil {
			t.Error(err)
		}
	})
	return kr
}

var (
	times = regexp.MustCompile(`(?m)(_seconds(?:{.*})?) [0-9.e+-]+$`)
	keks  = regexp.MustCompile(`kek="local:[^"]*"`)
)

// known puts an X in the place of what no test can know.
func known(samples string) string {
	return keks.ReplaceAllString(times.ReplaceAllString(samples, "$1 X"), `kek="local:X"`)
}

// TestCollector: a real Keyrotor rotates a key, and that shows.
func TestCollector(t *testing.T) {
	m := New()
	if got := exposed(t, m); got != "" {
		t.Errorf("it shows something before there is anything: %s", got)
	}
	rotated := make(chan scheduler.Outcome, 1)
	kr := open(t, core.Opener{Interval: time.Hour, OnOutcome: func(o scheduler.Outcome) {
		m.Observe(o)
		rotated <- o
	}})
	if _, err := kr.CreateKey(t.Context(), "payments", core.KeyOptions{}); err != nil {
		t.Fatal(err)
	}
	once, err := policy.NewCustom("once", "while version 1 is the primary", func(k policy.Key, _ time.Time) policy.Decision {
		return policy.Decision{Due: k.Version == 1, Reason: keyring.ReasonManual, Slot: "only"}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := kr.Scheduler.Add("payments", once); err != nil {
		t.Fatal(err)
	}
	m.Watch(kr)
	if got := exposed(t, m); strings.Contains(got, "last_check") || !strings.Contains(got, "keyrotor_scheduler_interval_seconds 3600\n") {
		t.Errorf("before the first check: %s", got)
	}
	if err := kr.Scheduler.Start(); err != nil {
		t.Fatal(err)
	}
	if o := <-rotated; o.Err != nil {
		t.Fatal(o.Err)
	}
	// When the scheduler has stopped, it has looked at the key once more.
	want := `keyrotor_key_hard_limit_uses{key="payments"} 4.294967296e+09
keyrotor_key_primary_created_timestamp_seconds{key="payments"} X
keyrotor_key_primary_version{key="payments"} 2
keyrotor_key_reencryption_uses{key="payments"} 0
keyrotor_key_uses{key="payments"} 0
keyrotor_key_versions{key="payments",state="active"} 1
keyrotor_key_versions{key="payments",state="deactivated"} 1
keyrotor_policy_due{key="payments",policy="hard_limit"} 0
keyrotor_policy_due{key="payments",policy="once"} 0
keyrotor_policy_failures{key="payments",policy="hard_limit"} 0
keyrotor_policy_failures{key="payments",policy="once"} 0
keyrotor_provider_last_success_timestamp_seconds{kek="local:X",provider="local"} X
keyrotor_provider_state{kek="local:X",provider="local",state="degraded"} 0
keyrotor_provider_state{kek="local:X",provider="local",state="exhausted"} 0
keyrotor_provider_state{kek="local:X",provider="local",state="ok"} 1
keyrotor_provider_state{kek="local:X",provider="local",state="revoked"} 0
keyrotor_rotations_total{key="payments",policy="once",reason="manual"} 1
keyrotor_scheduler_check_duration_seconds X
keyrotor_scheduler_interval_seconds X
keyrotor_scheduler_keys 1
keyrotor_scheduler_last_check_timestamp_seconds X
keyrotor_store_up 1
`
	var got string
	for deadline := time.Now().Add(10 * time.Second); got != want && time.Now().Before(deadline); {
		got = known(exposed(t, m))
	}
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}

	// A policy that is no more does not show, though the store remembers it.
	kr.Scheduler.Remove("payments", "once")
	if got := exposed(t, m); strings.Contains(got, `_due{key="payments",policy="once"}`) {
		t.Errorf("a policy that was removed: %s", got)
	}
}

// TestStoreDown: a store that does not answer costs a scrape what is about keys.
func TestStoreDown(t *testing.T) {
	m := New()
	kr := open(t, core.Opener{})
	if _, err := kr.CreateKey(t.Context(), "payments", core.KeyOptions{}); err != nil {
		t.Fatal(err)
	}
	m.Watch(kr)
	m.Observe(scheduler.Outcome{
		Rotation: scheduler.Rotation{Key: "payments", Due: store.DueSlot{Policy: "max_age", Slot: "x"}},
		Err:      errors.Join(errors.New("as the test wants it"), provider.Errorf(provider.Denied, "no")),
	})
	if err := kr.Close(); err != nil {
		t.Fatal(err)
	}
	want := `keyrotor_rotation_failures_total{code="denied",key="payments",policy="max_age"} 1
keyrotor_scheduler_interval_seconds 60
keyrotor_store_up 0
`
	if got := exposed(t, m); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	m.Watch(nil)
	if got := exposed(t, m); strings.Contains(got, "store_up") {
		t.Errorf("of nothing: %s", got)
	}
}
