package vaulttransit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

// script is a Vault that says what it is told to, for what no real one can be brought to
// say. A key is "GET path" or "PUT path" below /v1/.
type script struct {
	mu      sync.Mutex
	answers map[string]http.HandlerFunc
	calls   []string
	bodies  []string
	headers []http.Header
}

// newScript can log in by AppRole, and has a derived key of two versions.
func newScript() *script {
	return &script{answers: map[string]http.HandlerFunc{
		"PUT auth/approle/login":      says(200, `{"auth":{"client_token":"hvs.fresh","lease_duration":0,"renewable":false}}`),
		"PUT auth/token/revoke-self":  says(204, ``),
		"GET auth/token/lookup-self":  says(200, `{"data":{"display_name":"approle","entity_id":"e-1","accessor":"acc-1","ttl":0,"renewable":false}}`),
		"GET transit/keys/kek":        says(200, keyBody(2)),
		"PUT transit/keys/kek/rotate": says(200, keyBody(3)),
	}}
}

// keyBody describes a key that is in order.
func keyBody(latest int) string {
	return fmt.Sprintf(`{"data":{"type":"aes256-gcm96","derived":true,"latest_version":%d,"min_decryption_version":1,`+
		`"min_available_version":0,"keys":{"1":1700000000,"2":1700000001}}}`, latest)
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// fails is how Vault words an error.
func fails(status int, texts ...string) http.HandlerFunc {
	body, err := json.Marshal(map[string][]string{"errors": texts})
	if err != nil {
		panic(err)
	}
	return says(status, string(body))
}

// inTurn answers one after the other, and then the last for ever.
func inTurn(answers ...http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		next := answers[0]
		if len(answers) > 1 {
			answers = answers[1:]
		}
		mu.Unlock()
		next(w, r)
	}
}

func (s *script) on(call string, answer http.HandlerFunc) *script {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[call] = answer
	return s
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/v1/")
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.calls, s.bodies, s.headers = append(s.calls, call), append(s.bodies, string(body)), append(s.headers, r.Header.Clone())
	answer, ok := s.answers[call]
	s.mu.Unlock()
	if !ok {
		answer = fails(404, fmt.Sprintf("no handler for route %q. route entry not found.", call))
	}
	answer(w, r)
}

// made lists the requests since the last time.
func (s *script) made() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls, s.bodies, s.headers = nil, nil, nil
	return calls
}

// body is what the nth request carried, as a value.
func (s *script) body(t *testing.T, call string) any {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.calls, call)
	if i < 0 {
		t.Fatalf("%s was not called, but %q", call, s.calls)
	}
	var v any
	if err := json.Unmarshal([]byte(s.bodies[i]), &v); err != nil {
		t.Fatalf("%s: %v in %s", call, err, s.bodies[i])
	}
	return v
}

// RoundTrip makes the script a transport, so that it works where no network may.
func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	s.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// block is a provider block in order, with other attributes on top; nil takes one away.
func block(other map[string]any, auth ...provider.Block) provider.Body {
	attributes := map[string]any{"address": "https://vault.test:8200", "key": "kek", "mount": "transit", "timeout": "8s"}
	maps.Copy(attributes, other)
	maps.DeleteFunc(attributes, func(_ string, v any) bool { return v == nil })
	if auth == nil {
		auth = []provider.Block{login("approle", map[string]any{"role_id": "role-1", "secret_id": provider.NewSecret([]byte("secret-1")), "mount": "approle"})}
	}
	return provider.Body{Attributes: attributes, Blocks: auth}
}

func login(label string, attributes map[string]any) provider.Block {
	return provider.Block{Type: "auth", Label: label, Body: provider.Body{Attributes: attributes}}
}

// open answers an instance that talks to a script without a network.
func open(t *testing.T, s http.RoundTripper, body provider.Body) *manager {
	t.Helper()
	settings, err := newSettings(body)
	if err != nil {
		t.Fatal(err)
	}
	m, err := newManager(settings, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// dial answers an instance that talks to a server.
func dial(t *testing.T, address string, other map[string]any) *manager {
	t.Helper()
	attributes := map[string]any{"address": address}
	maps.Copy(attributes, other)
	return open(t, nil, block(attributes))
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

func wantCalls(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: the requests are\n%q, want\n%q", what, got, want)
	}
}

func root() provider.Secret {
	b := make([]byte, provider.RootSize)
	for i := range b {
		b[i] = byte(i + 1)
	}
	return provider.NewSecret(b)
}

const testKEK = "vault-transit::transit:kek"

func describe(ctx context.Context, m *manager) error {
	_, err := m.DescribeKey(ctx)
	return err
}
