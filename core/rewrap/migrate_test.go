package rewrap

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
)

func aToB(keys ...string) MigrationRequest {
	return MigrationRequest{Keys: keys, From: "a", To: "b"}
}

func (b *bench) migrate(t *testing.T, req MigrationRequest) MigrationReport {
	t.Helper()
	r, err := b.mover.Migrate(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (b *bench) wrapWith(t *testing.T, name string, want ...string) {
	t.Helper()
	if got := b.key(t, name).Settings.WrapWith; !slices.Equal(got, want) {
		t.Errorf("new versions of %s are wrapped with %q, want %q", name, got, want)
	}
}

func TestMigrate(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 3, "a", "c")
	calls, old := counted(b.kms["b"]), counted(b.kms["a"])
	req := aToB("payments")
	req.Note = "to the new one"
	r := b.migrate(t, req)
	want := MigrationReport{
		From: "a", To: "b", Keys: 1, Versions: 3, Wrapped: 3, Retired: 3, Failed: []Failure{}, Operation: r.Operation,
	}
	if r.Operation == "" || !reflect.DeepEqual(r, want) {
		t.Errorf("answered %+v, want %+v", r, want)
	}
	b.wrapsAre(t, "payments", "v1 b1 c1", "v2 b1 c1", "v3 b1 c1")
	b.wrapWith(t, "payments", "b", "c") // it has the old one's place
	b.historyIs(t, "config paymentsb with a,b,c", "provider_added paymentsb1 n=3", "provider_retired paymentsa n=3 with b,c")
	for _, e := range b.events(t) {
		if e.Operation != r.Operation || e.Actor != "test@host" || e.Note != "to the new one" {
			t.Errorf("event %+v", e)
		}
	}
	b.noIntents(t)
	steps := []string{"intent", "widened", "intent", "proved", "moved", "intent", "retired"}
	for i := range steps {
		steps[i] = "payments " + steps[i]
	}
	if !slices.Equal(b.steps, steps) {
		t.Errorf("steps %q", b.steps)
	}
	if calls["Wrap"] != 3 || calls["Unwrap"] != 3 || old["Unwrap"] != 3 || old["Wrap"] != 0 {
		t.Errorf("calls of the new one %v, of the old one %v", calls, old)
	}
	b.rotate(t, "payments")
	b.wrapsAre(t, "payments", "v1 b1 c1", "v2 b1 c1", "v3 b1 c1", "v4 b1 c1")
}

// TestMigrateKeep: the key stays with both, until it is migrated without Keep.
func TestMigrateKeep(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 2, "a")
	req := aToB("payments")
	req.Keep = true
	if r := b.migrate(t, req); r.Wrapped != 2 || r.Retired != 0 {
		t.Errorf("%+v", r)
	}
	b.wrapsAre(t, "payments", "v1 a1 b1", "v2 a1 b1")
	b.wrapWith(t, "payments", "a", "b")
	calls := counted(b.kms["b"])
	if r := b.migrate(t, aToB("payments")); r.Wrapped != 0 || r.Retired != 2 {
		t.Errorf("%+v", r)
	}
	// The wraps of an earlier run are proved again before the old ones go.
	if calls["Unwrap"] != 2 || calls["Wrap"] != 0 {
		t.Errorf("calls %v", calls)
	}
	b.wrapsAre(t, "payments", "v1 b1", "v2 b1")
}

func TestMigrateRefuses(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 1, "a")
	b.create(t, "orders", 1, "c")
	for name, c := range map[string]struct {
		req  MigrationRequest
		want error
		text string
	}{
		"to itself":       {MigrationRequest{Keys: []string{"payments"}, From: "a", To: "a"}, nil, `from provider "a" to itself`},
		"unknown from":    {MigrationRequest{Keys: []string{"payments"}, From: "x", To: "a"}, nil, `no provider "x"`},
		"unknown to":      {MigrationRequest{Keys: []string{"payments"}, From: "a", To: "x"}, nil, `no provider "x"`},
		"unknown key":     {aToB("payments", "nobody"), keyring.ErrUnknownKey, `"nobody"`},
		"not wrapped":     {aToB("payments", "orders"), ErrNotWrapped, `provider "a": key "orders" is wrapped by ["c"]`},
		"no key":          {aToB(), ErrNotWrapped, `provider "a": no key is`},
		"an unclean note": {MigrationRequest{Keys: []string{"payments"}, From: "a", To: "b", Note: "a\nb"}, history.ErrText, "note"},
	} {
		_, err := b.mover.Migrate(t.Context(), c.req)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if calls := b.kms["b"].Calls.Load(); calls != 0 || len(b.steps) != 0 {
		t.Errorf("%d calls, steps %q", calls, b.steps)
	}
	b.historyIs(t)
}

func TestWrappedBy(t *testing.T) {
	b := newBench(t)
	b.create(t, "carts", 1, "b")
	b.create(t, "orders", 1, "b", "a")
	b.create(t, "payments", 1, "a")
	b.change(t, "orders", func(r *keyring.Record) { r.Settings.WrapWith = []string{"b"} })
	b.change(t, "carts", func(r *keyring.Record) { r.Settings.WrapWith = []string{"b", "c"} })
	for p, want := range map[string][]string{
		"a": {"orders", "payments"}, "b": {"carts", "orders"}, "c": {"carts"}, "d": nil,
	} {
		if got, err := b.mover.WrappedBy(t.Context(), p); err != nil || !slices.Equal(got, want) {
			t.Errorf("wrapped by %s: %q, %v", p, got, err)
		}
	}
}

// TestMigrateLies: a wrap that does not open to the version's root is never committed,
// and the old provider stays with the whole key.
func TestMigrateLies(t *testing.T) {
	for name, c := range map[string]struct {
		code string
		lie  func(km *bench)
	}{
		"a spoilt wrap": {"provider_integrity", func(b *bench) { b.kms["b"].OnWrap(func(r []provider.WrapResult) { r[0].Wrapped.Blob[20] ^= 1 }) }},
		"another root": {"integrity", func(b *bench) {
			b.kms["b"].OnUnwrap(func(r []provider.UnwrapResult) { r[0].Plaintext = keyring.GenerateRoot().Bytes })
		}},
		"a short root": {"integrity", func(b *bench) {
			b.kms["b"].OnUnwrap(func(r []provider.UnwrapResult) { r[0].Plaintext = provider.NewSecret(make([]byte, 16)) })
		}},
		"another kek": {"integrity", func(b *bench) { b.kms["b"].OnUnwrap(func(r []provider.UnwrapResult) { r[0].KEKID = "local:other" }) }},
		"denied":      {"provider_denied", func(b *bench) { b.kms["b"].Before(failing("Wrap", provider.Errorf(provider.Denied, "no"))) }},
		"an old one lie": {"integrity", func(b *bench) {
			b.kms["a"].OnUnwrap(func(r []provider.UnwrapResult) { r[0].Plaintext = keyring.GenerateRoot().Bytes })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.create(t, "payments", 2, "a")
			c.lie(b)
			r := b.migrate(t, aToB("payments"))
			if r.Wrapped != 0 || r.Retired != 0 || len(r.Failed) != 2 || r.Failed[1].Version != 2 || r.Failed[0].Code != c.code ||
				!strings.Contains(r.Failed[0].Error, `version 1 of key "payments"`) {
				t.Errorf("%+v", r)
			}
			for _, p := range []string{"a", "b"} {
				b.kms[p].OnWrap(nil)
				b.kms[p].OnUnwrap(nil)
				b.kms[p].Before(nil)
			}
			b.wrapsAre(t, "payments", "v1 a1", "v2 a1")
			b.wrapWith(t, "payments", "a", "b")
			b.noIntents(t)
			if r := b.migrate(t, aToB("payments")); r.Wrapped != 2 || r.Retired != 2 {
				t.Errorf("afterwards: %+v", r)
			}
			b.wrapsAre(t, "payments", "v1 b1", "v2 b1")
		})
	}
}

// TestMigrateBrokenWrap: a wrap by the new provider from long ago that does not open
// any more counts for nothing, and is made again.
func TestMigrateBrokenWrap(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 2, "a", "b")
	b.change(t, "payments", func(r *keyring.Record) { r.Versions[0].Wraps[1].Blob[20] ^= 1 })
	if r := b.migrate(t, aToB("payments")); r.Wrapped != 1 || r.Retired != 2 {
		t.Errorf("%+v", r)
	}
	b.wrapsAre(t, "payments", "v1 b1", "v2 b1")
}

// TestMigrateByAnotherWrap: any wrap that opens will do, also if the old provider is
// the one that is lost.
func TestMigrateByAnotherWrap(t *testing.T) {
	b := newBench(t)
	b.create(t, "payments", 1, "a", "c")
	b.kms["a"].Before(failing("Unwrap", provider.Errorf(provider.Unavailable, "gone for good")))
	if r := b.migrate(t, aToB("payments")); r.Wrapped != 1 || r.Retired != 1 {
		t.Errorf("%+v", r)
	}
	b.wrapsAre(t, "payments", "v1 b1 c1")
}

// TestMigrateStops: at each failure of a key manager that passes, the run ends with
// everything openable, and the next one does the rest.
func TestMigrateStops(t *testing.T) {
	for p, call := range map[string]string{"a": "Unwrap", "b": "Wrap"} {
		b := newBench(t)
		b.create(t, "payments", 3, "a")
		n := 0
		b.kms[p].Before(func(_ context.Context, c string) error {
			if c != call {
				return nil
			}
			if n++; n == 2 {
				return provider.Errorf(provider.Unavailable, "gone")
			}
			return nil
		})
		if _, err := b.mover.Migrate(t.Context(), aToB("payments")); !errors.Is(err, provider.Unavailable) {
			t.Errorf("%s of %s failing: %v", call, p, err)
		}
		b.wrapsAre(t, "payments", "v1 a1", "v2 a1", "v3 a1")
		b.noIntents(t)
		if r := b.migrate(t, aToB("payments")); r.Wrapped != 3 || r.Retired != 3 {
			t.Errorf("afterwards: %+v", r)
		}
	}
}
