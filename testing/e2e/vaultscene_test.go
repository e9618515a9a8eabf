//go:build vault

package e2e

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/faultproxy"
	"github.com/keyrotor/keyrotor/testing/vaulttest"
)

// vaultScene is a host with a plugin process, and a real Vault behind a proxy that
// breaks calls. One host lives through all of it.
type vaultScene struct {
	t      *testing.T
	server *vaulttest.Server
	proxy  *faultproxy.Proxy
	role   vaulttest.AppRole
	mount  string
	config string
	caFile string
	kr     *core.Keyrotor
	log    lockedBuffer
	// secrets must not be in the log, nor in an error.
	secrets []string
	// tokens are what was encrypted so far, by what they open to.
	tokens  map[string][]byte
	primary uint32
}

const vaultKEK = "kek"

func newVaultScene(t *testing.T) *vaultScene {
	t.Helper()
	buildPlugin(t, "vault-transit")
	s := &vaultScene{t: t, tokens: map[string][]byte{}}
	_, s.config = newConfig(t)
	s.server = vaulttest.Start(t)
	s.proxy = faultproxy.NewTLS(t, s.server.TLSAddr, s.server.CAFile)
	s.mount = s.server.MountTransit(t)
	s.role = s.server.AppRole(t, vaulttest.Grant{Policy: s.server.Policy(t, `path "`+s.mount+`/*" { capabilities = ["read", "update"] }`)})
	s.caFile = filepath.Join(filepath.Dir(s.config), "ca.pem")
	s.trust(s.proxy.CAFile)
	s.useSecretID()
	s.configure(s.mount)
	s.kr = s.open()
	if _, err := s.kr.CreateKEK(t.Context(), "vault"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.kr.CreateKey(t.Context(), "payments", core.KeyOptions{}); err != nil {
		t.Fatal(err)
	}
	s.primary = 1
	s.encrypt()
	return s
}

func (s *vaultScene) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(filepath.Dir(s.config), name), []byte(content+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// useSecretID writes the file that the config names, which the host does not know to
// hold a secret.
func (s *vaultScene) useSecretID() {
	s.t.Helper()
	s.write("secret-id", s.role.SecretID)
	s.secrets = append(s.secrets, s.role.SecretID)
}

// trust makes other authorities those of the config.
func (s *vaultScene) trust(caFile string) {
	s.t.Helper()
	ca, err := os.ReadFile(caFile)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("ca.pem", strings.TrimSpace(string(ca)))
}

// configure puts the provider's block in the place of the one that Init wrote.
func (s *vaultScene) configure(mount string) {
	s.t.Helper()
	useProvider(s.t, s.config, fmt.Sprintf(`provider "vault-transit" "vault" {
  address = %q
  mount   = %q
  key     = %q
  ca_file = "ca.pem"
  timeout = "3s"
  auth "approle" {
    mount          = %q
    role_id        = %q
    secret_id_file = "secret-id"
  }
}
`, s.proxy.URL, mount, vaultKEK, s.role.Mount, s.role.RoleID))
}

func (s *vaultScene) open() *core.Keyrotor {
	s.t.Helper()
	kr, err := core.Opener{
		CreateStore: true, Log: slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug - 4})),
	}.Open(s.t.Context(), s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := kr.Close(); err != nil {
			s.t.Error(err)
		}
	})
	return kr
}

func (s *vaultScene) encrypt() {
	s.t.Helper()
	plain := fmt.Sprintf("card %d of version %d", len(s.tokens), s.primary)
	token, err := s.kr.Encrypt(s.t.Context(), "payments", []byte(plain), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.tokens[plain] = token
}

// rotate makes a version of the key, which takes Vault twice.
func (s *vaultScene) rotate() error {
	_, err := s.kr.Rotate(s.t.Context(), "payments", keyring.ReasonManual, "")
	if err == nil {
		s.primary++
	}
	return err
}

// broken is what a fault does: it has its code and its words, and a host that is at
// work goes on reading and writing.
func (s *vaultScene) broken(what string, code provider.Code, says ...string) {
	s.t.Helper()
	s.hasCode(what, s.rotate(), code, says...)
	s.encrypt()
	s.reads(s.kr)
}

func (s *vaultScene) hasCode(what string, err error, code provider.Code, says ...string) {
	s.t.Helper()
	if provider.CodeOf(err) != code {
		s.t.Errorf("%s: %v, want %s", what, err, code)
		return
	}
	s.keepsSecrets("the error of "+what, err.Error())
	for _, words := range says {
		if !strings.Contains(err.Error(), words) {
			s.t.Errorf("%s: the error does not say %q: %v", what, words, err)
		}
	}
}

// keepsSecrets looks for the credentials, and for any token of Vault's.
func (s *vaultScene) keepsSecrets(what, text string) {
	s.t.Helper()
	for _, secret := range append(s.secrets, "hvs.") {
		if strings.Contains(text, secret) {
			s.t.Errorf("%s shows %.8s…", what, secret)
		}
	}
}

// mended is what must hold once a fault is over: the host goes on without a restart,
// and one that starts now reads every token that was ever made.
func (s *vaultScene) mended(what string) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	err := s.rotate()
	for provider.Transient(err) && time.Now().Before(deadline) { // a server that was just unsealed
		err = s.rotate()
	}
	if err != nil {
		s.t.Fatalf("%s is over, and a rotation fails: %v", what, err)
	}
	s.encrypt()
	s.reads(s.kr)
	cold := s.open()
	s.reads(cold)
	if err := cold.Close(); err != nil {
		s.t.Error(err)
	}
}

func (s *vaultScene) reads(kr *core.Keyrotor) {
	s.t.Helper()
	for plain, token := range s.tokens {
		got, err := kr.Decrypt(s.t.Context(), token, nil)
		if err != nil || string(got) != plain {
			s.t.Errorf("%q opens to %q, %v", plain, got, err)
		}
	}
}

// admin changes something in Vault by hand.
func (s *vaultScene) admin(path string, data map[string]any) map[string]any {
	s.t.Helper()
	secret, err := s.server.Client(s.t).Logical().WriteWithContext(s.t.Context(), path, data)
	if err != nil {
		s.t.Fatal(err)
	}
	if secret == nil {
		return nil
	}
	return secret.Data
}

func (s *vaultScene) keyPath(more string) string { return s.mount + "/keys/" + vaultKEK + more }

// versions is how many the KEK has.
func (s *vaultScene) versions() int {
	s.t.Helper()
	kek, err := s.kr.DescribeKEK(s.t.Context(), "vault")
	if err != nil {
		s.t.Fatal(err)
	}
	return len(kek.Versions)
}

// lockedBuffer is written to by several processes' logs at a time.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
