package notify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/core/secret"
)

const (
	// plainSecret is taken as it is, and codedSecret decoded, to its 32 bytes.
	plainSecret = "a-secret-of-more-than-24-bytes"
	codedSecret = "whsec_QUFBQkJCQ0NDREREMTIzNDU2Nzg5MGFiY2RlZmdoaWo="
)

// request is what a receiver got.
type request struct {
	header http.Header
	body   []byte
}

// server is a receiver on a real socket.
type server struct {
	*httptest.Server
	mu     sync.Mutex
	got    []request
	answer func(w http.ResponseWriter, n int)
}

func newServer(t *testing.T, start func(http.Handler) *httptest.Server) *server {
	t.Helper()
	s := &server{}
	s.Server = start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		s.got = append(s.got, request{r.Header.Clone(), body})
		n, answer := len(s.got), s.answer
		s.mu.Unlock()
		if answer != nil {
			answer(w, n)
		}
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(s.Close)
	return s
}

func webhook(t *testing.T, c notify.WebhookConfig) notify.Sender {
	t.Helper()
	if c.Secret.Len() == 0 {
		c.Secret = secret.FromString(plainSecret)
	}
	s, err := notify.NewWebhook(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.(interface{ CloseIdleConnections() }).CloseIdleConnections)
	return s
}

// TestWebhook: a receiver that knows Standard Webhooks and nothing of us takes it.
func TestWebhook(t *testing.T) {
	for name, c := range map[string]struct {
		secret string
		verify func() (*standardwebhooks.Webhook, error)
	}{
		"plain": {plainSecret, func() (*standardwebhooks.Webhook, error) { return standardwebhooks.NewWebhookRaw([]byte(plainSecret)) }},
		"coded": {codedSecret, func() (*standardwebhooks.Webhook, error) { return standardwebhooks.NewWebhook(codedSecret) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, httptest.NewServer)
			w := webhook(t, notify.WebhookConfig{
				URL: s.URL + "/hook?token=x", Secret: secret.FromString(c.secret),
				Headers: map[string]secret.Bytes{"Authorization": secret.FromString("Bearer t0ken")},
			})
			m := message(t)
			for range 2 {
				if err := w.Send(t.Context(), m); err != nil {
					t.Fatal(err)
				}
			}
			verifier, err := c.verify()
			if err != nil {
				t.Fatal(err)
			}
			for _, got := range s.got {
				if err := verifier.Verify(got.body, got.header); err != nil {
					t.Error(err)
				}
				if !bytes.Equal(got.body, m.Body) || got.header.Get("webhook-id") != m.ID {
					t.Errorf("got %s under %q", got.body, got.header.Get("webhook-id"))
				}
				if ct := got.header.Get("Content-Type"); ct != "application/cloudevents+json; charset=UTF-8" {
					t.Errorf("content type %q", ct)
				}
				if got.header.Get("Authorization") != "Bearer t0ken" {
					t.Errorf("headers %v", got.header)
				}
			}
			forged := slices.Clone(s.got[0].body)
			forged[len(forged)/2] ^= 1
			if err := verifier.Verify(forged, s.got[0].header); err == nil {
				t.Error("a changed body passes")
			}
		})
	}
}

// TestWebhookAnswers: which answer is about the message, which about the receiver, and
// what of them is shown.
func TestWebhookAnswers(t *testing.T) {
	s := newServer(t, httptest.NewServer)
	w := webhook(t, notify.WebhookConfig{URL: s.URL + "/services/T0PSECRET", Headers: map[string]secret.Bytes{"X-Api-Key": secret.FromString("k3y-of-api")}})
	m := message(t)
	for _, c := range []struct {
		code    int
		after   string
		body    string
		refused bool
		later   time.Duration
		shown   string
	}{
		{code: 500, body: "no room", shown: "no room"},
		{code: 503, after: "120", later: 2 * time.Minute},
		{code: 429, after: "7", later: 7 * time.Second},
		{code: 408},
		{code: 400, refused: true, body: "  no such key\n", shown: "no such key"},
		{code: 401, refused: true, body: "not with k3y-of-api", shown: "!"},
		{code: 404, refused: true, body: "no /services/T0PSECRET here", shown: "!"},
		{code: 403, refused: true, body: "not signed by " + plainSecret, shown: "!"},
		{code: 410, refused: true, body: strings.Repeat("x", 300), shown: "!"},
		{code: 422, refused: true, body: "two\nlines", shown: "!"},
		{code: 422, refused: true, body: "\x00\xff", shown: "!"},
		{code: 302, refused: true},
	} {
		s.answer = func(w http.ResponseWriter, _ int) {
			if c.after != "" {
				w.Header().Set("Retry-After", c.after)
			}
			if c.code == 302 {
				w.Header().Set("Location", s.URL+"/elsewhere")
			}
			w.WriteHeader(c.code)
			_, _ = io.WriteString(w, c.body)
		}
		before := len(s.got)
		err := w.Send(t.Context(), m)
		if err == nil || errors.Is(err, notify.ErrRefused) != c.refused {
			t.Errorf("%d: %v", c.code, err)
			continue
		}
		later, _ := errors.AsType[*notify.LaterError](err)
		if later == nil && c.later > 0 || later != nil && later.After != c.later {
			t.Errorf("%d: come again after %+v", c.code, later)
		}
		text := err.Error()
		if c.shown == "!" && strings.Contains(text, strings.TrimSpace(c.body)) || c.shown != "!" && !strings.Contains(text, c.shown) {
			t.Errorf("%d: %s", c.code, text)
		}
		if !strings.Contains(text, fmt.Sprint(c.code)) || !strings.Contains(text, s.URL) {
			t.Errorf("%d: %s", c.code, text)
		}
		noSecrets(t, text)
		if len(s.got) != before+1 {
			t.Errorf("%d: %d requests", c.code, len(s.got)-before)
		}
	}
	s.answer = func(w http.ResponseWriter, _ int) { w.WriteHeader(http.StatusNoContent) }
	if err := w.Send(t.Context(), m); err != nil {
		t.Errorf("204: %v", err)
	}
}

// TestWebhookAnswersPart: a receiver that names a part of what is secret, as in "no such
// token", is not quoted either.
func TestWebhookAnswersPart(t *testing.T) {
	s := newServer(t, httptest.NewServer)
	w := webhook(t, notify.WebhookConfig{
		URL: s.URL + "/services/T0P%2DSECRET-of-path/send?v=1&token=t0k%2Ben-of-query", Secret: secret.FromString(codedSecret),
		Headers: map[string]secret.Bytes{"Authorization": secret.FromString("Bearer b3arer-of-header")},
	})
	for _, part := range []string{
		"T0P-SECRET-of-path", "T0P%2DSECRET-of-path", "t0k+en-of-query", "t0k%2Ben-of-query", "b3arer-of-header", strings.TrimPrefix(codedSecret, "whsec_"),
	} {
		s.answer = func(w http.ResponseWriter, _ int) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "there is no such token: "+part)
		}
		if err := w.Send(t.Context(), message(t)); err == nil || strings.Contains(err.Error(), part) {
			t.Errorf("%q: %v", part, err)
		}
	}
}

func noSecrets(t *testing.T, text string) {
	t.Helper()
	for _, s := range []string{"T0PSECRET", "k3y-of-api", plainSecret, "p4ssword", "t0ken"} {
		if strings.Contains(text, s) {
			t.Errorf("%q is shown in: %s", s, text)
		}
	}
}

// TestWebhookUnreachable: errors of the network show no more of the URL than its host.
func TestWebhookUnreachable(t *testing.T) {
	s := newServer(t, httptest.NewServer)
	host := strings.TrimPrefix(s.URL, "http://")
	w := webhook(t, notify.WebhookConfig{URL: "http://user:p4ssword@" + host + "/T0PSECRET?key=t0ken"})
	m := message(t)
	if err := w.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if user, password, ok := (&http.Request{Header: s.got[0].header}).BasicAuth(); !ok || user != "user" || password != "p4ssword" {
		t.Error("credentials in the URL are not sent")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Close()
	for _, ctx := range []context.Context{t.Context(), ctx} {
		err := w.Send(ctx, m)
		if err == nil || errors.Is(err, notify.ErrRefused) || !strings.Contains(err.Error(), host) {
			t.Fatal(err)
		}
		noSecrets(t, err.Error())
	}
	if err := w.Send(ctx, m); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
}

// TestWebhookTLS: the receiver is who its certificate says.
func TestWebhookTLS(t *testing.T) {
	s := newServer(t, httptest.NewTLSServer)
	m := message(t)
	if err := webhook(t, notify.WebhookConfig{URL: s.URL}).Send(t.Context(), m); err == nil || errors.Is(err, notify.ErrRefused) {
		t.Errorf("by nobody's certificate: %v", err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := webhook(t, notify.WebhookConfig{URL: s.URL, CAFile: ca}).Send(t.Context(), m); err != nil {
		t.Error(err)
	}
	if err := webhook(t, notify.WebhookConfig{URL: s.URL, Client: s.Client()}).Send(t.Context(), m); err != nil {
		t.Error(err)
	}
}

// TestWebhookRefused: what could not work, or would not be safe.
func TestWebhookRefused(t *testing.T) {
	notPEM := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(notPEM, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := secret.FromString(plainSecret)
	for name, c := range map[string]notify.WebhookConfig{
		"no URL":           {Secret: long},
		"no host":          {URL: "https:///T0PSECRET", Secret: long},
		"not a URL":        {URL: "https://user:p4ssword@host:port/T0PSECRET", Secret: long},
		"http":             {URL: "http://example.com/T0PSECRET", Secret: long},
		"another scheme":   {URL: "ftp://example.com/T0PSECRET", Secret: long},
		"no secret":        {URL: "https://example.com/T0PSECRET"},
		"a short one":      {URL: "https://example.com/", Secret: secret.FromString("T0PSECRET")},
		"a short coded":    {URL: "https://example.com/", Secret: secret.FromString("whsec_VDBQU0VDUkVU")},
		"not base64":       {URL: "https://example.com/", Secret: secret.FromString("whsec_T0PSECRET!T0PSECRET!T0PSECRET")},
		"our header":       {URL: "https://example.com/", Secret: long, Headers: map[string]secret.Bytes{"Webhook-Id": secret.FromString("1")}},
		"no header's name": {URL: "https://example.com/", Secret: long, Headers: map[string]secret.Bytes{"a b": secret.FromString("1")}},
		"two lines":        {URL: "https://example.com/", Secret: long, Headers: map[string]secret.Bytes{"a": secret.FromString("T0PSECRET\nb: c")}},
		"no CA file":       {URL: "https://example.com/", Secret: long, CAFile: notPEM + "x"},
		"not PEM":          {URL: "https://example.com/", Secret: long, CAFile: notPEM},
		"CA and client":    {URL: "https://example.com/", Secret: long, CAFile: notPEM, Client: http.DefaultClient},
	} {
		_, err := notify.NewWebhook(c)
		if err == nil {
			t.Errorf("%s: it is taken", name)
			continue
		}
		noSecrets(t, err.Error())
	}
	for name, c := range map[string]notify.WebhookConfig{
		"http to a name of this machine": {URL: "http://localhost:8080/", Secret: long},
		"http to an address of it":       {URL: "http://[::1]:8080/", Secret: long},
		"http where it is allowed":       {URL: "http://example.com/", Secret: long, AllowHTTP: true},
	} {
		if _, err := notify.NewWebhook(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWebhookOutage: the whole way over a real socket: a receiver that fails, is throttled,
// refuses one key, goes away, and is back.
func TestWebhookOutage(t *testing.T) {
	s := newServer(t, httptest.NewServer)
	b := newBench(t, t.TempDir(), nil)
	t.Cleanup(b.close)
	taken := make(map[string][]string)
	s.answer = func(w http.ResponseWriter, n int) {
		switch {
		case n <= 2:
			w.WriteHeader(http.StatusInternalServerError)
			return
		case n == 3:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		var e event.Event
		var notice notify.Notice
		if err := errors.Join(json.Unmarshal(s.got[n-1].body, &e), e.DataAs(&notice)); err != nil {
			t.Error(err)
		}
		if notice.Key == "payments" && n < 8 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if !slices.Contains(taken[notice.Key], notice.Operation) {
			taken[notice.Key] = append(taken[notice.Key], notice.Operation)
		}
	}
	done := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(taken["payments"]) == 3 && len(taken["orders"]) == 3
	}
	w := webhook(t, notify.WebhookConfig{URL: s.URL})
	n := b.notifier("p1", nil, notify.Target{Name: "ops", Sender: w})
	start(t, n)
	for range 3 {
		b.happen("payments")
		b.happen("orders")
	}
	n.Nudge()
	for begun := time.Now(); !done(); {
		if time.Since(begun) > 100*time.Second {
			t.Fatalf("after 100 s: %q of %q", taken, b.happened)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, want := range b.happened {
		if !slices.Equal(taken[key], want) {
			t.Errorf("of %s came %q, want %q", key, taken[key], want)
		}
	}
}
