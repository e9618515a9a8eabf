package metrics_test

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/metrics"
)

// A service that rotates its own keys shows how that goes among its own metrics.
func ExampleNew() {
	run := func(ctx context.Context, registry *prometheus.Registry) error {
		m := metrics.New()
		kr, err := core.Opener{OnOutcome: m.Observe}.Open(ctx, "/etc/keyrotor/keyrotor.hcl")
		if err != nil {
			return err
		}
		defer kr.Close()
		m.Watch(kr)
		defer m.Watch(nil)
		if err := registry.Register(m); err != nil {
			return err
		}
		if err := kr.Scheduler.Start(); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}
	_ = run
}
