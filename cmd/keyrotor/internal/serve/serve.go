// Package serve is the daemon: a scheduler and a notifier that run until the process is
// told to stop, with a service manager that hears how it is going and an HTTP server that tells
// everybody else.
//
// Its rules are those of things that nobody looks at for months. A config that cannot
// be opened whole changes nothing. A stop leaves no rotation half done. What hangs is
// not reported as well.
package serve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/metrics"
	"github.com/keyrotor/keyrotor/core/scheduler"
)

// DefaultShutdownTimeout is how long a stop waits for rotations that are under way.
const DefaultShutdownTimeout = 30 * time.Second

// Config says how to run. Path and Opener.Log are required.
type Config struct {
	// Path is the config file.
	Path string
	// Opener opens it, at the start and at each reload. OnOutcome and OnDelivery are the
	// daemon's own.
	Opener core.Opener
	// Version goes into keyrotor_build_info.
	Version string
	// Listen, if set, is where HTTP is served whatever the config file says.
	Listen *string
	// ShutdownTimeout is DefaultShutdownTimeout if zero.
	ShutdownTimeout time.Duration
	// Reload asks for a reload with each value.
	Reload <-chan os.Signal
}

// daemon is one run.
type daemon struct {
	Config
	clock    clockwork.Clock
	manager  manager
	metrics  *metrics.Collector
	reloads  reloadMetrics
	registry *prometheus.Registry
	outcomes outcomes
	http     *frontend

	// current is what is in use, nil before that.
	current  atomic.Pointer[core.Keyrotor]
	stopping atomic.Bool
	// retired counts those that a reload has replaced and that still rotate a key.
	retired sync.WaitGroup
}

// Run runs until ctx ends, which is no error, or until it cannot go on.
func Run(ctx context.Context, c Config) error {
	if c.ShutdownTimeout == 0 {
		c.ShutdownTimeout = DefaultShutdownTimeout
	}
	d := &daemon{
		Config: c, clock: c.Opener.Clock, manager: serviceManager(c.Opener.Log),
		metrics: metrics.New(), reloads: newReloadMetrics(), registry: prometheus.NewRegistry(),
	}
	if d.clock == nil {
		d.clock = clockwork.NewRealClock()
	}
	d.Opener.OnOutcome = func(o scheduler.Outcome) {
		d.metrics.Observe(o)
		d.outcomes.observe(o, d.clock.Now())
	}
	d.Opener.OnDelivery = d.metrics.ObserveDelivery
	d.register()
	d.http = newFrontend(d.handler(), c.Opener.Log)
	return d.run(ctx)
}

func (d *daemon) run(ctx context.Context) error {
	d.Opener.Log.Info("starting", "version", d.Version, "go", runtime.Version(), "config", d.Path, "pid", os.Getpid())
	if err := d.start(ctx); err != nil {
		d.stop()
		if ctx.Err() != nil {
			return nil // it was told to stop before it was ready
		}
		return err
	}
	pulse := d.startPulse()
	defer pulse.stop()
	for {
		select {
		case <-ctx.Done():
			d.stop()
			return nil
		case err := <-d.http.failed:
			d.stop()
			return err
		case <-d.Reload:
			d.reload(ctx)
		}
	}
}

// start opens the config and begins to rotate. It is ready when every key was looked
// at once.
func (d *daemon) start(ctx context.Context) error {
	d.manager.tell("STATUS=opening " + d.Path)
	kr, err := d.open(ctx)
	if err != nil {
		return err
	}
	d.use(kr)
	addr := d.listenAt(kr)
	l, err := d.http.listen(ctx, addr)
	if err != nil {
		return err
	}
	if err := kr.Scheduler.Start(); err != nil {
		return errors.Join(err, closeListener(l))
	}
	if err := kr.Notifier.Start(); err != nil {
		return errors.Join(err, closeListener(l))
	}
	d.http.serve(l, addr)
	if err := kr.Scheduler.FirstCheck(ctx); err != nil {
		return fmt.Errorf("the first check of policies failed: %w", err)
	}
	d.reloads.succeeded(d.clock.Now())
	d.Opener.Log.Info("ready", "keys", kr.Scheduler.Status().Keys, "interval", kr.Scheduler.Interval().String(), "store", kr.Config.Storage.Path)
	d.manager.tell("READY=1", "STATUS="+d.summary())
	return nil
}

// use has everybody who asks hear of kr from now on.
func (d *daemon) use(kr *core.Keyrotor) {
	d.current.Store(kr)
	d.metrics.Watch(kr)
}

// listenAt is where HTTP is to be served, empty for nowhere.
func (d *daemon) listenAt(kr *core.Keyrotor) string {
	if d.Listen != nil {
		return *d.Listen
	}
	return kr.Config.Serve.Listen
}

// stop ends everything within the shutdown timeout, and what it takes to close.
func (d *daemon) stop() {
	d.stopping.Store(true)
	d.Opener.Log.Info("stopping", "timeout", d.ShutdownTimeout.String())
	d.manager.tell("STOPPING=1", "STATUS=waiting for rotations that are under way")
	if kr := d.current.Load(); kr != nil {
		d.drain(kr)
		d.http.close()
		d.metrics.Watch(nil)
		d.close(kr)
	}
	d.retired.Wait()
	d.Opener.Log.Info("stopped")
}

// drain ends the checks and waits for rotations that are under way, which are cancelled
// at the end of the timeout.
func (d *daemon) drain(kr *core.Keyrotor) {
	ctx, cancel := context.WithTimeout(context.Background(), d.ShutdownTimeout)
	defer cancel()
	if err := kr.Scheduler.Stop(ctx); err != nil {
		d.Opener.Log.Warn("the scheduler stays on record; doctor will tell that it is gone", "error", err)
	}
	if ctx.Err() != nil {
		d.Opener.Log.Warn("rotations took longer than the shutdown timeout and were cancelled; the keys stay as they were", "timeout", d.ShutdownTimeout.String())
	}
}

func (d *daemon) close(kr *core.Keyrotor) {
	if err := kr.Close(); err != nil {
		d.Opener.Log.Warn("not everything was closed", "error", err)
	}
}
