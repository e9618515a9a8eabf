//go:build vault

package vaulttransit

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/vaulttest"
)

// TestLogins by each method, with a token that expires in mid-work.
func TestLogins(t *testing.T) {
	mount, key := shared.MountTransit(t), "kek"
	shared.CreateKey(t, mount, key, true)
	daily, _ := documented(t, mount, key)
	grant := vaulttest.Grant{Policy: shared.Policy(t, policyText(daily)), TTL: 2 * time.Second, MaxTTL: 3 * time.Second}
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	role := shared.AppRole(t, grant)
	pod := shared.Kubernetes(t, grant)
	client := shared.Cert(t, grant)
	tls := map[string]any{
		"address": shared.TLSAddr, "mount": mount, "key": key, "ca_file": shared.CAFile,
		"client_cert_file": shared.ClientCertFile, "client_key_file": shared.ClientKeyFile,
	}
	instances := map[string]*manager{
		"approle": open(t, nil, at(shared.Addr, mount, key, login("approle", map[string]any{
			"mount": role.Mount, "role_id_file": file("role-id", role.RoleID), "secret_id_file": file("secret-id", role.SecretID),
		}))),
		"kubernetes": open(t, nil, at(shared.Addr, mount, key, login("kubernetes", map[string]any{
			"mount": pod.Mount, "role": pod.Role, "jwt_file": file("jwt", pod.JWT),
		}))),
		"cert": open(t, nil, block(tls, login("cert", map[string]any{"mount": client.Mount, "name": client.Role}))),
	}
	mounts := map[string]string{"approle": role.Mount, "kubernetes": pod.Mount, "cert": client.Mount}
	audit := shared.Audit(t)
	again := func() bool { // each has logged in three times: two tokens have come to their end
		counts := audit.Counts(t)
		for _, mount := range mounts {
			if counts["update auth/"+mount+"/login"] < 3 {
				return false
			}
		}
		return true
	}
	for deadline := time.Now().Add(patience); !again(); {
		for name, m := range instances {
			if err := opens(t, m, wrapOne(t, m, "aad"), "aad"); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the logins are %v", audit.Counts(t))
		}
	}
	for name, m := range instances {
		res, err := m.Check(t.Context(), provider.CheckRequest{})
		if err != nil || res.Identity == "" {
			t.Errorf("%s: %+v, %v", name, res, err)
		}
	}

	// What was taken away is said, and what is put right works without a restart.
	shared.DestroySecretID(t, role)
	pod.Revoked.Store(true)
	wantError(t, "the secret id is gone", untilFailure(t, instances["approle"]), provider.Unauthenticated, "", "wrong, expired or used up")
	wantError(t, "the pod is gone", untilFailure(t, instances["kubernetes"]), provider.Unauthenticated, "")
	file("secret-id", shared.NewSecretID(t, role))
	pod.Revoked.Store(false)
	for name, m := range instances {
		if err := describe(t.Context(), m); err != nil {
			t.Errorf("%s, put right: %v", name, err)
		}
	}
}

// TestTokensEnd by use, by revocation, and by a Vault that has forgotten them.
func TestTokensEnd(t *testing.T) {
	mount, key := shared.MountTransit(t), "kek"
	shared.CreateKey(t, mount, key, true)
	few := role(t, mount, key, false, vaulttest.Grant{NumUses: 3})
	m := open(t, nil, at(shared.Addr, mount, key, few))
	for i := range 10 {
		if err := describe(t.Context(), m); err != nil {
			t.Errorf("call %d of tokens for three: %v", i, err)
		}
	}

	daily, _ := documented(t, mount, key)
	policy := shared.Policy(t, policyText(daily))
	token := shared.Token(t, vaulttest.Grant{Policy: policy})
	given := open(t, nil, at(shared.Addr, mount, key, tokenBlock(token)))
	if err := describe(t.Context(), given); err != nil {
		t.Fatal(err)
	}
	if err := shared.Client(t).Auth().Token().RevokeTreeWithContext(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	wantError(t, "revoked", describe(t.Context(), given), provider.Unauthenticated, "", "expired, revoked")

	// Without the default policy a token may not even look itself up.
	secret, err := shared.Client(t).Logical().WriteWithContext(t.Context(), "auth/token/create-orphan", map[string]any{
		"policies": []string{policy}, "no_default_policy": true, "ttl": "2s", "renewable": false,
	})
	if err != nil {
		t.Fatal(err)
	}
	bare := open(t, nil, at(shared.Addr, mount, key, tokenBlock(secret.Auth.ClientToken)))
	if _, err := bare.Check(t.Context(), provider.CheckRequest{Deep: true}); err != nil {
		t.Errorf("without the default policy: %v", err)
	}
	_, err = bare.CreateKey(t.Context(), provider.CreateKeyRequest{})
	wantError(t, "it exists", err, provider.AlreadyExists, "")
	wantError(t, "expired", untilFailure(t, bare), provider.Unauthenticated, "", "expired")
}

// TestCloseRevokes at the server.
func TestCloseRevokes(t *testing.T) {
	mount, key := shared.MountTransit(t), "kek"
	shared.CreateKey(t, mount, key, true)
	m := open(t, nil, at(shared.Addr, mount, key, role(t, mount, key, false, vaulttest.Grant{})))
	if err := describe(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	token := m.auth.current.client.Token()
	lookup := func() error {
		_, err := shared.Client(t).Auth().Token().LookupWithContext(t.Context(), token)
		return err
	}
	if err := lookup(); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := lookup(); err == nil {
		t.Error("the token lives on")
	}
}
