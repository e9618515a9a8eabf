package conformance

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

// scriptedError is what the toy fails with if its fault says so.
func scriptedError(code provider.Code) *provider.Error {
	return &provider.Error{
		Code: code, Message: "what happened", Attribute: "auth.token", RetryAfter: 7 * time.Second, Err: errors.New("the cause"),
	}
}

// answering fails every RotateKey and every item of a Wrap.
func answering(e everything, code provider.Code) provider.KeyManager {
	return &bent{
		everything: e,
		rotate: func(context.Context, provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
			return provider.RotateKeyResponse{}, scriptedError(code)
		},
		wrap: func(_ ctxt, items wrapItems) (wrapResults, error) {
			results := make(wrapResults, len(items))
			for i := range results {
				results[i].Err = scriptedError(code)
			}
			return results, nil
		},
	}
}

// TestCodesCrossTheBoundary: whether a provider is called directly, over the wire or in
// a process, errors.Is answers the same, and what an error carries is there. No key
// manager can be brought to answer every code, so this one is told to.
func TestCodesCrossTheBoundary(t *testing.T) {
	h := toyHarness(t)
	h.New = newFaulty(&toyKMS{})
	for _, r := range routes(t, &h) {
		if r.name == "killed" {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			w := r.connect(t)
			for _, code := range provider.Codes() {
				s := &subject{Harness: &h, t: t, way: w, name: string(code)}
				km, err := s.open(t.Context(), newToyKEK("answers "+string(code))(t))
				if err != nil {
					t.Fatal(err)
				}
				want := scriptedError(code)
				if code == provider.PluginCrashed && r.name != "direct" {
					// A plugin that says so has not crashed.
					want.Code, want.Attribute, want.RetryAfter = provider.Internal, "", 0
					want.Message = `the provider answered the unknown code "PLUGIN_CRASHED": what happened`
				}
				_, err = km.RotateKey(t.Context(), provider.RotateKeyRequest{})
				sameError(t, err, want)
				results, err := km.Wrap(t.Context(), []provider.WrapItem{{}, {}})
				if err != nil || len(results) != 2 {
					t.Fatalf("%s: %v, %v", code, results, err)
				}
				if r.name != "direct" {
					want.Attribute = "" // belongs to a configuration, not to an item
				}
				sameError(t, results[1].Err, want)
			}
		})
	}
}

func sameError(t *testing.T, err error, want *provider.Error) {
	t.Helper()
	got, ok := errors.AsType[*provider.Error](err)
	if !ok {
		t.Errorf("%s arrives as a %T: %v", want.Code, err, err)
		return
	}
	if got.Code != want.Code || got.Message != want.Message || got.Attribute != want.Attribute || got.RetryAfter != want.RetryAfter {
		t.Errorf("%s arrives as %+v, want %+v", want.Code, *got, *want)
	}
	for _, code := range provider.Codes() {
		if errors.Is(err, code) != (code == want.Code) {
			t.Errorf("%s arrives as an error that Is %s: %v", want.Code, code, errors.Is(err, code))
		}
	}
}
