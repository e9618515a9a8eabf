package vaulttransit

import (
	"errors"
	"net/http"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

// TestCheck says who we are, and never the accessor.
func TestCheck(t *testing.T) {
	s := newScript()
	m := open(t, s, block(map[string]any{"namespace": "admin/a"}))
	res, err := m.Check(t.Context(), provider.CheckRequest{})
	if err != nil || res.Identity != "approle (entity e-1)" || res.Account != "admin/a" {
		t.Errorf("%+v, %v", res, err)
	}
	for _, h := range s.headers {
		if got := h.Get("X-Vault-Namespace"); got != "admin/a" {
			t.Errorf("a request goes to the namespace %q", got)
		}
	}
	wantCalls(t, "shallow", s.made(), "PUT auth/approle/login", "GET auth/token/lookup-self")

	s.on("GET auth/token/lookup-self", fails(403, denied))
	if res, err := m.Check(t.Context(), provider.CheckRequest{}); err != nil || res.Identity != "" {
		t.Errorf("without the right to look itself up: %+v, %v", res, err)
	}
	s.on("GET auth/token/lookup-self", says(200, `{"data":{"display_name":"a\nb\u001b[31m"}}`))
	if res, err := m.Check(t.Context(), provider.CheckRequest{}); err != nil || res.Identity != "ab[31m" {
		t.Errorf("a name that steers a terminal: %+v, %v", res, err)
	}
	s.on("GET auth/token/lookup-self", fails(503, "Vault is sealed"))
	if _, err := m.Check(t.Context(), provider.CheckRequest{}); !errors.Is(err, provider.Unavailable) {
		t.Errorf("sealed: %v", err)
	}
}

// TestCheckDeepComparesTheRoot: another root than went in is no success.
func TestCheckDeepComparesTheRoot(t *testing.T) {
	s := newScript().
		on("PUT transit/encrypt/kek", says(200, `{"data":{"batch_results":[{"ciphertext":"vault:v2:YWJj"}]}}`)).
		on("PUT transit/decrypt/kek", says(200, `{"data":{"batch_results":[{"plaintext":"`+rootText()+`"}]}}`))
	_, err := open(t, s, block(nil)).Check(t.Context(), provider.CheckRequest{Deep: true})
	wantError(t, "another root", err, provider.Integrity, "")
}

// TestEnvironmentIsNotRead: the variables of somebody's command line mean another Vault.
func TestEnvironmentIsNotRead(t *testing.T) {
	for name, value := range map[string]string{
		"VAULT_ADDR": "https://elsewhere.test", "VAULT_AGENT_ADDR": "https://agent.test", "VAULT_TOKEN": "hvs.theirs",
		"VAULT_NAMESPACE": "theirs", "VAULT_HEADERS": `{"X-Theirs":"1"}`, "VAULT_WRAP_TTL": "5m", "VAULT_SKIP_VERIFY": "true",
		"VAULT_MAX_RETRIES": "9", "VAULT_CLIENT_TIMEOUT": "1s", "VAULT_PROXY_ADDR": "http://proxy.test", "VAULT_TLS_SERVER_NAME": "theirs.test",
	} {
		t.Setenv(name, value)
	}
	s := newScript().on("GET transit/keys/kek", inTurn(fails(500, "internal error"), says(200, keyBody(2))))
	hosts := map[string]bool{}
	m := open(t, transportFunc(func(r *http.Request) (*http.Response, error) {
		hosts[r.URL.Host] = true
		return s.RoundTrip(r)
	}), block(nil))
	wantError(t, "a failure", describe(t.Context(), m), provider.Unavailable, "") // it is not tried again here
	if len(hosts) != 1 || !hosts["vault.test:8200"] {
		t.Errorf("it asks %v", hosts)
	}
	for i, h := range s.headers {
		want := ""
		if i > 0 {
			want = "hvs.fresh"
		}
		if h.Get("X-Vault-Token") != want || h.Get("X-Vault-Namespace") != "" || h.Get("X-Theirs") != "" || h.Get("X-Vault-Wrap-TTL") != "" {
			t.Errorf("request %d carries %v", i, h)
		}
	}
	wantCalls(t, "one failure", s.made(), "PUT auth/approle/login", "GET transit/keys/kek")

	t.Setenv("VAULT_HEADERS", "{")
	_, err := New(t.Context(), provider.Config{Body: block(nil)})
	wantError(t, "a variable that Vault's client cannot read", err, provider.InvalidConfig, "address", "VAULT_")
}
