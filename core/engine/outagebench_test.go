package engine_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/outage"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/testing/faults"
)

// Times in the tests of outages are the bubble's clock, not ours.

// answering lets every call of a key manager fail with a code.
func answering(km *faults.KeyManager, code provider.Code) {
	km.Before(func(context.Context, string) error { return provider.Errorf(code, "on purpose") })
}

// pass lets time pass, and what it brings be done.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// status is the state of the only KEK.
func status(t *testing.T, e *engine.Engine) engine.KeyManagerStatus {
	t.Helper()
	list := e.KeyManagers()
	if len(list) != 1 {
		t.Fatalf("%d key managers: %+v", len(list), list)
	}
	return list[0]
}

func wantStatus(t *testing.T, e *engine.Engine, want outage.State) {
	t.Helper()
	if s := status(t, e); s.State != want {
		t.Errorf("it is %+v, want %s", s, want)
	}
}

// wantWorks reads and writes.
func wantWorks(t *testing.T, e *engine.Engine, token []byte) {
	t.Helper()
	mustDecrypt(t, e, token, "", "x")
	mustDecrypt(t, e, encrypt(t, e, "y", ""), "", "y")
}

// wantFails reads and writes, and neither may reach the key manager.
func wantFails(t *testing.T, e *engine.Engine, km *faults.KeyManager, token []byte, want ...error) {
	t.Helper()
	before := km.Calls.Load()
	_, err := e.Decrypt(t.Context(), token, nil)
	_, err2 := e.Encrypt(t.Context(), "payments", nil, nil)
	for _, err := range []error{err, err2} {
		for _, want := range want {
			if !errors.Is(err, want) {
				t.Errorf("%v; want %v", err, want)
			}
		}
	}
	if calls := km.Calls.Load() - before; calls != 0 {
		t.Errorf("they took %d calls", calls)
	}
}

// told are the events about key managers, oldest first: type, code and what is special.
func (b *bench) told(t *testing.T) (list []string, events []history.Event) {
	t.Helper()
	page, err := b.store.Events(t.Context(), history.Query{Limit: store.MaxEvents})
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range slices.Backward(page.Events) {
		e, err := history.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		if e.Type != history.Degraded && e.Type != history.Recovered {
			continue
		}
		text := e.Provider + " " + string(e.Type)
		if e.ErrorCode != "" {
			text += " " + e.ErrorCode
		}
		for _, detail := range []string{"revoked", "unused"} {
			if e.Details[detail] != "" {
				text += " " + detail
			}
		}
		list, events = append(list, text), append(events, e)
	}
	return list, events
}

func (b *bench) wantTold(t *testing.T, want ...string) []history.Event {
	t.Helper()
	list, events := b.told(t)
	if !slices.Equal(list, want) {
		t.Errorf("the history has %q, want %q", list, want)
	}
	return events
}
