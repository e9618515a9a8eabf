package conformance

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

// newFaulty is the constructor in the plugin, where the attribute "fault" says what
// an instance does wrong: nothing that a test closes over gets there.
func newFaulty(kms *toyKMS) provider.New {
	inMemory := &toyKMS{memory: map[string]*toyKey{}}
	var locked sync.Map
	return func(ctx context.Context, cfg provider.Config) (provider.KeyManager, error) {
		fault := cfg.Body.String("fault")
		if fault == "forgetful" {
			return inMemory.New(ctx, cfg)
		}
		km, err := kms.New(ctx, cfg)
		if err != nil {
			return nil, err
		}
		e := km.(everything)
		switch {
		case fault == "locks for life":
			return lockForLife(e, &locked), nil
		case fault == "makes what it looks for":
			_, _ = e.CreateKey(ctx, provider.CreateKeyRequest{})
			return e, nil
		case strings.HasPrefix(fault, "answers "):
			return answering(e, provider.Code(strings.TrimPrefix(fault, "answers "))), nil
		default:
			return e, nil
		}
	}
}

// lockForLife takes a file as the sign that a process works on the key, and leaves it
// to nobody to remove it.
func lockForLife(e everything, mine *sync.Map) provider.KeyManager {
	return &bent{everything: e, wrap: func(ctx ctxt, items wrapItems) (wrapResults, error) {
		path := e.(*toy).path + ".lock"
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			_ = f.Close()
			mine.Store(path, true)
		}
		if _, ok := mine.Load(path); !ok {
			return nil, provider.Errorf(provider.Denied, "another process works on the key")
		}
		return e.Wrap(ctx, items)
	}}
}

// processFaults are what a plugin can do wrong that shows when its process is killed,
// and the cases that find it out.
func processFaults() map[string][]string {
	return map[string][]string{
		"forgetful": {
			"crash/idle", "crash/at-work", "crash/rotate-key", "crash/set-version-state", "crash/write-mirror",
		},
		"locks for life":          {"crash/reads"},
		"makes what it looks for": {"crash/create-key"},
	}
}

func TestProcessFaults(t *testing.T) {
	h := toyHarness(t)
	p := newPlugin(t, &h)
	for fault, names := range processFaults() {
		h.KEK = newToyKEK(fault)
		for _, name := range names {
			c, _ := find(killedCases(), name)
			if err := c.run(t.Context(), &subject{Harness: &h, t: t, way: p.start(t), name: name}, patience); err == nil {
				t.Errorf("%s does not find out that a plugin is one that is %q", name, fault)
			}
		}
	}
}

// TestAnotherBinary: the binary must be that of the provider that the harness shows.
func TestAnotherBinary(t *testing.T) {
	h := toyHarness(t)
	h.Info.Capabilities = h.Info.Capabilities[1:]
	h.Schema.Doc = "Another."
	for _, c := range newPlugin(t, &h).cases() {
		if err := c.test(t.Context(), &subject{Harness: &h, t: t}); err == nil {
			t.Errorf("%s does not find it out", c.name)
		}
	}
}
