package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/jonboulle/clockwork"
	"golang.org/x/net/http/httpguts"

	"github.com/keyrotor/keyrotor/core/secret"
)

const (
	// maxAnswer is how much of an answer is read, and shownAnswer how long one may be to
	// be shown.
	maxAnswer   = 4 << 10
	shownAnswer = 200
	// minHiddenPart is how long a part of a URL or of a header is that may be a secret by
	// itself.
	minHiddenPart = 8
	// idleConnection is how long a connection is kept for the next message.
	idleConnection = 30 * time.Second
)

// contentType is that of a CloudEvent in its structured JSON form.
const contentType = "application/cloudevents+json; charset=UTF-8"

// WebhookConfig is where a webhook goes. URL and Secret are required.
type WebhookConfig struct {
	// URL is https. http goes to this machine only (localhost, 127.0.0.1, [::1]), unless
	// AllowHTTP. A redirect is not followed.
	URL       string
	AllowHTTP bool
	// Secret signs: "whsec_" and base64, or text that is taken as it is; MinSecret bytes
	// at least.
	Secret secret.Bytes
	// Headers are sent with each request, beside those that a webhook has anyway.
	Headers map[string]secret.Bytes
	// CAFile has the certificates, in PEM, that the receiver's is checked by, instead of
	// those that the system trusts.
	CAFile string
	// Client, if set, sends the requests; then CAFile must be empty. By default it is one
	// that speaks TLS 1.2 or newer, and takes the proxy that the environment names.
	Client *http.Client
	// Clock is the machine's if nil.
	Clock clockwork.Clock
}

// webhook sends signed HTTP requests.
type webhook struct {
	url     string
	host    string // all of the URL that is ever shown: its path may be a secret
	key     secret.Bytes
	headers map[string]secret.Bytes
	hidden  []string // what an answer must not be shown with
	client  *http.Client
	clock   clockwork.Clock
}

// NewWebhook makes a sender of signed HTTP requests. Errors never show the secret, the
// headers, or more of the URL than its host.
func NewWebhook(c WebhookConfig) (Sender, error) {
	w := &webhook{url: c.URL, headers: make(map[string]secret.Bytes), clock: c.Clock}
	u, err := checkURL(c.URL, c.AllowHTTP)
	if err != nil {
		return nil, err
	}
	w.host = u.Scheme + "://" + u.Host
	if w.key, err = signingKey(c.Secret); err != nil {
		return nil, fmt.Errorf("webhook to %s: %w", w.host, err)
	}
	for name, value := range c.Headers {
		if err := checkHeader(name, value); err != nil {
			return nil, fmt.Errorf("webhook to %s: %w", w.host, err)
		}
		w.headers[name] = value.Clone()
		w.hide(string(value.Reveal()))
		w.hideParts(strings.Fields(string(value.Reveal()))...)
	}
	w.hide(string(c.Secret.Reveal()))
	w.hide(strings.TrimPrefix(string(c.Secret.Reveal()), secretPrefix))
	w.hide(string(w.key.Reveal()))
	w.hide(u.Path)
	w.hide(u.EscapedPath())
	w.hide(u.RawQuery)
	w.hideParts(slices.Concat(strings.Split(u.Path, "/"), strings.Split(u.EscapedPath(), "/"))...)
	w.hideParts(strings.FieldsFunc(u.RawQuery, func(r rune) bool { return r == '&' || r == '=' })...)
	for _, values := range u.Query() {
		w.hideParts(values...)
	}
	if u.User != nil {
		password, _ := u.User.Password()
		w.hide(u.User.Username())
		w.hide(password)
	}
	if w.client, err = c.client(); err != nil {
		return nil, fmt.Errorf("webhook to %s: %w", w.host, err)
	}
	if w.clock == nil {
		w.clock = clockwork.NewRealClock()
	}
	return w, nil
}

// hide keeps a text from being shown. Short ones are no secrets, and stand anywhere.
func (w *webhook) hide(text string) {
	if len(text) >= 4 {
		w.hidden = append(w.hidden, text)
	}
}

// hideParts keeps parts of what is secret as a whole from being shown: a receiver names
// the token that it does not know without what stood around it. Shorter ones are words.
func (w *webhook) hideParts(parts ...string) {
	for _, part := range parts {
		if len(part) >= minHiddenPart {
			w.hide(part)
		}
	}
}

// checkURL refuses where a webhook must not go. Its errors do not show the URL.
func checkURL(text string, allowHTTP bool) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("the URL of a webhook cannot be read: write it as https://host/path")
	case u.Scheme == "https", u.Scheme == "http" && (allowHTTP || loopback(u.Hostname())):
		return u, nil
	case u.Scheme == "http":
		return nil, fmt.Errorf("webhook to http://%s: anybody on the way can read it: use https, or allow http for this target", u.Host)
	default:
		return nil, fmt.Errorf("webhook to %s: %q is no scheme for a webhook: use https", u.Host, u.Scheme)
	}
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// checkHeader refuses what would replace what a webhook says, or cannot be sent.
func checkHeader(name string, value secret.Bytes) error {
	ours := []string{headerID, headerTimestamp, headerSignature, "content-type", "content-length", "host", "transfer-encoding", "connection"}
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return fmt.Errorf("%q is no name for a header", name)
	case slices.Contains(ours, strings.ToLower(name)):
		return fmt.Errorf("the header %q is for the webhook itself to set: leave it out", name)
	case !httpguts.ValidHeaderFieldValue(string(value.Reveal())):
		return fmt.Errorf("the value of the header %q has a character that none may have, such as the end of a line", name)
	}
	return nil
}

// client makes the HTTP client.
func (c WebhookConfig) client() (*http.Client, error) {
	client := &http.Client{}
	switch {
	case c.Client != nil && c.CAFile != "":
		return nil, errors.New("a Client brings its own certificates: leave CAFile out")
	case c.Client != nil:
		*client = *c.Client
	default:
		roots, err := readRoots(c.CAFile)
		if err != nil {
			return nil, err
		}
		client.Transport = &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{}).DialContext,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: workers,
			IdleConnTimeout:     idleConnection,
		}
	}
	// Whoever redirects a signed request chooses who gets it.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Jar = nil
	return client, nil
}

// readRoots reads certificates; nil are the system's.
func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("there is no certificate in %s: it must be in PEM, between BEGIN CERTIFICATE and END CERTIFICATE", path)
	}
	return roots, nil
}

// Send makes one request. Any answer from 200 to 299 is delivered. No answer, and the
// answers 408, 429 and 500 to 599, are about the receiver; all others about the message.
func (w *webhook) Send(ctx context.Context, m Message) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(m.Body))
	if err != nil {
		return fmt.Errorf("webhook to %s: the request cannot be made", w.host)
	}
	for name, value := range w.headers {
		req.Header.Set(name, string(value.Reveal()))
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "keyrotor")
	now := w.clock.Now()
	sign(req.Header, w.key, m.ID, now, m.Body)
	res, err := w.client.Do(req)
	if err != nil {
		return w.unreachable(err)
	}
	defer res.Body.Close()
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		_, _ = io.CopyN(io.Discard, res.Body, maxAnswer) // so that the connection can be used again
		return nil
	}
	answer, _ := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	return w.refusal(res, answer, now)
}

// unreachable leaves the URL out of an error of net/http.
func (w *webhook) unreachable(err error) error {
	if inner, ok := errors.AsType[*url.Error](err); ok {
		err = inner.Err
	}
	if text := err.Error(); w.secretIn(text) {
		return fmt.Errorf("webhook to %s: it cannot be reached", w.host)
	}
	return fmt.Errorf("webhook to %s: %w", w.host, err)
}

// refusal is what an answer other than yes says.
func (w *webhook) refusal(res *http.Response, answer []byte, now time.Time) error {
	status := fmt.Sprintf("%d %s", res.StatusCode, http.StatusText(res.StatusCode))
	text := fmt.Sprintf("webhook to %s: the receiver answered %s", w.host, strings.TrimSpace(status))
	if res.StatusCode >= 300 && res.StatusCode < 400 {
		text += ", a redirect, which is not followed: set the url that it leads to"
	}
	if shown := w.show(answer); shown != "" {
		text += ": " + shown
	}
	err := errors.New(text)
	switch code := res.StatusCode; {
	case code >= 500, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout:
	default:
		err = fmt.Errorf("%s: %w", text, ErrRefused)
	}
	if after := retryAfter(res.Header.Get("Retry-After"), now); after > 0 {
		return &LaterError{Err: err, After: after}
	}
	return err
}

// show is an answer if it is short, one line, and holds no secret that a receiver may
// have sent back.
func (w *webhook) show(answer []byte) string {
	text := strings.TrimSpace(string(answer))
	if len(text) > shownAnswer || w.secretIn(text) {
		return ""
	}
	for _, r := range text {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return ""
		}
	}
	return text
}

func (w *webhook) secretIn(text string) bool {
	return slices.ContainsFunc(w.hidden, func(s string) bool { return strings.Contains(text, s) })
}

// CloseIdleConnections lets go of connections that are kept for the next message.
func (w *webhook) CloseIdleConnections() { w.client.CloseIdleConnections() }

// retryAfter reads the header of that name: seconds, or a date. What it cannot read is
// none.
func retryAfter(text string, now time.Time) time.Duration {
	text = strings.TrimSpace(text)
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
