package gcpkms

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/gcpkmsfake"
)

// serviceAccount is one with a key, as the file that Google makes for it.
type serviceAccount struct {
	email, file string
	key         *rsa.PrivateKey
}

// rsaKey is made once: it takes its time.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func newServiceAccount(t testing.TB) serviceAccount {
	t.Helper()
	a := serviceAccount{email: "keyrotor@my-project.iam.gserviceaccount.com", file: filepath.Join(t.TempDir(), "credentials.json"), key: rsaKey()}
	a.write(t, a.email)
	return a
}

func (a serviceAccount) write(t testing.TB, email string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	content, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "my-project", "client_email": email, "private_key_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"token_uri":   "https://oauth2.googleapis.com/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// claims checks the signature of a token, and answers what it says.
func (a serviceAccount) claims(token string) (map[string]any, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("a token of %d parts", len(parts))
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&a.key.PublicKey, crypto.SHA256, digest[:], signature); err != nil {
		return nil, err
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, err
	}
	var claims map[string]any
	return claims, json.Unmarshal(payload, &claims)
}

// guarded starts a fake with TLS that takes the tokens that judge does.
func guarded(t *testing.T, judge func(token string) error) *gcpkmsfake.Server {
	t.Helper()
	return fake(t, gcpkmsfake.Options{TLS: true, Authorize: judge})
}

func blockAt(s *gcpkmsfake.Server, more map[string]any) provider.Body {
	attributes := map[string]any{"key": newName(), "endpoint": s.Endpoint, "ca_file": s.CAFile}
	maps.Copy(attributes, more)
	return body(attributes)
}

func create(t *testing.T, m *manager) error {
	t.Helper()
	_, err := m.CreateKey(t.Context(), provider.CreateKeyRequest{})
	return err
}

// TestServiceAccount: its own signature is the token, for Cloud KMS and no more; a file
// that was replaced counts from the next call on.
func TestServiceAccount(t *testing.T) {
	a := newServiceAccount(t)
	var said map[string]any
	s := guarded(t, func(token string) (err error) {
		said, err = a.claims(token)
		return err
	})
	m := open(t, blockAt(s, map[string]any{"credentials_file": a.file}))
	if err := create(t, m); err != nil {
		t.Fatal(err)
	}
	if said["iss"] != a.email || said["scope"] != scope {
		t.Errorf("the token says %v", said)
	}
	check, err := m.Check(t.Context(), provider.CheckRequest{Deep: true})
	if err != nil || check.Identity != a.email || check.Account != "my-project" {
		t.Errorf("Check answers %+v, %v", check, err)
	}
	a.write(t, "another@my-project.iam.gserviceaccount.com")
	describe(t, m)
	if said["iss"] != "another@my-project.iam.gserviceaccount.com" {
		t.Errorf("after the file was replaced the token says %v", said)
	}
}

// TestTokenIsRefused: the next call comes with a new one.
func TestTokenIsRefused(t *testing.T) {
	a := newServiceAccount(t)
	refuse := true
	s := guarded(t, func(string) error {
		if refuse {
			return errors.New("too old")
		}
		return nil
	})
	m := open(t, blockAt(s, map[string]any{"credentials_file": a.file}))
	_, err := m.DescribeKey(t.Context())
	wantError(t, "a token that is refused", err, provider.Unauthenticated, "", "credentials_file")
	before := m.tokens.loaded
	refuse = false
	if err := create(t, m); err != nil {
		t.Fatal(err)
	}
	if before != nil || m.tokens.loaded == nil {
		t.Error("credentials whose token was refused are not loaded anew")
	}
}

// TestDefaultCredentials: the variable counts, since the plugin only has it if the operator
// lets it through.
func TestDefaultCredentials(t *testing.T) {
	a := newServiceAccount(t)
	s := guarded(t, func(token string) error {
		_, err := a.claims(token)
		return err
	})
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", a.file)
	if err := create(t, open(t, blockAt(s, nil))); err != nil {
		t.Error(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "missing.json"))
	wantError(t, "no file", create(t, open(t, blockAt(s, nil))), provider.Unauthenticated, "", "credentials_file", "GOOGLE_APPLICATION_CREDENTIALS")
}

// tokenService stands for Google's: every request of a client goes there.
type tokenService struct {
	t      *testing.T
	answer http.HandlerFunc
	server *httptest.Server
	seen   []string
}

func newTokenService(t *testing.T, answer http.HandlerFunc) *tokenService {
	t.Helper()
	ts := &tokenService{t: t, answer: answer}
	ts.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { ts.answer(w, r) }))
	t.Cleanup(ts.server.Close)
	return ts
}

// RoundTrip implements [http.RoundTripper].
func (ts *tokenService) RoundTrip(r *http.Request) (*http.Response, error) {
	ts.seen = append(ts.seen, r.URL.String()+" "+r.Header.Get("Authorization"))
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host = "http", strings.TrimPrefix(ts.server.URL, "http://")
	return http.DefaultTransport.RoundTrip(out)
}

func openWith(t *testing.T, b provider.Body, other http.RoundTripper) *manager {
	t.Helper()
	s, err := newSettings(b)
	if err != nil {
		t.Fatal(err)
	}
	m := newManager(s, other)
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// TestImpersonation: the credentials ask for a token of somebody else's, which Cloud KMS
// then sees.
func TestImpersonation(t *testing.T) {
	a := newServiceAccount(t)
	var asked string
	ts := newTokenService(t, func(w http.ResponseWriter, r *http.Request) {
		content, _ := io.ReadAll(r.Body)
		asked = string(content)
		fmt.Fprintf(w, `{"accessToken": "impersonated", "expireTime": %q}`, time.Now().Add(time.Hour).Format(time.RFC3339))
	})
	s := guarded(t, func(token string) error {
		if token != "impersonated" {
			return errors.New(token)
		}
		return nil
	})
	m := openWith(t, blockAt(s, map[string]any{
		"credentials_file": a.file, "impersonate_service_account": "kms@my-project.iam.gserviceaccount.com",
		"impersonate_delegates": []string{"between@my-project.iam.gserviceaccount.com"},
	}), ts)
	if err := create(t, m); err != nil {
		t.Fatal(err)
	}
	if len(ts.seen) != 1 || !strings.HasPrefix(ts.seen[0], "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/kms@my-project.iam.gserviceaccount.com:generateAccessToken Bearer ") {
		t.Errorf("the requests are %q", ts.seen)
	}
	own, err := a.claims(ts.seen[0][strings.LastIndexByte(ts.seen[0], ' ')+1:])
	if err != nil || own["scope"] != platformScope {
		t.Errorf("the own token says %v, %v", own, err)
	}
	if !strings.Contains(asked, "serviceAccounts/between@my-project") || !strings.Contains(asked, scope) {
		t.Errorf("asked for %s", asked)
	}
	check, err := m.Check(t.Context(), provider.CheckRequest{})
	if err != nil || check.Identity != "kms@my-project.iam.gserviceaccount.com" {
		t.Errorf("Check answers %+v, %v", check, err)
	}
}

// TestTokenFailures: what Google's token services answer, as a code.
func TestTokenFailures(t *testing.T) {
	a := newServiceAccount(t)
	federated := filepath.Join(t.TempDir(), "federated.json")
	subject := filepath.Join(t.TempDir(), "subject")
	if err := os.WriteFile(subject, []byte("a token of somebody else's"), 0o600); err != nil {
		t.Fatal(err)
	}
	content, err := json.Marshal(map[string]any{
		"type": "external_account", "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
		"subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": "https://sts.googleapis.com/v1/token",
		"credential_source": map[string]string{"file": subject},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(federated, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s := guarded(t, nil)
	impersonated := map[string]any{"credentials_file": a.file, "impersonate_service_account": "kms@my-project.iam.gserviceaccount.com"}
	external := map[string]any{"credentials_file": federated}
	for name, c := range map[string]struct {
		block     map[string]any
		status    int
		answer    string
		code      provider.Code
		attribute string
		says      string
	}{
		"may not impersonate":  {impersonated, 403, `{"error": {"message": "Permission 'iam.serviceAccounts.getAccessToken' denied", "status": "PERMISSION_DENIED"}}`, provider.Denied, "", "getAccessToken"},
		"nobody of that name":  {impersonated, 404, `{"error": {"message": "Not found; Gaia id not found for email"}}`, provider.InvalidConfig, attrImpersonate, "Gaia"},
		"key revoked":          {impersonated, 401, `{"error": {"message": "Request had invalid authentication credentials."}}`, provider.Unauthenticated, "", "401"},
		"service failing":      {impersonated, 503, `{}`, provider.Unavailable, "", "503"},
		"service busy":         {impersonated, 429, `{}`, provider.Throttled, "", "429"},
		"federation refuses":   {external, 400, `{"error": "invalid_grant", "error_description": "The issuer does not match"}`, provider.Unauthenticated, "", "issuer does not match"},
		"federation fails":     {external, 500, `{}`, provider.Unavailable, "", "500"},
		"an answer of no kind": {external, 200, `<html>`, provider.Unauthenticated, "", "no token"},
	} {
		t.Run(name, func(t *testing.T) {
			ts := newTokenService(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.answer)
			})
			_, err := openWith(t, blockAt(s, c.block), ts).DescribeKey(t.Context())
			wantError(t, name, err, c.code, c.attribute, c.says)
			if strings.Contains(err.Error(), "somebody else's") {
				t.Errorf("the error shows a token: %v", err)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		ts := newTokenService(t, nil)
		ts.server.Close()
		_, err := openWith(t, blockAt(s, external), ts).DescribeKey(t.Context())
		wantError(t, "nobody there", err, provider.Unavailable, "", "cannot be reached")
	})
}

func TestCredentialsFile(t *testing.T) {
	s := guarded(t, nil)
	for name, c := range map[string]struct{ content, says string }{
		"no JSON":      {"secret-words", "holds no credentials"},
		"another type": {`{"type": "gdch_service_account", "private_key": "secret-words"}`, "holds no credentials"},
		"no key":       {`{"type": "service_account", "private_key": "secret-words"}`, "cannot be used"},
		"empty":        {"", "empty"},
	} {
		file := filepath.Join(t.TempDir(), "credentials.json")
		if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := open(t, blockAt(s, map[string]any{"credentials_file": file})).DescribeKey(t.Context())
		wantError(t, name, err, provider.InvalidConfig, attrCredentialsFile, c.says)
		if strings.Contains(err.Error(), "secret-words") {
			t.Errorf("%s: the error shows the file: %v", name, err)
		}
	}
	_, err := open(t, blockAt(s, map[string]any{"credentials_file": filepath.Join(t.TempDir(), "none")})).DescribeKey(t.Context())
	wantError(t, "no file", err, provider.InvalidConfig, attrCredentialsFile, "no such file")
}
