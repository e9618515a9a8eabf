package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core/config"
	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/scheduler"
	"github.com/keyrotor/keyrotor/core/store"
)

const rotationConfigured check = "rotation.configured"

// PolicyReader is the part of a store that Configured reads.
type PolicyReader interface {
	Facts(ctx context.Context, names ...string) ([]store.Facts, error)
	Checks(ctx context.Context, names ...string) ([]store.PolicyCheck, error)
	Schedulers(ctx context.Context) ([]store.SchedulerCheck, error)
}

// Configured looks whether the config's policies are what somebody can have meant:
// whether their keys exist, whether they are ever due, and not all the time, and whether
// those who check policies have the same ones.
func Configured(ctx context.Context, r PolicyReader, c Circumstances) []Finding {
	facts, err := r.Facts(ctx)
	if err != nil {
		return []Finding{rotationConfigured.fail("", err.Error(), restore)}
	}
	checks, err := r.Checks(ctx)
	if err != nil {
		return []Finding{rotationConfigured.fail("", err.Error(), restore)}
	}
	schedulers, err := r.Schedulers(ctx)
	if err != nil {
		return []Finding{rotationConfigured.fail("", err.Error(), restore)}
	}
	x := policyExamination{Circumstances: c, facts: make(map[string]store.Facts, len(facts)), known: make(map[[2]string]store.PolicyCheck)}
	for _, f := range facts {
		x.facts[f.Name] = f
	}
	x.watch(schedulers, checks)
	var findings []Finding
	for _, k := range c.Keys {
		findings = append(findings, x.examine(k)...)
	}
	return append(findings, x.others(facts, len(findings) == 0)...)
}

type policyExamination struct {
	Circumstances
	facts map[string]store.Facts
	// checked is the newest check of a scheduler that is at work; zero if none is.
	checked time.Time
	// known are the checks by key and policy that a scheduler at work wrote. Each writes
	// all of them when it starts.
	known map[[2]string]store.PolicyCheck
}

// watch notes what the schedulers that are at work have.
func (x *policyExamination) watch(schedulers []store.SchedulerCheck, checks []store.PolicyCheck) {
	var since time.Time
	for _, s := range schedulers {
		if rotation.ParseOwner(s.Owner).Gone() || x.Now.Sub(s.Checked) > missedChecks*s.Interval {
			continue
		}
		if since.IsZero() || s.Started.Before(since) {
			since = s.Started
		}
		if s.Checked.After(x.checked) {
			x.checked = s.Checked
		}
	}
	for _, c := range checks {
		if !since.IsZero() && !c.Checked.Before(since) {
			x.known[[2]string{c.Key, c.Policy}] = c
		}
	}
}

// examine looks at the block of one key.
func (x *policyExamination) examine(k config.Key) []Finding {
	f, ok := x.facts[k.Name]
	if !ok {
		return []Finding{rotationConfigured.warn(k.Name, "the config has a block for this key, and there is no such key",
			fmt.Sprintf("run `keyrotor key create %s`, or correct the name of the block", k.Name))}
	}
	if k.Rotation == nil || f.Version == 0 {
		return nil // key.primary tells of a key without a version that encrypts
	}
	if why, next := x.meaning(k, f); why != "" {
		return []Finding{rotationConfigured.warn(k.Name, fmt.Sprintf("its policy (%s) %s", k.Rotation.Description(), why), next)}
	}
	if why := x.difference(k.Rotation, f); why != "" {
		return []Finding{rotationConfigured.warn(k.Name, why,
			"have the process load this config: SIGHUP for `keyrotor serve`, a restart for another")}
	}
	return nil
}

// meaning says what cannot be meant, if anything, and what to do about it.
func (x *policyExamination) meaning(k config.Key, f store.Facts) (why, next string) {
	half := f.HardLimit/2 + f.HardLimit%2
	counted, ok := k.Rotation.(policy.Counted)
	switch {
	case ok && counted.MaxUses() > half:
		return fmt.Sprintf("counts to %d uses, and the key is rotated at %d, half of its hard limit, anyway", counted.MaxUses(), half),
			fmt.Sprintf("lower max_uses, or raise the limit: `keyrotor key set %s --hard-limit NUMBER`", k.Name)
	case x.everDue(k.Rotation, f, half):
	default:
		return "is never due, however old the key becomes and however often it is used",
			fmt.Sprintf("correct it; `keyrotor policy simulate %s` shows when the key is rotated", k.Name)
	}
	if x.alwaysDue(k.Rotation, f) {
		return fmt.Sprintf("is due at each check, every %s", x.Interval),
			fmt.Sprintf("rotate less often, or raise the interval of the scheduler; `keyrotor policy simulate %s` shows when the key is rotated", k.Name)
	}
	return "", ""
}

// everDue asks the policy at several times of a distant year, when the key is as old and
// as much used as one can be; a blackout window may cover one of them.
func (x *policyExamination) everDue(p policy.Policy, f store.Facts, uses uint64) bool {
	key := scheduler.PolicyKey(f)
	key.Uses, key.TotalUses = uses, uses
	for i := range 100 {
		if p.Decide(key, x.Now.AddDate(10, 0, 0).Add(time.Duration(i)*37*time.Hour)).Due {
			return true
		}
	}
	return false
}

// alwaysDue rotates the key in mind, and asks again an interval later. Once may be chance:
// the time of a schedule is about to come.
func (x *policyExamination) alwaysDue(p policy.Policy, f store.Facts) bool {
	key, now := scheduler.PolicyKey(f), x.Now
	for range 3 {
		key.Version++
		key.Rotated, key.Activated, key.Uses, key.TotalUses = now, now, 0, 0
		now = now.Add(x.Interval)
		if !p.Decide(key, now).Due {
			return false
		}
	}
	return true
}

// difference says what a scheduler that is at work has in the policy's place, if that is
// known and something else.
func (x *policyExamination) difference(p policy.Policy, f store.Facts) string {
	if !x.checked.After(f.Created) || !x.checked.After(f.Activated) {
		return ""
	}
	c, ok := x.known[[2]string{f.Name, p.Name()}]
	if !ok {
		return fmt.Sprintf("no process that checks policies has this one (%s): it runs with another config", p.Description())
	}
	d := p.Decide(scheduler.PolicyKey(f), x.checked)
	if c.Due || d.Due || c.Next.IsZero() || d.Next.IsZero() || store.Micros(c.Next) == store.Micros(d.Next) {
		return ""
	}
	return fmt.Sprintf("by this config (%s) it is due next at %s, and a process that checks policies expects %s: it runs with another config",
		p.Description(), timeText(d.Next), timeText(c.Next))
}

// others tells of keys that have no policy in the config, and what is in order.
func (x *policyExamination) others(facts []store.Facts, fine bool) []Finding {
	var own, code, none []string
	for _, f := range facts {
		switch {
		case slices.ContainsFunc(x.Keys, func(k config.Key) bool { return k.Name == f.Name && k.Rotation != nil }):
			own = append(own, f.Name)
		case x.coded(f.Name):
			code = append(code, f.Name)
		default:
			none = append(none, f.Name)
		}
	}
	if len(own) > 0 && len(none) > 0 {
		return []Finding{rotationConfigured.warn("", fmt.Sprintf("%s not rotated by age, use or calendar, as others are: %s", isAre(len(none), "key"), first(none)),
			"give each a rotation block in the config, if that is not meant")}
	}
	if !fine {
		return nil
	}
	return []Finding{rotationConfigured.ok("", "%s: %d by policies of the config, %d by those in the code of a process, %d at half of the hard limit alone",
		count(len(facts), "key"), len(own), len(code), len(none))}
}

// coded reports whether a process checks a policy of the key beside the built-in one.
func (x *policyExamination) coded(key string) bool {
	for id := range x.known {
		if id[0] == key && id[1] != (policy.HardLimit{}).Name() {
			return true
		}
	}
	return false
}

// first lists the first few names.
func first(names []string) string {
	const most = 5
	text := strings.Join(names[:min(len(names), most)], ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
