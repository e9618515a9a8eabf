package gcpkms

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/conformance"
	"github.com/keyrotor/keyrotor/testing/faultplan"
	"github.com/keyrotor/keyrotor/testing/gcpkmsfake"
)

func TestConformance(t *testing.T) {
	server := fake(t, gcpkmsfake.Options{})
	// broken is a fake that refuses everything in one way.
	broken := func(f faultplan.Fault) func(testing.TB) provider.Body {
		s := fake(t, gcpkmsfake.Options{})
		s.Every("*", f)
		return func(testing.TB) provider.Body { return at(s, newName()) }
	}
	strangers := gcpkmsfake.New(t, gcpkmsfake.Options{TLS: true, Authorize: func(string) error { return errors.New("unknown") }})
	conformance.Run(t, conformance.Harness{
		Info: Info("test"), Schema: Schema(), New: New,
		Package: "../../plugins/gcp-kms",
		KEK:     func(testing.TB) provider.Body { return at(server, newName()) },
		Fails: map[provider.Code]func(testing.TB) provider.Body{
			provider.Denied:      broken(faultplan.Refused()),
			provider.Throttled:   broken(faultplan.Throttled(0)),
			provider.Unavailable: broken(faultplan.Failed(503)),
			provider.Unauthenticated: func(t testing.TB) provider.Body {
				return body(map[string]any{
					"key": newName(), "endpoint": strangers.Endpoint, "ca_file": strangers.CAFile, "credentials_file": newServiceAccount(t).file,
				})
			},
			provider.InvalidConfig: func(t testing.TB) provider.Body {
				file := filepath.Join(t.TempDir(), "credentials.json")
				if err := os.WriteFile(file, []byte(`{"type": "none"}`), 0o600); err != nil {
					t.Fatal(err)
				}
				return body(map[string]any{"key": newName(), "credentials_file": file})
			},
		},
	})
}
