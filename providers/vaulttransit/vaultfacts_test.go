//go:build vault

package vaulttransit

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/faultplan"
	"github.com/keyrotor/keyrotor/testing/faultproxy"
	"github.com/keyrotor/keyrotor/testing/vaulttest"
)

// admin opens a key with all rights.
func admin(t *testing.T, mount, key string) *manager {
	t.Helper()
	return open(t, nil, at(shared.Addr, mount, key, tokenBlock(shared.RootToken)))
}

// write changes something by hand, as an administrator.
func write(t *testing.T, path string, data map[string]any) {
	t.Helper()
	if _, err := shared.Client(t).Logical().WriteWithContext(t.Context(), path, data); err != nil {
		t.Fatal(err)
	}
}

func wrapOne(t *testing.T, m *manager, aad string) provider.Wrapped {
	t.Helper()
	results, err := m.Wrap(t.Context(), []provider.WrapItem{{Plaintext: root(), AAD: []byte(aad)}})
	if err != nil {
		t.Fatal(err)
	}
	if results[0].Err != nil {
		t.Fatal(results[0].Err)
	}
	return results[0].Wrapped
}

// opens answers the error of the call or of the item.
func opens(t *testing.T, m *manager, w provider.Wrapped, aad string) error {
	t.Helper()
	results, err := m.Unwrap(t.Context(), []provider.UnwrapItem{{Wrapped: w, AAD: []byte(aad)}})
	if err != nil {
		return err
	}
	if results[0].Err == nil && !results[0].Plaintext.Equal(root()) {
		t.Error("a wrap opens to another root")
	}
	return results[0].Err
}

// TestKeyTypes: each kind of key that wraps does so, under both forms.
func TestKeyTypes(t *testing.T) {
	mount := shared.MountTransit(t)
	for _, typ := range []string{"aes256-gcm96", "aes128-gcm96", "chacha20-poly1305"} {
		for _, derived := range []bool{true, false} {
			key := newName()
			write(t, mount+"/keys/"+key, map[string]any{"type": typ, "derived": derived})
			m := admin(t, mount, key)
			d, err := m.DescribeKey(t.Context())
			if err != nil || d.Algorithm != typ || d.IgnoresAAD == derived || d.Versions[0].Created.Before(time.Now().Add(-time.Hour)) {
				t.Errorf("%s, derived %v: %+v, %v", typ, derived, d, err)
			}
			w := wrapOne(t, m, "aad")
			if err := opens(t, m, w, "aad"); err != nil {
				t.Errorf("%s, derived %v: %v", typ, derived, err)
			}
			generated, err := m.GenerateDataKey(t.Context(), provider.GenerateDataKeyRequest{AAD: []byte("aad")})
			if err != nil {
				t.Fatal(err)
			}
			moved, err := m.Rewrap(t.Context(), []provider.UnwrapItem{{Wrapped: generated.Wrapped, AAD: []byte("aad")}})
			if err != nil || moved[0].Err != nil {
				t.Fatal(err, moved)
			}
			back, err := m.Unwrap(t.Context(), []provider.UnwrapItem{{Wrapped: moved[0].Wrapped, AAD: []byte("aad")}})
			if err != nil || back[0].Err != nil || !back[0].Plaintext.Equal(generated.Plaintext) {
				t.Errorf("%s, derived %v: rewrapped and opened: %v, %+v", typ, derived, err, back)
			}
			// This is what IgnoresAAD says.
			if err := opens(t, m, w, "another"); (err == nil) == derived {
				t.Errorf("%s, derived %v: under another AAD: %v", typ, derived, err)
			}
		}
	}
	for _, typ := range []string{"rsa-2048", "ecdsa-p256", "ed25519", "hmac"} {
		key := newName()
		options := map[string]any{"type": typ}
		if typ == "hmac" {
			options["key_size"] = 32
		}
		write(t, mount+"/keys/"+key, options)
		wantError(t, typ, describe(t.Context(), admin(t, mount, key)), provider.InvalidConfig, "key", typ)
	}
	key := newName()
	write(t, mount+"/keys/"+key, map[string]any{"derived": true, "convergent_encryption": true})
	wantError(t, "convergent", describe(t.Context(), admin(t, mount, key)), provider.InvalidConfig, "key", "convergently")
}

// TestContextIsIgnoredByAPlainKey is the fact on which it stands that a context is always
// sent: wraps under such a key open by hand, without one.
func TestContextIsIgnoredByAPlainKey(t *testing.T) {
	mount, key := shared.MountTransit(t), "plain"
	shared.CreateKey(t, mount, key, false)
	m := admin(t, mount, key)
	w := wrapOne(t, m, "aad")
	secret, err := shared.Client(t).Logical().WriteWithContext(t.Context(), mount+"/decrypt/"+key, map[string]any{"ciphertext": string(w.Blob)})
	if err != nil {
		t.Fatal(err)
	}
	if got := secret.Data["plaintext"]; got != rootText() {
		t.Errorf("it opens to %v", got)
	}
}

// TestWrapsOpenByHand: whoever has the KEK and knows the page gets at a root without us.
func TestWrapsOpenByHand(t *testing.T) {
	mount, key := shared.MountTransit(t), "kek"
	shared.CreateKey(t, mount, key, true)
	w := wrapOne(t, admin(t, mount, key), "aad")
	secret, err := shared.Client(t).Logical().WriteWithContext(t.Context(), mount+"/decrypt/"+key, map[string]any{
		"ciphertext": string(w.Blob), "context": base64.StdEncoding.EncodeToString([]byte("keyrotor/vault-transit/v1:aad")),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := secret.Data["plaintext"]; got != rootText() {
		t.Errorf("it opens to %v", got)
	}
}

// TestNothingMakesAKeyByMistake, not even with all rights.
func TestNothingMakesAKeyByMistake(t *testing.T) {
	mount := shared.MountTransit(t)
	shared.CreateKey(t, mount, "there", true)
	m := admin(t, mount, "there")
	wrapOne(t, m, "") // now it knows the key
	m.settings.key = "missing"
	_, err := m.Wrap(t.Context(), []provider.WrapItem{{Plaintext: root()}})
	wantError(t, "wrap", err, provider.NotFoundKey, "")
	list, err := shared.Client(t).Logical().ListWithContext(t.Context(), mount+"/keys")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(list.Data["keys"]); got != "[there]" {
		t.Errorf("the keys are %s", got)
	}
}

func TestMinimumVersions(t *testing.T) {
	mount, key := shared.MountTransit(t), "kek"
	shared.CreateKey(t, mount, key, true)
	m := admin(t, mount, key)
	var wraps []provider.Wrapped
	for v := range 4 {
		if v > 0 {
			if _, err := m.RotateKey(t.Context(), provider.RotateKeyRequest{ExpectedVersion: fmt.Sprint(v)}); err != nil {
				t.Fatal(err)
			}
		}
		wraps = append(wraps, wrapOne(t, m, ""))
	}
	config := func(data map[string]any) {
		t.Helper()
		write(t, mount+"/keys/"+key+"/config", data)
	}
	config(map[string]any{"min_decryption_version": 3})
	wantError(t, "disabled", opens(t, m, wraps[1], ""), provider.InvalidState, "", "min_decryption_version of the key is 3", "by version 2")
	if err := opens(t, m, wraps[2], ""); err != nil {
		t.Error(err)
	}
	results, err := m.Rewrap(t.Context(), []provider.UnwrapItem{{Wrapped: wraps[0]}, {Wrapped: wraps[3]}})
	if err != nil || results[1].Err != nil {
		t.Fatal(err, results)
	}
	wantError(t, "rewrapping", results[0].Err, provider.InvalidState, "", "by version 1")

	config(map[string]any{"min_encryption_version": 4})
	if w := wrapOne(t, m, ""); w.KEKVersion != "4" {
		t.Errorf("a wrap is by version %s", w.KEKVersion)
	}
	write(t, mount+"/keys/"+key+"/trim", map[string]any{"min_available_version": 2})
	wantError(t, "trimmed", opens(t, m, wraps[0], ""), provider.NotFoundVersion, "", "min_available_version is 2")
	d, err := m.DescribeKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, v := range d.Versions {
		states = append(states, v.Version+" "+string(v.State))
	}
	if want := []string{"2 disabled", "3 enabled", "4 enabled"}; !slices.Equal(states, want) {
		t.Errorf("the versions are %q, want %q", states, want)
	}
	config(map[string]any{"min_decryption_version": 2})
	if err := opens(t, m, wraps[1], ""); err != nil {
		t.Errorf("as the message says: %v", err)
	}
}

// TestKeyIsDeletedAndMadeAnew while an instance is at work.
func TestKeyIsDeletedAndMadeAnew(t *testing.T) {
	mount, key := shared.MountTransit(t), "kek"
	shared.CreateKey(t, mount, key, true)
	m := admin(t, mount, key)
	w := wrapOne(t, m, "")
	write(t, mount+"/keys/"+key+"/config", map[string]any{"deletion_allowed": true})
	if _, err := shared.Client(t).Logical().DeleteWithContext(t.Context(), mount+"/keys/"+key); err != nil {
		t.Fatal(err)
	}
	wantError(t, "deleted", opens(t, m, w, ""), provider.NotFoundKey, "", "restore it from a backup")
	_, err := m.GenerateDataKey(t.Context(), provider.GenerateDataKeyRequest{})
	wantError(t, "deleted", err, provider.NotFoundKey, "")
	write(t, mount+"/keys/"+key, map[string]any{"type": "rsa-2048"})
	wantError(t, "of another type", opens(t, m, w, ""), provider.InvalidConfig, "key", "rsa-2048")
	write(t, mount+"/keys/"+key+"/config", map[string]any{"deletion_allowed": true})
	if _, err := shared.Client(t).Logical().DeleteWithContext(t.Context(), mount+"/keys/"+key); err != nil {
		t.Fatal(err)
	}
	shared.CreateKey(t, mount, key, true)
	wantError(t, "made anew", opens(t, m, w, ""), provider.Integrity, "", "another key of this name")
	if err := opens(t, m, wrapOne(t, m, ""), ""); err != nil {
		t.Error(err)
	}
}

func TestConfigErrors(t *testing.T) {
	mount, key := shared.MountTransit(t), "kek"
	shared.CreateKey(t, mount, key, true)
	kv := shared.MountKV(t)
	everything := tokenBlock(shared.RootToken)
	few := role(t, mount, key, false, vaulttest.Grant{})
	cert, certKey := testCertificate(t, t.TempDir())
	for name, c := range map[string]struct {
		body      provider.Body
		code      provider.Code
		attribute string
		says      string
	}{
		"a wrong mount":                  {at(shared.Addr, "nowhere", key, everything), provider.InvalidConfig, "mount", "nothing is mounted"},
		"another engine":                 {at(shared.Addr, kv, key, everything), provider.NotFoundKey, "", "no transit key"},
		"a wrong mount, with few rights": {at(shared.Addr, "nowhere", key, few), provider.Denied, "", "the mount or the key is another"},
		"a wrong key, with few rights":   {at(shared.Addr, mount, "other", few), provider.Denied, "", "the mount or the key is another"},
		"a wrong key":                    {at(shared.Addr, mount, "other", everything), provider.NotFoundKey, "", "kek create"},
		"a wrong auth mount":             {at(shared.Addr, mount, key, login("approle", map[string]any{"mount": "nowhere", "role_id": "x"})), provider.Unauthenticated, "", "no auth method is mounted there"},
		"a wrong role":                   {at(shared.Addr, mount, key, login("approle", map[string]any{"mount": few.Body.String("mount"), "role_id": "x"})), provider.Unauthenticated, "", "wrong"},
		"a wrong token":                  {at(shared.Addr, mount, key, tokenBlock("hvs.wrong")), provider.Unauthenticated, "", "auth.token"},
		"no authority":                   {at(shared.TLSAddr, mount, key, few), provider.InvalidConfig, "ca_file", "not signed"},
		"another authority": {
			block(map[string]any{"address": shared.TLSAddr, "mount": mount, "key": key, "ca_file": cert}, few),
			provider.InvalidConfig, "ca_file", "not signed",
		},
		"another certificate": {block(map[string]any{
			"address": shared.TLSAddr, "mount": mount, "key": key, "ca_file": shared.CAFile, "client_cert_file": cert, "client_key_file": certKey,
		}, login("cert", map[string]any{"mount": shared.Cert(t, vaulttest.Grant{Policy: "default"}).Mount})), provider.Unauthenticated, "", ""},
		"TLS where none is": {at(strings.Replace(shared.Addr, "http:", "https:", 1), mount, key, few), provider.InvalidConfig, "address", "http://"},
	} {
		wantError(t, name, describe(t.Context(), open(t, nil, c.body)), c.code, c.attribute, c.says)
	}
}

// TestQuota is Vault's own: it says when to come again, if it is configured to.
func TestQuota(t *testing.T) {
	mount, key := shared.MountTransit(t), "kek"
	shared.CreateKey(t, mount, key, true)
	m := admin(t, mount, key)
	write(t, "sys/quotas/config", map[string]any{"enable_rate_limit_response_headers": true})
	write(t, "sys/quotas/rate-limit/few", map[string]any{"path": mount + "/", "rate": 1, "interval": "30s"})
	t.Cleanup(func() { _, _ = shared.Client(t).Logical().Delete("sys/quotas/rate-limit/few") })
	var err error
	for range 3 {
		if err = describe(t.Context(), m); err != nil {
			break
		}
	}
	wantError(t, "over the quota", err, provider.Throttled, "", "quota")
	if e, ok := err.(*provider.Error); ok && (e.RetryAfter <= 0 || e.RetryAfter > 30*time.Second) { //nolint:errorlint // held to by wantError
		t.Errorf("it says to come again after %s", e.RetryAfter)
	}
}

// TestRotationsWhoseAnswersAreLost happen once, and the caller learns of them.
func TestRotationsWhoseAnswersAreLost(t *testing.T) {
	mount, key := shared.MountTransit(t), "kek"
	shared.CreateKey(t, mount, key, true)
	proxy := faultproxy.New(t, shared.Addr)
	m := open(t, nil, at(proxy.URL, mount, key, tokenBlock(shared.RootToken)))
	rotate := "PUT /v1/" + mount + "/keys/" + key + "/rotate"
	for name, c := range map[string]struct {
		fault   faultplan.Fault
		happens bool
	}{
		"lost":   {faultplan.Lost(), true},
		"cut":    {faultplan.Cut(), false},
		"failed": {faultplan.Failed(http.StatusBadGateway), false},
	} {
		before, err := m.DescribeKey(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sent := len(proxy.Calls(rotate))
		proxy.Next(1, rotate, c.fault)
		res, err := m.RotateKey(t.Context(), provider.RotateKeyRequest{ExpectedVersion: before.PrimaryVersion})
		after, describeErr := m.DescribeKey(t.Context())
		if describeErr != nil {
			t.Fatal(describeErr)
		}
		if n := len(after.Versions) - len(before.Versions); c.happens != (n == 1) || n > 1 {
			t.Errorf("%s: %d versions more", name, n)
		}
		if c.happens && (err != nil || res.NewVersion != after.PrimaryVersion) {
			t.Errorf("%s: %+v, %v", name, res, err)
		}
		if !c.happens {
			wantError(t, name, err, provider.Unavailable, "")
		}
		if n := len(proxy.Calls(rotate)) - sent; n != 1 {
			t.Errorf("%s: %d requests to rotate", name, n)
		}
	}
	if n := proxy.Pending(); n != 0 {
		t.Errorf("%d faults did not happen", n)
	}
}

// TestWrongAnswers: another root, a cut one, another ciphertext.
func TestWrongAnswers(t *testing.T) {
	mount, key := shared.MountTransit(t), "kek"
	shared.CreateKey(t, mount, key, true)
	proxy := faultproxy.New(t, shared.Addr)
	m := open(t, nil, at(proxy.URL, mount, key, tokenBlock(shared.RootToken)))
	w := wrapOne(t, m, "")
	replace := func(right, wrong string) faultplan.Fault {
		return faultplan.Wrong(func(body []byte) []byte { return []byte(strings.ReplaceAll(string(body), right, wrong)) })
	}
	decrypt := "PUT /v1/" + mount + "/decrypt/" + key
	proxy.Next(1, decrypt, replace(rootText(), base64.StdEncoding.EncodeToString([]byte("short"))))
	wantError(t, "a short root", opens(t, m, w, ""), provider.Integrity, "")
	proxy.Next(1, decrypt, replace(`"batch_results":[`, `"batch_results":[{},`))
	err := opens(t, m, w, "")
	wantError(t, "a result more", err, provider.Internal, "")
	proxy.Next(1, decrypt, faultplan.Wrong(func(body []byte) []byte { return body[:len(body)/2] }))
	wantError(t, "half an answer", opens(t, m, w, ""), provider.InvalidConfig, "address")
	proxy.Next(1, "PUT /v1/"+mount+"/datakey/plaintext/"+key, replace("vault:v1:", "other:v1:"))
	_, err = m.GenerateDataKey(t.Context(), provider.GenerateDataKeyRequest{})
	wantError(t, "another form", err, provider.Internal, "")
	if err := opens(t, m, w, ""); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestServerComesAndGoes: sealed, stopped, started anew; each is said, and over with it.
func TestServerComesAndGoes(t *testing.T) {
	server := vaulttest.Start(t)
	mount, key := server.MountTransit(t), "kek"
	server.CreateKey(t, mount, key, true)
	a := server.AppRole(t, vaulttest.Grant{Policy: server.Policy(t, `path "`+mount+`/*" { capabilities = ["read", "update"] }`)})
	m := open(t, nil, at(server.Addr, mount, key, appRoleBlock(a)))
	w := wrapOne(t, m, "")
	server.Seal(t)
	wantError(t, "sealed", opens(t, m, w, ""), provider.Unavailable, "", "sealed", "unseal")
	server.Unseal(t)
	eventually(t, "unsealed", func() error { return opens(t, m, w, "") })
	server.Stop(t)
	wantError(t, "stopped", opens(t, m, w, ""), provider.Unavailable, "", "cannot be reached")
	server.RestartSealed(t)
	wantError(t, "sealed from the start", opens(t, m, w, ""), provider.Unavailable, "", "sealed")
	server.Restart(t)
	eventually(t, "started anew", func() error { return opens(t, m, w, "") })
}

// patience is how long something may take that takes moments, on a machine that is slow.
const patience = 30 * time.Second

// eventually gives a server that was just unsealed its time.
func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := ok()
		if err == nil {
			return
		}
		if provider.CodeOf(err) != provider.Unavailable || time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// untilFailure works with a key until that fails, because a token came to its end.
func untilFailure(t *testing.T, m *manager) error {
	t.Helper()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if err := describe(t.Context(), m); err != nil {
			return err
		}
	}
	return nil
}
