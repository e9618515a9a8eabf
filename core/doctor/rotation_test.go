package doctor

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/config"
	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/store"
)

// watch is what is known of policies.
type watch struct {
	schedulers []store.SchedulerCheck
	failing    []store.PolicyCheck
	err        error
}

func (w watch) Schedulers(context.Context) ([]store.SchedulerCheck, error) {
	return w.schedulers, w.err
}

func (w watch) Failing(context.Context, ...string) ([]store.PolicyCheck, error) {
	return w.failing, w.err
}

// circumstances are those of a config with policies for so many keys, at noon.
func circumstances(policies int) Circumstances {
	c := Circumstances{Interval: time.Minute, Now: noon}
	for i := range policies {
		c.Keys = append(c.Keys, config.Key{Name: fmt.Sprint("key", i), Rotation: policy.HardLimit{}})
	}
	return c
}

func TestRotation(t *testing.T) {
	const none = "ok rotation.policies [] no rotation by policy has failed since the last that did not\n"
	checked := func(ago time.Duration) store.SchedulerCheck {
		return store.SchedulerCheck{Owner: "elsewhere/7/1", Interval: time.Minute, Checked: noon.Add(-ago), Keys: 12}
	}
	for name, c := range map[string]struct {
		watch      watch
		configured int
		want       string
	}{
		"nothing":   {watch{}, 0, "ok rotation.scheduler [] the config has no policies, and no process checks any\n" + none},
		"in order":  {watch{schedulers: []store.SchedulerCheck{checked(20 * time.Second)}}, 3, "ok rotation.scheduler [] elsewhere/7/1 checked 12 keys 20s ago, every 1m0s\n" + none},
		"in future": {watch{schedulers: []store.SchedulerCheck{checked(-time.Second)}}, 3, "ok rotation.scheduler [] elsewhere/7/1 checked 12 keys 0s ago, every 1m0s\n" + none},
		"nobody": {watch{}, 1, `warn rotation.scheduler [] the config has policies for 1 key, and no process checks them: nothing rotates by itself
  -> run ` + "`keyrotor serve`" + ` as a service, or start the scheduler of one of your own
` + none},
		"hangs": {watch{schedulers: []store.SchedulerCheck{checked(3*time.Minute + time.Second)}}, 0, `
warn rotation.scheduler [elsewhere/7/1] policies were last checked 3m ago, at an interval of 1m0s
  -> look into its log: it hangs, or cannot read the store
`[1:] + none},
		"one of two hangs": {watch{schedulers: []store.SchedulerCheck{checked(time.Hour), checked(time.Minute)}}, 1, `
warn rotation.scheduler [elsewhere/7/1] policies were last checked 1h0m ago, at an interval of 1m0s
  -> look into its log: it hangs, or cannot read the store
ok rotation.scheduler [] elsewhere/7/1 checked 12 keys 1m ago, every 1m0s
`[1:] + none},
		"another interval": {watch{schedulers: []store.SchedulerCheck{{Owner: "elsewhere/7/1", Interval: time.Hour, Checked: noon.Add(-time.Minute), Keys: 12}}}, 1, `
warn rotation.scheduler [elsewhere/7/1] it checks policies every 1h0m0s, and the config says 1m0s
  -> have it load this config (SIGHUP for `[1:] + "`keyrotor serve`" + `), unless it was started with an interval of its own
ok rotation.scheduler [] elsewhere/7/1 checked 12 keys 1m ago, every 1h0m0s
` + none},
		"failing": {watch{
			schedulers: []store.SchedulerCheck{checked(0)},
			failing:    []store.PolicyCheck{{Key: "payments", Policy: "max_age", Failures: 3, ErrorCode: "denied", Retry: noon}},
		}, 1, `ok rotation.scheduler [] elsewhere/7/1 checked 12 keys 0s ago, every 1m0s
warn rotation.policies [payments] policy max_age: 3 rotations failed in a row, the last with the code denied; it is tried again at 2026-03-01T12:00:00Z
  -> ` + "`keyrotor key rotate payments`" + ` shows the error whole; the key goes on with the version that it has
`},
		"failing, and forgotten": {watch{
			schedulers: []store.SchedulerCheck{checked(0)},
			failing:    []store.PolicyCheck{{Key: "payments", Policy: "max_age", Failures: 1, ErrorCode: "denied", Retry: noon.Add(-3 * time.Hour)}},
		}, 1, `ok rotation.scheduler [] elsewhere/7/1 checked 12 keys 0s ago, every 1m0s
warn rotation.policies [payments] policy max_age: 1 rotation failed in a row, the last with the code denied; it was to be tried again at 2026-03-01T09:00:00Z, and was not: no scheduler runs, or the policy is not in the config any more
  -> ` + "`keyrotor key rotate payments`" + ` shows the error whole; the key goes on with the version that it has
`},
		"damage": {watch{err: store.ErrCorrupt}, 1, `
fail rotation.scheduler [] the store is damaged
  -> RESTORE
`[1:]},
	} {
		expect(t, name, Rotation(t.Context(), c.watch, circumstances(c.configured)), c.want)
	}
}

// TestSchedulerGone: a process of this machine that was killed is told from one that hangs.
func TestSchedulerGone(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // nowhere else can that be told
	}
	s := store.SchedulerCheck{Owner: gone(t), Interval: time.Minute, Checked: noon, Keys: 12}
	expect(t, "gone", Rotation(t.Context(), watch{schedulers: []store.SchedulerCheck{s}}, circumstances(0)), `
warn rotation.scheduler [`[1:]+s.Owner+`] the process is gone, and did not stop as it should; it last checked policies at 2026-03-01T12:00:00Z
  -> look why it ended; the next scheduler that starts on this machine clears the record
ok rotation.policies [] no rotation by policy has failed since the last that did not
`)
}
