package engine_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
)

// TestClock: what an engine reads and waits for is the time that it was given.
func TestClock(t *testing.T) {
	b := newBench(t)
	clock := clockwork.NewFakeClockAt(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: b.path, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	e, err := engine.New(engine.Config{Store: s, Actor: "test@host", Clock: clock, KeyManager: func(string) (wrapping.KeyManager, error) {
		return b.km, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close(context.Background()) }()

	if _, err := e.Encrypt(t.Context(), "payments", nil, nil); !errors.Is(err, keyring.ErrUnknownKey) {
		t.Fatal(err)
	}
	create(t, b.engine(t), "payments", 0)
	if _, err := e.Encrypt(t.Context(), "payments", nil, nil); !errors.Is(err, keyring.ErrUnknownKey) {
		t.Errorf("the miss is believed for 2 s: %v", err)
	}
	clock.Advance(2 * time.Second)
	encrypt(t, e, "x", "")

	clock.Advance(14*time.Minute + 30*time.Second)
	for b.uses(t) != 1 { // a timer of the clock brings the lease back
		if t.Context().Err() != nil {
			t.Fatal("the lease is not back")
		}
	}
	rotate(t, e)
	key, err := e.Describe(t.Context(), "payments")
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := key.Version(2); !v.Created.Equal(clock.Now()) {
		t.Errorf("version 2 is made at %s, on a clock that says %s", v.Created, clock.Now())
	}
}
