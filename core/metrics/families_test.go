package metrics

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/core/outage"
	"github.com/keyrotor/keyrotor/core/store"
)

// fixed collects what a survey leads to.
type fixed core.Survey

func (f fixed) Describe(ch chan<- *prometheus.Desc) { New().Describe(ch) }

func (f fixed) Collect(ch chan<- prometheus.Metric) { scrape(ch).survey(core.Survey(f)) }

// TestSurvey: what the store knows, in Prometheus's words.
func TestSurvey(t *testing.T) {
	at := time.Unix(1_700_000_000, 250_000_000)
	got := exposed(t, fixed{
		Keys: []store.Facts{
			{Name: "orders", Created: at, HardLimit: 500},
			{Name: "payments", Created: at, Version: 3, Rotated: at, Activated: at.Add(time.Hour), Uses: 100, Reencrypted: 30, HardLimit: 1000},
		},
		Versions: []store.StateCount{
			{Key: "orders", State: keyring.Suspended, Versions: 1},
			{Key: "payments", State: keyring.Active, Versions: 1},
			{Key: "payments", State: keyring.Deactivated, Versions: 2},
		},
		Checks: []store.PolicyCheck{
			{Key: "payments", Policy: "max_age", Due: true, Failures: 2},
			{Key: "payments", Policy: "max_uses", Next: at.Add(time.Minute)},
		},
	})
	want := `keyrotor_key_hard_limit_uses{key="payments"} 1000
keyrotor_key_next_rotation_timestamp_seconds{key="payments",policy="max_uses"} 1.70000006025e+09
keyrotor_key_primary_created_timestamp_seconds{key="payments"} 1.70000000025e+09
keyrotor_key_primary_version{key="orders"} 0
keyrotor_key_primary_version{key="payments"} 3
keyrotor_key_reencryption_uses{key="payments"} 30
keyrotor_key_uses{key="payments"} 70
keyrotor_key_versions{key="orders",state="suspended"} 1
keyrotor_key_versions{key="payments",state="active"} 1
keyrotor_key_versions{key="payments",state="deactivated"} 2
keyrotor_policy_due{key="payments",policy="max_age"} 1
keyrotor_policy_due{key="payments",policy="max_uses"} 0
keyrotor_policy_failures{key="payments",policy="max_age"} 2
keyrotor_policy_failures{key="payments",policy="max_uses"} 0
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestProviders: a state is the one whose sample is 1.
func TestProviders(t *testing.T) {
	got := exposed(t, statuses{
		{Provider: "vault", KEKID: "transit/k", State: outage.Exhausted, LastSuccess: time.Unix(1_700_000_000, 0)},
		{Provider: "local", KEKID: "f", State: outage.OK},
	})
	want := `keyrotor_provider_last_success_timestamp_seconds{kek="transit/k",provider="vault"} 1.7e+09
keyrotor_provider_state{kek="f",provider="local",state="degraded"} 0
keyrotor_provider_state{kek="f",provider="local",state="exhausted"} 0
keyrotor_provider_state{kek="f",provider="local",state="ok"} 1
keyrotor_provider_state{kek="f",provider="local",state="revoked"} 0
keyrotor_provider_state{kek="transit/k",provider="vault",state="degraded"} 0
keyrotor_provider_state{kek="transit/k",provider="vault",state="exhausted"} 1
keyrotor_provider_state{kek="transit/k",provider="vault",state="ok"} 0
keyrotor_provider_state{kek="transit/k",provider="vault",state="revoked"} 0
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestNotify: how it stands with targets and handlers.
func TestNotify(t *testing.T) {
	m := New()
	m.ObserveDelivery(core.Delivery{Target: "ops"})
	m.ObserveDelivery(core.Delivery{Target: "ops"})
	m.ObserveDelivery(core.Delivery{Target: "ops", Err: fmt.Errorf("%w: 410 Gone", notify.ErrRefused)})
	m.ObserveDelivery(core.Delivery{Target: "ops", Err: errors.New("connection refused")})
	want := `keyrotor_notify_deliveries_total{outcome="delivered",target="ops"} 2
keyrotor_notify_deliveries_total{outcome="failed",target="ops"} 1
keyrotor_notify_deliveries_total{outcome="refused",target="ops"} 1
`
	if got := exposed(t, m); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	got := exposed(t, told{
		[]notify.Status{{Target: "ops", Behind: 7, Open: 3, Failing: 2, GivenUp: 1, Oldest: time.Unix(1_700_000_000, 0)}, {Target: "pager"}},
		[]notify.HandlerStatus{{Name: "audit", Dropped: 1}, {Name: "audit", Dropped: 2, Panics: 4}},
	})
	want = `keyrotor_notify_behind{target="ops"} 7
keyrotor_notify_behind{target="pager"} 0
keyrotor_notify_failing{target="ops"} 2
keyrotor_notify_failing{target="pager"} 0
keyrotor_notify_given_up{target="ops"} 1
keyrotor_notify_given_up{target="pager"} 0
keyrotor_notify_handler_dropped_total{handler="audit"} 3
keyrotor_notify_handler_panics_total{handler="audit"} 4
keyrotor_notify_oldest_timestamp_seconds{target="ops"} 1.7e+09
keyrotor_notify_open{target="ops"} 3
keyrotor_notify_open{target="pager"} 0
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// told collects what targets and handlers lead to.
type told struct {
	targets  []notify.Status
	handlers []notify.HandlerStatus
}

func (x told) Describe(ch chan<- *prometheus.Desc) { New().Describe(ch) }

func (x told) Collect(ch chan<- prometheus.Metric) {
	scrape(ch).targets(x.targets)
	scrape(ch).handlers(x.handlers)
}

// statuses collects what those of key-encryption keys lead to.
type statuses []engine.KeyManagerStatus

func (s statuses) Describe(ch chan<- *prometheus.Desc) { New().Describe(ch) }

func (s statuses) Collect(ch chan<- prometheus.Metric) { scrape(ch).providers(s) }

// exposed answers the samples of a collector as they are exposed, without what is said
// about them.
func exposed(t *testing.T, c prometheus.Collector) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var all, samples strings.Builder
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&all, f); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(all.String()) {
		if !strings.HasPrefix(line, "#") {
			samples.WriteString(line)
		}
	}
	return samples.String()
}
