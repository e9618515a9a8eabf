package vaulttest

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
)

// unique makes a name that no other test has, on a server that others use too.
func unique(kind string) string {
	return "test-" + kind + "-" + strings.ToLower(rand.Text()[:10])
}

// write writes to the server with all rights.
func (s *Server) write(t testing.TB, path string, data map[string]any) *api.Secret {
	t.Helper()
	secret, err := s.Client(t).Logical().WriteWithContext(t.Context(), path, data)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// tidy removes what a test made, at its end, from a server that outlives the tests.
func (s *Server) tidy(t testing.TB, path string) {
	t.Helper()
	if s.dir != "" {
		return
	}
	client := s.Client(t)
	t.Cleanup(func() {
		if _, err := client.Logical().DeleteWithContext(context.WithoutCancel(t.Context()), path); err != nil {
			t.Errorf("left behind on the server: %v", err)
		}
	})
}

// MountTransit mounts a transit engine for the test and answers where.
func (s *Server) MountTransit(t testing.TB) string {
	t.Helper()
	return s.mount(t, &api.MountInput{Type: "transit"})
}

// MountKV mounts a version 2 key-value engine for the test and answers where.
func (s *Server) MountKV(t testing.TB) string {
	t.Helper()
	return s.mount(t, &api.MountInput{Type: "kv", Options: map[string]string{"version": "2"}})
}

func (s *Server) mount(t testing.TB, input *api.MountInput) string {
	t.Helper()
	path := unique(input.Type)
	if err := s.Client(t).Sys().MountWithContext(t.Context(), path, input); err != nil {
		t.Fatal(err)
	}
	s.tidy(t, "sys/mounts/"+path)
	return path
}

// CreateKey makes a transit key of the default type, AES-256-GCM with 96-bit nonces.
func (s *Server) CreateKey(t testing.TB, mount, name string, derived bool) {
	t.Helper()
	s.write(t, mount+"/keys/"+name, map[string]any{"derived": derived})
}

// Policy makes a policy of rules in HCL and answers its name.
func (s *Server) Policy(t testing.TB, rules string) string {
	t.Helper()
	name := unique("policy")
	if err := s.Client(t).Sys().PutPolicyWithContext(t.Context(), name, rules); err != nil {
		t.Fatal(err)
	}
	s.tidy(t, "sys/policies/acl/"+name)
	return name
}

// Grant says what a token may do and for how long. Without a TTL, that of the server
// holds, which is 32 days.
type Grant struct {
	Policy  string
	TTL     time.Duration
	MaxTTL  time.Duration // renewals end here
	Fixed   bool          // cannot be renewed; a token of Token only
	NumUses int           // ends after so many requests
}

// Token makes a token.
func (s *Server) Token(t testing.TB, g Grant) string {
	t.Helper()
	renewable := !g.Fixed
	secret, err := s.Client(t).Auth().Token().CreateWithContext(t.Context(), &api.TokenCreateRequest{
		Policies: []string{g.Policy}, NoParent: true,
		TTL: seconds(g.TTL), ExplicitMaxTTL: seconds(g.MaxTTL), Renewable: &renewable, NumUses: g.NumUses,
	})
	if err != nil {
		t.Fatal(err)
	}
	return secret.Auth.ClientToken
}

// seconds is a duration as Vault reads it; 0 leaves it to the server.
func seconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// role is what a login's role says of its tokens.
func (g Grant) role(more map[string]any) map[string]any {
	more["token_policies"] = []string{g.Policy}
	more["token_ttl"], more["token_max_ttl"] = int(g.TTL.Seconds()), int(g.MaxTTL.Seconds())
	more["token_num_uses"] = g.NumUses
	return more
}

func (s *Server) enable(t testing.TB, kind string) (mount string) {
	t.Helper()
	mount = unique(kind)
	if err := s.Client(t).Sys().EnableAuthWithOptionsWithContext(t.Context(), mount, &api.EnableAuthOptions{Type: kind}); err != nil {
		t.Fatal(err)
	}
	s.tidy(t, "sys/auth/"+mount)
	return mount
}

// AppRole is a login at auth/<Mount>/login.
type AppRole struct {
	Mount, Role      string
	RoleID, SecretID string
}

// AppRole makes a login by role id and secret id.
func (s *Server) AppRole(t testing.TB, g Grant) AppRole {
	t.Helper()
	a := AppRole{Mount: s.enable(t, "approle"), Role: "keyrotor"}
	path := "auth/" + a.Mount + "/role/" + a.Role
	s.write(t, path, g.role(map[string]any{}))
	id, err := s.Client(t).Logical().ReadWithContext(t.Context(), path+"/role-id")
	if err != nil {
		t.Fatal(err)
	}
	a.RoleID, _ = id.Data["role_id"].(string)
	a.SecretID = s.NewSecretID(t, a)
	return a
}

// NewSecretID makes a further secret id for a login.
func (s *Server) NewSecretID(t testing.TB, a AppRole) string {
	t.Helper()
	id, _ := s.write(t, "auth/"+a.Mount+"/role/"+a.Role+"/secret-id", nil).Data["secret_id"].(string)
	return id
}

// DestroySecretID makes logins by the secret id fail.
func (s *Server) DestroySecretID(t testing.TB, a AppRole) {
	t.Helper()
	s.write(t, "auth/"+a.Mount+"/role/"+a.Role+"/secret-id/destroy", map[string]any{"secret_id": a.SecretID})
}

// Cert is a login at auth/<Mount>/login, over TLS, with the server's client certificate.
type Cert struct{ Mount, Role string }

// Cert makes a login by client certificate. Whoever shows Server.ClientCertFile at
// Server.TLSAddr gets a token.
func (s *Server) Cert(t testing.TB, g Grant) Cert {
	t.Helper()
	s.own(t, "Cert")
	c := Cert{Mount: s.enable(t, "cert"), Role: "keyrotor"}
	s.write(t, "auth/"+c.Mount+"/certs/"+c.Role, g.role(map[string]any{"certificate": readFile(t, s.CAFile)}))
	return c
}
