package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/core/outage"
	"github.com/keyrotor/keyrotor/core/scheduler"
)

// family is a metric that is made at each scrape. All of them are gauges but those whose
// name ends in _total.
type family struct{ desc *prometheus.Desc }

func newFamily(name, help string, labels ...string) family {
	return family{prometheus.NewDesc(name, help, labels, nil)}
}

// The families. Their names and labels are final.
var (
	storeUp = newFamily("keyrotor_store_up",
		"Whether the store answered this scrape; without it there is nothing about keys.")

	keyPrimary = newFamily("keyrotor_key_primary_version",
		"The version that encrypts, 0 if there is none.", "key")
	keyVersions = newFamily("keyrotor_key_versions",
		"Versions in a state; a state without any is left out.", "key", "state")
	keyCreated = newFamily("keyrotor_key_primary_created_timestamp_seconds",
		"When the primary version was made.", "key")
	keyUses = newFamily("keyrotor_key_uses",
		"Uses of the primary version that count for policies: encryptions, handed out or booked.", "key")
	keyReencryptions = newFamily("keyrotor_key_reencryption_uses",
		"Uses of the primary version by re-encryption.", "key")
	keyHardLimit = newFamily("keyrotor_key_hard_limit_uses",
		"Uses of both kinds after which the primary version stops encrypting.", "key")

	policyNext = newFamily("keyrotor_key_next_rotation_timestamp_seconds",
		"When a policy wants the key rotated; left out while it cannot tell.", "key", "policy")
	policyDue = newFamily("keyrotor_policy_due",
		"Whether a policy wanted the key rotated at its newest check.", "key", "policy")
	policyFailures = newFamily("keyrotor_policy_failures",
		"Rotations for a policy that failed since the last one that did not, in any process.", "key", "policy")

	providerState = newFamily("keyrotor_provider_state",
		"1 for the state of a key-encryption key that this process relies on, 0 for the others.", "provider", "kek", "state")
	providerAnswered = newFamily("keyrotor_provider_last_success_timestamp_seconds",
		"When a key-encryption key last opened a wrap for this process.", "provider", "kek")

	schedulerChecked = newFamily("keyrotor_scheduler_last_check_timestamp_seconds",
		"When every key was last looked at with success; left out before the first time.")
	schedulerTook = newFamily("keyrotor_scheduler_check_duration_seconds",
		"How long the newest check of every key took, without rotations.")
	schedulerKeys = newFamily("keyrotor_scheduler_keys",
		"Keys that the newest check of every key looked at.")
	schedulerInterval = newFamily("keyrotor_scheduler_interval_seconds",
		"How often every key is looked at.")

	notifyBehind = newFamily("keyrotor_notify_behind",
		"What happened that is to be told to a target, and that no process has taken up yet.", "target")
	notifyOpen = newFamily("keyrotor_notify_open",
		"What was taken up to be told to a target and is not yet, by whichever process.", "target")
	notifyFailing = newFamily("keyrotor_notify_failing",
		"The part of it that was tried.", "target")
	notifyOldest = newFamily("keyrotor_notify_oldest_timestamp_seconds",
		"Since when the oldest of it waits; left out if nothing does.", "target")
	notifyGivenUp = newFamily("keyrotor_notify_given_up",
		"What was not told to a target and never will be, of the last 30 days.", "target")
	handlerDropped = newFamily("keyrotor_notify_handler_dropped_total",
		"What a handler of this process was too slow to hear of.", "handler")
	handlerPanics = newFamily("keyrotor_notify_handler_panics_total",
		"Calls of a handler of this process that panicked.", "handler")
)

func families() []family {
	return []family{
		storeUp, keyPrimary, keyVersions, keyCreated, keyUses, keyReencryptions, keyHardLimit,
		policyNext, policyDue, policyFailures, providerState, providerAnswered,
		schedulerChecked, schedulerTook, schedulerKeys, schedulerInterval,
		notifyBehind, notifyOpen, notifyFailing, notifyOldest, notifyGivenUp, handlerDropped, handlerPanics,
	}
}

// scrape is where the metrics of one scrape go.
type scrape chan<- prometheus.Metric

func (s scrape) send(f family, value float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(f.desc, prometheus.GaugeValue, value, labels...)
}

func (s scrape) count(f family, n uint64, labels ...string) {
	s <- prometheus.MustNewConstMetric(f.desc, prometheus.CounterValue, float64(n), labels...)
}

func (s scrape) scheduler(of *scheduler.Scheduler) {
	s.send(schedulerInterval, of.Interval().Seconds())
	status := of.Status()
	if status.Checked.IsZero() {
		return
	}
	s.send(schedulerChecked, seconds(status.Checked))
	s.send(schedulerTook, status.Took.Seconds())
	s.send(schedulerKeys, float64(status.Keys))
}

func (s scrape) providers(all []engine.KeyManagerStatus) {
	for _, of := range all {
		for _, state := range []outage.State{outage.OK, outage.Degraded, outage.Exhausted, outage.Revoked} {
			s.send(providerState, oneIf(of.State == state), of.Provider, of.KEKID, string(state))
		}
		if !of.LastSuccess.IsZero() {
			s.send(providerAnswered, seconds(of.LastSuccess), of.Provider, of.KEKID)
		}
	}
}

func (s scrape) survey(of core.Survey) {
	for _, k := range of.Keys {
		s.send(keyPrimary, float64(k.Version), k.Name)
		if k.Version == 0 {
			continue
		}
		s.send(keyCreated, seconds(k.Rotated), k.Name)
		s.send(keyUses, float64(k.Uses-k.Reencrypted), k.Name)
		s.send(keyReencryptions, float64(k.Reencrypted), k.Name)
		s.send(keyHardLimit, float64(k.HardLimit), k.Name)
	}
	for _, v := range of.Versions {
		s.send(keyVersions, float64(v.Versions), v.Key, string(v.State))
	}
	for _, c := range of.Checks {
		if !c.Next.IsZero() {
			s.send(policyNext, seconds(c.Next), c.Key, c.Policy)
		}
		s.send(policyDue, oneIf(c.Due), c.Key, c.Policy)
		s.send(policyFailures, float64(c.Failures), c.Key, c.Policy)
	}
}

// handlers adds those of one name up.
func (s scrape) handlers(all []notify.HandlerStatus) {
	sums := make(map[string]notify.HandlerStatus)
	for _, of := range all {
		sum := sums[of.Name]
		sum.Dropped += of.Dropped
		sum.Panics += of.Panics
		sums[of.Name] = sum
	}
	for name, sum := range sums {
		s.count(handlerDropped, sum.Dropped, name)
		s.count(handlerPanics, sum.Panics, name)
	}
}

func (s scrape) targets(all []notify.Status) {
	for _, of := range all {
		s.send(notifyBehind, float64(of.Behind), of.Target)
		s.send(notifyOpen, float64(of.Open), of.Target)
		s.send(notifyFailing, float64(of.Failing), of.Target)
		s.send(notifyGivenUp, float64(of.GivenUp), of.Target)
		if !of.Oldest.IsZero() {
			s.send(notifyOldest, seconds(of.Oldest), of.Target)
		}
	}
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
