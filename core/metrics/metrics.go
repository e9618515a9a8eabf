// Package metrics shows a Keyrotor to Prometheus: which version of each key is in
// use and how much, what policies say of it, and what the scheduler did. The daemon
// serves it, and a service that rotates its own keys registers it beside its own
// metrics:
//
//	m := metrics.New()
//	kr, err := core.Opener{OnOutcome: m.Observe, OnDelivery: m.ObserveDelivery}.Open(ctx, path)
//	…
//	m.Watch(kr)
//	prometheus.MustRegister(m)
//
// Nothing here is secret, but the names of keys, policies and providers show.
package metrics

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/scheduler"
)

// readTimeout bounds what a scrape waits for the store.
const readTimeout = 5 * time.Second

// Collector is a prometheus.Collector of one Keyrotor at a time. What is about keys is
// read from the store at each scrape; a store that does not answer costs a scrape that
// part alone, and shows as keyrotor_store_up.
type Collector struct {
	rotations, failures, deliveries *prometheus.CounterVec

	// mu is held for reading by scrapes, so that Watch waits for them.
	mu sync.RWMutex
	kr *core.Keyrotor
}

// New answers a collector that watches nothing yet.
func New() *Collector {
	return &Collector{
		rotations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keyrotor_rotations_total",
			Help: "Rotations that the scheduler of this process made.",
		}, []string{"key", "reason", "policy"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keyrotor_rotation_failures_total",
			Help: "Rotations that the scheduler of this process tried in vain, by the code of the error.",
		}, []string{"key", "policy", "code"}),
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keyrotor_notify_deliveries_total",
			Help: "Tries of this process to tell a target something: delivered, refused for this one message, or failed.",
		}, []string{"target", "outcome"}),
	}
}

// Observe counts what became of a rotation. It is for [core.Opener.OnOutcome].
func (c *Collector) Observe(o scheduler.Outcome) {
	if o.Err != nil {
		c.failures.WithLabelValues(o.Key, o.Due.Policy, rotation.ErrorCode(o.Err)).Inc()
		return
	}
	c.rotations.WithLabelValues(o.Key, string(o.Reason), o.Due.Policy).Inc()
}

// ObserveDelivery counts what became of a try to tell a target something. It is for
// [core.Opener.OnDelivery].
func (c *Collector) ObserveDelivery(d core.Delivery) {
	outcome := "failed"
	switch {
	case d.Err == nil:
		outcome = "delivered"
	case errors.Is(d.Err, notify.ErrRefused):
		outcome = "refused"
	}
	c.deliveries.WithLabelValues(d.Target, outcome).Inc()
}

// Watch has scrapes read from kr instead of what they read from before, which nobody
// reads from any more when it returns; nil is nothing. What was counted stays.
func (c *Collector) Watch(kr *core.Keyrotor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kr = kr
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range families() {
		ch <- f.desc
	}
	c.rotations.Describe(ch)
	c.failures.Describe(ch)
	c.deliveries.Describe(ch)
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	c.rotations.Collect(ch)
	c.failures.Collect(ch)
	c.deliveries.Collect(ch)
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.kr == nil {
		return
	}
	s := scrape(ch)
	s.scheduler(c.kr.Scheduler)
	s.providers(c.kr.KeyManagers())
	s.handlers(c.kr.Notifier.Handlers())
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	survey, err := c.kr.Survey(ctx)
	s.send(storeUp, oneIf(err == nil))
	if err == nil {
		s.survey(survey)
	}
	if targets, err := c.kr.Notifier.Status(ctx); err == nil {
		s.targets(targets)
	}
}
