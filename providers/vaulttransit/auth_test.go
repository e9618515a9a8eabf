package vaulttransit

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

const denied, invalid = "1 error occurred:\n\t* permission denied\n\n", "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"

// TestLoginIsLazyAndOne: nothing happens before the first call, and however many callers
// come at once, one login does for all.
func TestLoginIsLazyAndOne(t *testing.T) {
	s := newScript()
	m := open(t, s, block(nil))
	wantCalls(t, "before a call", s.made())
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := describe(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	logins := 0
	for _, call := range s.made() {
		if call == "PUT auth/approle/login" {
			logins++
		}
	}
	if logins != 1 {
		t.Errorf("20 callers made %d logins", logins)
	}
}

// TestLoginOutlivesItsCaller: who gives up does not take the login away from the others.
func TestLoginOutlivesItsCaller(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := newScript()
	s.on("PUT auth/approle/login", func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-leave
		says(200, `{"auth":{"client_token":"hvs.fresh"}}`)(w, r)
	})
	m := open(t, s, block(nil))
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { first <- describe(ctx, m) }()
	<-entered
	cancel()
	wantError(t, "who gave up", <-first, provider.Unavailable, "")
	second := make(chan error, 1)
	go func() { second <- describe(t.Context(), m) }()
	close(leave)
	if err := <-second; err != nil {
		t.Error(err)
	}
	wantCalls(t, "both", s.made(), "PUT auth/approle/login", "GET transit/keys/kek")
}

func TestLoginMethods(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, key := testCertificate(t, dir)
	for name, c := range map[string]struct {
		auth  provider.Block
		other map[string]any
		call  string
		sends map[string]any
	}{
		"approle": {
			login("approle", map[string]any{"role_id": "r", "secret_id": provider.NewSecret([]byte("s")), "mount": "teams/approle"}), nil,
			"PUT auth/teams/approle/login",
			map[string]any{"role_id": "r", "secret_id": "s"},
		},
		"approle from files": {
			login("approle", map[string]any{"role_id_file": file("role", "r\n"), "secret_id_file": file("secret", "s\n"), "mount": "approle"}), nil,
			"PUT auth/approle/login",
			map[string]any{"role_id": "r", "secret_id": "s"},
		},
		"approle without a secret": {
			login("approle", map[string]any{"role_id": "r", "mount": "auth/approle"}), nil,
			"PUT auth/approle/login",
			map[string]any{"role_id": "r"},
		},
		"kubernetes": {
			login("kubernetes", map[string]any{"role": "kr", "jwt_file": file("jwt", "a.b.c"), "mount": "kubernetes"}), nil,
			"PUT auth/kubernetes/login",
			map[string]any{"role": "kr", "jwt": "a.b.c"},
		},
		"cert": {
			login("cert", map[string]any{"name": "n", "mount": "cert"}),
			map[string]any{"client_cert_file": cert, "client_key_file": key},
			"PUT auth/cert/login",
			map[string]any{"name": "n"},
		},
		"cert without a name": {
			login("cert", map[string]any{"mount": "cert"}),
			map[string]any{"client_cert_file": cert, "client_key_file": key},
			"PUT auth/cert/login",
			map[string]any{},
		},
	} {
		s := newScript().on(c.call, says(200, `{"auth":{"client_token":"hvs.fresh","lease_duration":0}}`))
		m := open(t, s, block(c.other, c.auth))
		if err := describe(t.Context(), m); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := s.body(t, c.call); !reflect.DeepEqual(got, c.sends) {
			t.Errorf("%s sends %v, want %v", name, got, c.sends)
		}
		if got := s.headers[0].Get("X-Vault-Token"); got != "" {
			t.Errorf("%s logs in with the token %q", name, got)
		}
		if got := s.headers[1].Get("X-Vault-Token"); got != "hvs.fresh" {
			t.Errorf("%s asks with the token %q", name, got)
		}
	}
}

func TestLoginIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		code   provider.Code
		says   string
	}{
		"wrong secret":    {fails(400, "invalid role or secret ID"), provider.Unauthenticated, "wrong, expired or used up"},
		"a second factor": {says(200, `{"auth":{"client_token":"","mfa_requirement":{"mfa_request_id":"x"}}}`), provider.Unauthenticated, "second factor"},
		"no JSON":         {says(200, `hello`), provider.InvalidConfig, "is that Vault?"},
		"no auth":         {says(200, `{"data":{}}`), provider.InvalidConfig, "is that Vault?"},
		"sealed":          {fails(503, "Vault is sealed"), provider.Unavailable, "unseal"},
	} {
		s := newScript().on("PUT auth/approle/login", c.answer)
		m := open(t, s, block(nil))
		err := describe(t.Context(), m)
		if provider.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(err.Error(), "secret-1") {
			t.Errorf("%s: the secret id shows: %v", name, err)
		}
		wantCalls(t, name, s.made(), "PUT auth/approle/login")
		// It is tried again by the next call, and works as soon as it is put right.
		s.on("PUT auth/approle/login", says(200, `{"auth":{"client_token":"hvs.fresh"}}`))
		if err := describe(t.Context(), m); err != nil {
			t.Errorf("%s, put right: %v", name, err)
		}
	}
}

// TestRefusals: Vault answers 403 both to a token that is dead and to one that may not.
func TestRefusals(t *testing.T) {
	const read, look, in = "GET transit/keys/kek", "GET auth/token/lookup-self", "PUT auth/approle/login"
	ok := says(200, keyBody(2))
	for name, c := range map[string]struct {
		read, look http.HandlerFunc
		code       provider.Code
		calls      []string
	}{
		"it may not": {
			fails(403, denied), says(200, `{"data":{}}`), provider.Denied, []string{in, read, look},
		},
		"it is dead, and says so": {
			inTurn(fails(403, invalid), ok), fails(500), "", []string{in, read, in, read},
		},
		"it is dead, and looking it up says so": {
			inTurn(fails(403, denied), ok), fails(403, invalid), "", []string{in, read, look, in, read},
		},
		"nothing is said": {
			inTurn(fails(403, denied), ok), fails(403, denied), "", []string{in, read, look, in, read},
		},
		"nothing is said, and the next may not either": {
			fails(403, denied), fails(403, denied), provider.Denied, []string{in, read, look, in, read, look},
		},
		"the next is dead, too": {
			fails(403, invalid), fails(500), provider.Unauthenticated, []string{in, read, in, read},
		},
		"the next may not": {
			inTurn(fails(403, invalid), fails(403, denied)), says(200, `{"data":{}}`), provider.Denied, []string{in, read, in, read, look},
		},
		"nobody can tell": {
			fails(403, denied), fails(503, "Vault is sealed"), provider.Unavailable, []string{in, read, look},
		},
	} {
		s := newScript().on(read, c.read).on(look, c.look)
		m := open(t, s, block(nil))
		if err := describe(t.Context(), m); provider.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %q", name, err, c.code)
		}
		wantCalls(t, name, s.made(), c.calls...)
	}
}

// TestRefusedRequestIsSentWhole: what is sent after a new login is what was sent before.
func TestRefusedRequestIsSentWhole(t *testing.T) {
	s := newScript().on("PUT transit/encrypt/kek", inTurn(
		fails(403, invalid), says(200, `{"data":{"batch_results":[{"ciphertext":"vault:v2:YWJj"}]}}`)))
	m := open(t, s, block(nil))
	results, err := m.Wrap(t.Context(), []provider.WrapItem{{Plaintext: root()}})
	if err != nil || results[0].Err != nil {
		t.Fatal(err, results)
	}
	var bodies []string
	for i, call := range s.calls {
		if call == "PUT transit/encrypt/kek" {
			bodies = append(bodies, s.bodies[i])
		}
	}
	if len(bodies) != 2 || bodies[0] != bodies[1] || !strings.Contains(bodies[0], rootText()) {
		t.Errorf("it sends %q", bodies)
	}
}

func given(attributes map[string]any) provider.Body { return block(nil, login("token", attributes)) }

func TestGivenToken(t *testing.T) {
	const read, look = "GET transit/keys/kek", "GET auth/token/lookup-self"
	inline := given(map[string]any{"token": provider.NewSecret([]byte(" hvs.given "))})
	for name, c := range map[string]struct {
		read, look http.HandlerFunc
		code       provider.Code
		calls      []string
	}{
		"it works":                   {says(200, keyBody(2)), says(200, `{"data":{"ttl":0}}`), "", []string{look, read}},
		"it may not look itself up":  {says(200, keyBody(2)), fails(403, denied), "", []string{look, read}},
		"it is dead from the start":  {fails(403, invalid), fails(403, invalid), provider.Unauthenticated, []string{look}},
		"it dies":                    {fails(403, invalid), says(200, `{"data":{"ttl":0}}`), provider.Unauthenticated, []string{look, read}},
		"it may not":                 {fails(403, denied), says(200, `{"data":{"ttl":0}}`), provider.Denied, []string{look, read, look}},
		"it may nothing of the kind": {fails(403, denied), fails(403, denied), provider.Denied, []string{look, read, look}},
		"sealed":                     {says(200, keyBody(2)), fails(503, "Vault is sealed"), provider.Unavailable, []string{look}},
	} {
		s := newScript().on(read, c.read).on(look, c.look)
		m := open(t, s, inline)
		if err := describe(t.Context(), m); provider.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %q", name, err, c.code)
		}
		for _, h := range s.headers {
			if got := h.Get("X-Vault-Token"); got != "hvs.given" {
				t.Errorf("%s: the token is %q", name, got)
			}
		}
		calls := s.made()
		wantCalls(t, name, calls, c.calls...)
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		wantCalls(t, name+", closed", s.made()) // the user's token is not ours to revoke
	}
}

// TestTokenFileChanges: the sink of a Vault Agent is written anew, before or after the
// token in it died.
func TestTokenFileChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("hvs.1")
	alive := map[string]bool{"hvs.1": true, "hvs.long": true}
	s := newScript()
	check := func(yes http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if alive[r.Header.Get("X-Vault-Token")] {
				yes(w, r)
			} else {
				fails(403, invalid)(w, r)
			}
		}
	}
	s.on("GET transit/keys/kek", check(says(200, keyBody(2)))).on("GET auth/token/lookup-self", check(says(200, `{"data":{"ttl":0}}`)))
	m := open(t, s, given(map[string]any{"token_file": path}))
	if err := describe(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	write("hvs.long")
	s.made()
	if err := describe(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if got := s.headers[0].Get("X-Vault-Token"); got != "hvs.long" {
		t.Errorf("after the file changed it asks with %q", got)
	}
	clear(alive)
	err := describe(t.Context(), m)
	wantError(t, "the token died", err, provider.Unauthenticated, "", "auth.token_file")
	alive["hvs.3rd"] = true
	write("hvs.3rd")
	if err := describe(t.Context(), m); err != nil {
		t.Errorf("a new token is there: %v", err)
	}
	write("two\nlines")
	wantError(t, "no token", describe(t.Context(), m), provider.InvalidConfig, "auth.token_file", "no token")
}

// TestCloseRevokesItsOwn, once, and refuses what comes later.
func TestCloseRevokesItsOwn(t *testing.T) {
	s := newScript()
	m := open(t, s, block(nil))
	if err := describe(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	s.made()
	for range 2 {
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.headers[0].Get("X-Vault-Token"); got != "hvs.fresh" {
		t.Errorf("it revokes %q", got)
	}
	wantCalls(t, "closed twice", s.made(), "PUT auth/token/revoke-self")
	wantError(t, "after the end", describe(t.Context(), m), provider.NotFoundInstance, "")
	wantCalls(t, "after the end", s.made())
}

// TestCloseDuringLogin: a token that comes too late is revoked as well.
func TestCloseDuringLogin(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := newScript()
	s.on("PUT auth/approle/login", func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-leave
		says(200, `{"auth":{"client_token":"hvs.late"}}`)(w, r)
	})
	m := open(t, s, block(nil))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- describe(ctx, m) }()
	<-entered
	cancel()
	wantError(t, "who gave up", <-ended, provider.Unavailable, "")
	closed := make(chan error, 1)
	go func() { closed <- m.Close() }()
	for !m.auth.isClosed() {
		<-time.After(time.Millisecond)
	}
	close(leave)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if got := s.headers[1].Get("X-Vault-Token"); got != "hvs.late" {
		t.Errorf("it revokes %q", got)
	}
	wantCalls(t, "late", s.made(), "PUT auth/approle/login", "PUT auth/token/revoke-self")
}

func (a *authenticator) isClosed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.closed
}

// TestCloseDoesNotWaitForVault.
func TestCloseDoesNotWaitForVault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		m := open(t, transportFunc(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "revoke-self") {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return s.RoundTrip(r)
		}), block(nil))
		if err := describe(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("Close took %s", d)
		}
	})
}

// TestRenewal: a token is renewed from half time on, and followed by another before Vault
// ends it for good. Nothing is asked of Vault for one that is used for a moment.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		granted := time.Now()
		const maxTTL = 4 * time.Hour
		logins := 0
		s := newScript()
		s.on("PUT auth/approle/login", func(w http.ResponseWriter, r *http.Request) {
			logins++
			granted = time.Now()
			says(200, fmt.Sprintf(`{"auth":{"client_token":"hvs.%d","lease_duration":3600,"renewable":true}}`, logins))(w, r)
		})
		s.on("PUT auth/token/renew-self", func(w http.ResponseWriter, r *http.Request) {
			left := min(time.Hour, maxTTL-time.Since(granted))
			says(200, fmt.Sprintf(`{"auth":{"client_token":"hvs.x","lease_duration":%d,"renewable":true}}`, int(left.Seconds())))(w, r)
		})
		s.on("GET transit/keys/kek", func(w http.ResponseWriter, r *http.Request) {
			if time.Since(granted) > maxTTL {
				fails(403, invalid)(w, r)
				return
			}
			says(200, keyBody(2))(w, r)
		})
		m := open(t, s, block(nil))
		if err := describe(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		time.Sleep(29 * time.Minute)
		synctest.Wait()
		wantCalls(t, "before half time", s.made(), "PUT auth/approle/login", "GET transit/keys/kek")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		wantCalls(t, "at half time", s.made(), "PUT auth/token/renew-self")
		for range 47 {
			time.Sleep(15 * time.Minute)
			if err := describe(t.Context(), m); err != nil {
				t.Fatalf("after %s: %v", time.Since(granted), err)
			}
		}
		refused, renewals := 0, 0
		for _, call := range s.made() {
			switch call {
			case "GET auth/token/lookup-self":
				refused++
			case "PUT auth/token/renew-self":
				renewals++
			}
		}
		if logins < 3 || logins > 5 || refused != 0 || renewals < 6 || renewals > 60 {
			t.Errorf("12 hours with tokens of at most 4 took %d logins, %d renewals, and %d refusals", logins, renewals, refused)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		s.made()
		time.Sleep(10 * time.Hour)
		wantCalls(t, "after the end", s.made())
	})
}

// TestTokenThatCannotBeRenewed is followed by another in time, without a renewal.
func TestTokenThatCannotBeRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript().on("PUT auth/approle/login", says(200, `{"auth":{"client_token":"hvb.batch","lease_duration":600,"renewable":false}}`))
		m := open(t, s, block(nil))
		for range 4 {
			if err := describe(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			time.Sleep(599 * time.Second)
		}
		const in, read = "PUT auth/approle/login", "GET transit/keys/kek"
		wantCalls(t, "four times its life", s.made(), in, read, in, read, in, read, in, read)
	})
}

// TestGivenTokenIsRenewed while that works; it is nobody's but the user's to replace it.
func TestGivenTokenIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript().
			on("GET auth/token/lookup-self", says(200, `{"data":{"ttl":3600,"renewable":true}}`)).
			on("PUT auth/token/renew-self", says(200, `{"auth":{"client_token":"hvs.given","lease_duration":3600,"renewable":true}}`))
		m := open(t, s, given(map[string]any{"token": provider.NewSecret([]byte("hvs.given"))}))
		if err := describe(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		s.made()
		time.Sleep(24 * time.Hour)
		renewals := len(s.made())
		if renewals < 24 || renewals > 60 {
			t.Errorf("in a day it is renewed %d times", renewals)
		}
		s.on("PUT auth/token/renew-self", fails(403, invalid))
		time.Sleep(24 * time.Hour)
		s.made()
		if err := describe(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		wantCalls(t, "after renewal ended", s.made(), "GET transit/keys/kek")
	})
}
