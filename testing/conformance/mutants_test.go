package conformance

import (
	"context"
	"crypto/rand"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

// mutant is a provider that breaks one promise.
type mutant struct {
	name string
	// fails are the cases that find it out. The first is named after the promise; the
	// others cannot do without it. No other case may fail.
	fails []string
	// bend replaces methods of an instance.
	bend func(everything) provider.KeyManager
	// build replaces the constructor, if bend is not enough.
	build func(*toyKMS) provider.New
	// change alters what the provider says of itself.
	change func(*Harness)
}

func mutants() []mutant {
	return slices.Concat(
		wrapMutants(), aadMutants(), bufferMutants(), unwrapMutants(), generateMutants(), batchMutants(), rewrapMutants(),
		rotateMutants(), createMutants(), stateMutants(), mirrorMutants(),
		configureMutants(), infoMutants(), contextMutants(), errorMutants(),
	)
}

// harness is for the direct way; there the toy's files are in memory.
func (m mutant) harness() *Harness {
	kms := &toyKMS{memory: map[string]*toyKey{}}
	h := &Harness{
		Info: toyInfo(), Schema: toySchema(), New: kms.New,
		KEK: func(testing.TB) provider.Body { return toyBody(rand.Text(), "", toyToken) },
	}
	if m.build != nil {
		h.New = m.build(kms)
	}
	if m.bend != nil {
		h.New = bending(kms, m.bend)
	}
	if m.change != nil {
		m.change(h)
	}
	return h
}

func bending(kms *toyKMS, bend func(everything) provider.KeyManager) provider.New {
	return func(ctx context.Context, cfg provider.Config) (provider.KeyManager, error) {
		km, err := kms.New(ctx, cfg)
		if err != nil {
			return nil, err
		}
		return bend(km.(everything)), nil
	}
}

// failures runs every case that concerns a provider, on one way.
func failures(t *testing.T, h *Harness, connect func() way) map[string]error {
	t.Helper()
	failed := map[string]error{}
	for _, c := range cases(h) {
		if !c.concerns(h.Info) {
			continue
		}
		if err := c.run(t.Context(), &subject{Harness: h, t: t, way: connect(), name: c.name}, patience); err != nil {
			failed[c.name] = err
		}
	}
	return failed
}

// TestMutants: each broken promise is found out by the cases that are named after it.
func TestMutants(t *testing.T) {
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) {
			h := m.harness()
			failed := failures(t, h, func() way { return direct{h.New} })
			if !slices.Contains(m.fails, "concurrent/calls") {
				delete(failed, "concurrent/calls") // who comes first decides whether it finds what others find
			}
			got, want := slices.Sorted(maps.Keys(failed)), slices.Sorted(slices.Values(m.fails))
			if !slices.Equal(got, want) {
				t.Errorf("failed:\n  %s\nwant:\n  %s\nbecause:\n%v", strings.Join(got, "\n  "), strings.Join(want, "\n  "), failed)
			}
		})
	}
}

// TestEveryCaseFindsSomething: no case is there for show.
func TestEveryCaseFindsSomething(t *testing.T) {
	found := map[string]bool{}
	for _, m := range mutants() {
		for _, name := range m.fails {
			found[name] = true
		}
	}
	for _, names := range processFaults() {
		for _, name := range names {
			found[name] = true
		}
	}
	for _, c := range append(cases(&Harness{}), killedCases()...) {
		if !found[c.name] {
			t.Errorf("no mutant is found out by %s", c.name)
		}
	}
}

// TestAHangIsFoundOut: patience is short here, so the other cases may fail on a busy
// machine; they are not run.
func TestAHangIsFoundOut(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	h := mutant{bend: func(e everything) provider.KeyManager {
		return &bent{everything: e, unwrap: func(context.Context, []provider.UnwrapItem) ([]provider.UnwrapResult, error) {
			<-release
			return nil, nil
		}}
	}}.harness()
	c, _ := find(cases(h), "wrap/opens")
	err := c.run(t.Context(), &subject{Harness: h, t: t, way: direct{h.New}, name: c.name}, 10*time.Millisecond)
	if err == nil || err.Error() != "a call did not end within 10ms" {
		t.Errorf("got %v", err)
	}
}

// TestAHarnessThatStops: t.Fatal ends the goroutine that it is called on.
func TestAHarnessThatStops(t *testing.T) {
	h := mutant{}.harness()
	h.KEK = func(testing.TB) provider.Body {
		runtime.Goexit()
		return provider.Body{}
	}
	c, _ := find(cases(h), "wrap/opens")
	err := c.run(t.Context(), &subject{Harness: h, t: t, way: direct{h.New}, name: c.name}, patience)
	if err == nil || err.Error() != "the harness stopped the test" {
		t.Errorf("got %v", err)
	}
}
