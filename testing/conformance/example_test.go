package conformance_test

import (
	"path/filepath"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/providers/local"
	"github.com/keyrotor/keyrotor/testing/conformance"
)

// This is the whole of a provider's conformance test.
func ExampleRun() {
	_ = func(t *testing.T) { // func TestConformance(t *testing.T)
		conformance.Run(t, conformance.Harness{
			Info:    local.Info("test"),
			Schema:  local.Schema(),
			New:     local.New,
			Package: "github.com/keyrotor/keyrotor/plugins/local",
			KEK: func(t testing.TB) provider.Body {
				return provider.Body{Attributes: map[string]any{"path": filepath.Join(t.TempDir(), "kek.json")}}
			},
		})
	}
}

// A key manager may be told to fail, and may be unable to do what a case asks for.
func ExampleHarness() {
	block := func(token string) provider.Body {
		return provider.Body{Attributes: map[string]any{
			"address": "https://kms.example.org",
			"token":   provider.NewSecret([]byte(token)),
		}}
	}
	_ = conformance.Harness{
		KEK: func(testing.TB) provider.Body { return block("a good token") },
		Fails: map[provider.Code]func(testing.TB) provider.Body{
			provider.Unauthenticated: func(testing.TB) provider.Body { return block("a token that has expired") },
			provider.Denied:          func(testing.TB) provider.Body { return block("a token without the right") },
		},
		Cannot: map[string]string{
			"rotate/racing": "the key manager rotates whatever the primary is, and the provider can only look before",
		},
	}
}
