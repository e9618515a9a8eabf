package rotation_test

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

func due(slot string) rotation.Request {
	return rotation.Request{Key: "payments", Reason: keyring.ReasonScheduled, Due: store.DueSlot{Policy: "monthly", Slot: slot}}
}

// TestDue: a policy's occasion is served once, and the history names it.
func TestDue(t *testing.T) {
	b := newBench(t)
	b.create(t)
	if result, err := b.rotator.Rotate(t.Context(), due("2026-03-01")); err != nil || result.Primary != 2 {
		t.Fatalf("%+v, %v", result, err)
	}
	before := b.events(t)
	want := map[string]string{"policy": "monthly", "slot": "2026-03-01"}
	if e := before[0]; e.Type != history.Rotation || e.Reason != "scheduled" || !maps.Equal(e.Details, want) {
		t.Errorf("newest event %+v", e)
	}

	b.a.Calls.Store(0)
	if _, err := b.rotator.Rotate(t.Context(), due("2026-03-01")); !errors.Is(err, store.ErrDone) {
		t.Errorf("the same occasion: %v", err)
	}
	if calls := b.a.Calls.Load(); calls != 0 {
		t.Errorf("%d calls of a key manager in vain", calls)
	}
	if after := b.events(t); len(after) != len(before) {
		t.Errorf("nothing was to be done, and the history says %+v", after[0])
	}
	if in, err := b.store.Intents(t.Context()); err != nil || len(in) != 0 {
		t.Errorf("intents left behind: %v, %v", in, err)
	}
	if result, err := b.rotator.Rotate(t.Context(), due("2026-04-01")); err != nil || result.Primary != 3 {
		t.Errorf("the next occasion: %+v, %v", result, err)
	}
}

// TestDueFails: the failure names the occasion, which stays to be served.
func TestDueFails(t *testing.T) {
	b := newBench(t)
	b.create(t)
	b.b.Before(func(context.Context, string) error { return provider.Errorf(provider.Denied, "no") })
	if _, err := b.rotator.Rotate(t.Context(), due("2026-03-01")); !errors.Is(err, provider.Denied) {
		t.Fatal(err)
	}
	b.unchanged(t, "denied")
	if e := b.events(t)[0]; e.Details["policy"] != "monthly" || e.Details["slot"] != "2026-03-01" {
		t.Errorf("newest event %+v", e)
	}
	b.b.Before(nil)
	if _, err := b.rotator.Rotate(t.Context(), due("2026-03-01")); err != nil {
		t.Error(err)
	}
}

// TestFrom: a decision about a version that is the primary no longer is void.
func TestFrom(t *testing.T) {
	b := newBench(t)
	b.create(t)
	if _, err := b.rotator.Rotate(t.Context(), manual()); err != nil {
		t.Fatal(err)
	}
	stale := due("2026-03-01")
	stale.From = 1
	if _, err := b.rotator.Rotate(t.Context(), stale); !errors.Is(err, rotation.ErrRotated) {
		t.Errorf("a decision about version 1: %v", err)
	}
	stale.From = 2
	if result, err := b.rotator.Rotate(t.Context(), stale); err != nil || result.Primary != 3 {
		t.Errorf("a decision about version 2: %+v, %v", result, err)
	}
}

// TestDueDoesNotWait: while another process works on the key, a policy's request is
// answered at once.
func TestDueDoesNotWait(t *testing.T) {
	b := newBench(t)
	b.create(t)
	claim := store.Claim{Key: "payments", Kind: "rotate", Operation: "theirs", Owner: "elsewhere/1/1", TTL: time.Minute}
	if _, err := b.store.Begin(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	_, err := b.rotator.Rotate(t.Context(), due("2026-03-01"))
	var held *store.HeldError
	if !errors.As(err, &held) || held.Intent.Operation != "theirs" {
		t.Errorf("while the key is held: %v", err)
	}
}

// lateStore has the occasion served by another process just before the commit.
type lateStore struct {
	store.Store
	first func()
}

func (s lateStore) Update(ctx context.Context, u store.Update) (store.Key, error) {
	if u.Due != nil {
		s.first()
	}
	return s.Store.Update(ctx, u)
}

// TestDueElsewhere: the commit itself refuses an occasion that was served meanwhile.
func TestDueElsewhere(t *testing.T) {
	b := newBench(t)
	b.create(t)
	serve := func() {
		_, err := b.store.Update(context.Background(), store.Update{
			Name: "payments", Due: &store.DueSlot{Policy: "monthly", Slot: "2026-03-01"},
			Apply: func(*keyring.Record) ([]history.Event, error) { return nil, nil },
		})
		if err != nil {
			t.Error(err)
		}
	}
	b.rotator.Store = lateStore{b.store, serve}
	if _, err := b.rotator.Rotate(t.Context(), due("2026-03-01")); !errors.Is(err, store.ErrDone) {
		t.Errorf("served between the look and the commit: %v", err)
	}
	b.unchanged(t, "rotated")
}
