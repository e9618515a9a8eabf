package wrapping_test

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
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/testing/faults"
)

// bench is two key managers, "a" and "b", and what was called and reached.
type bench struct {
	a, b  *faults.KeyManager
	calls []string
	steps []wrapping.Step
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{a: faults.NewLocal(t), b: faults.NewLocal(t)}
	for name, km := range map[string]*faults.KeyManager{"a": b.a, "b": b.b} {
		km.Before(func(_ context.Context, call string) error {
			b.calls = append(b.calls, name+"."+call)
			return nil
		})
	}
	return b
}

// created is when the wraps of these tests are made.
var created = time.Unix(1_790_000_000, 0)

func (b *bench) wrapper() wrapping.Wrapper {
	return wrapping.Wrapper{
		KeyManager: func(name string) (wrapping.KeyManager, error) {
			switch name {
			case "a":
				return b.a, nil
			case "b":
				return b.b, nil
			}
			return nil, fmt.Errorf("no provider %q", name)
		},
		Now:     func() time.Time { return created },
		Reached: func(s wrapping.Step) { b.steps = append(b.steps, s) },
	}
}

func binding(version uint32) keyring.Binding {
	return keyring.Binding{Store: keyring.StoreID{1}, Key: keyring.KeyID{2}, Version: version, Algorithm: keyring.AES256GCM}
}

// make wraps a new root under "a".
func (b *bench) make(t *testing.T) wrapping.Material {
	t.Helper()
	m, err := b.wrapper().Make(t.Context(), binding(1), []string{"a"}, keyring.Root{})
	if err != nil {
		t.Fatal(err)
	}
	b.calls, b.steps = nil, nil
	return m
}

func TestMake(t *testing.T) {
	given := keyring.GenerateRoot()
	for name, c := range map[string]struct {
		providers []string
		root      keyring.Root
		generates bool
		calls     []string
	}{
		"one provider":     {providers: []string{"a"}, calls: []string{"a.Wrap", "a.Unwrap"}},
		"two providers":    {providers: []string{"b", "a"}, calls: []string{"b.Wrap", "a.Wrap", "b.Unwrap", "a.Unwrap"}},
		"one that draws":   {providers: []string{"a"}, generates: true, calls: []string{"a.GenerateDataKey", "a.Unwrap"}},
		"the first draws":  {providers: []string{"a", "b"}, generates: true, calls: []string{"a.GenerateDataKey", "b.Wrap", "a.Unwrap", "b.Unwrap"}},
		"a root that is":   {providers: []string{"a", "b"}, root: given, calls: []string{"a.Wrap", "b.Wrap", "a.Unwrap", "b.Unwrap"}},
		"though one draws": {providers: []string{"a"}, root: given, generates: true, calls: []string{"a.Wrap", "a.Unwrap"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			if b.a.SetCapabilities(); c.generates {
				b.a.SetCapabilities(provider.CanGenerateDataKey)
			}
			b.b.SetCapabilities()
			m, err := b.wrapper().Make(t.Context(), binding(7), c.providers, c.root)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(b.calls, c.calls) {
				t.Errorf("calls %q, want %q", b.calls, c.calls)
			}
			if steps := []wrapping.Step{wrapping.Generated, wrapping.Wrapped, wrapping.Proved}; !slices.Equal(b.steps, steps) {
				t.Errorf("steps %q", b.steps)
			}
			if m.Binding != binding(7) || m.Root.Len() != keyring.RootSize || c.root.Len() > 0 && !m.Root.Equal(given.Bytes) {
				t.Errorf("binding %+v, a root of %d bytes", m.Binding, m.Root.Len())
			}
			if kcv, err := m.Root.KCV(binding(7)); err != nil || m.KCV != kcv {
				t.Errorf("check value %s, want %s, %v", m.KCV, kcv, err)
			}
			if len(m.Wraps) != len(c.providers) {
				t.Fatalf("%d wraps", len(m.Wraps))
			}
			for i, w := range m.Wraps {
				km, _ := b.wrapper().KeyManager(c.providers[i])
				if w.Provider != c.providers[i] || !strings.HasPrefix(w.KEKID, "local:") || w.KEKVersion != "1" || !w.Created.Equal(created) {
					t.Errorf("wrap %+v", w)
				}
				root, err := wrapping.Open(t.Context(), km, binding(7), w, m.KCV)
				if err != nil || !root.Equal(m.Root.Bytes) {
					t.Errorf("the wrap by %s: %v", w.Provider, err)
				}
			}
		})
	}
}

// TestMakeFails: each failure of the second provider ends it, and leaves the root to
// be wiped.
func TestMakeFails(t *testing.T) {
	denied := provider.Errorf(provider.Denied, "no")
	for name, c := range map[string]struct {
		want  error
		steps []wrapping.Step
		spoil func(*bench)
	}{
		"wrapping": {provider.Denied, []wrapping.Step{wrapping.Generated}, func(b *bench) { b.b.Before(failing("Wrap", denied)) }},
		"one item": {provider.Denied, []wrapping.Step{wrapping.Generated}, func(b *bench) { b.b.OnWrap(func(r []provider.WrapResult) { r[0].Err = denied }) }},
		"proving":  {provider.Denied, []wrapping.Step{wrapping.Generated, wrapping.Wrapped}, func(b *bench) { b.b.Before(failing("Unwrap", denied)) }},
		"comparing": {keyring.ErrIntegrity, []wrapping.Step{wrapping.Generated, wrapping.Wrapped}, func(b *bench) {
			b.b.OnUnwrap(func(r []provider.UnwrapResult) { r[0].Plaintext = keyring.GenerateRoot().Bytes })
		}},
	} {
		b := newBench(t)
		c.spoil(b)
		m, err := b.wrapper().Make(t.Context(), binding(1), []string{"a", "b"}, keyring.Root{})
		if !errors.Is(err, c.want) || m.Root.Len() != keyring.RootSize || !slices.Equal(b.steps, c.steps) {
			t.Errorf("%s: %v, a root of %d bytes, steps %q", name, err, m.Root.Len(), b.steps)
		}
	}
	b := newBench(t)
	if _, err := b.wrapper().Make(t.Context(), binding(1), []string{"a", "c"}, keyring.Root{}); err == nil || !strings.Contains(err.Error(), `no provider "c"`) {
		t.Errorf("an unknown provider: %v", err)
	}
	b.a.SetCapabilities(provider.CanGenerateDataKey)
	b.a.Before(failing("GenerateDataKey", denied))
	if _, err := b.wrapper().Make(t.Context(), binding(1), []string{"a"}, keyring.Root{}); !errors.Is(err, provider.Denied) {
		t.Errorf("drawing: %v", err)
	}
}

func failing(call string, err error) func(context.Context, string) error {
	return func(_ context.Context, c string) error {
		if c == call {
			return err
		}
		return nil
	}
}

// lies are the answers to an unwrap that must not be believed, whoever asks.
func lies() map[string]struct {
	want error
	text string
	lie  func([]provider.UnwrapResult)
} {
	return map[string]struct {
		want error
		text string
		lie  func([]provider.UnwrapResult)
	}{
		"another root": {keyring.ErrIntegrity, `provider "a"`, func(r []provider.UnwrapResult) { r[0].Plaintext = keyring.GenerateRoot().Bytes }},
		"a short root": {keyring.ErrIntegrity, "16 bytes", func(r []provider.UnwrapResult) { r[0].Plaintext = provider.NewSecret(make([]byte, 16)) }},
		"a long root":  {keyring.ErrIntegrity, "64 bytes", func(r []provider.UnwrapResult) { r[0].Plaintext = provider.NewSecret(make([]byte, 64)) }},
		"no root":      {keyring.ErrIntegrity, "0 bytes", func(r []provider.UnwrapResult) { r[0].Plaintext = provider.Secret{} }},
		"another kek":  {keyring.ErrIntegrity, `provider "a"`, func(r []provider.UnwrapResult) { r[0].KEKID = "local:other" }},
		"an error": {provider.Denied, "no", func(r []provider.UnwrapResult) {
			r[0].Err = provider.Errorf(provider.Denied, "no") // and a plaintext with it
		}},
	}
}

func TestProveAndOpenRefuse(t *testing.T) {
	for name, c := range lies() {
		b := newBench(t)
		m := b.make(t)
		b.a.OnUnwrap(c.lie)
		w := m.Wraps[0]
		root, openErr := wrapping.Open(t.Context(), b.a, m.Binding, w, m.KCV)
		for what, err := range map[string]error{
			"Prove":  wrapping.Prove(t.Context(), b.a, m.Binding, m.Root, &w),
			"Verify": wrapping.Verify(t.Context(), b.a, m.Binding, m.KCV, &w),
			"Open":   openErr,
		} {
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s of %s: %v", what, name, err)
			}
		}
		if root.Len() != 0 {
			t.Errorf("%s: a root of %d bytes came with the error", name, root.Len())
		}
	}
}

// TestWipesWhatIsRefused: a plaintext that is nobody's does not stay in memory.
func TestWipesWhatIsRefused(t *testing.T) {
	for name, lie := range map[string]func(*provider.UnwrapResult){
		"an error beside it":   func(r *provider.UnwrapResult) { r.Err = provider.Errorf(provider.Denied, "no") },
		"another kek":          func(r *provider.UnwrapResult) { r.KEKID = "local:other" },
		"another check value":  func(*provider.UnwrapResult) {},
		"a length that is off": func(r *provider.UnwrapResult) { r.Plaintext = provider.NewSecret(slices.Repeat([]byte{1}, 33)) },
	} {
		b := newBench(t)
		m := b.make(t)
		var raw []byte
		b.a.OnUnwrap(func(r []provider.UnwrapResult) {
			lie(&r[0])
			raw = r[0].Plaintext.Reveal()
		})
		if _, err := wrapping.Open(t.Context(), b.a, m.Binding, m.Wraps[0], keyring.KCV{}); err == nil {
			t.Errorf("%s: opened", name)
		}
		if len(raw) == 0 || slices.ContainsFunc(raw, func(x byte) bool { return x != 0 }) {
			t.Errorf("%s: %d bytes were not wiped", name, len(raw))
		}
	}
}

// TestBound: a wrap opens as the version that it was made for, and as no other.
func TestBound(t *testing.T) {
	b := newBench(t)
	m := b.make(t)
	for name, other := range map[string]keyring.Binding{
		"store":     {Store: keyring.StoreID{9}, Key: keyring.KeyID{2}, Version: 1, Algorithm: keyring.AES256GCM},
		"key":       {Store: keyring.StoreID{1}, Key: keyring.KeyID{9}, Version: 1, Algorithm: keyring.AES256GCM},
		"version":   binding(2),
		"algorithm": {Store: keyring.StoreID{1}, Key: keyring.KeyID{2}, Version: 1, Algorithm: keyring.XChaCha20Poly1305},
	} {
		if _, err := wrapping.Open(t.Context(), b.a, other, m.Wraps[0], m.KCV); !errors.Is(err, provider.Integrity) {
			t.Errorf("as another %s: %v", name, err)
		}
	}
}

// TestKEKVersion: a version that was unknown is learned when the wrap is proved, and
// one that differs is not believed.
func TestKEKVersion(t *testing.T) {
	b := newBench(t)
	m := b.make(t)
	for name, c := range map[string]struct{ recorded, answered, want string }{
		"known":     {"1", "1", "1"},
		"learned":   {"", "1", "1"},
		"not told":  {"1", "", "1"},
		"unknown":   {"", "", ""},
		"different": {"1", "9", "refused"},
	} {
		b.a.OnUnwrap(func(r []provider.UnwrapResult) { r[0].KEKVersion = c.answered })
		for what, prove := range map[string]func(*keyring.Wrap) error{
			"Prove":  func(w *keyring.Wrap) error { return wrapping.Prove(t.Context(), b.a, m.Binding, m.Root, w) },
			"Verify": func(w *keyring.Wrap) error { return wrapping.Verify(t.Context(), b.a, m.Binding, m.KCV, w) },
		} {
			w := m.Wraps[0]
			w.KEKVersion = c.recorded
			err := prove(&w)
			if c.want == "refused" {
				if !errors.Is(err, keyring.ErrIntegrity) || !strings.Contains(err.Error(), `version "9"`) {
					t.Errorf("%s, %s: %v", what, name, err)
				}
			} else if err != nil || w.KEKVersion != c.want {
				t.Errorf("%s, %s: version %q, %v", what, name, w.KEKVersion, err)
			}
		}
	}
}

// many answers another number of results than there were items.
type many struct {
	*faults.KeyManager
	n int
}

func (m many) Wrap(ctx context.Context, items []provider.WrapItem) ([]provider.WrapResult, error) {
	results, err := m.KeyManager.Wrap(ctx, items)
	return slices.Repeat(results, m.n), err
}

func (m many) Unwrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.UnwrapResult, error) {
	results, err := m.KeyManager.Unwrap(ctx, items)
	return slices.Repeat(results, m.n), err
}

func TestWrongCount(t *testing.T) {
	b := newBench(t)
	m := b.make(t)
	for _, n := range []int{0, 2} {
		if _, err := wrapping.Open(t.Context(), many{b.a, n}, m.Binding, m.Wraps[0], m.KCV); !errors.Is(err, provider.Internal) {
			t.Errorf("%d results of an unwrap: %v", n, err)
		}
		w := wrapping.Wrapper{
			KeyManager: func(string) (wrapping.KeyManager, error) { return many{b.a, n}, nil }, Now: time.Now,
		}
		b.a.SetCapabilities()
		if _, err := w.Make(t.Context(), m.Binding, []string{"a"}, keyring.Root{}); !errors.Is(err, provider.Internal) {
			t.Errorf("%d results of a wrap: %v", n, err)
		}
	}
}
