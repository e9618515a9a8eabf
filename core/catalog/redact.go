package catalog

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/secret"
)

// A form of a secret is looked for in text if it is telling: if it does not stand
// there by chance. Blanking "wrong" in "wrong passphrase" would hide nothing, and
// tell everybody that the passphrase is "wrong". So letters alone, or digits alone,
// must be longer than the words and numbers of a message.
const (
	minPlain = 12 // bytes of letters alone, or of digits alone
	minMixed = 6  // bytes of anything else
)

// redactor blanks the secrets of a plugin's configurations in what the plugin
// writes to its log and into its errors.
type redactor struct {
	mu    sync.RWMutex
	forms [][]byte // longest first, so that no rest of a secret stays behind
}

// add learns the secrets of a configuration.
func (r *redactor) add(body provider.Body) { r.learn(secretsOf(body)) }

func (r *redactor) learn(secrets []provider.Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range secrets {
		r.forms = append(r.forms, formsOf(s.Reveal())...)
	}
	slices.SortFunc(r.forms, func(a, b []byte) int { return len(b) - len(a) })
	r.forms = slices.CompactFunc(r.forms, bytes.Equal)
}

// text blanks every secret in s.
func (r *redactor) text(s string) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	b := []byte(s)
	for _, f := range r.forms {
		b = bytes.ReplaceAll(b, f, []byte(secret.Redacted))
	}
	return string(b)
}

// beheaded blanks every secret in a line that was cut off after s, and takes off
// the end of s where the head of a cut secret may be.
func (r *redactor) beheaded(s string) string {
	s = r.text(s)
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.forms) == 0 {
		return s
	}
	return s[:max(0, len(s)-len(r.forms[0])+1)]
}

// err answers the same error without the secrets that its message may hold, and
// without what could steer a terminal.
func (r *redactor) err(err error) error {
	clean := func(s string) string { return r.text(printable(s)) }
	var e *provider.Error
	if !errors.As(err, &e) || clean(e.Error()) == e.Error() {
		return err
	}
	out := &provider.Error{
		Code:       e.Code,
		Message:    clean(e.Message),
		Attribute:  clean(e.Attribute),
		RetryAfter: e.RetryAfter,
	}
	if p, ok := errors.AsType[*provider.PromiseError](e); ok {
		out.Err = &provider.PromiseError{Promise: p.Promise, Act: clean(p.Act)}
	}
	return out
}

func (r *redactor) wipe() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.forms {
		clear(f)
	}
	r.forms = nil
}

// secretsOf collects the sensitive values of a body and of the blocks within.
func secretsOf(body provider.Body) []provider.Secret {
	var out []provider.Secret
	for _, v := range body.Attributes {
		if s, ok := v.(provider.Secret); ok {
			out = append(out, s)
		}
	}
	for _, b := range body.Blocks {
		out = append(out, secretsOf(b.Body)...)
	}
	return out
}

// withoutRoots blanks the roots that a plugin was given to wrap where its errors
// repeat them, as those of an API that quotes what it refuses do. An error goes into
// logs and events; a root in it would open everything under its version.
func withoutRoots(given []provider.WrapItem, results []provider.WrapResult, err error) ([]provider.WrapResult, error) {
	failed := func(r provider.WrapResult) bool { return r.Err != nil }
	if err == nil && !slices.ContainsFunc(results, failed) {
		return results, nil
	}
	roots := &redactor{}
	defer roots.wipe()
	for _, item := range given {
		roots.learn([]provider.Secret{item.Plaintext})
	}
	for i := range results {
		results[i].Err = roots.err(results[i].Err)
	}
	return results, roots.err(err)
}

// formsOf lists the telling ways in which a secret shows in text: as it is, line by
// line, quoted, and in the encodings that HTTP clients print.
func formsOf(s []byte) [][]byte {
	text := string(s)
	quoted := strconv.Quote(text)
	forms := []string{
		text, quoted[1 : len(quoted)-1],
		url.QueryEscape(text), url.PathEscape(text),
		base64.StdEncoding.EncodeToString(s), base64.RawStdEncoding.EncodeToString(s),
		base64.URLEncoding.EncodeToString(s), base64.RawURLEncoding.EncodeToString(s),
		hex.EncodeToString(s), strings.ToUpper(hex.EncodeToString(s)),
		strings.Trim(fmt.Sprintf("%d", s), "[]"),
	}
	if encoded, err := json.Marshal(text); err == nil {
		forms = append(forms, string(encoded[1:len(encoded)-1]))
	}
	if lines := strings.Split(text, "\n"); len(lines) > 1 {
		forms = append(forms, lines...)
	}
	var out [][]byte
	for _, f := range forms {
		if f = strings.TrimSpace(f); telling(f) {
			out = append(out, []byte(f))
		}
	}
	return out
}

func telling(form string) bool {
	if strings.Trim(form, letters) == "" || strings.Trim(form, digits) == "" {
		return len(form) >= minPlain
	}
	return len(form) >= minMixed
}

const (
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
)
