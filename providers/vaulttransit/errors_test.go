package vaulttransit

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

// TestFailures holds each way in which Vault fails, as 1.21 words it, to its code.
func TestFailures(t *testing.T) {
	for name, c := range map[string]struct {
		status     int
		texts      []string
		code       provider.Code
		attribute  string
		says       string
		retryAfter time.Duration
	}{
		"denied":              {403, []string{"1 error occurred:\n\t* permission denied\n\n"}, provider.Denied, "", "permission denied", 0},
		"no such mount":       {404, []string{`no handler for route "transt/keys/kek". route entry not found.`}, provider.InvalidConfig, "mount", "nothing is mounted", 0},
		"no such path":        {404, []string{"1 error occurred:\n\t* unsupported path\n\n"}, provider.InvalidConfig, "mount", "no transit engine", 0},
		"no such operation":   {405, []string{"1 error occurred:\n\t* unsupported operation\n\n"}, provider.InvalidConfig, "mount", "no transit engine", 0},
		"method":              {405, nil, provider.InvalidConfig, "mount", "no transit engine", 0},
		"no such namespace":   {404, []string{"no namespace"}, provider.InvalidConfig, "namespace", "correct it", 0},
		"no such key":         {404, nil, provider.NotFoundKey, "", "kek create", 0},
		"no key to encrypt":   {400, []string{"encryption key not found"}, provider.NotFoundKey, "", "restore it from a backup", 0},
		"no key to rotate":    {400, []string{"key not found"}, provider.NotFoundKey, "", "kek create", 0},
		"would make a key":    {400, []string{"unknown key type " + noType}, provider.NotFoundKey, "", "kek create", 0},
		"altered":             {400, []string{"cipher: message authentication failed"}, provider.Integrity, "", "altered", 0},
		"altered, chacha":     {400, []string{"chacha20poly1305: message authentication failed"}, provider.Integrity, "", "altered", 0},
		"altered, once":       {500, []string{"1 error occurred:\n\t* cipher: message authentication failed\n\n"}, provider.Integrity, "", "altered", 0},
		"no base64":           {400, []string{"invalid ciphertext: could not decode base64"}, provider.Integrity, "", "altered", 0},
		"too short":           {400, []string{"invalid ciphertext length"}, provider.Integrity, "", "altered", 0},
		"too new":             {400, []string{"invalid ciphertext: version is too new"}, provider.NotFoundVersion, "", "older copy", 0},
		"trimmed":             {400, []string{"no such key version"}, provider.NotFoundVersion, "", "trimmed", 0},
		"imported":            {500, []string{"imported key kek does not allow rotation within Vault"}, provider.InvalidState, "", "import a new version", 0},
		"type":                {400, []string{"message encryption not supported for key type ecdsa-p256"}, provider.InvalidConfig, "key", "aes256-gcm96", 0},
		"another 400":         {400, []string{"something new"}, provider.InvalidArgument, "", "something new", 0},
		"no token":            {400, []string{"missing client token"}, provider.Unauthenticated, "", "proxy", 0},
		"proxy":               {407, nil, provider.Unauthenticated, "", "proxy", 0},
		"unauthorized":        {401, nil, provider.Unauthenticated, "", "proxy", 0},
		"too large":           {413, []string{"http: request body too large"}, provider.LimitExceeded, "", "max_request_size", 0},
		"too large for proxy": {413, nil, provider.LimitExceeded, "", "max_request_size", 0},
		"quota":               {429, []string{`request path "transit/keys/kek": rate limit quota exceeded`}, provider.Throttled, "", "quota", 3 * time.Second},
		"sealed":              {503, []string{"Vault is sealed"}, provider.Unavailable, "", "unseal", 3 * time.Second},
		"not initialized":     {501, nil, provider.Unavailable, "", "operator init", 3 * time.Second},
		"standby":             {473, nil, provider.Unavailable, "", "log", 3 * time.Second},
		"secondary":           {472, nil, provider.Unavailable, "", "log", 3 * time.Second},
		"behind":              {412, []string{"required index state not present"}, provider.Unavailable, "", "index state", 3 * time.Second},
		"internal":            {500, []string{"1 error occurred:\n\t* internal error\n\n"}, provider.Unavailable, "", "internal error", 3 * time.Second},
		"gateway":             {502, []string{"<html>\nBad Gateway\n</html>"}, provider.Unavailable, "", "Bad Gateway", 3 * time.Second},
		"gateway late":        {504, nil, provider.Unavailable, "", "Gateway Timeout", 3 * time.Second},
		"plain to TLS":        {400, []string{"Client sent an HTTP request to an HTTPS server.\n"}, provider.InvalidConfig, "address", "https://", 0},
		"redirected twice":    {307, nil, provider.InvalidConfig, "address", "is that Vault?", 0},
	} {
		s := settings{address: "https://vault.test:8200", mount: "transit", key: "kek"}
		a := answer{status: c.status, retryAfter: 3 * time.Second}
		for _, text := range c.texts {
			a.errors = append(a.errors, tidy(text))
		}
		err := s.failure(get("transit/keys/kek"), a)
		wantError(t, name, err, c.code, c.attribute, c.says)
		if e, ok := errors.AsType[*provider.Error](err); ok && e.RetryAfter != c.retryAfter {
			t.Errorf("%s: retry after %s, want %s", name, e.RetryAfter, c.retryAfter)
		}
		if strings.ContainsAny(err.Error(), "\n\t") {
			t.Errorf("%s: the text has lines: %q", name, err)
		}
	}
}

func TestLoginFailures(t *testing.T) {
	for name, c := range map[string]struct {
		status    int
		texts     []string
		code      provider.Code
		attribute string
	}{
		"wrong":       {400, []string{"invalid role or secret ID"}, provider.Unauthenticated, ""},
		"refused":     {403, []string{"permission denied"}, provider.Unauthenticated, ""},
		"no mount":    {404, []string{`no handler for route "auth/x/login". route entry not found.`}, provider.InvalidConfig, "auth.mount"},
		"other mount": {405, nil, provider.InvalidConfig, "auth.mount"},
		"throttled":   {429, nil, provider.Throttled, ""},
		"sealed":      {503, []string{"Vault is sealed"}, provider.Unavailable, ""},
		"internal":    {500, []string{"lookup failed"}, provider.Unavailable, ""},
		"plain":       {400, []string{"Client sent an HTTP request to an HTTPS server."}, provider.InvalidConfig, "address"},
	} {
		s := settings{address: "https://vault.test:8200"}
		wantError(t, name, s.loginFailure(put("auth/x/login", nil), answer{status: c.status, errors: c.texts}), c.code, c.attribute)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-7": 0, "soon": 0,
		now.Add(time.Minute).Format(http.TimeFormat):  time.Minute,
		now.Add(-time.Minute).Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("%q is %s, want %s", header, got, want)
		}
	}
}

func TestTidy(t *testing.T) {
	for text, want := range map[string]string{
		"1 error occurred:\n\t* permission denied\n\n":                     "permission denied",
		"2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n": "permission denied; invalid token",
		"plain": "plain", "": "",
		strings.Repeat("x", maxErrorText) + "y": strings.Repeat("x", maxErrorText) + "…",
	} {
		if got := tidy(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
