package rotation_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
)

// lossyStore commits, and then says that it did not.
type lossyStore struct{ *sqlite.Store }

func (s lossyStore) Update(ctx context.Context, u store.Update) (store.Key, error) {
	if _, err := s.Store.Update(ctx, u); err != nil {
		return store.Key{}, err
	}
	return store.Key{}, context.DeadlineExceeded
}

// TestLostAnswer: a commit whose answer was lost is found to have taken place, even
// when the caller has given up by then.
func TestLostAnswer(t *testing.T) {
	b := newBench(t)
	b.create(t)
	r, err := rotation.New(rotation.Config{
		Store: lossyStore{b.store}, Actor: "test@host",
		KeyManager: func(string) (wrapping.KeyManager, error) { return b.a, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if result, err := r.Rotate(t.Context(), manual()); err != nil || result.Primary != 2 {
		t.Errorf("primary %d, %v", result.Primary, err)
	}
	if newest := b.events(t)[0]; newest.Type != history.Rotation {
		t.Errorf("newest event %+v", newest)
	}
}

// blindStore is lossyStore that cannot be read after its first change, either.
type blindStore struct {
	lossyStore
	changed *bool
}

func (s blindStore) Update(ctx context.Context, u store.Update) (store.Key, error) {
	defer func() { *s.changed = true }()
	return s.lossyStore.Update(ctx, u)
}

func (s blindStore) Key(ctx context.Context, name string) (store.Key, error) {
	if *s.changed {
		return store.Key{}, store.ErrBusy
	}
	return s.lossyStore.Key(ctx, name)
}

// TestUnknownOutcome: where nobody can tell whether the commit took place, the
// caller gets the error; the history does not call a rotation failed that it holds.
func TestUnknownOutcome(t *testing.T) {
	b := newBench(t)
	b.create(t)
	r, err := rotation.New(rotation.Config{
		Store: blindStore{lossyStore{b.store}, new(bool)}, Actor: "test@host",
		KeyManager: func(string) (wrapping.KeyManager, error) { return b.a, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Rotate(t.Context(), manual()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with an unknown outcome: %v", err)
	}
	if newest := b.events(t)[0]; newest.Type != history.Rotation {
		t.Errorf("newest event %+v", newest)
	}
}

// TestLyingProviders: whatever a provider answers, no wrong key becomes primary.
func TestLyingProviders(t *testing.T) {
	foreign := keyring.GenerateRoot()
	for name, c := range map[string]struct {
		code     string
		onWrap   func([]provider.WrapResult)
		onUnwrap func([]provider.UnwrapResult)
	}{
		"another plaintext": {code: "integrity", onUnwrap: func(r []provider.UnwrapResult) { r[0].Plaintext = foreign.Clone() }},
		"a short root":      {code: "integrity", onUnwrap: func(r []provider.UnwrapResult) { r[0].Plaintext = provider.NewSecret(make([]byte, 16)) }},
		"a long root":       {code: "integrity", onUnwrap: func(r []provider.UnwrapResult) { r[0].Plaintext = provider.NewSecret(make([]byte, 64)) }},
		"no root":           {code: "integrity", onUnwrap: func(r []provider.UnwrapResult) { r[0].Plaintext = provider.Secret{} }},
		"another kek":       {code: "integrity", onUnwrap: func(r []provider.UnwrapResult) { r[0].KEKID = "local:other" }},
		"another version":   {code: "integrity", onUnwrap: func(r []provider.UnwrapResult) { r[0].KEKVersion = "9" }},
		"an altered wrap":   {code: "integrity", onWrap: func(r []provider.WrapResult) { r[0].Wrapped.Blob[20] ^= 1 }},
		"an item's error": {code: "denied", onUnwrap: func(r []provider.UnwrapResult) {
			r[0] = provider.UnwrapResult{Err: provider.Errorf(provider.Denied, "no")}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.create(t)
			b.b.OnWrap(c.onWrap)
			b.b.OnUnwrap(c.onUnwrap)
			if _, err := b.rotator.Rotate(t.Context(), manual()); err == nil {
				t.Fatal("the rotation succeeded")
			}
			b.unchanged(t, c.code)
		})
	}
}

// TestFailures lets each call of the second provider fail with each code.
func TestFailures(t *testing.T) {
	b := newBench(t)
	b.create(t)
	for _, call := range []string{"Wrap", "Unwrap"} {
		for _, code := range provider.Codes() {
			b.b.Before(func(_ context.Context, c string) error {
				if c == call {
					return provider.Errorf(code, "as the test wants it")
				}
				return nil
			})
			_, err := b.rotator.Rotate(t.Context(), manual())
			if !errors.Is(err, code) {
				t.Errorf("%s failing with %s: %v", call, code, err)
			}
			b.unchanged(t, strings.ToLower(string(code)))
		}
	}
	b.b.Before(nil)
	if result, err := b.rotator.Rotate(t.Context(), manual()); err != nil || result.Primary != 2 {
		t.Errorf("after the faults: %+v, %v", result.Primary, err)
	}
}

func TestCanceled(t *testing.T) {
	b := newBench(t)
	b.create(t)
	ctx, cancel := context.WithCancel(t.Context())
	b.b.Before(func(ctx context.Context, _ string) error {
		cancel()
		return ctx.Err()
	})
	if _, err := b.rotator.Rotate(ctx, manual()); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	b.unchanged(t, "canceled")
}

// TestFenced: a rotation that lost its claim commits nothing.
func TestFenced(t *testing.T) {
	b := newBench(t)
	b.create(t)
	thief := store.Claim{Key: "payments", Kind: "rotate", Operation: "x", Owner: "thief", TTL: time.Hour}
	b.b.Before(func(ctx context.Context, call string) error {
		if call != "Unwrap" {
			return nil
		}
		in, err := b.store.Intents(ctx)
		if err != nil || len(in) != 1 {
			t.Errorf("intents %v, %v", in, err)
			return nil
		}
		thief.Replace = in[0].Token
		_, err = b.store.Begin(ctx, thief)
		return err
	})
	if _, err := b.rotator.Rotate(t.Context(), manual()); !errors.Is(err, store.ErrFenced) {
		t.Errorf("without its claim: %v", err)
	}
	key, err := b.store.Key(t.Context(), "payments")
	if err != nil || key.Primary != 1 || len(key.Versions) != 1 {
		t.Errorf("primary %d of %d versions, %v", key.Primary, len(key.Versions), err)
	}
	if newest := b.events(t)[0]; newest.Type != history.RotationFailed || newest.ErrorCode != "fenced" {
		t.Errorf("newest event %+v", newest)
	}
	if in, err := b.store.Intents(t.Context()); err != nil || len(in) != 1 || in[0].Owner != "thief" {
		t.Errorf("the other claim is gone: %v, %v", in, err)
	}
}
