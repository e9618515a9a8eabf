package rewrap

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
)

func TestRotateKEK(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 3, "a", "b")
	b.create(t, "orders", 1, "a")
	b.create(t, "other", 1, "b")
	calls := counted(b.kms["a"])
	r, err := b.mover.RotateKEK(t.Context(), KEKRequest{Provider: "a", Note: "yearly"})
	if err != nil {
		t.Fatal(err)
	}
	want := KEKRotation{
		KEKReport: KEKReport{
			Provider: "a", KEKID: b.kekID(t, "a"), KEKVersion: "2", Keys: 2, Versions: 4, Rewrapped: 4,
			Failed: []Failure{}, Operation: r.Operation,
		},
		Previous: "1",
	}
	if r.Operation == "" || !reflect.DeepEqual(r, want) {
		t.Errorf("answered %+v, want %+v", r, want)
	}
	b.wrapsAre(t, "payments", "v1 a2 b1", "v2 a2 b1", "v3 a2 b1")
	b.wrapsAre(t, "orders", "v1 a2")
	b.wrapsAre(t, "other", "v1 b1")
	b.historyIs(t, "kek_rotated a2 from 1", "rewrapped ordersa2 n=1", "rewrapped paymentsa2 n=3")
	for _, e := range b.events(t) {
		if e.Operation != r.Operation || e.Actor != "test@host" || e.Note != "yearly" || e.Details["kek_id"] != r.KEKID {
			t.Errorf("event %+v", e)
		}
	}
	b.noIntents(t)
	steps := []string{
		"kek/a intent", "kek/a kek-rotated", "kek/a kek-recorded",
		"kek/a proved", "kek/a moved", "kek/a proved", "kek/a moved",
	}
	if !slices.Equal(b.steps, steps) {
		t.Errorf("steps %q", b.steps)
	}
	// One unwrap to prove each wrap, one rewrap a key, and no key manager is asked twice.
	if calls["RotateKey"] != 1 || calls["Rewrap"] != 2 || calls["Unwrap"] != 4 || calls["Wrap"] != 0 || calls["DescribeKey"] != 3 {
		t.Errorf("calls %v", calls)
	}
}

// TestRotateKEKRefuses: what cannot work is refused before anything is claimed or asked.
func TestRotateKEKRefuses(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 1, "a")
	b.kms["b"].SetCapabilities(provider.CanGenerateDataKey)
	for name, c := range map[string]struct {
		req  KEKRequest
		want error
		text string
	}{
		"unknown":  {KEKRequest{Provider: "zzz"}, nil, `no provider "zzz"`},
		"unable":   {KEKRequest{Provider: "b"}, provider.Unsupported, "keyrotor kek rewrap b"},
		"bad note": {KEKRequest{Provider: "a", Note: "a\nb"}, history.ErrText, "note"},
	} {
		_, err := b.mover.RotateKEK(t.Context(), c.req)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.kms["a"].OnDescribe(func(d *provider.DescribeKeyResponse) { d.PrimaryVersion = "" })
	if _, err := b.mover.RotateKEK(t.Context(), KEKRequest{Provider: "a"}); !errors.Is(err, provider.Unsupported) || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("a key without a primary: %v", err)
	}
	b.historyIs(t)
	b.noIntents(t)
	if len(b.steps) != 0 || b.primary(t, "a") != "1" {
		t.Errorf("steps %q, primary %s", b.steps, b.primary(t, "a"))
	}
}

// TestNew: a Mover without what it works with is none.
func TestNew(t *testing.T) {
	b := newBench(t)
	for name, c := range map[string]Config{
		"no store": {KeyManager: b.keyManager, Actor: "x"}, "no key manager": {Store: b.store, Actor: "x"},
		"no actor": {Store: b.store, KeyManager: b.keyManager}, "bad actor": {Store: b.store, KeyManager: b.keyManager, Actor: "a\nb"},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestLostAnswer: the key manager rotated, and its answer never came.
func TestLostAnswer(t *testing.T) {
	for _, lost := range []error{
		provider.Errorf(provider.Unavailable, "cut"), provider.Errorf(provider.PluginCrashed, "cut"),
		provider.Errorf(provider.Internal, "panic"), provider.Errorf(provider.Integrity, "crc"), context.DeadlineExceeded,
	} {
		b := newBench(t)
		b.create(t, "payments", 1, "a")
		calls := counted(b.kms["a"])
		b.kms["a"].OnRotate(func(*provider.RotateKeyResponse) error { return lost })
		r, err := b.mover.RotateKEK(t.Context(), KEKRequest{Provider: "a"})
		if err != nil || r.Previous != "1" || r.KEKVersion != "2" || r.Rewrapped != 1 || r.Resumed {
			t.Errorf("%v: %+v, %v", lost, r, err)
		}
		if calls["RotateKey"] != 1 || b.primary(t, "a") != "2" {
			t.Errorf("%v: asked %d times, primary %s", lost, calls["RotateKey"], b.primary(t, "a"))
		}
		b.wrapsAre(t, "payments", "v1 a2")
		b.historyIs(t, "kek_rotated a2 from 1", "rewrapped paymentsa2 n=1")
		b.noIntents(t)
	}
}

// TestRefused: an error that says for certain that nothing happened ends the operation.
func TestRefused(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 1, "a")
	for _, code := range provider.Codes() {
		if !refused(code) || code == provider.VersionChanged {
			continue
		}
		b.kms["a"].Before(failing("RotateKey", provider.Errorf(code, "as the test wants it")))
		if _, err := b.mover.RotateKEK(t.Context(), KEKRequest{Provider: "a"}); !errors.Is(err, code) || strings.Contains(err.Error(), "not finished") {
			t.Errorf("%s: %v", code, err)
		}
		b.noIntents(t)
	}
	b.historyIs(t)
}

func failing(call string, err error) func(context.Context, string) error {
	return func(_ context.Context, c string) error {
		if c == call {
			return err
		}
		return nil
	}
}

// TestNeverArrived: nobody can tell whether a request that was lost will still act. So
// the next run goes on with the same one.
func TestNeverArrived(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 1, "a")
	a := b.kms["a"]
	a.Before(failing("RotateKey", provider.Errorf(provider.Unavailable, "cut")))
	_, err := b.mover.RotateKEK(t.Context(), KEKRequest{Provider: "a"})
	if !errors.Is(err, provider.Unavailable) || !strings.Contains(err.Error(), "run the command again") {
		t.Fatal(err)
	}
	left, err := b.store.Intents(t.Context())
	if err != nil || len(left) != 1 || left[0].Kind != "rotate-kek" {
		t.Fatalf("left %+v, %v", left, err)
	}
	a.Before(nil)
	r, err := b.mover.RotateKEK(t.Context(), KEKRequest{Provider: "a"})
	if err != nil || !r.Resumed || r.Operation != left[0].Operation || r.KEKVersion != "2" {
		t.Errorf("the next run: %+v, %v", r, err)
	}
	b.historyIs(t, "kek_rotated a2 from 1", "rewrapped paymentsa2 n=1")
	b.noIntents(t)
}

// TestPending: a rotation that the key manager accepted is waited for, however long,
// and by the next run if this one gives up.
func TestPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create(t, "payments", 1, "a")
		a := b.kms["a"]
		a.OnRotate(func(r *provider.RotateKeyResponse) error {
			*r = provider.RotateKeyResponse{OldVersion: r.OldVersion, Pending: true}
			return nil
		})
		ready := time.Now().Add(10 * time.Minute)
		a.OnDescribe(func(d *provider.DescribeKeyResponse) {
			if time.Now().Before(ready) {
				d.PrimaryVersion = "1"
			}
		})
		calls := counted(a)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		if _, err := b.mover.RotateKEK(ctx, KEKRequest{Provider: "a"}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "accepted") {
			t.Errorf("a wait that ended: %v", err)
		}
		if b.steps[len(b.steps)-1] != "kek/a kek-pending" || time.Now().After(ready) {
			t.Errorf("steps %q", b.steps)
		}
		r, err := b.mover.RotateKEK(t.Context(), KEKRequest{Provider: "a"})
		if err != nil || !r.Resumed || r.KEKVersion != "2" || time.Now().Before(ready) {
			t.Errorf("%+v, %v", r, err)
		}
		if calls["RotateKey"] != 1 || b.primary(t, "a") != "2" {
			t.Errorf("asked %d times, primary %s", calls["RotateKey"], b.primary(t, "a"))
		}
		b.historyIs(t, "kek_rotated a2 from 1", "rewrapped paymentsa2 n=1")
		b.noIntents(t)
		_ = b.store.Close()
	})
}

// TestLyingRotation: that the key was rotated counts once it is described so.
func TestLyingRotation(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 1, "a")
	b.kms["a"].OnDescribe(func(d *provider.DescribeKeyResponse) { d.PrimaryVersion = "1" })
	_, err := b.mover.RotateKEK(t.Context(), KEKRequest{Provider: "a"})
	if !errors.Is(err, provider.Internal) || !strings.Contains(err.Error(), `provider "a" answered that version "2"`) {
		t.Errorf("a rotation that is not described: %v", err)
	}
	b.historyIs(t)
	b.kms["a"].OnDescribe(func(d *provider.DescribeKeyResponse) { d.KEKID = "local:another" })
	b.onStep = func(rotation.Step) { b.kms["a"].OnDescribe(nil) } // after the first look
	if _, err := b.mover.RotateKEK(t.Context(), KEKRequest{Provider: "a"}); !errors.Is(err, keyring.ErrIntegrity) {
		t.Errorf("a key that becomes another one: %v", err)
	}
}

// TestOvertaken: somebody else rotates between the look and the request.
func TestOvertaken(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 1, "a")
	b.onStep = func(s rotation.Step) {
		if s == StepIntent {
			b.rotateByHand(t, "a")
		}
	}
	_, err := b.mover.RotateKEK(t.Context(), KEKRequest{Provider: "a"})
	if !errors.Is(err, ErrKEKRotated) || !strings.Contains(err.Error(), "keyrotor kek rewrap a") {
		t.Errorf("overtaken before the second look: %v", err)
	}
	b.onStep = nil
	b.kms["a"].Before(func(_ context.Context, call string) error {
		if call == "RotateKey" {
			b.rotateByHand(t, "a")
		}
		return nil
	})
	if _, err := b.mover.RotateKEK(t.Context(), KEKRequest{Provider: "a"}); !errors.Is(err, ErrKEKRotated) {
		t.Errorf("overtaken after it: %v", err)
	}
	b.wrapsAre(t, "payments", "v1 a1")
	b.historyIs(t, "kek_rotated_externally a2 from 1", "kek_rotated_externally a3 from 2")
	b.noIntents(t)
}

// TestRace: of several rotations at once one is done; the others learn of it.
func TestRace(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 1, "a")
	var looked sync.WaitGroup
	looked.Add(4)
	var once sync.Map
	results := make([]error, 4)
	var wg sync.WaitGroup
	for i := range results {
		m, err := New(Config{Store: b.store, KeyManager: b.keyManager, Actor: "test@host", OnStep: func(_ string, s rotation.Step) {
			// Whoever has the claim waits until all the others wait for it.
			if _, again := once.LoadOrStore(i, true); !again {
				looked.Done()
			}
			if s == StepIntent {
				looked.Wait()
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { _, results[i] = m.RotateKEK(t.Context(), KEKRequest{Provider: "a"}) })
	}
	wg.Wait()
	done := 0
	for _, err := range results {
		if err == nil {
			done++
		} else if !errors.Is(err, ErrKEKRotated) {
			t.Errorf("lost the race with %v", err)
		}
	}
	if done != 1 || b.primary(t, "a") != "2" {
		t.Errorf("%d rotations were done, primary %s", done, b.primary(t, "a"))
	}
	b.historyIs(t, "kek_rotated a2 from 1", "rewrapped paymentsa2 n=1")
	b.noIntents(t)
}

// lossyStore commits, and then says that it did not.
type lossyStore struct{ *sqlite.Store }

func (s lossyStore) Append(ctx context.Context, fence *store.Intent, events []history.Event) error {
	if err := s.Store.Append(ctx, fence, events); err != nil {
		return err
	}
	return context.DeadlineExceeded
}

// TestLostRecord: a record whose commit got no answer is found, and not made twice.
func TestLostRecord(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 1, "a")
	m := b.newMover(t, lossyStore{b.store})
	if r, err := m.RotateKEK(t.Context(), KEKRequest{Provider: "a"}); err != nil || r.Rewrapped != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	b.historyIs(t, "kek_rotated a2 from 1", "rewrapped paymentsa2 n=1")
}

// TestFenced: who was taken for dead records nothing, and the successor does.
func TestFenced(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 1, "a")
	successor := b.newMover(t, b.store)
	taken := false
	b.onStep = func(s rotation.Step) {
		if s != StepRotated || taken {
			return
		}
		taken = true
		b.late.Add(int64(time.Hour))
		if r, err := successor.RotateKEK(t.Context(), KEKRequest{Provider: "a"}); err != nil || !r.Resumed {
			t.Errorf("the successor: %+v, %v", r, err)
		}
	}
	// It finds the record of its own operation, made by the other, and goes on until it
	// would renew its claim.
	r, err := b.mover.RotateKEK(t.Context(), KEKRequest{Provider: "a"})
	if err != nil || r.Rewrapped != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	b.historyIs(t, "kek_rotated a2 from 1", "rewrapped paymentsa2 n=1")
	b.noIntents(t)
}
