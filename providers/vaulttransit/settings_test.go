package vaulttransit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

func TestSettingsRefuse(t *testing.T) {
	secret := func(s string) provider.Secret { return provider.NewSecret([]byte(s)) }
	for name, c := range map[string]struct {
		other     map[string]any
		auth      []provider.Block
		attribute string
		says      string
	}{
		"no address":          {map[string]any{"address": nil}, nil, "address", "it is empty"},
		"no scheme":           {map[string]any{"address": "vault.test:8200"}, nil, "address", "https://"},
		"a socket":            {map[string]any{"address": "unix:///run/vault"}, nil, "address", "https://"},
		"no host":             {map[string]any{"address": "https://"}, nil, "address", "host"},
		"a password":          {map[string]any{"address": "https://u:p4ssw0rd@vault.test"}, nil, "address", "password"},
		"a query":             {map[string]any{"address": "https://vault.test/?x=1"}, nil, "address", "end it before"},
		"no key":              {map[string]any{"key": nil}, nil, "key", "no name"},
		"a path as key":       {map[string]any{"key": "a/b"}, nil, "key", `"a/b"`},
		"dots as key":         {map[string]any{"key": ".."}, nil, "key", `".."`},
		"a long key":          {map[string]any{"key": strings.Repeat("k", 257)}, nil, "key", "256"},
		"an empty mount":      {map[string]any{"mount": ""}, nil, "mount", "path"},
		"a mount that climbs": {map[string]any{"mount": "transit/../sys"}, nil, "mount", "path"},
		"a double slash":      {map[string]any{"mount": "a//b"}, nil, "mount", "path"},
		"a mount with a line": {map[string]any{"mount": "a\nb"}, nil, "mount", "path"},
		"a long namespace":    {map[string]any{"namespace": strings.Repeat("n", 257)}, nil, "namespace", "256"},
		"an odd namespace":    {map[string]any{"namespace": "a/./b"}, nil, "namespace", "path"},
		"no time":             {map[string]any{"timeout": "0s"}, nil, "timeout", "above zero"},
		"no duration":         {map[string]any{"timeout": "soon"}, nil, "timeout", "soon"},
		"half a certificate":  {map[string]any{"client_cert_file": "/c"}, nil, "client_key_file", "missing"},
		"half a key":          {map[string]any{"client_key_file": "/k"}, nil, "client_cert_file", "missing"},
		"no auth":             {nil, []provider.Block{}, "auth", "missing"},
		"another auth":        {nil, []provider.Block{login("ldap", nil)}, "auth", `"ldap"`},
		"no token":            {nil, []provider.Block{login("token", nil)}, "auth.token", "token_file"},
		"an empty token":      {nil, []provider.Block{login("token", map[string]any{"token": secret("")})}, "auth.token", "empty"},
		"two tokens":          {nil, []provider.Block{login("token", map[string]any{"token": secret("x"), "token_file": "/t"})}, "auth.token_file", "keep one"},
		"no token file":       {nil, []provider.Block{login("token", map[string]any{"token_file": ""})}, "auth.token_file", "empty"},
		"no role id":          {nil, []provider.Block{login("approle", nil)}, "auth.role_id", "role_id_file"},
		"two role ids":        {nil, []provider.Block{login("approle", map[string]any{"role_id": "x", "role_id_file": "/r"})}, "auth.role_id_file", "keep one"},
		"two secret ids":      {nil, []provider.Block{login("approle", map[string]any{"role_id": "x", "secret_id": secret("x"), "secret_id_file": "/s"})}, "auth.secret_id_file", "keep one"},
		"an odd auth mount":   {nil, []provider.Block{login("approle", map[string]any{"role_id": "x", "mount": "../sys"})}, "auth.mount", "path"},
		"no role":             {nil, []provider.Block{login("kubernetes", nil)}, "auth.role", "empty"},
		"no jwt file":         {nil, []provider.Block{login("kubernetes", map[string]any{"role": "r", "jwt_file": ""})}, "auth.jwt_file", "empty"},
		"no certificate":      {nil, []provider.Block{login("cert", nil)}, "client_cert_file", "missing"},
	} {
		_, err := New(t.Context(), provider.Config{Body: block(c.other, c.auth...)})
		if c.auth != nil && len(c.auth) == 0 {
			body := block(c.other)
			body.Blocks = nil
			_, err = New(t.Context(), provider.Config{Body: body})
		}
		wantError(t, name, err, provider.InvalidConfig, c.attribute, c.says)
		if err != nil && strings.Contains(err.Error(), "p4ssw0rd") {
			t.Errorf("%s: the password shows: %v", name, err)
		}
	}
}

func TestSettings(t *testing.T) {
	s, err := newSettings(block(map[string]any{
		"address": "https://vault.test:8200/behind/a/proxy/", "mount": "/teams/a/transit/", "namespace": "admin/b/", "timeout": "90s",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if s.address != "https://vault.test:8200/behind/a/proxy" || s.mount != "teams/a/transit" || s.namespace != "admin/b" || s.timeout != 90*time.Second {
		t.Errorf("got %q %q %q %s", s.address, s.mount, s.namespace, s.timeout)
	}
}

// TestSettingsByThemselves: what the host fills in from the schema is there without it.
func TestSettingsByThemselves(t *testing.T) {
	s, err := newSettings(provider.Body{
		Attributes: map[string]any{"address": "http://127.0.0.1:8200", "key": "kek"},
		Blocks:     []provider.Block{login("kubernetes", map[string]any{"role": "r"})},
	})
	if err != nil {
		t.Fatal(err)
	}
	k, ok := s.method.(*kubernetes)
	if s.mount != "transit" || s.timeout != 8*time.Second || !ok || k.mount != "kubernetes" || k.jwt.file != serviceAccountToken {
		t.Errorf("got %q %s %+v", s.mount, s.timeout, s.method)
	}
}

// TestKEKID pins the name that every wrap carries.
func TestKEKID(t *testing.T) {
	for _, c := range []struct{ namespace, mount, key, want string }{
		{"", "transit", "payments-kek", "vault-transit::transit:payments-kek"},
		{"root", "transit", "kek", "vault-transit::transit:kek"},
		{"/", "transit/", "kek", "vault-transit::transit:kek"},
		{"admin/a", "b", "kek", "vault-transit:admin/a:b:kek"},
		{"admin", "a/b", "kek", "vault-transit:admin:a/b:kek"},
		{"a:b", "c%3Ad", "kek", "vault-transit:a%3Ab:c%253Ad:kek"},
	} {
		s, err := newSettings(block(map[string]any{"namespace": c.namespace, "mount": c.mount, "key": c.key}))
		if err != nil {
			t.Fatal(err)
		}
		if got := s.kekID(); got != c.want {
			t.Errorf("%q %q %q is %s, want %s", c.namespace, c.mount, c.key, got, c.want)
		}
	}
}

// TestKEKIDFits: the longest names that are allowed make a name that the host takes.
func TestKEKIDFits(t *testing.T) {
	long := strings.Repeat("n", 256)
	s, err := newSettings(block(map[string]any{"namespace": long, "mount": long, "key": long}))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(s.kekID()); n > provider.MaxText {
		t.Errorf("the KEK's name has %d bytes, more than %d", n, provider.MaxText)
	}
}

func TestCredentialFileIsReadAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret-id")
	c, err := newCredential(provider.Body{Attributes: map[string]any{"secret_id_file": path}}, "secret_id", "secret_id_file", "secret id")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.read()
	wantError(t, "no file", err, provider.InvalidConfig, "auth.secret_id_file", "secret id")
	for _, content := range []string{"first", "second"} {
		if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := c.read()
		if err != nil || string(got.Reveal()) != content {
			t.Errorf("%q, %v, want %s", got.Reveal(), err, content)
		}
	}
}
