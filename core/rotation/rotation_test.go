package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

func TestRotate(t *testing.T) {
	b := newBench(t)
	created := b.create(t)
	if created.Previous != 0 || created.Primary != 1 {
		t.Fatalf("created: %+v", created)
	}
	result, err := b.rotator.Rotate(t.Context(), manual())
	if err != nil {
		t.Fatal(err)
	}
	if result.Previous != 1 || result.Primary != 2 || b.opened.Load() != 2 {
		t.Errorf("previous %d, primary %d, announced %d", result.Previous, result.Primary, b.opened.Load())
	}
	wantSteps := []rotation.Step{
		rotation.StepIntent, rotation.StepGenerated, rotation.StepWrapped, rotation.StepProved,
		rotation.StepCommitted, rotation.StepAnnounced,
	}
	if !slices.Equal(b.steps, wantSteps) {
		t.Errorf("steps %v", b.steps)
	}
	// One call to wrap and one to prove, for each wrap.
	if a, bb := b.a.Calls.Load(), b.b.Calls.Load(); a != 2 || bb != 2 {
		t.Errorf("%d and %d calls of the key managers, want 2 each", a, bb)
	}
	v2, _ := result.Key.Version(2)
	v1, _ := result.Key.Version(1)
	if v1.State != keyring.Deactivated || v2.State != keyring.Active || len(v2.Wraps) != 2 {
		t.Errorf("v1 %s, v2 %s with %d wraps", v1.State, v2.State, len(v2.Wraps))
	}
	for _, w := range v2.Wraps {
		if w.KEKVersion != "1" || !strings.HasPrefix(w.KEKID, "local:") {
			t.Errorf("wrap %+v", w)
		}
	}
	events := b.events(t)
	var got []string
	for _, e := range events {
		got = append(got, fmt.Sprintf("%s v%d<-%d %s %s", e.Type, e.Version, e.PreviousVersion, e.Reason, e.Note))
		if e.Actor != "test@host" || e.Key != "payments" || e.KeyID != result.Key.ID.String() {
			t.Errorf("event %+v", e)
		}
	}
	want := []string{"rotation v2<-1 manual because", "creation v2<-0 manual because", "creation v1<-0 initial "}
	if !slices.Equal(got, want) {
		t.Errorf("history %q, want %q", got, want)
	}
	if events[0].Operation != result.Operation || events[1].Operation != result.Operation {
		t.Error("the events of one rotation have several operation ids")
	}
}

func TestCreateRefuses(t *testing.T) {
	b := newBench(t)
	b.create(t)
	settings := keyring.Settings{WrapWith: []string{"a"}}
	for name, c := range map[string]struct {
		key      string
		settings keyring.Settings
		want     error
	}{
		"taken":         {"payments", settings, store.ErrKeyExists},
		"name":          {"Payments_1", settings, keyring.ErrInvalidName},
		"no provider":   {"other", keyring.Settings{}, nil},
		"unknown":       {"other", keyring.Settings{WrapWith: []string{"zzz"}}, nil},
		"no such limit": {"other", keyring.Settings{WrapWith: []string{"a"}, HardLimit: keyring.MaxUses + 1}, nil},
		"no algorithm":  {"other", keyring.Settings{WrapWith: []string{"a"}, Algorithm: "ROT13"}, nil},
	} {
		_, err := b.rotator.Create(t.Context(), rotation.Request{Key: c.key, Reason: keyring.ReasonInitial}, c.settings)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	names, err := b.store.Names(t.Context())
	if err != nil || !slices.Equal(names, []string{"payments"}) {
		t.Errorf("keys %v, %v", names, err)
	}
	if in, err := b.store.Intents(t.Context()); err != nil || len(in) != 0 {
		t.Errorf("intents left behind: %v, %v", in, err)
	}
}

// TestReason: the set of reasons is closed, for they stand in the history for ever.
func TestReason(t *testing.T) {
	b := newBench(t)
	b.create(t)
	for _, reason := range []keyring.Reason{"", "because I say so", "MANUAL"} {
		if _, err := b.rotator.Rotate(t.Context(), rotation.Request{Key: "payments", Reason: reason}); err == nil {
			t.Errorf("rotated for the reason %q", reason)
		}
		if _, err := b.rotator.Create(t.Context(), rotation.Request{Key: "other", Reason: reason}, keyring.Settings{WrapWith: []string{"a"}}); err == nil {
			t.Errorf("created for the reason %q", reason)
		}
	}
	for _, note := range []string{strings.Repeat("x", 1025), "a\x1b[31mb", "\xff"} {
		if _, err := b.rotator.Rotate(t.Context(), rotation.Request{Key: "payments", Reason: keyring.ReasonManual, Note: note}); !errors.Is(err, history.ErrText) {
			t.Errorf("rotated with the note %.20q: %v", note, err)
		}
	}
	if calls := b.a.Calls.Load(); calls != 0 {
		t.Errorf("the key manager was asked %d times", calls)
	}
}

// TestGivenRootIsWiped: whatever comes of it.
func TestGivenRootIsWiped(t *testing.T) {
	b := newBench(t)
	settings := keyring.Settings{WrapWith: []string{"a"}}
	for _, c := range []struct {
		what    string
		request rotation.Request
		call    func(rotation.Request) error
	}{
		{"created", rotation.Request{Key: "payments", Reason: keyring.ReasonInitial}, func(r rotation.Request) error {
			_, err := b.rotator.Create(t.Context(), r, settings)
			return err
		}},
		{"rotated", manual(), func(r rotation.Request) error {
			_, err := b.rotator.Rotate(t.Context(), r)
			return err
		}},
		{"created a key that exists", rotation.Request{Key: "payments", Reason: keyring.ReasonInitial}, func(r rotation.Request) error {
			_, err := b.rotator.Create(t.Context(), r, settings)
			return err
		}},
		{"rotated a key that does not exist", rotation.Request{Key: "orders", Reason: keyring.ReasonManual}, func(r rotation.Request) error {
			_, err := b.rotator.Rotate(t.Context(), r)
			return err
		}},
	} {
		c.request.Root = keyring.GenerateRoot()
		err := c.call(c.request)
		if n := c.request.Root.Len(); n != 0 {
			t.Errorf("%s, %v: %d bytes of the root are left", c.what, err, n)
		}
	}
}

// TestBirthplace: the history says under which key-encryption keys a version was
// born, also where Wrap does not tell the version and only Unwrap does.
func TestBirthplace(t *testing.T) {
	b := newBench(t)
	b.a.OnWrap(func(r []provider.WrapResult) { r[0].Wrapped.KEKVersion = "" })
	created := b.create(t)
	v, _ := created.Key.Version(1)
	for _, e := range b.events(t) {
		for _, w := range v.Wraps {
			if w.KEKVersion != "1" || e.Details["kek_id."+w.Provider] != w.KEKID || e.Details["kek_version."+w.Provider] != "1" {
				t.Errorf("wrap %+v, details %v", w, e.Details)
			}
		}
		if e.Details["algorithm"] != "AES-256-GCM" {
			t.Errorf("details %v", e.Details)
		}
	}
}

// TestGenerateDataKey: a key manager that draws roots is asked to.
func TestGenerateDataKey(t *testing.T) {
	b := newBench(t)
	b.a.SetCapabilities(provider.CanGenerateDataKey)
	var calls []string
	b.a.Before(func(_ context.Context, c string) error { calls = append(calls, c); return nil })
	b.create(t)
	if !slices.Equal(calls, []string{"GenerateDataKey", "Unwrap"}) {
		t.Errorf("calls %v", calls)
	}
}

// TestRace: of several rotations at once each ends as done or as ErrRotated, and
// the versions are as many as were done.
func TestRace(t *testing.T) {
	b := newBench(t)
	b.create(t)
	var wg sync.WaitGroup
	results := make([]error, 6)
	for i := range results {
		r := b.newRotator(t, nil)
		wg.Go(func() { _, results[i] = r.Rotate(t.Context(), manual()) })
	}
	wg.Wait()
	done := 0
	for _, err := range results {
		switch {
		case err == nil:
			done++
		case !errors.Is(err, rotation.ErrRotated):
			t.Errorf("lost the race with %v", err)
		}
	}
	key, err := b.store.Key(t.Context(), "payments")
	if err != nil {
		t.Fatal(err)
	}
	if done == 0 || len(key.Versions) != 1+done || int(key.Primary) != 1+done {
		t.Errorf("%d rotations were done; %d versions, primary %d", done, len(key.Versions), key.Primary)
	}
	if err := key.Check(); err != nil {
		t.Error(err)
	}
}

// TestWaits: a rotation waits for a live claim and says so, and a deadline ends the wait.
func TestWaits(t *testing.T) {
	b := newBench(t)
	b.create(t)
	in, err := b.store.Begin(t.Context(), store.Claim{Key: "payments", Kind: "rotate", Operation: "x", Owner: "somebody", TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := b.newRotator(t, func(_ string, step rotation.Step) {
		if step == rotation.StepWaiting {
			cancel()
		}
	})
	var held *store.HeldError
	if _, err := r.Rotate(ctx, manual()); !errors.Is(err, context.Canceled) || !errors.As(err, &held) || held.Intent.Owner != "somebody" {
		t.Errorf("a cancelled wait: %v", err)
	}
	waited := false
	r = b.newRotator(t, func(_ string, step rotation.Step) {
		if step == rotation.StepWaiting && !waited {
			waited = true
			if err := b.store.End(context.Background(), in); err != nil {
				t.Error(err)
			}
		}
	})
	if result, err := r.Rotate(t.Context(), manual()); err != nil || result.Primary != 2 || !waited {
		t.Errorf("after the wait: %d, %v, waited %v", result.Primary, err, waited)
	}
}
