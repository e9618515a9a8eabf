package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/provider"
)

// askTimeout bounds the question to the key managers whether they are there.
const askTimeout = 20 * time.Second

// open opens the config whole, plugins included. A key manager that does not answer,
// or refuses, is worth a warning: the keys of the others need the scheduler all the
// same.
func (d *daemon) open(ctx context.Context) (*core.Keyrotor, error) {
	kr, err := d.Opener.Open(ctx, d.Path)
	if err != nil {
		return nil, err
	}
	for _, w := range kr.Warnings {
		d.Opener.Log.Warn("config", "problem", w.String())
	}
	if err := d.ask(ctx, kr); err != nil {
		return nil, errors.Join(err, kr.Close())
	}
	return kr, nil
}

// ask has every provider's plugin started and configured, and says how the key
// managers answer. It fails if a plugin does not run or takes no such configuration.
func (d *daemon) ask(ctx context.Context, kr *core.Keyrotor) error {
	limited, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	names := kr.Catalog.Names()
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			km, err := kr.Catalog.Provider(name)
			if err == nil {
				_, err = km.Check(limited, provider.CheckRequest{})
			}
			errs[i] = err
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for i, err := range errs {
		if err != nil && !answered(err) {
			continue
		}
		if err != nil {
			d.Opener.Log.Warn("a key manager is not in order; its keys cannot be rotated", "provider", names[i], "code", provider.CodeOf(err), "error", err)
		}
		errs[i] = nil
	}
	return errors.Join(errs...)
}

// answered reports whether an error is the key manager's, or its absence, and not the
// plugin's.
func answered(err error) bool {
	switch provider.CodeOf(err) {
	case provider.PluginCrashed, provider.InvalidConfig, provider.NotFoundInstance, provider.Internal:
		return false
	default:
		return true
	}
}

// reload puts what the config file says now in the place of what is in use, or leaves
// everything as it is.
func (d *daemon) reload(ctx context.Context) {
	log := d.Opener.Log
	log.Info("reloading", "config", d.Path)
	d.manager.reloading()
	err := d.replace(ctx)
	switch {
	case ctx.Err() != nil: // it is to stop
		return
	case err != nil:
		log.Error("reload refused: the config is not in use, and the one before is", "error", err)
		d.reloads.failed()
		d.manager.tell("READY=1", "STATUS="+oneLine("reload refused: "+err.Error()))
	default:
		log.Info("reloaded", "keys", d.current.Load().Scheduler.Status().Keys, "interval", d.current.Load().Scheduler.Interval().String())
		d.reloads.succeeded(d.clock.Now())
		d.manager.tell("READY=1", "STATUS="+d.summary())
	}
}

// replace does everything that can fail before it takes anything away.
func (d *daemon) replace(ctx context.Context) (err error) {
	next, err := d.open(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			d.close(next)
		}
	}()
	addr := d.listenAt(next)
	moves := addr != d.http.addr
	var l net.Listener
	if moves {
		if l, err = d.http.listen(ctx, addr); err != nil {
			return err
		}
	}
	if err = next.Scheduler.Start(); err == nil {
		err = next.Scheduler.FirstCheck(ctx)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("the first check of policies failed: %w", err), closeListener(l))
	}
	before := d.current.Load()
	d.handOver(before, next)
	d.use(next)
	if moves {
		d.http.move(l, addr)
	}
	d.retire(ctx, before)
	return nil
}

// handOverTime is what a reload leaves to what is being sent.
const handOverTime = 2 * time.Second

// handOver has another notifier deliver. Both have the name of this process in the
// store, where nothing would keep them from sending the same at a time. What is cut off
// is sent again.
func (d *daemon) handOver(before, next *core.Keyrotor) {
	ctx, cancel := context.WithTimeout(context.Background(), handOverTime)
	defer cancel()
	if err := before.Notifier.Stop(ctx); err != nil {
		d.Opener.Log.Warn("the targets of notify blocks stay reserved for a moment", "error", err)
	}
	if err := next.Notifier.Start(); err != nil {
		d.Opener.Log.Error("nothing is told to the targets of notify blocks", "error", err)
	}
}

// retire ends what was in use, in the time that a stop has. If the daemon is to stop
// meanwhile, stop waits for it.
func (d *daemon) retire(ctx context.Context, before *core.Keyrotor) {
	gone := make(chan struct{})
	d.retired.Go(func() {
		defer close(gone)
		d.drain(before)
		d.close(before)
	})
	select {
	case <-gone:
		// Both have the name of this process in the store; what is there is gone with
		// the one, and is written anew at the next check of the other.
		d.current.Load().Scheduler.Nudge("")
	case <-ctx.Done():
	}
}

// reloadMetrics tell what came of the newest reload.
type reloadMetrics struct {
	successful, timestamp prometheus.Gauge
}

func newReloadMetrics() reloadMetrics {
	return reloadMetrics{
		successful: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "keyrotor_config_last_reload_successful",
			Help: "Whether the config as it was at the newest reload, or at the start, is in use.",
		}),
		timestamp: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "keyrotor_config_last_reload_timestamp_seconds",
			Help: "When the config that is in use was loaded.",
		}),
	}
}

func (r reloadMetrics) succeeded(now time.Time) {
	r.successful.Set(1)
	r.timestamp.Set(float64(now.UnixMicro()) / 1e6)
}

func (r reloadMetrics) failed() { r.successful.Set(0) }
