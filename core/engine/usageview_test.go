package engine_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/testing/faults"
)

// TestUsageOfAKey: what is used, on lease, and to be expected.
func TestUsageOfAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := b.process(t, faults.NewLedger(b.openStore(t)), func(c *engine.Config) { c.MaxUses = func(string) uint64 { return 40_000 } })
		create(t, e, "payments", 100_000)
		made := time.Now()
		old := encrypt(t, e, "x", "")
		rotate(t, e)
		usage := func() engine.Usage {
			t.Helper()
			u, err := e.Usage(t.Context(), "payments")
			if err != nil {
				t.Fatal(err)
			}
			return u
		}
		encryptTimes(t, e, 20)
		if u := usage(); u.PerDay != 0 || !u.LimitReached.IsZero() || !u.Since.Equal(made) {
			t.Errorf("a version of a moment has the pace %f since %s, and its limit is reached %s", u.PerDay, u.Since, u.LimitReached)
		}
		if _, _, err := e.Reencrypt(t.Context(), nil, old, nil); err != nil {
			t.Fatal(err)
		}
		if l, err := b.store.Acquire(t.Context(), store.LeaseRequest{Key: "payments", Owner: "elsewhere/7/1", Count: 100, TTL: time.Minute}); err != nil {
			t.Fatal(err)
		} else if err := b.store.Return(t.Context(), l, 100); err != nil {
			t.Fatal(err)
		}
		if _, err := b.store.Acquire(t.Context(), store.LeaseRequest{Key: "payments", Owner: "elsewhere/7/1", Count: 10, TTL: 15 * time.Minute}); err != nil {
			t.Fatal(err)
		}
		u := usage()
		want := []engine.VersionUsage{
			{Version: 2, State: keyring.Active, Created: u.Versions[0].Created, Uses: 100 + 64 + 64 + 10, Reencrypted: 64, Leased: 64 + 64 + 10, Processes: 2},
			{Version: 1, State: keyring.Deactivated, Created: u.Versions[1].Created, Uses: 1},
		}
		if u.Key != "payments" || u.HardLimit != 100_000 || u.MaxUses != 40_000 || u.Primary != 2 || !slices.Equal(u.Versions, want) {
			t.Errorf("usage %+v, want the versions %+v", u, want)
		}
		time.Sleep(12 * time.Hour) // the bubble's clock, not ours
		u = usage()
		if u.PerDay != 2*(100+20+1+10) || u.Versions[0].Uses != 131 || u.Versions[0].Leased != 0 {
			t.Errorf("after half a day: %+v", u)
		}
		if days := time.Until(u.LimitReached).Hours() / 24; days < 381 || days > 382 { // (100000-131)/262
			t.Errorf("at that pace the limit is reached in %f days", days)
		}
		setState(t, e, 2, keyring.Suspended)
		if u := usage(); u.Primary != 0 || u.PerDay != 0 || !u.Since.IsZero() || !u.LimitReached.IsZero() {
			t.Errorf("without a primary: %+v", u)
		}
		rotate(t, e)
		time.Sleep(time.Hour) // the bubble's clock, not ours
		if u := usage(); u.Primary != 3 || u.PerDay != 0 || !u.LimitReached.IsZero() {
			t.Errorf("never used: %+v", u)
		}
		if _, err := e.Usage(t.Context(), "nobody"); !errors.Is(err, keyring.ErrUnknownKey) {
			t.Errorf("unknown key: %v", err)
		}
	})
}

// TestHardLimitSetting: it acts at once, on what is not leased yet.
func TestHardLimitSetting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := b.engine(t)
		create(t, e, "payments", 0)
		encryptTimes(t, e, 10)
		limit := func(n uint64) engine.Configured {
			t.Helper()
			done, err := e.Configure(t.Context(), "payments", engine.Settings{HardLimit: &n}, "")
			if err != nil {
				t.Fatal(err)
			}
			return done
		}
		done := limit(50)
		if want := []engine.Setting{{Name: "hard_limit", Old: "4294967296", New: "50"}}; !slices.Equal(done.Changes, want) || done.Key.Settings.HardLimit != 50 {
			t.Errorf("changed %+v, want %+v", done, want)
		}
		if d := b.events(t, 1)[0].Details; len(d) != 2 || d["hard_limit.old"] != "4294967296" || d["hard_limit.new"] != "50" {
			t.Errorf("details %v", d)
		}
		encryptTimes(t, e, 54) // that are leased
		if got := <-try(t.Context(), e); !errors.Is(got.err, keyring.ErrUsageLimit) {
			t.Errorf("above the limit: %v", got.err)
		}
		limit(70)
		encryptTimes(t, e, 6)
		if got := <-try(t.Context(), e); !errors.Is(got.err, keyring.ErrUsageLimit) {
			t.Errorf("at the limit: %v", got.err)
		}
		if done := limit(70); done.Operation != "" {
			t.Errorf("the same again: %+v", done)
		}
		for _, n := range []uint64{0, keyring.MaxUses + 1} {
			if _, err := e.Configure(t.Context(), "payments", engine.Settings{HardLimit: &n}, ""); err == nil {
				t.Errorf("a limit of %d was set", n)
			}
		}
		limit(keyring.MaxUses)
		encrypt(t, e, "x", "")
	})
}
