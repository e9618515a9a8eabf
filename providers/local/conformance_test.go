package local_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/providers/local"
	"github.com/keyrotor/keyrotor/testing/conformance"
)

func TestConformance(t *testing.T) {
	body := func(path string) provider.Body {
		return provider.Body{Attributes: map[string]any{"path": path}}
	}
	conformance.Run(t, conformance.Harness{
		Info: local.Info("test"), Schema: local.Schema(), New: local.New,
		Package: "../../plugins/local",
		KEK:     func(t testing.TB) provider.Body { return body(filepath.Join(t.TempDir(), "kek.json")) },
		Fails: map[provider.Code]func(testing.TB) provider.Body{
			provider.InvalidConfig: func(t testing.TB) provider.Body { return body(t.TempDir()) },
			provider.Integrity: func(t testing.TB) provider.Body {
				path := filepath.Join(t.TempDir(), "kek.json")
				if err := os.WriteFile(path, []byte(`{"format": `), 0o600); err != nil {
					t.Fatal(err)
				}
				return body(path)
			},
		},
	})
}
