package serve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/outage"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/scheduler"
	"github.com/keyrotor/keyrotor/core/store"
)

var errStopping = errors.New("the daemon is stopping")

// readiness is the answer of /readyz. Its JSON form is stable.
type readiness struct {
	Ready bool `json:"ready"`
	// Reasons are why it is not ready, Degraded what is wrong without that.
	Reasons  []string `json:"reasons"`
	Degraded []string `json:"degraded"`
}

func (r *readiness) refuse(format string, args ...any) {
	r.Reasons = append(r.Reasons, oneLine(fmt.Sprintf(format, args...)))
}

func (r *readiness) degrade(format string, args ...any) {
	r.Degraded = append(r.Degraded, oneLine(fmt.Sprintf(format, args...)))
}

func (r *readiness) lines() []string {
	lines := r.Reasons
	if r.Ready {
		lines = []string{"ok"}
	}
	for _, d := range r.Degraded {
		lines = append(lines, "degraded: "+d)
	}
	return lines
}

// readiness looks at the newest check, and at the store as it is now.
func (d *daemon) readiness(ctx context.Context) readiness {
	r := readiness{Reasons: []string{}, Degraded: []string{}}
	kr := d.current.Load()
	if err := d.alive(); err != nil {
		r.refuse("%v", err)
	} else {
		d.checked(&r, kr.Scheduler)
	}
	if !d.stopping.Load() {
		d.failing(ctx, &r, kr)
		for _, k := range kr.KeyManagers() {
			if k.State != outage.OK {
				r.degrade("provider %s, key-encryption key %s: %s since %s (%s)", k.Provider, k.KEKID, k.State, k.Since.UTC().Format(time.RFC3339), k.Code)
			}
		}
	}
	r.Ready = len(r.Reasons) == 0
	return r
}

// checked says whether every key was looked at within two intervals.
func (d *daemon) checked(r *readiness, s *scheduler.Scheduler) {
	status := s.Status()
	age := d.clock.Since(status.Checked)
	switch {
	case status.Err != nil:
		r.refuse("the newest check of policies failed: %v", status.Err)
	case status.Checked.IsZero():
		r.refuse("no check of policies has ended yet")
	case age > 2*s.Interval():
		r.refuse("the newest check of policies was %s ago, and the interval is %s", age.Round(time.Millisecond), s.Interval())
	}
	if status.Unrecorded != nil {
		r.refuse("the store is read and cannot be written, so that no key can be rotated: %v", status.Unrecorded)
	}
}

// maxListed bounds the keys that an answer names.
const maxListed = 20

// failing lists the keys that should be rotated and cannot be. They make the daemon
// unready if there is no key left that can.
func (d *daemon) failing(ctx context.Context, r *readiness, kr *core.Keyrotor) {
	checks, err := kr.Failing(ctx)
	if err != nil {
		r.refuse("the store cannot be read: %v", err)
		return
	}
	if len(checks) == 0 {
		return
	}
	for _, c := range checks[:min(len(checks), maxListed)] {
		r.degrade("key %s, policy %s: failures: %d (%s), next try at %s",
			c.Key, c.Policy, c.Failures, c.ErrorCode, c.Retry.UTC().Format(time.RFC3339))
	}
	if more := len(checks) - maxListed; more > 0 {
		r.degrade("and %d more", more)
	}
	facts, err := kr.Survey(ctx)
	switch {
	case err != nil:
		r.refuse("the store cannot be read: %v", err)
	case d.outcomes.nothing(facts.Keys):
		r.refuse("no key can be rotated: the key managers of all of them fail")
	}
}

// outcomes remembers the newest rotation of each key that was tried here.
type outcomes struct {
	mu sync.Mutex
	of map[string]outcome
}

type outcome struct {
	at   time.Time
	down bool // a key manager failed it
}

func (o *outcomes) observe(r scheduler.Outcome, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.of == nil {
		o.of = make(map[string]outcome)
	}
	o.of[r.Key] = outcome{now, keyManagerFailed(r.Err)}
}

// keyManagerFailed tells the trouble of a key manager from that of one key.
func keyManagerFailed(err error) bool {
	provided, ok := errors.AsType[*provider.Error](err)
	if !ok {
		return false
	}
	switch provided.Code {
	case provider.Integrity, provider.InvalidArgument:
		return false
	default:
		return true
	}
}

// nothing reports whether no key can be rotated, as far as is known. Keys that need
// the same key managers share their luck: what the newest try came to.
func (o *outcomes) nothing(keys []store.Facts) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	newest := make(map[string]outcome)
	for _, k := range keys {
		group := strings.Join(slices.Sorted(slices.Values(k.WrapWith)), " ")
		if tried := o.of[k.Name]; !tried.at.Before(newest[group].at) {
			newest[group] = tried
		}
	}
	for _, last := range newest {
		if !last.down {
			return false
		}
	}
	return len(newest) > 0
}
