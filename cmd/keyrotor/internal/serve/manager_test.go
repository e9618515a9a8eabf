package serve

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"
)

// TestWatchdog is fed at half of its time, and starves when the scheduler hangs.
func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fed atomic.Int64
		var hangs atomic.Bool
		var log record
		p := &pulse{
			manager: manager{log: logTo(&log), listening: true, watchdog: 20 * time.Second},
			clock:   clockwork.NewRealClock(), quit: make(chan struct{}),
			alive: func() error {
				if hangs.Load() {
					return errors.New("as the test wants it")
				}
				return nil
			},
			summary: func() string { return "unchanged" },
			tell: func(a ...string) {
				if strings.Join(a, " ") != "WATCHDOG=1" {
					t.Errorf("told %q", a)
				}
				fed.Add(1)
			},
		}
		p.start()
		defer p.stop()
		after := func(d time.Duration, want int64) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if n := fed.Swap(0); n != want {
				t.Errorf("fed %d times in %s, want %d", n, d, want)
			}
		}
		after(0, 1)
		after(time.Minute, 6)
		hangs.Store(true)
		after(time.Hour, 0)
		if n := strings.Count(log.String(), "the scheduler hangs"); n != 1 {
			t.Errorf("it is said %d times", n)
		}
		hangs.Store(false)
		after(time.Minute, 6)
	})
}

// TestStatusLine is told when it changes, whether there is a watchdog or not, and nobody
// is told anything who does not listen.
func TestStatusLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var line atomic.Value
		line.Store("one")
		var told []string
		p := &pulse{
			manager: manager{listening: true}, clock: clockwork.NewRealClock(), quit: make(chan struct{}),
			alive: func() error { return nil }, summary: func() string { return line.Load().(string) },
			tell: func(a ...string) { told = append(told, a...) },
		}
		p.start()
		time.Sleep(time.Minute)
		line.Store("two")
		time.Sleep(time.Minute)
		p.stop()
		if len(told) != 1 || told[0] != "STATUS=two" {
			t.Errorf("told %q", told)
		}
		silent := &pulse{quit: make(chan struct{})}
		silent.start()
		silent.stop()
	})
}
