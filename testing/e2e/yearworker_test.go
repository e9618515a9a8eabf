package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/scheduler"
)

// yearVariable tells this test binary, started again, to be a process of the year, and
// holds its job.
const yearVariable = "KEYROTOR_E2E_YEAR"

// yearJob is what such a process is to do.
type yearJob struct {
	Config string
	Now    time.Time
}

// yearEncryptions is how often a process encrypts under each key that is about uses,
// at each step of the clock.
const yearEncryptions = 10

// yearWork is a service with a scheduler, whose clock its boss moves. It reads a line
// "<microseconds since 1970>", lets the clock go on to there, and answers "at <the same>" when
// everything that was due by then is done; or "failed <error>".
func yearWork(encoded string) (err error) {
	var j yearJob
	if err := json.Unmarshal([]byte(encoded), &j); err != nil {
		return err
	}
	w := &yearWorker{clock: clockwork.NewFakeClockAt(j.Now), plans: yearPlans()}
	if w.kr, err = (core.Opener{Clock: w.clock}).Open(context.Background(), j.Config); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.kr.Close()) }()
	if w.service, err = (core.Opener{Clock: w.clock}).Open(context.Background(), j.Config); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.service.Close()) }()
	for _, p := range w.plans {
		if p.policy != nil {
			if err := w.kr.Scheduler.Add(p.key, p.policy); err != nil {
				return err
			}
		}
	}
	if err := w.kr.Scheduler.Start(); err != nil {
		return err
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		us, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			return err
		}
		if err := w.goOn(time.UnixMicro(us)); err != nil {
			fmt.Printf("failed %q\n", err)
			continue
		}
		fmt.Printf("at %d\n", us)
	}
	return nil
}

type yearWorker struct {
	clock *clockwork.FakeClock
	kr    *core.Keyrotor
	// service encrypts. Its scheduler does not run: by its uses a key would be rotated at
	// any moment, in the middle of which the clock may be moved by hours.
	service *core.Keyrotor
	plans   []plan
}

// goOn moves the clock, and encrypts.
func (w *yearWorker) goOn(to time.Time) error {
	w.clock.Advance(to.Sub(w.clock.Now()))
	if err := w.settle(to); err != nil {
		return err
	}
	for _, p := range w.plans {
		for range yearEncryptions {
			if !p.uses {
				break
			}
			if _, err := w.service.Encrypt(context.Background(), p.key, []byte("x"), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle waits until the scheduler has nothing left to do.
func (w *yearWorker) settle(now time.Time) error {
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !w.settled(w.kr.Scheduler.Status(), now); <-tick.C {
		if time.Now().After(deadline) {
			return fmt.Errorf("for %s the scheduler did not come to rest: %+v", patience, w.kr.Scheduler.Status())
		}
	}
	return nil
}

// settled reports whether every key was looked at lately, and none is being rotated.
func (w *yearWorker) settled(s scheduler.Status, now time.Time) bool {
	if now.Sub(s.Checked) >= yearInterval {
		return false
	}
	for _, p := range w.plans {
		if w.kr.Scheduler.Rotating(p.key) {
			return false
		}
	}
	return true
}
