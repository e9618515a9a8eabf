package serve

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core/scheduler"
)

// manager is the service manager, which may have asked to hear from the process
// (NOTIFY_SOCKET) and to hear often (WATCHDOG_USEC). Plugins see neither variable.
type manager struct {
	log       *slog.Logger
	listening bool
	// watchdog is how long it waits between two signs of life, 0 if it does not.
	watchdog time.Duration
}

func serviceManager(log *slog.Logger) manager {
	m := manager{log: log, listening: os.Getenv("NOTIFY_SOCKET") != ""}
	if !m.listening {
		return m
	}
	var err error
	if m.watchdog, err = systemd.SdWatchdogEnabled(false); err != nil {
		log.Warn("the service manager's watchdog is not fed: its environment is not understood", "error", err)
	}
	return m
}

// tell sends assignments as of sd_notify(3), e.g. "READY=1".
func (m manager) tell(assignments ...string) {
	if _, err := systemd.SdNotify(false, strings.Join(assignments, "\n")); err != nil {
		m.log.Warn("the service manager does not hear", "error", err)
	}
}

// reloading is the beginning of what ends with READY=1.
func (m manager) reloading() {
	m.tell("RELOADING=1", strings.TrimSpace(systemd.SdNotifyMonotonicUsec()), "STATUS=reloading")
}

// statusInterval is how often the service manager's status line is looked at.
const statusInterval = 10 * time.Second

// pulse tells the service manager again and again that the process is at work, and
// what it has done.
type pulse struct {
	manager manager
	clock   clockwork.Clock
	// alive says why the watchdog is to starve, nil if it is not.
	alive   func() error
	summary func() string
	tell    func(...string)

	quit  chan struct{}
	tasks sync.WaitGroup
}

func (d *daemon) startPulse() *pulse {
	p := &pulse{
		manager: d.manager, clock: d.clock, summary: d.summary, tell: d.manager.tell, quit: make(chan struct{}),
		alive: func() error {
			if d.stopping.Load() {
				return nil // a stop has a time limit of its own
			}
			return d.alive()
		},
	}
	p.start()
	return p
}

func (p *pulse) start() {
	if p.manager.listening {
		p.tasks.Go(p.beat)
	}
}

func (p *pulse) stop() {
	close(p.quit)
	p.tasks.Wait()
}

func (p *pulse) beat() {
	every := statusInterval
	if p.manager.watchdog > 0 {
		every = min(every, p.manager.watchdog/2)
	}
	ticker := p.clock.NewTicker(every)
	defer ticker.Stop()
	said, hangs := p.summary(), false
	for {
		var news []string
		if err := p.alive(); err == nil {
			hangs = false
			if p.manager.watchdog > 0 {
				news = append(news, "WATCHDOG=1")
			}
		} else if !hangs {
			hangs = true
			p.manager.log.Error("the scheduler hangs, so the service manager's watchdog is not fed", "error", err)
		}
		if now := p.summary(); now != said {
			said = now
			news = append(news, "STATUS="+now)
		}
		if len(news) > 0 {
			p.tell(news...)
		}
		select {
		case <-ticker.Chan():
		case <-p.quit:
			return
		}
	}
}

// summary is the state of things in a line.
func (d *daemon) summary() string {
	return summarize(d.current.Load().Scheduler)
}

func summarize(s *scheduler.Scheduler) string {
	status := s.Status()
	line := fmt.Sprintf("keys: %d, due: %d, checked every %s; rotated: %d, failed: %d", status.Keys, status.Due, s.Interval(), status.Rotated, status.Failed)
	if status.Err != nil {
		line = "checks fail: " + oneLine(status.Err.Error())
	}
	return line
}
