package vaulttransit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"strings"

	"github.com/keyrotor/keyrotor/core/provider"
)

func configError(attribute, format string, args ...any) error {
	e := provider.Errorf(provider.InvalidConfig, format, args...)
	e.Attribute = attribute
	return e
}

// rule says what a failure means that Vault tells apart by its text alone. Vault 1.21 and
// its predecessors are worded alike; a text that changes falls back on the status.
type rule struct {
	text      string
	code      provider.Code
	attribute string
	advice    string
}

// textRules are tried in order, on any status: what is a 400 now was a 500 once.
func textRules() []rule {
	return []rule{
		{"no handler for route", provider.InvalidConfig, attrMount, "nothing is mounted there: correct the mount, or the namespace"},
		{"unsupported path", provider.InvalidConfig, attrMount, "what is mounted there is no transit engine: correct the mount"},
		{"unsupported operation", provider.InvalidConfig, attrMount, "what is mounted there is no transit engine: correct the mount"},
		{"no namespace", provider.InvalidConfig, attrNamespace, "correct it, or leave it out"},
		{"Client sent an HTTP request to an HTTPS server", provider.InvalidConfig, attrAddress, "begin it with https://"},
		{"message authentication failed", provider.Integrity, "", "the wrap was altered, is bound to something else, or is by another key of this name"},
		{"version is too new", provider.NotFoundVersion, "", "an older copy of the key was put back: restore the newest one"},
		{"invalid ciphertext", provider.Integrity, "", "the wrap was altered"},
		{"no such key version", provider.NotFoundVersion, "", "it was trimmed: only a restored backup of the key has it"},
		{"encryption key not found", provider.NotFoundKey, "", ""},
		{"unknown key type " + noType, provider.NotFoundKey, "", ""},
		{"key not found", provider.NotFoundKey, "", ""},
		{"does not allow rotation", provider.InvalidState, "", "the key was imported so: import a new version, or make a key of Vault's own and migrate to it"},
		{"not supported for key type", provider.InvalidConfig, attrKey, "name a key of type " + supportedTypes},
		{"missing client token", provider.Unauthenticated, "", "a proxy took the token out of the request"},
		{"request body too large", provider.LimitExceeded, "", "raise max_request_size of Vault's listener"},
	}
}

// tooOld is Vault's word for a version below min_decryption_version, trimmed or not.
const tooOld = "disallowed by policy (too old)"

// failure makes an error of the contract of an answer that is none. A 403 is taken for
// one about rights: who can tell, asks [authenticator.judge] first.
func (s *settings) failure(r request, a answer) error {
	text := strings.Join(a.errors, "; ")
	for _, rule := range textRules() {
		if a.says(rule.text) {
			if rule.code == provider.NotFoundKey {
				return s.missingKey()
			}
			e := s.codedError(rule.code, r, a, text, rule.advice)
			e.Attribute = rule.attribute
			return e
		}
	}
	return s.statusError(r, a, text)
}

// statusError goes by the status alone.
func (s *settings) statusError(r request, a answer, text string) error {
	switch a.status {
	case http.StatusForbidden:
		return s.codedError(provider.Denied, r, a, text,
			"the token's policy does not allow that; or the namespace, the mount or the key is another, which Vault tells nobody")
	case http.StatusNotFound:
		return s.missingKey()
	case http.StatusTooManyRequests:
		return s.codedError(provider.Throttled, r, a, text, "a quota of Vault's administrator is used up")
	case http.StatusRequestEntityTooLarge:
		return s.codedError(provider.LimitExceeded, r, a, text, "raise max_request_size of Vault's listener")
	case http.StatusMethodNotAllowed:
		e := s.codedError(provider.InvalidConfig, r, a, text, "what is mounted there is no transit engine: correct the mount")
		e.Attribute = attrMount
		return e
	case http.StatusUnauthorized, http.StatusProxyAuthRequired:
		return s.codedError(provider.Unauthenticated, r, a, text, "that is no answer of Vault's: a proxy in between wants a credential")
	case http.StatusNotImplemented:
		return s.codedError(provider.Unavailable, r, a, text, "Vault is not initialized: run `vault operator init`, or look whether this is the right one")
	case http.StatusServiceUnavailable:
		return s.codedError(provider.Unavailable, r, a, text, "unseal Vault, or wait until it has an active node")
	case http.StatusPreconditionFailed, http.StatusRequestTimeout:
		return s.codedError(provider.Unavailable, r, a, text, "")
	}
	switch {
	case a.status >= 500 || a.status == 472 || a.status == 473:
		return s.codedError(provider.Unavailable, r, a, text, "look at Vault's own log")
	case a.status >= 400:
		return s.codedError(provider.InvalidArgument, r, a, text, "")
	default: // a redirect after a redirect, or worse
		return notVault(s, r, a.status)
	}
}

func (s *settings) codedError(code provider.Code, r request, a answer, text, advice string) *provider.Error {
	if text == "" {
		text = http.StatusText(a.status)
	}
	if advice != "" {
		text += ": " + advice
	}
	e := provider.Errorf(code, "Vault at %s answers %d to %q: %s", s.host(), a.status, r, text)
	if code == provider.Throttled || code == provider.Unavailable {
		e.RetryAfter = a.retryAfter
	}
	return e
}

func (s *settings) missingKey() error {
	return provider.Errorf(provider.NotFoundKey, "Vault has no transit key %q at %q: if it was there before, restore it from a backup, "+
		"for nothing else opens its wraps; else run `keyrotor kek create NAME`, NAME being this provider's name in the config file", s.key, s.mount)
}

// loginFailure is failure for a login, whose refusals are about the credential.
func (s *settings) loginFailure(r request, a answer) error {
	text := strings.Join(a.errors, "; ")
	switch {
	case a.says("no handler for route"), a.status == http.StatusNotFound, a.status == http.StatusMethodNotAllowed:
		e := s.codedError(provider.InvalidConfig, r, a, text, "no such auth method is mounted there: correct the mount of the auth block, or the namespace")
		e.Attribute = authAttribute(attrMount)
		return e
	case a.says("Client sent an HTTP request to an HTTPS server"):
		return s.failure(r, a)
	case a.status == http.StatusBadRequest, a.status == http.StatusForbidden:
		return s.codedError(provider.Unauthenticated, r, a, text,
			"Vault does not take this credential: it is wrong, expired or used up, its role is gone or locked out for a while after too many "+
				"wrong ones, or no auth method is mounted there")
	default:
		return s.statusError(r, a, text)
	}
}

// networkError is for a request that got no answer.
func (s *settings) networkError(ctx context.Context, r request, err error) error {
	if err == nil {
		err = errors.New("no answer")
	}
	if own, ok := errors.AsType[*provider.Error](err); ok { // the TLS files
		return own
	}
	if ctx.Err() != nil {
		return provider.Errorf(provider.Unavailable, "to %q, Vault at %s did not answer in time: %w", r, s.host(), ctx.Err())
	}
	if e := s.tlsError(err); e != nil {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return provider.Errorf(provider.Unavailable, "to %q, Vault at %s did not answer within the %s that %s allows: %w",
			r, s.host(), s.timeout, attrTimeout, context.DeadlineExceeded)
	}
	return provider.Errorf(provider.Unavailable, "to %q, Vault at %s cannot be reached: %w", r, s.host(), err)
}

// tlsError is nil for an error that is not about TLS.
func (s *settings) tlsError(err error) error {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return configError(s.tls.caAttribute(), "the certificate of %s is not signed by an authority that this names, or by one that "+
			"the system knows if it is not set: %w", s.host(), err)
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return configError(attrTLSServerName, "the certificate of %s is for another name: correct the address, or set this: %w", s.host(), err)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		return configError(attrAddress, "%s does not speak TLS: is the address one that begins with http://? %w", s.host(), err)
	}
	// Alerts by which the other side refuses a client's certificate, or misses one.
	for _, alert := range []string{"bad certificate", "certificate required", "unknown certificate authority", "expired certificate", "revoked certificate", "unsupported certificate"} {
		if strings.Contains(err.Error(), "remote error: tls: "+alert) {
			return provider.Errorf(provider.Unauthenticated, "%s refuses this client's certificate, or wants one: correct %s and %s: %w",
				s.host(), attrClientCertFile, attrClientKeyFile, err)
		}
	}
	return nil
}
