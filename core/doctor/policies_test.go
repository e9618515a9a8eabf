package doctor

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/config"
	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/store"
)

const day = 24 * time.Hour

// made makes a policy that is known to be one.
func made[P policy.Policy](p P, err error) policy.Policy {
	if err != nil {
		panic(err)
	}
	return p
}

// plans is what a store knows of policies.
type plans struct {
	watch
	facts  []store.Facts
	checks []store.PolicyCheck
	errOf  map[string]error
}

func (p plans) Facts(context.Context, ...string) ([]store.Facts, error) {
	return p.facts, p.errOf["facts"]
}

func (p plans) Checks(context.Context, ...string) ([]store.PolicyCheck, error) {
	return p.checks, p.errOf["checks"]
}

func (p plans) Schedulers(context.Context) ([]store.SchedulerCheck, error) {
	return p.schedulers, p.errOf["schedulers"]
}

// aged is a key whose primary was made so long ago.
func aged(name string, ago time.Duration) store.Facts {
	at := noon.Add(-ago)
	return store.Facts{Name: name, Created: at, Version: 1, Rotated: at, Activated: at, HardLimit: 1000, WrapWith: []string{"local"}}
}

func TestConfigured(t *testing.T) {
	month := made(policy.NewMaxAge(30 * day))
	week := made(policy.NewMaxAge(7 * day))
	never := made(policy.NewCustom("never", "on no day at all", func(policy.Key, time.Time) policy.Decision { return policy.Decision{} }))
	daily := made(policy.NewDaily(policy.TimeOfDay(12*60+1), time.UTC))
	payments, orders := aged("payments", day), aged("orders", day)
	block := func(name string, p policy.Policy) config.Key { return config.Key{Name: name, Rotation: p} }
	atWork := watch{schedulers: []store.SchedulerCheck{{Owner: "elsewhere/7/1", Started: noon.Add(-time.Hour), Interval: time.Minute, Checked: noon.Add(-30 * time.Second)}}}
	saw := func(name string, ago time.Duration, next time.Time) store.PolicyCheck {
		return store.PolicyCheck{Key: "payments", Policy: name, Checked: noon.Add(-ago), Next: next}
	}
	asMonth := payments.Rotated.Add(30 * day)
	for name, c := range map[string]struct {
		store plans
		keys  []config.Key
		want  string
	}{
		"nothing": {plans{}, nil, "ok rotation.configured [] 0 keys: 0 by policies of the config, 0 by those in the code of a process, 0 at half of the hard limit alone\n"},
		"in order": {
			plans{facts: []store.Facts{orders, payments}},
			[]config.Key{block("orders", daily), block("payments", month)},
			"ok rotation.configured [] 2 keys: 2 by policies of the config, 0 by those in the code of a process, 0 at half of the hard limit alone\n",
		},
		"no policies": {
			plans{facts: []store.Facts{orders, payments}},
			[]config.Key{{Name: "orders", WrapWith: []string{"local"}}},
			"ok rotation.configured [] 2 keys: 0 by policies of the config, 0 by those in the code of a process, 2 at half of the hard limit alone\n",
		},
		"no such key": {plans{facts: []store.Facts{orders}}, []config.Key{block("order", month), block("orders", month)}, `
warn rotation.configured [order] the config has a block for this key, and there is no such key
  -> run ` + "`keyrotor key create order`" + `, or correct the name of the block
`},
		"one forgotten": {plans{facts: []store.Facts{orders, payments}}, []config.Key{block("orders", month)}, `
warn rotation.configured [] 1 key is not rotated by age, use or calendar, as others are: payments
  -> give each a rotation block in the config, if that is not meant
`},
		"never": {plans{facts: []store.Facts{payments}}, []config.Key{block("payments", never)}, `
warn rotation.configured [payments] its policy (on no day at all) is never due, however old the key becomes and however often it is used
  -> correct it; ` + "`keyrotor policy simulate payments`" + ` shows when the key is rotated
`},
		"too many uses": {plans{facts: []store.Facts{payments}}, []config.Key{block("payments", made(policy.NewMaxUses(501)))}, `
warn rotation.configured [payments] its policy (every 501 uses) counts to 501 uses, and the key is rotated at 500, half of its hard limit, anyway
  -> lower max_uses, or raise the limit: ` + "`keyrotor key set payments --hard-limit NUMBER`" + `
`},
		"half": {plans{facts: []store.Facts{payments}}, []config.Key{block("payments", made(policy.NewMaxUses(500)))}, "ok rotation.configured [] 1 key: 1 by policies of the config, 0 by those in the code of a process, 0 at half of the hard limit alone\n"},
		"always": {plans{facts: []store.Facts{payments}}, []config.Key{block("payments", made(policy.NewMaxAge(30*time.Second)))}, `
warn rotation.configured [payments] its policy (every 30 seconds) is due at each check, every 1m0s
  -> rotate less often, or raise the interval of the scheduler; ` + "`keyrotor policy simulate payments`" + ` shows when the key is rotated
`},
		"the same elsewhere": {
			plans{facts: []store.Facts{payments}, watch: atWork, checks: []store.PolicyCheck{saw("max_age", time.Minute, asMonth)}},
			[]config.Key{block("payments", month)},
			"ok rotation.configured [] 1 key: 1 by policies of the config, 0 by those in the code of a process, 0 at half of the hard limit alone\n",
		},
		"another age elsewhere": {plans{facts: []store.Facts{payments}, watch: atWork, checks: []store.PolicyCheck{saw("max_age", time.Minute, asMonth)}}, []config.Key{block("payments", week)}, `
warn rotation.configured [payments] by this config (every 7 days) it is due next at 2026-03-07T12:00:00Z, and a process that checks policies expects 2026-03-30T12:00:00Z: it runs with another config
  -> have the process load this config: SIGHUP for ` + "`keyrotor serve`" + `, a restart for another
`},
		"none elsewhere": {plans{facts: []store.Facts{payments}, watch: atWork, checks: []store.PolicyCheck{saw("hard_limit", time.Minute, time.Time{})}}, []config.Key{block("payments", week)}, `
warn rotation.configured [payments] no process that checks policies has this one (every 7 days): it runs with another config
  -> have the process load this config: SIGHUP for ` + "`keyrotor serve`" + `, a restart for another
`},
		"one that is gone had it": {plans{facts: []store.Facts{payments}, watch: atWork, checks: []store.PolicyCheck{saw("max_age", 2*time.Hour, asMonth)}}, []config.Key{block("payments", month)}, `
warn rotation.configured [payments] no process that checks policies has this one (every 30 days): it runs with another config
  -> have the process load this config: SIGHUP for ` + "`keyrotor serve`" + `, a restart for another
`},
		"made since the check": {
			plans{facts: []store.Facts{aged("payments", time.Second)}, watch: atWork},
			[]config.Key{block("payments", month)},
			"ok rotation.configured [] 1 key: 1 by policies of the config, 0 by those in the code of a process, 0 at half of the hard limit alone\n",
		},
		"in code": {
			plans{facts: []store.Facts{orders, payments}, watch: atWork, checks: []store.PolicyCheck{
				saw("max_uses", time.Minute, time.Time{}),
				{Key: "orders", Policy: "max_age", Checked: noon.Add(-time.Minute), Next: orders.Rotated.Add(7 * day)},
			}},
			[]config.Key{block("orders", week)},
			"ok rotation.configured [] 2 keys: 1 by policies of the config, 1 by those in the code of a process, 0 at half of the hard limit alone\n",
		},
		"facts unread":      {plans{errOf: map[string]error{"facts": store.ErrCorrupt}}, nil, "fail rotation.configured [] the store is damaged\n  -> RESTORE\n"},
		"checks unread":     {plans{errOf: map[string]error{"checks": store.ErrCorrupt}}, nil, "fail rotation.configured [] the store is damaged\n  -> RESTORE\n"},
		"schedulers unread": {plans{errOf: map[string]error{"schedulers": errors.New("no such table")}}, nil, "fail rotation.configured [] no such table\n  -> RESTORE\n"},
	} {
		findings := Configured(t.Context(), c.store, Circumstances{Keys: c.keys, Interval: time.Minute, Now: noon})
		expect(t, name, findings, c.want)
	}
}
