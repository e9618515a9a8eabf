package rewrap

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

// leave makes what a process leaves that died in the middle of a rotation.
func (b *bench) leave(t *testing.T, d detail) store.Intent {
	t.Helper()
	text, err := d.encode()
	if err != nil {
		t.Fatal(err)
	}
	in, err := b.store.Begin(t.Context(), store.Claim{
		Key: "kek/a", Kind: kindRotate, Operation: d.RequestID, Owner: "dead", TTL: time.Minute, Detail: text,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.late.Add(int64(time.Hour))
	return in
}

// TestInherits: what a dead process began is settled by what the key manager says, by
// either command, and never begun anew.
func TestInherits(t *testing.T) {
	for name, c := range map[string]struct {
		rotated, recorded, rewrap bool
		primary                   string
		resumed                   bool
		history                   []string
	}{
		"rotated": {
			rotated: true, primary: "2", resumed: true,
			history: []string{"kek_rotated a2 from 1", "rewrapped paymentsa2 n=1"},
		},
		"not rotated": {
			primary: "2", resumed: true,
			history: []string{"kek_rotated a2 from 1", "rewrapped paymentsa2 n=1"},
		},
		"recorded": {
			rotated: true, recorded: true, primary: "2", resumed: true,
			history: []string{"kek_rotated a2 from 1", "rewrapped paymentsa2 n=1"},
		},
		"rotated, and rewrapped": {
			rotated: true, rewrap: true, primary: "2",
			history: []string{"kek_rotated a2 from 1", "rewrapped paymentsa2 n=1"},
		},
		"recorded, and rewrapped": {
			rotated: true, recorded: true, rewrap: true, primary: "2",
			history: []string{"kek_rotated a2 from 1", "rewrapped paymentsa2 n=1"},
		},
		"not rotated, and rewrapped": {rewrap: true, primary: "1"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.create(t, "payments", 1, "a")
			d := detail{KEKID: b.kekID(t, "a"), Expected: "1", RequestID: "the-request"}
			in := b.leave(t, d)
			if c.rotated {
				b.request(t, "a", d.RequestID)
			}
			if c.recorded {
				b.late.Store(0)
				op := &kekOperation{Mover: b.mover, KEKRequest: KEKRequest{Provider: "a"}, kekID: d.KEKID, intent: in, detail: d}
				op.claim.Operation = d.RequestID
				if err := op.record(t.Context(), "2"); err != nil {
					t.Fatal(err)
				}
				b.late.Store(int64(time.Hour))
			}
			calls := counted(b.kms["a"])
			var r KEKRotation
			var err error
			if c.rewrap {
				r.KEKReport, err = b.mover.RewrapKEK(t.Context(), KEKRequest{Provider: "a"})
			} else {
				r, err = b.mover.RotateKEK(t.Context(), KEKRequest{Provider: "a"})
			}
			if err != nil || r.KEKVersion != c.primary || r.Resumed != c.resumed || r.Operation != d.RequestID {
				t.Errorf("%+v, %v", r, err)
			}
			if asked := calls["RotateKey"]; b.primary(t, "a") != c.primary || (asked == 1) != (!c.rotated && !c.rewrap) {
				t.Errorf("asked %d times, primary %s", asked, b.primary(t, "a"))
			}
			b.wrapsAre(t, "payments", "v1 a"+c.primary)
			b.historyIs(t, c.history...)
			b.noIntents(t)
		})
	}
}

// TestDropped: a rewrap lets go of a rotation that never took place, whatever becomes
// of the rewrap itself.
func TestDropped(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 1, "a")
	b.change(t, "payments", func(r *keyring.Record) { r.Versions[0].Wraps[0].KEKVersion = "" })
	b.leave(t, detail{KEKID: b.kekID(t, "a"), Expected: "1", RequestID: "the-request"})
	b.kms["a"].Before(failing("Rewrap", provider.Errorf(provider.Unavailable, "gone")))
	_, err := b.mover.RewrapKEK(t.Context(), KEKRequest{Provider: "a"})
	if !errors.Is(err, provider.Unavailable) || strings.Contains(err.Error(), "not finished") {
		t.Errorf("a rewrap that fails: %v", err)
	}
	b.noIntents(t)
}

// TestInheritsNothing: an intent that is about another KEK, or about a rewrap, has
// nothing to settle; one that this build cannot read stays.
func TestInheritsNothing(t *testing.T) {
	for name, text := range map[string]string{
		"another kek": `{"kek_id":"local:other","expected":"1","request_id":"x"}`, "a rewrap": "",
	} {
		b := newBench(t)
		b.create(t, "payments", 1, "a")
		if _, err := b.store.Begin(t.Context(), store.Claim{Key: "kek/a", Kind: "x", Operation: "x", Owner: "dead", TTL: time.Second, Detail: text}); err != nil {
			t.Fatal(err)
		}
		b.late.Add(int64(time.Hour))
		if r, err := b.mover.RotateKEK(t.Context(), KEKRequest{Provider: "a"}); err != nil || r.Resumed || r.Operation == "x" {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		b.noIntents(t)
	}
	b := newBench(t)
	if _, err := b.store.Begin(t.Context(), store.Claim{Key: "kek/a", Kind: "x", Operation: "x", Owner: "dead", TTL: time.Second, Detail: "{"}); err != nil {
		t.Fatal(err)
	}
	b.late.Add(int64(time.Hour))
	if _, err := b.mover.RotateKEK(t.Context(), KEKRequest{Provider: "a"}); !errors.Is(err, keyring.ErrNewer) || b.primary(t, "a") != "1" {
		t.Errorf("an unknown detail: %v", err)
	}
	if in, err := b.store.Intents(t.Context()); err != nil || len(in) != 1 {
		t.Errorf("intents %v, %v", in, err)
	}
}

// TestFinishedByAnother: who comes to himself when another process has brought his
// rotation to its end leaves nothing behind that the next one would take for unfinished.
func TestFinishedByAnother(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 1, "a")
	neighbour, err := New(Config{Store: b.store, KeyManager: b.keyManager, Actor: "test@host"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	b.onStep = func(s rotation.Step) {
		if s == StepRecorded {
			b.late.Add(int64(time.Hour))
			if r, err := neighbour.RotateKEK(t.Context(), KEKRequest{Provider: "a"}); err != nil || !r.Resumed || r.Rewrapped != 1 {
				t.Errorf("the neighbour: %+v, %v", r, err)
			}
			cancel()
		}
	}
	if r, err := b.mover.RotateKEK(ctx, KEKRequest{Provider: "a"}); !errors.Is(err, context.Canceled) || !errors.Is(err, store.ErrFenced) {
		t.Errorf("%+v, %v", r, err)
	}
	b.noIntents(t)
	b.onStep = nil
	if r, err := b.mover.RotateKEK(t.Context(), KEKRequest{Provider: "a"}); err != nil || r.Resumed || r.KEKVersion != "3" {
		t.Errorf("the next rotation: %+v, %v", r, err)
	}
}
