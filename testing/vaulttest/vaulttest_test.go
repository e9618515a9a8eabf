//go:build vault

package vaulttest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/keyrotor/keyrotor/testing/faultplan"
	"github.com/keyrotor/keyrotor/testing/faultproxy"
	"github.com/keyrotor/keyrotor/testing/vaulttest"
)

// childVariable makes this binary a process that starts a server and waits to be killed.
const childVariable = "KEYROTOR_TEST_VAULT_CHILD"

// shared is the server of all tests that do not break theirs.
var shared *vaulttest.Server

func TestMain(m *testing.M) {
	// These tests are about servers of their own.
	if err := os.Unsetenv(vaulttest.AddrVariable); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	server, err := vaulttest.Share()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if os.Getenv(childVariable) != "" {
		_ = json.NewEncoder(os.Stdout).Encode(server)
		select {}
	}
	shared = server
	code := m.Run()
	server.Close()
	os.Exit(code)
}

// as is a client with another token, of all that client is.
func as(t *testing.T, client *api.Client, token string) *api.Client {
	t.Helper()
	other, err := client.Clone()
	if err != nil {
		t.Fatal(err)
	}
	other.SetToken(token)
	return other
}

// encrypt calls a transit key.
func encrypt(t *testing.T, client *api.Client, mount, key string) error {
	t.Helper()
	_, err := client.Logical().WriteWithContext(t.Context(), mount+"/encrypt/"+key, map[string]any{"plaintext": "aGVsbG8="})
	return err
}

// status is the HTTP status of a client's error.
func status(err error) int {
	if answer := (*api.ResponseError)(nil); errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

func policy(mount string) string {
	return `path "` + mount + `/encrypt/*" { capabilities = ["update"] }`
}

func TestTransitAndAudit(t *testing.T) {
	mount := shared.MountTransit(t)
	shared.CreateKey(t, mount, "plain", false)
	shared.CreateKey(t, mount, "derived", true)
	client := shared.Client(t)

	audit := shared.Audit(t)
	for range 2 {
		if err := encrypt(t, client, mount, "plain"); err != nil {
			t.Error(err)
		}
	}
	// A derived key wants a context.
	if err := encrypt(t, client, mount, "derived"); status(err) != http.StatusBadRequest {
		t.Errorf("a derived key without a context: %v", err)
	}
	if _, err := client.Logical().ReadWithContext(t.Context(), mount+"/keys/plain"); err != nil {
		t.Error(err)
	}
	want := map[string]int{
		"update " + mount + "/encrypt/plain":   2,
		"update " + mount + "/encrypt/derived": 1,
		"read " + mount + "/keys/plain":        1,
	}
	if got := audit.Counts(t); !reflect.DeepEqual(got, want) {
		t.Errorf("the audit log says %v, want %v", got, want)
	}
	if later := shared.Audit(t).Requests(t); later != nil {
		t.Errorf("from now on: %v, want nothing yet", later)
	}
}

func TestKV(t *testing.T) {
	kv := shared.Client(t).KVv2(shared.MountKV(t))
	if _, err := kv.Put(t.Context(), "head", map[string]any{"seq": "1"}, api.WithCheckAndSet(0)); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), "head", map[string]any{"seq": "2"}, api.WithCheckAndSet(0)); status(err) != http.StatusBadRequest {
		t.Errorf("a second first write: %v, want a refusal", err)
	}
	secret, err := kv.Get(t.Context(), "head")
	if err != nil || secret.Data["seq"] != "1" || secret.VersionMetadata.Version != 1 {
		t.Errorf("%+v, %v", secret, err)
	}
}

func TestToken(t *testing.T) {
	mount := shared.MountTransit(t)
	shared.CreateKey(t, mount, "k", false)
	client := shared.Client(t)
	client = as(t, client, shared.Token(t, vaulttest.Grant{
		Policy: shared.Policy(t, policy(mount)), TTL: time.Hour, MaxTTL: 2 * time.Hour, NumUses: 3,
	}))
	self, err := client.Auth().Token().LookupSelfWithContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"creation_ttl": json.Number("3600"), "explicit_max_ttl": json.Number("7200"), "renewable": true, "num_uses": json.Number("2"),
	} {
		if self.Data[name] != want {
			t.Errorf("%s is %v, want %v", name, self.Data[name], want)
		}
	}
	audit := shared.Audit(t)
	if err := encrypt(t, client, mount, "k"); err != nil {
		t.Error(err)
	}
	if _, err := client.Logical().ReadWithContext(t.Context(), mount+"/keys/k"); status(err) != http.StatusForbidden {
		t.Errorf("what the policy does not allow: %v", err)
	}
	if err := encrypt(t, client, mount, "k"); status(err) != http.StatusForbidden {
		t.Errorf("the fourth use of three: %v", err)
	}
	requests := audit.Requests(t)
	if len(requests) != 3 || requests[0].Error != "" || !strings.Contains(requests[1].Error, "permission denied") {
		t.Errorf("the audit log says %+v", requests)
	}

	fixed := as(t, client, shared.Token(t, vaulttest.Grant{Policy: shared.Policy(t, policy(mount)), TTL: time.Hour, Fixed: true}))
	if _, err := fixed.Auth().Token().RenewSelfWithContext(t.Context(), 0); status(err) != http.StatusBadRequest {
		t.Errorf("renewed what cannot be: %v", err)
	}
}

// login logs in and checks that the token does what was granted.
func login(t *testing.T, client *api.Client, mount, transit string, with map[string]any) error {
	t.Helper()
	secret, err := as(t, client, "").Logical().WriteWithContext(t.Context(), "auth/"+mount+"/login", with)
	if err != nil {
		return err
	}
	if secret.Auth.LeaseDuration != 3600 || !secret.Auth.Renewable {
		t.Errorf("the token lives for %d s, renewable: %v", secret.Auth.LeaseDuration, secret.Auth.Renewable)
	}
	if err := encrypt(t, as(t, client, secret.Auth.ClientToken), transit, "k"); err != nil {
		t.Errorf("with the token: %v", err)
	}
	return nil
}

func grant(t *testing.T) (mount string, g vaulttest.Grant) {
	t.Helper()
	mount = shared.MountTransit(t)
	shared.CreateKey(t, mount, "k", false)
	return mount, vaulttest.Grant{Policy: shared.Policy(t, policy(mount)), TTL: time.Hour, MaxTTL: 2 * time.Hour}
}

func TestAppRole(t *testing.T) {
	transit, g := grant(t)
	role := shared.AppRole(t, g)
	with := map[string]any{"role_id": role.RoleID, "secret_id": role.SecretID}
	if err := login(t, shared.Client(t), role.Mount, transit, with); err != nil {
		t.Fatal(err)
	}
	shared.DestroySecretID(t, role)
	if err := login(t, shared.Client(t), role.Mount, transit, with); status(err) != http.StatusBadRequest {
		t.Errorf("a secret id that was destroyed: %v", err)
	}
	with["secret_id"] = shared.NewSecretID(t, role)
	if err := login(t, shared.Client(t), role.Mount, transit, with); err != nil {
		t.Error(err)
	}
}

func TestCert(t *testing.T) {
	transit, g := grant(t)
	cert := shared.Cert(t, g)
	client := func(with api.TLSConfig) *api.Client {
		config := api.DefaultConfig()
		config.Address, config.MaxRetries = shared.TLSAddr, 0
		with.CACert = shared.CAFile
		if err := config.ConfigureTLS(&with); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(config.HttpClient.CloseIdleConnections)
		client, err := api.NewClient(config)
		if err != nil {
			t.Fatal(err)
		}
		return client
	}
	with := map[string]any{"name": cert.Role}
	shown := client(api.TLSConfig{ClientCert: shared.ClientCertFile, ClientKey: shared.ClientKeyFile})
	if err := login(t, shown, cert.Mount, transit, with); err != nil {
		t.Error(err)
	}
	if err := login(t, client(api.TLSConfig{}), cert.Mount, transit, with); status(err) != http.StatusBadRequest {
		t.Errorf("without a certificate: %v", err)
	}
}

func TestKubernetes(t *testing.T) {
	transit, g := grant(t)
	pod := shared.Kubernetes(t, g)
	with := map[string]any{"role": pod.Role, "jwt": pod.JWT}
	if err := login(t, shared.Client(t), pod.Mount, transit, with); err != nil {
		t.Fatal(err)
	}
	pod.Revoked.Store(true)
	if err := login(t, shared.Client(t), pod.Mount, transit, with); status(err) != http.StatusForbidden {
		t.Errorf("a token that the cluster disowns: %v", err)
	}
	if n := pod.Reviews.Load(); n != 2 {
		t.Errorf("the cluster was asked %d times, want 2", n)
	}
}

// Without TLS, with it, and with a CA that did not sign.
func TestTLS(t *testing.T) {
	get := func(url string, roots *x509.CertPool) error {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
		defer client.CloseIdleConnections()
		resp, err := client.Get(url + "/v1/sys/health")
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	ca, err := os.ReadFile(shared.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	if err := get(shared.Addr, nil); err != nil {
		t.Error(err)
	}
	if err := get(shared.TLSAddr, roots); err != nil {
		t.Error(err)
	}
	if unknown := (x509.UnknownAuthorityError{}); !errors.As(get(shared.TLSAddr, x509.NewCertPool()), &unknown) {
		t.Error("a certificate of an unknown CA was taken")
	}
}

// A lost answer is one of a request that the server has done.
func TestBehindTheProxy(t *testing.T) {
	proxy := faultproxy.NewTLS(t, shared.TLSAddr, shared.CAFile)
	mount := shared.MountTransit(t)
	shared.CreateKey(t, mount, "k", false)
	config := api.DefaultConfig()
	config.Address, config.MaxRetries = proxy.URL, 0
	if err := config.ConfigureTLS(&api.TLSConfig{CACert: proxy.CAFile}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(config.HttpClient.CloseIdleConnections)
	client, err := api.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	client.SetToken(shared.RootToken)

	rotate := func(ctx context.Context) error {
		_, err := client.Logical().WriteWithContext(ctx, mount+"/keys/k/rotate", nil)
		return err
	}
	latest := func() any {
		t.Helper()
		key, err := shared.Client(t).Logical().ReadWithContext(t.Context(), mount+"/keys/k")
		if err != nil {
			t.Fatal(err)
		}
		return key.Data["latest_version"]
	}
	rule := "PUT /v1/" + mount + "/keys/*/rotate"
	proxy.Next(1, rule, faultplan.Cut())
	if err := rotate(t.Context()); err == nil || latest() != json.Number("1") {
		t.Errorf("cut before: %v, version %v, want 1", err, latest())
	}
	proxy.Next(1, rule, faultplan.Lost())
	if err := rotate(t.Context()); err == nil || latest() != json.Number("2") {
		t.Errorf("cut after: %v, version %v, want 2", err, latest())
	}
	proxy.Next(1, rule, faultplan.Refused())
	if err := rotate(t.Context()); status(err) != http.StatusForbidden {
		t.Errorf("denied: %v", err)
	}
	// This edition of Vault has no namespaces and does not mind the header.
	client.SetNamespace("team")
	if err := rotate(t.Context()); err != nil {
		t.Error(err)
	}
	calls := proxy.Calls(rule)
	if len(calls) != 4 || http.Header(calls[3].Header).Get("X-Vault-Namespace") != "team" {
		t.Errorf("saw %+v", calls)
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		vaulttest.Start(b).Close()
	}
}
