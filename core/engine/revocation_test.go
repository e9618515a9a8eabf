package engine_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/outage"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rewrap"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/testing/faults"
)

// TestRevocation: access that was taken away ends within seconds of being noticed, in
// the key manager's words, and gives the uses back.
func TestRevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := b.engine(t)
		create(t, e, "payments", 0)
		token := encrypt(t, e, "x", "")
		answering(b.km, provider.Denied)
		pass(time.Hour + 4*time.Second)
		wantWorks(t, e, token) // it was refused once
		b.wantTold(t)
		pass(2 * time.Second)
		wantFails(t, e, b.km, token, provider.Denied)
		if _, err := e.Decrypt(t.Context(), token, nil); errors.Is(err, engine.ErrOutageBudget) || !strings.Contains(err.Error(), "on purpose") {
			t.Errorf("%v", err)
		}
		if leased, err := b.store.Leased(t.Context(), "payments", 1); err != nil || leased != 0 {
			t.Errorf("%d uses are held, %v", leased, err)
		}
		wantStatus(t, e, outage.Revoked)
		answering(b.km, provider.Unavailable)
		pass(3 * time.Hour)
		wantFails(t, e, b.km, token, provider.Denied)
		b.km.Before(nil)
		pass(91 * time.Second)
		wantWorks(t, e, token)
		events := b.wantTold(t, "p degraded DENIED revoked", "p recovered revoked")
		if first := events[0]; first.KEKVersion != "1" || first.Details["until"] != "" || first.Details["ttl"] != "" || first.Operation != events[1].Operation {
			t.Errorf("%+v", first)
		}
	})
}

// slow is a store that takes a while to commit.
type slow struct {
	store.Store
	by *atomic.Int64
}

func (s slow) Update(ctx context.Context, u store.Update) (store.Key, error) {
	time.Sleep(time.Duration(s.by.Load()))
	return s.Store.Update(ctx, u)
}

// TestRevokedBeforeCommit: what a rotation was let do before access was taken away does
// not bring it back.
func TestRevokedBeforeCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var by atomic.Int64
		e := b.engineOn(t, slow{b.store, &by}, map[string]*faults.KeyManager{"p": b.km})
		create(t, e, "payments", 0)
		pass(time.Hour - time.Second)
		by.Store(int64(12 * time.Second))
		go func() {
			time.Sleep(time.Second / 2)
			answering(b.km, provider.Denied) // its wraps are proved by now
		}()
		rotate(t, e)
		by.Store(0)
		if _, err := e.Encrypt(t.Context(), "payments", nil, nil); !errors.Is(err, provider.Denied) {
			t.Errorf("after access was taken away: %v", err)
		}
		synctest.Wait()
		b.wantTold(t, "p degraded DENIED revoked")
	})
}

// TestRefusedOnce: one refusal takes nothing away.
func TestRefusedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := b.engine(t)
		create(t, e, "payments", 0)
		token := encrypt(t, e, "x", "")
		b.km.Calls.Store(0)
		b.km.Before(func(context.Context, string) error {
			if b.km.Calls.Load() == 1 {
				return provider.Errorf(provider.Denied, "once")
			}
			return nil
		})
		pass(90 * time.Minute)
		wantWorks(t, e, token)
		b.wantTold(t)
		if calls := b.km.Calls.Load(); calls != 2 {
			t.Errorf("%d calls", calls)
		}
	})
}

// TestRefusalsOfOtherCalls: those that rotations and readers get count, too.
func TestRefusalsOfOtherCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := b.engine(t)
		create(t, e, "payments", 0)
		token := encrypt(t, e, "x", "")
		b.km.Before(func(_ context.Context, call string) error {
			if call == "Unwrap" {
				return provider.Errorf(provider.InvalidState, "disabled")
			}
			return nil
		})
		pass(time.Minute)
		if _, err := e.Rotate(t.Context(), "payments", keyring.ReasonManual, ""); !errors.Is(err, provider.InvalidState) {
			t.Fatal(err)
		}
		wantWorks(t, e, token)
		pass(6 * time.Second)
		wantFails(t, e, b.km, token, provider.InvalidState)
		b.wantTold(t, "p degraded INVALID_STATE revoked")
		// Whoever is let in again says so.
		b.km.Before(nil)
		rotate(t, e)
		wantWorks(t, e, token)
		synctest.Wait()
		b.wantTold(t, "p degraded INVALID_STATE revoked", "p recovered revoked")
	})
}

// TestRevokedBesideUnproven: a second key manager that has not opened anything yet
// keeps nothing open; it is asked by whoever needs it.
func TestRevokedBesideUnproven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		_, first, second, token := b.twoWraps(t)
		e := b.engineOn(t, b.store, map[string]*faults.KeyManager{"a": first, "b": second})
		mustDecrypt(t, e, token, "", "x")
		answering(first, provider.Denied)
		answering(second, provider.Unavailable)
		pass(time.Hour + 10*time.Second)
		_, err := e.Decrypt(t.Context(), token, nil)
		if !errors.Is(err, provider.Denied) || !strings.Contains(err.Error(), string(provider.Unavailable)) || errors.Is(err, engine.ErrOutageBudget) {
			t.Errorf("neither is to be had: %v", err)
		}
		second.Before(nil)
		wantWorks(t, e, token)
		synctest.Wait()
		if list := e.KeyManagers(); len(list) != 2 || list[0].State != outage.Revoked || list[1].State != outage.OK {
			t.Errorf("%+v", list)
		}
		answering(second, provider.Unavailable)
		pass(90 * time.Minute)
		wantWorks(t, e, token)
	})
}

// TestLyingKeyManager: what opens to another root proves nothing, and takes nothing
// away before the budget is spent.
func TestLyingKeyManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := b.engine(t)
		create(t, e, "payments", 0)
		token := encrypt(t, e, "x", "")
		b.km.OnUnwrap(func(r []provider.UnwrapResult) { r[0].Plaintext = keyring.GenerateRoot().Bytes })
		pass(time.Hour + time.Minute)
		wantWorks(t, e, token)
		b.wantTold(t, "p degraded INTEGRITY")
		pass(time.Hour)
		wantFails(t, e, b.km, token, engine.ErrOutageBudget, provider.Integrity)
	})
}

// deaf is a store that does not tell of changes while it is told to.
type deaf struct {
	store.Store
	on *atomic.Bool
}

func (s deaf) Revision(ctx context.Context) (uint64, error) {
	if s.on.Load() {
		return 0, store.ErrBusy
	}
	return s.Store.Revision(ctx)
}

// TestMovedWrap: a wrap that another process replaced is refused rightly, and it is not
// about access. It is looked for even if polling has not come across it.
func TestMovedWrap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		first, second := faults.NewLocal(t), faults.NewLocal(t)
		managers := map[string]*faults.KeyManager{"a": first, "b": second}
		var silent atomic.Bool
		e := b.engineOn(t, deaf{b.store, &silent}, managers)
		if _, err := e.CreateKey(t.Context(), "payments", keyring.Settings{WrapWith: []string{"a"}}, ""); err != nil {
			t.Fatal(err)
		}
		token := encrypt(t, e, "x", "")
		pass(time.Hour - time.Second)
		silent.Store(true)
		mover, err := rewrap.New(rewrap.Config{Store: b.store, Actor: "other@host", KeyManager: func(name string) (wrapping.KeyManager, error) {
			return managers[name], nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := mover.Migrate(t.Context(), rewrap.MigrationRequest{Keys: []string{"payments"}, From: "a", To: "b"}); err != nil {
			t.Fatal(err)
		}
		refused := 0
		first.Before(func(context.Context, string) error {
			if refused++; refused == 2 {
				silent.Store(false)
			}
			return provider.Errorf(provider.NotFoundKey, "gone")
		})
		pass(10 * time.Second)
		if refused != 2 {
			t.Errorf("refused %d times", refused)
		}
		wantWorks(t, e, token)
		pass(3 * time.Hour)
		wantWorks(t, e, token)
		b.wantTold(t)
		if s := status(t, e); s.Provider != "b" || s.State != outage.OK || s.LastSuccess.IsZero() {
			t.Errorf("%+v", s)
		}
	})
}
