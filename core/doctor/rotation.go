package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

const (
	rotationScheduler check = "rotation.scheduler"
	rotationPolicies  check = "rotation.policies"
)

// RotationReader is the part of a store that Rotation reads.
type RotationReader interface {
	Schedulers(ctx context.Context) ([]store.SchedulerCheck, error)
	Failing(ctx context.Context, names ...string) ([]store.PolicyCheck, error)
}

// missedChecks is how many intervals a process may let go by.
const missedChecks = 3

// Rotation looks whether somebody checks the policies that the config has, as often as it
// says, and whether what they ask for succeeds.
func Rotation(ctx context.Context, r RotationReader, c Circumstances) []Finding {
	schedulers, err := r.Schedulers(ctx)
	if err != nil {
		return []Finding{rotationScheduler.fail("", err.Error(), restore)}
	}
	findings := checking(schedulers, c)
	failing, err := r.Failing(ctx)
	if err != nil {
		return append(findings, rotationPolicies.fail("", err.Error(), restore))
	}
	return append(findings, failures(failing, c.Now)...)
}

// checking tells processes that check policies from those that did.
func checking(schedulers []store.SchedulerCheck, c Circumstances) []Finding {
	const serve = "run `keyrotor serve` as a service, or start the scheduler of one of your own"
	var findings []Finding
	var alive []string
	for _, s := range schedulers {
		age := c.Now.Sub(s.Checked)
		switch {
		case rotation.ParseOwner(s.Owner).Gone():
			findings = append(findings, rotationScheduler.warn(s.Owner,
				fmt.Sprintf("the process is gone, and did not stop as it should; it last checked policies at %s", timeText(s.Checked)),
				"look why it ended; the next scheduler that starts on this machine clears the record"))
		case age > missedChecks*s.Interval:
			findings = append(findings, rotationScheduler.warn(s.Owner,
				fmt.Sprintf("policies were last checked %s ago, at an interval of %s", ageText(age), s.Interval),
				"look into its log: it hangs, or cannot read the store"))
		default:
			if s.Interval != c.Interval {
				findings = append(findings, rotationScheduler.warn(s.Owner,
					fmt.Sprintf("it checks policies every %s, and the config says %s", s.Interval, c.Interval),
					"have it load this config (SIGHUP for `keyrotor serve`), unless it was started with an interval of its own"))
			}
			alive = append(alive, fmt.Sprintf("%s checked %s %s ago, every %s", s.Owner, count(s.Keys, "key"), ageText(max(age, 0)), s.Interval))
		}
	}
	switch {
	case len(alive) > 0:
		findings = append(findings, rotationScheduler.ok("", "%s", strings.Join(alive, "; ")))
	case c.rotated() > 0:
		findings = append(findings, rotationScheduler.warn("",
			fmt.Sprintf("the config has policies for %s, and no process checks them: nothing rotates by itself", count(c.rotated(), "key")), serve))
	case len(findings) == 0:
		findings = append(findings, rotationScheduler.ok("", "the config has no policies, and no process checks any"))
	}
	return findings
}

// overdue is how long after its time a rotation that failed has been tried again, if
// anybody does.
const overdue = 2 * time.Hour

// failures tells of policies whose rotation failed, and is tried again.
func failures(failing []store.PolicyCheck, now time.Time) []Finding {
	if len(failing) == 0 {
		return []Finding{rotationPolicies.ok("", "no rotation by policy has failed since the last that did not")}
	}
	var findings []Finding
	for _, c := range failing {
		again := "it is tried again at " + timeText(c.Retry)
		if now.Sub(c.Retry) > overdue {
			again = fmt.Sprintf("it was to be tried again at %s, and was not: no scheduler runs, or the policy is not in the config any more", timeText(c.Retry))
		}
		findings = append(findings, rotationPolicies.warn(c.Key,
			fmt.Sprintf("policy %s: %s failed in a row, the last with the code %s; %s", c.Policy, count(c.Failures, "rotation"), c.ErrorCode, again),
			fmt.Sprintf("`keyrotor key rotate %s` shows the error whole; the key goes on with the version that it has", c.Key)))
	}
	return findings
}
