package rewrap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
)

func (b *bench) rewrap(t *testing.T) KEKReport {
	t.Helper()
	r, err := b.mover.RewrapKEK(t.Context(), KEKRequest{Provider: "a"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRewrapKEK: a KEK that somebody else rotated is noticed, once, and all wraps
// follow it.
func TestRewrapKEK(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 2, "a", "b")
	if r := b.rewrap(t); r.Rewrapped != 0 || r.RotatedExternally || r.Keys != 1 || r.Versions != 2 || r.KEKVersion != "1" {
		t.Errorf("with nothing to do: %+v", r)
	}
	b.historyIs(t)
	b.rotateByHand(t, "a")
	b.rotate(t, "payments") // which does not make the new version known
	if r := b.rewrap(t); r.Rewrapped != 2 || !r.RotatedExternally || r.Versions != 3 || r.KEKVersion != "2" {
		t.Errorf("after a rotation by hand: %+v", r)
	}
	b.wrapsAre(t, "payments", "v1 a2 b1", "v2 a2 b1", "v3 a2 b1")
	if r := b.rewrap(t); r.Rewrapped != 0 || r.RotatedExternally {
		t.Errorf("again: %+v", r)
	}
	b.rotateByHand(t, "a")
	b.rotateByHand(t, "a")
	if r := b.rewrap(t); r.Rewrapped != 3 || !r.RotatedExternally || r.KEKVersion != "4" {
		t.Errorf("after two more: %+v", r)
	}
	b.historyIs(t, "kek_rotated_externally a2 from 1", "rewrapped paymentsa2 n=2",
		"kek_rotated_externally a4 from 2", "rewrapped paymentsa4 n=3")
	b.noIntents(t)
}

// TestRotateNoticesFirst: a rotation by hand before ours is in the history before it.
func TestRotateNoticesFirst(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 1, "a")
	b.rotateByHand(t, "a")
	if r, err := b.mover.RotateKEK(t.Context(), KEKRequest{Provider: "a"}); err != nil || r.KEKVersion != "3" || r.Previous != "2" {
		t.Errorf("%+v, %v", r, err)
	}
	b.historyIs(t, "kek_rotated_externally a2 from 1", "kek_rotated a3 from 2", "rewrapped paymentsa3 n=1")
}

// TestUnused: the first version that is seen of a KEK is nobody's rotation.
func TestUnused(t *testing.T) {
	b := newBench(t)
	b.rotateByHand(t, "a")
	if r := b.rewrap(t); r.RotatedExternally || r.Keys != 0 {
		t.Errorf("%+v", r)
	}
	b.create(t, "payments", 1, "a")
	if r := b.rewrap(t); r.RotatedExternally || r.Versions != 1 {
		t.Errorf("%+v", r)
	}
	b.historyIs(t)
}

// TestUnknownVersion: a wrap whose KEK version is not known is brought to one that is.
func TestUnknownVersion(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 1, "a")
	b.change(t, "payments", func(r *keyring.Record) { r.Versions[0].Wraps[0].KEKVersion = "" })
	b.kms["a"].OnRewrap(func(r []provider.WrapResult) []provider.WrapResult {
		r[0].Wrapped.KEKVersion = "" // the key manager does not tell; the proof does
		return r
	})
	if r := b.rewrap(t); r.Rewrapped != 1 {
		t.Errorf("%+v", r)
	}
	b.wrapsAre(t, "payments", "v1 a1")
}

// TestBatches: many versions are moved by as many as fit into a commit.
func TestBatches(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", batchSize+2, "a")
	b.rotateByHand(t, "a")
	var progress []Progress
	r, err := b.mover.RewrapKEK(t.Context(), KEKRequest{Provider: "a", Progress: func(p Progress) { progress = append(progress, p) }})
	if err != nil || r.Rewrapped != batchSize+2 {
		t.Fatalf("%+v, %v", r, err)
	}
	total := batchSize + 2
	want := []Progress{{"payments", 0, total}, {"payments", batchSize, total}, {"payments", total, total}}
	if !slices.Equal(progress, want) {
		t.Errorf("progress %v", progress)
	}
	b.historyIs(t, "kek_rotated_externally a2 from 1", fmt.Sprintf("rewrapped paymentsa2 n=%d", batchSize), "rewrapped paymentsa2 n=2")
}

// TestLyingRewrap: whatever Rewrap answers, no wrap is committed that does not open to
// the version's own root under the primary; the versions beside it are moved.
func TestLyingRewrap(t *testing.T) {
	for name, c := range map[string]struct {
		code string
		lie  func(b *bench, results []provider.WrapResult)
	}{
		"another key's wrap": {"provider_integrity", func(b *bench, r []provider.WrapResult) {
			other, _ := b.store.Key(context.Background(), "other")
			w := other.Versions[0].Wraps[0]
			r[1].Wrapped = provider.Wrapped{KEKID: w.KEKID, KEKVersion: w.KEKVersion, Blob: w.Blob}
		}},
		"another version's wrap": {"provider_integrity", func(_ *bench, r []provider.WrapResult) { r[1].Wrapped = r[0].Wrapped }},
		"a short blob":           {"provider_integrity", func(_ *bench, r []provider.WrapResult) { r[1].Wrapped.Blob = r[1].Wrapped.Blob[:10] }},
		"an empty blob":          {"integrity", func(_ *bench, r []provider.WrapResult) { r[1].Wrapped.Blob = nil }},
		"the old version": {"provider_version_changed", func(b *bench, r []provider.WrapResult) {
			key, _ := b.store.Key(context.Background(), "payments")
			w := key.Versions[1].Wraps[0]
			r[1].Wrapped = provider.Wrapped{KEKID: w.KEKID, KEKVersion: w.KEKVersion, Blob: w.Blob}
		}},
		"the old wrap as a new one": {"provider_integrity", func(b *bench, r []provider.WrapResult) {
			key, _ := b.store.Key(context.Background(), "payments")
			r[1].Wrapped.Blob = key.Versions[1].Wraps[0].Blob
		}},
		"another kek": {"integrity", func(_ *bench, r []provider.WrapResult) { r[1].Wrapped.KEKID = "local:other" }},
		"an item's error": {"provider_denied", func(_ *bench, r []provider.WrapResult) {
			r[1] = provider.WrapResult{Err: provider.Errorf(provider.Denied, "no")}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.create(t, "other", 1, "a", "b")
			b.create(t, "payments", 3, "a")
			b.rotateByHand(t, "a")
			b.kms["a"].OnRewrap(func(r []provider.WrapResult) []provider.WrapResult {
				if len(r) == 3 {
					c.lie(b, r)
				}
				return r
			})
			r := b.rewrap(t)
			if len(r.Failed) != 1 || r.Failed[0].Key != "payments" || r.Failed[0].Version != 2 || r.Failed[0].Code != c.code ||
				!strings.Contains(r.Failed[0].Error, `version 2 of key "payments" with provider "a"`) {
				t.Errorf("failed %+v", r.Failed)
			}
			if r.Rewrapped != 3 || r.Versions != 4 {
				t.Errorf("%+v", r)
			}
			b.wrapsAre(t, "payments", "v1 a2", "v2 a1", "v3 a2")
			b.noIntents(t)
			b.kms["a"].OnRewrap(nil)
			if r := b.rewrap(t); r.Rewrapped != 1 || len(r.Failed) != 0 {
				t.Errorf("afterwards: %+v", r)
			}
		})
	}
}

// TestWrongCount: without a result for each item nobody knows which is whose.
func TestWrongCount(t *testing.T) {
	for _, lie := range []func([]provider.WrapResult) []provider.WrapResult{
		func(r []provider.WrapResult) []provider.WrapResult { return r[:1] },
		func(r []provider.WrapResult) []provider.WrapResult { return append(r, r[0]) },
		func([]provider.WrapResult) []provider.WrapResult { return nil },
	} {
		b := newBench(t)
		b.create(t, "payments", 2, "a")
		b.rotateByHand(t, "a")
		b.kms["a"].OnRewrap(lie)
		_, err := b.mover.RewrapKEK(t.Context(), KEKRequest{Provider: "a"})
		if !errors.Is(err, provider.Internal) || !strings.Contains(err.Error(), `key "payments" with provider "a"`) {
			t.Errorf("a wrong count: %v", err)
		}
		b.wrapsAre(t, "payments", "v1 a1", "v2 a1")
		b.noIntents(t)
	}
}

// TestLyingUnwrap: the proof does not believe what the provider opens, either.
func TestLyingUnwrap(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 1, "a")
	b.rotateByHand(t, "a")
	b.kms["a"].OnUnwrap(func(r []provider.UnwrapResult) { r[0].Plaintext = keyring.GenerateRoot().Bytes })
	if r := b.rewrap(t); r.Rewrapped != 0 || len(r.Failed) != 1 || r.Failed[0].Code != "integrity" {
		t.Errorf("%+v", r)
	}
	b.wrapsAre(t, "payments", "v1 a1")
}

// TestStops: when the key manager is gone, the run ends, and the next one does the rest.
func TestStops(t *testing.T) {
	b := newBench(t)
	b.create(t, "orders", 1, "a")
	b.create(t, "payments", 1, "a")
	for i, call := range []string{"DescribeKey", "Rewrap", "Unwrap"} {
		b.rotateByHand(t, "a")
		b.kms["a"].Before(failing(call, provider.Errorf(provider.Unavailable, "gone")))
		if r, err := b.mover.RewrapKEK(t.Context(), KEKRequest{Provider: "a"}); !errors.Is(err, provider.Unavailable) || len(r.Failed) != 0 {
			t.Errorf("%s: %+v, %v", call, r, err)
		}
		b.noIntents(t)
		b.kms["a"].Before(nil)
		if r := b.rewrap(t); r.Rewrapped != 2 || r.KEKVersion != fmt.Sprint(i+2) {
			t.Errorf("after %s: %+v", call, r)
		}
	}
	// A rotation whose wraps are not all moved is not over.
	b.kms["a"].Before(failing("Rewrap", provider.Errorf(provider.Unavailable, "gone")))
	if _, err := b.mover.RotateKEK(t.Context(), KEKRequest{Provider: "a"}); !errors.Is(err, provider.Unavailable) || b.primary(t, "a") != "5" {
		t.Errorf("a rotation: %v", err)
	}
	b.kms["a"].Before(nil)
	if r, err := b.mover.RotateKEK(t.Context(), KEKRequest{Provider: "a"}); err != nil || !r.Resumed || r.KEKVersion != "5" || r.Rewrapped != 2 {
		t.Errorf("the next run: %+v, %v", r, err)
	}
	b.noIntents(t)
}

// TestMeanwhile: what others do to a key while its wraps are moved is not undone.
func TestMeanwhile(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 4, "a")
	b.rotateByHand(t, "a")
	neighbour := b.newMover(t, b.store)
	once := false
	b.onStep = func(s rotation.Step) {
		if s != StepProved || once {
			return
		}
		once = true
		b.rotate(t, "payments")
		b.change(t, "payments", func(r *keyring.Record) {
			for _, s := range []keyring.State{keyring.Quarantined, keyring.Destroyed} {
				if err := r.SetState(1, s, r.Created); err != nil {
					t.Error(err)
				}
			}
		})
		// Another process moves the wraps of the rest, without our claim in its way.
		op := &kekOperation{Mover: neighbour, KEKRequest: KEKRequest{Provider: "a", Progress: func(Progress) {}}, km: b.kms["a"], kekID: b.kekID(t, "a")}
		op.claim = store.Claim{Key: "kek/elsewhere", Kind: "x", Operation: "x", Owner: "x", TTL: time.Minute}
		var err error
		if op.intent, err = b.store.Begin(t.Context(), op.claim); err != nil {
			t.Error(err)
		}
		if r, err := op.rewrap(t.Context(), "2"); err != nil || r.Rewrapped != 3 {
			t.Errorf("the neighbour: %+v, %v", r, err)
		}
	}
	if r := b.rewrap(t); r.Rewrapped != 0 || len(r.Failed) != 0 {
		t.Errorf("%+v", r)
	}
	b.wrapsAre(t, "payments", "v1", "v2 a2", "v3 a2", "v4 a2", "v5 a2")
}

// TestTamperedRecord: a key whose record is not what its history says is left alone,
// and holds up no other.
func TestTamperedRecord(t *testing.T) {
	b := newBench(t)
	b.create(t, "orders", 1, "a")
	b.create(t, "payments", 1, "a")
	b.rotateByHand(t, "a")
	m := b.newMover(t, tampered{b.store})
	r, err := m.RewrapKEK(t.Context(), KEKRequest{Provider: "a"})
	if err != nil || r.Rewrapped != 1 || len(r.Failed) != 1 || r.Failed[0].Key != "orders" || r.Failed[0].Code != "integrity" {
		t.Errorf("%+v, %v", r, err)
	}
	b.wrapsAre(t, "orders", "v1 a1")
	b.wrapsAre(t, "payments", "v1 a2")
}

// tampered refuses to change the key "orders", as a store does whose row was edited.
type tampered struct{ *sqlite.Store }

func (s tampered) Update(ctx context.Context, u store.Update) (store.Key, error) {
	if u.Name == "orders" {
		return store.Key{}, fmt.Errorf("%w: edited by hand", keyring.ErrIntegrity)
	}
	return s.Store.Update(ctx, u)
}

// TestShutOut: a run that another one took over stops where it is.
func TestShutOut(t *testing.T) {
	b := newBench(t)
	b.create(t, "orders", 1, "a")
	b.create(t, "payments", 1, "a")
	b.rotateByHand(t, "a")
	b.onStep = func(s rotation.Step) {
		if s != StepMoved {
			return
		}
		in, err := b.store.Intents(t.Context())
		if err != nil || len(in) != 1 {
			t.Fatalf("intents %v, %v", in, err)
		}
		thief := store.Claim{Key: "kek/a", Kind: "x", Operation: "x", Owner: "thief", TTL: 1e9, Replace: in[0].Token}
		if _, err := b.store.Begin(t.Context(), thief); err != nil {
			t.Error(err)
		}
	}
	if r, err := b.mover.RewrapKEK(t.Context(), KEKRequest{Provider: "a"}); !errors.Is(err, store.ErrFenced) || r.Rewrapped != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	b.wrapsAre(t, "orders", "v1 a2")
	b.wrapsAre(t, "payments", "v1 a1")
}
