package gcpkms

import (
	"context"
	"fmt"
	"maps"
	"path"
	"strings"
	"sync/atomic"
	"testing"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/gcpkmsfake"
)

const testRing = "projects/my-project/locations/europe-west1/keyRings/payments"

var keysMade atomic.Int64

// newName answers a key that no other test has.
func newName() string { return fmt.Sprintf("%s/cryptoKeys/kek-%d", testRing, keysMade.Add(1)) }

// fake starts a fake with a key ring.
func fake(t testing.TB, o gcpkmsfake.Options) *gcpkmsfake.Server {
	t.Helper()
	s := gcpkmsfake.New(t, o)
	s.AddKeyRing(testRing)
	return s
}

// admin is somebody else at the fake, as gcloud is.
func admin(t testing.TB, s *gcpkmsfake.Server) kmspb.KeyManagementServiceClient {
	t.Helper()
	conn, err := grpc.NewClient(s.Endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return kmspb.NewKeyManagementServiceClient(conn)
}

func body(attributes map[string]any) provider.Body { return provider.Body{Attributes: attributes} }

// at is a block for a key at a fake.
func at(s *gcpkmsfake.Server, key string) provider.Body {
	return body(map[string]any{"key": key, "endpoint": s.Endpoint, "plaintext": true})
}

func open(t testing.TB, b provider.Body) *manager {
	t.Helper()
	settings, err := newSettings(b)
	if err != nil {
		t.Fatal(err)
	}
	m := newManager(settings, nil)
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// newKEK answers an instance for a key of one version.
func newKEK(t testing.TB, s *gcpkmsfake.Server) *manager {
	t.Helper()
	m := open(t, at(s, newName()))
	if _, err := m.CreateKey(t.Context(), provider.CreateKeyRequest{}); err != nil {
		t.Fatal(err)
	}
	s.Forget()
	return m
}

// made counts the calls since the last time, by their short names.
func made(s *gcpkmsfake.Server) map[string]int {
	counts := map[string]int{}
	for _, c := range s.Calls("*") {
		counts[path.Base(c.Name)]++
	}
	s.Forget()
	return counts
}

func wantCalls(t *testing.T, what string, s *gcpkmsfake.Server, want map[string]int) {
	t.Helper()
	if got := made(s); !maps.Equal(got, want) {
		t.Errorf("%s makes the requests %v, want %v", what, got, want)
	}
}

// wantError holds an error to its code and to what its text must name.
func wantError(t *testing.T, what string, err error, code provider.Code, attribute string, names ...string) {
	t.Helper()
	e, ok := err.(*provider.Error) //nolint:errorlint // the contract's own, not one that wraps it
	if !ok {
		t.Errorf("%s: the error is a %T: %v", what, err, err)
		return
	}
	if e.Code != code || e.Attribute != attribute {
		t.Errorf("%s: got %s %q, want %s %q: %s", what, e.Code, e.Attribute, code, attribute, e.Message)
	}
	for _, name := range names {
		if !strings.Contains(e.Message, name) {
			t.Errorf("%s: the message does not say %q: %s", what, name, e.Message)
		}
	}
}

func root() provider.Secret {
	b := make([]byte, provider.RootSize)
	for i := range b {
		b[i] = byte(i + 1)
	}
	return provider.NewSecret(b)
}

func describe(t *testing.T, m *manager) provider.DescribeKeyResponse {
	t.Helper()
	d, err := m.DescribeKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// wrap wraps one root.
func wrap(ctx context.Context, m *manager, aad string) (provider.Wrapped, error) {
	results, err := m.Wrap(ctx, []provider.WrapItem{{Plaintext: root(), AAD: []byte(aad)}})
	if err != nil {
		return provider.Wrapped{}, err
	}
	return results[0].Wrapped, results[0].Err
}

func mustWrap(t *testing.T, m *manager, aad string) provider.Wrapped {
	t.Helper()
	w, err := wrap(t.Context(), m, aad)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// unwrap opens one wrap, which must hold the root of wrap.
func unwrap(ctx context.Context, m *manager, w provider.Wrapped, aad string) error {
	results, err := m.Unwrap(ctx, []provider.UnwrapItem{{Wrapped: w, AAD: []byte(aad)}})
	switch {
	case err != nil:
		return err
	case results[0].Err != nil:
		return results[0].Err
	case !results[0].Plaintext.Equal(root()):
		return fmt.Errorf("it opens to another root")
	default:
		return nil
	}
}

func rewrap(ctx context.Context, m *manager, w provider.Wrapped, aad string) (provider.Wrapped, error) {
	results, err := m.Rewrap(ctx, []provider.UnwrapItem{{Wrapped: w, AAD: []byte(aad)}})
	if err != nil {
		return provider.Wrapped{}, err
	}
	return results[0].Wrapped, results[0].Err
}

func rotate(ctx context.Context, m *manager, expected string) (provider.RotateKeyResponse, error) {
	return m.RotateKey(ctx, provider.RotateKeyRequest{ExpectedVersion: expected, RequestID: "request"})
}
