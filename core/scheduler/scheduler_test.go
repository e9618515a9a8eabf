package scheduler_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/scheduler"
	"github.com/keyrotor/keyrotor/core/store"
)

// TestOnTime: a key is rotated when it is due, however long the interval is.
func TestOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.process(interval(24 * time.Hour))
		b.create(p, "payments", "a")
		b.create(p, "orders", "a", "b")
		b.create(p, "unmanaged", "a")
		b.add(p, "payments", maxAge(time.Hour))
		b.add(p, "orders", maxAge(90*time.Minute))
		p.start(b)
		if err := p.Start(); !errors.Is(err, scheduler.ErrRunning) {
			t.Errorf("a second start: %v", err)
		}
		time.Sleep(200 * time.Minute)
		b.wantRotations("payments", time.Hour, 2*time.Hour, 3*time.Hour)
		b.wantRotations("orders", 90*time.Minute, 3*time.Hour)
		b.wantRotations("unmanaged")
		if s := p.Status(); !s.Running || s.Rotated != 5 || s.Failed != 0 || s.Keys != 3 || s.Err != nil {
			t.Errorf("status %+v", s)
		}
		if len(b.outcomes) != 5 || b.outcomes[0].New != 2 || b.outcomes[0].Reason != keyring.ReasonTimeExpired || b.outcomes[0].Due.Policy != "max_age" {
			t.Errorf("outcomes %+v", b.outcomes)
		}
	})
}

// TestPoliciesChange: policies come and go while the scheduler runs.
func TestPoliciesChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.process()
		b.create(p, "payments", "a")
		b.create(p, "orders", "a")
		p.start(b)
		time.Sleep(90 * time.Minute)
		b.wantRotations("payments")
		b.add(p, "payments", maxAge(time.Hour)) // due already
		if err := p.Add("payments", maxAge(time.Minute)); !errors.Is(err, scheduler.ErrPolicyExists) {
			t.Errorf("a second policy of one name: %v", err)
		}
		if err := p.Add("payments", policy.HardLimit{}); err == nil {
			t.Error("the built-in policy was added")
		}
		time.Sleep(70 * time.Minute)
		b.wantRotations("payments", 90*time.Minute, 150*time.Minute)
		if !p.Remove("payments", "max_age") || p.Remove("payments", "max_age") || p.Remove("", "max_age") {
			t.Error("Remove does not tell what it removed")
		}
		b.add(p, "", maxAge(4*time.Hour))
		b.add(p, "orders", maxAge(3*time.Hour)) // in its place, for this key
		time.Sleep(2 * time.Hour)               // 4:40
		b.wantRotations("payments", 90*time.Minute, 150*time.Minute)
		b.wantRotations("orders", 3*time.Hour)
	})
}

// TestOwnPolicy: a key's own policy takes the place of one of all keys of its name, in
// whichever order they are added, and leaves it to that one when it goes.
func TestOwnPolicy(t *testing.T) {
	words := func(p process, key string) (list []string) {
		for _, policy := range p.Policies(key)[1:] { // the first is built in
			list = append(list, policy.Description())
		}
		return list
	}
	synctest.Test(t, func(t *testing.T) {
		p := newBench(t).process()
		for _, key := range []string{"payments", "", "orders"} {
			age := maxAge(map[string]time.Duration{"payments": time.Hour, "": 2 * time.Hour, "orders": 3 * time.Hour}[key])
			if err := p.Add(key, age); err != nil {
				t.Fatal(err)
			}
		}
		for key, want := range map[string]string{"payments": "every 1 hour", "orders": "every 3 hours", "cards": "every 2 hours"} {
			if got := words(p, key); !slices.Equal(got, []string{want}) {
				t.Errorf("%s: %q, want %q", key, got, want)
			}
		}
		if !p.Remove("payments", "max_age") {
			t.Error("it was not there")
		}
		if got := words(p, "payments"); !slices.Equal(got, []string{"every 2 hours"}) {
			t.Errorf("without its own: %q", got)
		}
	})
}

// TestReplace: in one step, or not at all.
func TestReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.process()
		b.create(p, "payments", "a")
		uses, err := policy.NewMaxUses(1000)
		if err != nil {
			t.Fatal(err)
		}
		b.add(p, "payments", maxAge(time.Hour))
		b.add(p, "payments", uses)
		names := func() (list []string) {
			for _, policy := range p.Policies("payments") {
				list = append(list, policy.Description())
			}
			return list
		}
		before := names()
		for _, c := range []struct {
			names    []string
			policies []policy.Policy
		}{
			{[]string{"max_age"}, []policy.Policy{maxAge(time.Minute), uses}},
			{[]string{"max_age", "max_uses"}, []policy.Policy{maxAge(time.Minute), maxAge(time.Hour)}},
			{[]string{"max_age"}, []policy.Policy{maxAge(time.Minute), policy.HardLimit{}}},
		} {
			if err := p.Replace("payments", c.names, c.policies...); err == nil || !slices.Equal(names(), before) {
				t.Errorf("%v, and there are %q", err, names())
			}
		}
		if err := p.Replace("payments", []string{"max_age", "max_uses"}, maxAge(30*time.Minute)); err != nil {
			t.Error(err)
		}
		if got := names(); !slices.Equal(got[1:], []string{"every 30 minutes"}) {
			t.Errorf("there are %q", got)
		}
		p.start(b)
		time.Sleep(45 * time.Minute)
		b.wantRotations("payments", 30*time.Minute)
	})
}

// TestSetInterval: a scheduler that runs checks at its new interval at once.
func TestSetInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.process(func(c *scheduler.Config) { c.Interval = 24 * time.Hour })
		b.create(p, "payments", "a")
		p.start(b)
		time.Sleep(time.Minute)
		if err := p.SetInterval(0); err == nil || p.Interval() != 24*time.Hour {
			t.Errorf("%v, and the interval is %s", err, p.Interval())
		}
		if err := p.SetInterval(10 * time.Minute); err != nil || p.Interval() != 10*time.Minute {
			t.Errorf("%v, and the interval is %s", err, p.Interval())
		}
		time.Sleep(25 * time.Minute)
		if ago := time.Since(p.Status().Checked); ago > 10*time.Minute {
			t.Errorf("the newest check was %s ago", ago)
		}
	})
}

// TestBadPolicies: a policy that panics, or that does not say what it must, harms no other.
func TestBadPolicies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.process()
		b.create(p, "payments", "a")
		b.create(p, "orders", "a")
		for name, decide := range map[string]func(policy.Key, time.Time) policy.Decision{
			"panics": func(policy.Key, time.Time) policy.Decision { panic("as the test wants it") },
			"no_slot": func(policy.Key, time.Time) policy.Decision {
				return policy.Decision{Due: true, Reason: keyring.ReasonManual}
			},
			"no_reason": func(policy.Key, time.Time) policy.Decision { return policy.Decision{Due: true, Slot: "x"} },
		} {
			b.add(p, "orders", bad{name, decide})
		}
		b.add(p, "", maxAge(time.Hour))
		p.start(b)
		time.Sleep(61 * time.Minute)
		b.wantRotations("payments", time.Hour)
		b.wantRotations("orders", time.Hour)
		checks, err := b.store.Checks(t.Context(), "orders")
		if err != nil || len(checks) != 5 {
			t.Fatalf("%d checks, %v", len(checks), err)
		}
		for _, c := range checks {
			if c.Due || c.Why == "" {
				t.Errorf("check %+v", c)
			}
		}
	})
}

// bad is a policy without the care that policy.Custom takes.
type bad struct {
	name   string
	decide func(policy.Key, time.Time) policy.Decision
}

func (p bad) Name() string                                       { return p.name }
func (p bad) Description() string                                { return "a bad policy" }
func (p bad) Decide(k policy.Key, now time.Time) policy.Decision { return p.decide(k, now) }

// TestNextPassed: a policy that is not due, and says that it was to be by now, is asked
// at each interval, and not as fast as the store answers.
func TestNextPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.process()
		b.create(p, "payments", "a")
		asked := 0
		old, err := policy.NewCustom("old_and_used", "after an hour, if it is used", func(k policy.Key, _ time.Time) policy.Decision {
			if asked++; asked > 1000 {
				return policy.Decision{} // else time would stand still
			}
			return policy.Decision{Due: k.Uses > 0, Next: k.Rotated.Add(time.Hour)}
		})
		if err != nil {
			t.Fatal(err)
		}
		b.add(p, "payments", old)
		p.start(b)
		time.Sleep(2*time.Hour + time.Second)
		if err := p.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if asked < 120 || asked > 125 {
			t.Errorf("asked %d times in 2 hours", asked)
		}
	})
}

// TestAlwaysDue: a policy that no rotation satisfies does not fill the store with
// versions.
func TestAlwaysDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.process()
		b.create(p, "payments", "a")
		b.create(p, "orders", "a")
		always, err := policy.NewCustom("always", "always", func(policy.Key, time.Time) policy.Decision {
			return policy.Decision{Due: true, Reason: keyring.ReasonManual}
		})
		if err != nil {
			t.Fatal(err)
		}
		b.add(p, "payments", always)
		b.add(p, "orders", maxAge(time.Hour))
		p.start(b)
		time.Sleep(12*time.Hour + time.Minute)
		// At once, then 10 s later, then 20 s, and so on up to an hour, give or take a fifth.
		if n := len(b.rotations("payments")); n < 16 || n > 26 {
			t.Errorf("%d rotations in 12 hours", n)
		}
		if n := len(b.rotations("orders")); n != 12 {
			t.Errorf("%d rotations of the other key", n)
		}
	})
}

// TestAlwaysDueReplaced: what replaces a policy that no rotation satisfied does not wait
// for what that one was held for.
func TestAlwaysDueReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.process()
		b.create(p, "payments", "a")
		b.create(p, "orders", "a")
		for _, key := range []string{"payments", ""} {
			b.add(p, key, maxAge(time.Nanosecond))
			if key == "payments" {
				p.start(b)
			}
			time.Sleep(6 * time.Hour)
			if !p.Remove(key, "max_age") {
				t.Fatal("the policy is not there")
			}
			before := len(b.rotations("payments"))
			b.add(p, key, maxAge(time.Minute))
			time.Sleep(5*time.Minute + time.Second)
			if n := len(b.rotations("payments")) - before; n < 5 || n > 6 {
				t.Errorf("of key %q: %d rotations in 5 minutes", key, n)
			}
			p.Remove(key, "max_age")
		}
	})
}

// TestSeveralProcesses: whoever is first serves an occasion, and nobody serves it again.
func TestSeveralProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		daily, err := policy.NewDaily(2*60, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		processes := make([]process, 3)
		for i := range processes {
			processes[i] = b.process(interval(8 * time.Hour))
		}
		b.create(processes[0], "payments", "a")
		b.create(processes[0], "orders", "b")
		for _, p := range processes {
			b.add(p, "", daily)
			p.start(b)
		}
		time.Sleep(3 * 24 * time.Hour)
		for _, key := range []string{"payments", "orders"} {
			if got := b.rotations(key); len(got) != 3 {
				t.Errorf("key %s was rotated on %d of 3 days, after %v", key, len(got), got)
			}
		}
		known, err := b.store.Schedulers(t.Context())
		if err != nil || len(known) != 3 {
			t.Errorf("schedulers %+v, %v", known, err)
		}
	})
}

// TestNudge: a key that was used much is rotated at once, and not at the next interval.
func TestNudge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.process(interval(time.Hour))
		b.create(p, "payments", "a")
		b.add(p, "payments", maxUses(1000))
		p.Nudge("payments") // does nothing yet
		p.start(b)
		time.Sleep(time.Minute)
		lease, err := b.store.Acquire(t.Context(), store.LeaseRequest{Key: "payments", Owner: "x", Count: 1000, TTL: time.Minute})
		if err != nil || lease.Uses != 1000 {
			t.Fatalf("%+v, %v", lease, err)
		}
		p.Nudge("nothing") // is no key
		time.Sleep(time.Minute)
		b.wantRotations("payments")
		due, err := p.Due(t.Context())
		if err != nil || len(due) != 1 || due[0].Key != "payments" || due[0].Version != 1 || due[0].Due.Policy != "max_uses" {
			t.Errorf("due %+v, %v", due, err)
		}
		p.Nudge("payments")
		time.Sleep(time.Minute)
		b.wantRotations("payments", 2*time.Minute)
	})
}

// TestUsed: grants of uses have a key looked at when they may make it due, and whoever is
// out of uses hears whether a rotation is on its way.
func TestUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.process(interval(time.Hour))
		b.createKey(p, "payments", keyring.Settings{WrapWith: []string{"a"}, HardLimit: 1000})
		b.add(p, "payments", maxUses(300))
		grant := func(count uint64, reencrypting bool) bool {
			t.Helper()
			l, err := b.store.Acquire(t.Context(), store.LeaseRequest{Key: "payments", Owner: "x", Count: count, TTL: time.Minute, Reencrypting: reencrypting})
			if err != nil {
				t.Fatal(err)
			}
			return p.Used("payments", l)
		}
		if grant(10, false) || p.Rotating("payments") {
			t.Error("a rotation is said to be under way before the start")
		}
		p.start(b)
		time.Sleep(time.Minute)
		if grant(280, false) || grant(100, true) { // 290 encryptions, 390 uses
			t.Error("a rotation is said to be under way too early")
		}
		time.Sleep(time.Minute)
		b.wantRotations("payments")
		if !grant(10, false) { // 300 and 400
			t.Error("no rotation is said to be under way, and one is due")
		}
		time.Sleep(time.Minute)
		b.wantRotations("payments", 2*time.Minute)
		if grant(490, true) {
			t.Error("re-encryption is said to make the key due")
		}
		b.managers["a"].Before(func(context.Context, string) error {
			time.Sleep(time.Second)
			return nil
		})
		if !grant(10, true) { // half of the hard limit
			t.Error("no rotation is said to be under way, and the built-in policy is due")
		}
		for range 4 { // of two calls of the key manager
			time.Sleep(400 * time.Millisecond)
			if !p.Used("payments", store.Lease{}) {
				t.Error("no rotation is said to be under way, and it is")
			}
		}
		time.Sleep(time.Minute)
		if got := b.rotations("payments"); len(got) != 2 {
			t.Errorf("rotated after %v", got)
		}
		b.managers["a"].Before(func(context.Context, string) error { return provider.Errorf(provider.Denied, "no") })
		if grant(1000, false); !p.Used("payments", store.Lease{}) {
			t.Error("a look is not said to be taken")
		}
		time.Sleep(time.Second)
		// What fails is tried again in some seconds, and nobody is to wait for that.
		p.Used("payments", store.Lease{})
		synctest.Wait()
		if p.Rotating("payments") {
			t.Error("a rotation that failed a moment ago is tried again at once")
		}
	})
}

// TestRotatingWhileItLooks: a rotation may be about to begin for as long as a key is
// looked at.
func TestRotatingWhileItLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.process()
		b.create(p, "payments", "a")
		looks, decide := make(chan struct{}, 10), make(chan struct{})
		b.add(p, "payments", bad{"slow", func(policy.Key, time.Time) policy.Decision {
			looks <- struct{}{}
			<-decide
			return policy.Decision{Why: "not today"}
		}})
		p.start(b)
		<-looks
		decide <- struct{}{} // of the first look, at every key
		synctest.Wait()
		if p.Rotating("payments") {
			t.Error("a rotation is said to be under way, and nothing is due")
		}
		p.Nudge("payments")
		<-looks
		if !p.Rotating("payments") || p.Rotating("orders") {
			t.Error("while it is looked at payments, it is to be waited for a rotation of that key, and of no other")
		}
		close(decide)
		synctest.Wait()
		if p.Rotating("payments") {
			t.Error("a rotation is said to be under way, and nothing was due")
		}
	})
}

// TestHardLimit: a key without any policy is rotated at half of its hard limit.
func TestHardLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.process()
		b.createKey(p, "payments", keyring.Settings{WrapWith: []string{"a"}, HardLimit: 100})
		lease, err := b.store.Acquire(t.Context(), store.LeaseRequest{Key: "payments", Owner: "x", Count: 50, TTL: time.Minute, Reencrypting: true})
		if err != nil || lease.Count != 50 {
			t.Fatalf("%+v, %v", lease, err)
		}
		p.start(b)
		time.Sleep(time.Second)
		b.wantRotations("payments", 0)
		if o := b.outcomes[0]; o.Reason != keyring.ReasonUsageLimit || o.Due.Policy != "hard_limit" {
			t.Errorf("outcome %+v", o)
		}
	})
}

// TestForgets: schedulers that are gone do not stay on record for ever.
func TestForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		for owner, ago := range map[string]time.Duration{"container-1/7/1": 8 * 24 * time.Hour, "container-2/7/1": 24 * time.Hour} {
			check := store.SchedulerCheck{Owner: owner, Started: b.start, Interval: time.Minute, Checked: b.start.Add(-ago)}
			if err := b.store.RecordChecks(t.Context(), check, nil); err != nil {
				t.Fatal(err)
			}
		}
		p := b.process()
		p.start(b)
		time.Sleep(time.Minute)
		known, err := b.store.Schedulers(t.Context())
		if err != nil || len(known) != 2 || known[0].Owner != "container-2/7/1" || known[1].Owner != p.Owner {
			t.Errorf("schedulers %+v, %v", known, err)
		}
	})
}

// TestNew refuses what cannot work.
func TestNew(t *testing.T) {
	for _, c := range []scheduler.Config{
		{},
		{Owner: "x", Store: nil, Rotate: func(context.Context, scheduler.Rotation) (uint32, error) { return 0, nil }},
	} {
		if _, err := scheduler.New(c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}
