package faultproxy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/testing/faultplan"
	"github.com/keyrotor/keyrotor/testing/faultproxy"
)

// target counts what it applies and answers with what it was sent.
type target struct{ applied atomic.Int64 }

func (s *target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.applied.Add(1)
	w.Header().Set("X-Query", r.URL.RawQuery)
	w.Header().Set("X-Namespace", r.Header.Get("X-Vault-Namespace"))
	w.WriteHeader(http.StatusCreated)
	_, _ = io.Copy(w, r.Body)
}

func start(t *testing.T) (*target, *faultproxy.Proxy) {
	s := &target{}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, faultproxy.New(t, server.URL)
}

type answer struct {
	status int
	header http.Header
	body   string
}

func put(ctx context.Context, client *http.Client, url string) (a answer, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader("hello"))
	if err != nil {
		return a, err
	}
	req.Header.Set("X-Vault-Namespace", "team")
	resp, err := client.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(body)}, err
}

func TestPasses(t *testing.T) {
	s, proxy := start(t)
	a, err := put(t.Context(), http.DefaultClient, proxy.URL+"/v1/a?x=1")
	if err != nil {
		t.Fatal(err)
	}
	if a.status != 201 || a.body != "hello" || a.header.Get("X-Query") != "x=1" || a.header.Get("X-Namespace") != "team" {
		t.Errorf("%+v", a)
	}
	calls := proxy.Calls("PUT /v1/a")
	if s.applied.Load() != 1 || len(calls) != 1 || calls[0].Fault != faultplan.None || calls[0].Header["X-Vault-Namespace"][0] != "team" {
		t.Errorf("applied %d, saw %+v", s.applied.Load(), calls)
	}
}

func TestRefuses(t *testing.T) {
	for _, c := range []struct {
		name       string
		fault      faultplan.Fault
		status     int
		retryAfter string
	}{
		{"throttled", faultplan.Throttled(1500 * time.Millisecond), 429, "2"},
		{"throttled without a word", faultplan.Throttled(0), 429, ""},
		{"failed", faultplan.Failed(503), 503, ""},
		{"denied", faultplan.Refused(), 403, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, proxy := start(t)
			proxy.Next(1, "PUT /v1/*", c.fault)
			a, err := put(t.Context(), http.DefaultClient, proxy.URL+"/v1/a")
			if err != nil {
				t.Fatal(err)
			}
			want := `{"errors":["faultproxy: ` + http.StatusText(c.status) + `"]}`
			if a.status != c.status || a.header.Get("Retry-After") != c.retryAfter || a.body != want {
				t.Errorf("%+v", a)
			}
			if n := s.applied.Load(); n != 0 {
				t.Errorf("it was applied %d times", n)
			}
			if a, err := put(t.Context(), http.DefaultClient, proxy.URL+"/v1/a"); err != nil || a.status != 201 {
				t.Errorf("the next call: %+v, %v", a, err)
			}
		})
	}
}

func TestCuts(t *testing.T) {
	for _, c := range []struct {
		name    string
		fault   faultplan.Fault
		applied int64
	}{
		{"before", faultplan.Cut(), 0},
		{"after", faultplan.Lost(), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, proxy := start(t)
			proxy.Next(1, "*", c.fault)
			if a, err := put(t.Context(), http.DefaultClient, proxy.URL+"/v1/a"); !errors.Is(err, io.EOF) {
				t.Errorf("%+v, %v, want no answer", a, err)
			}
			if n := s.applied.Load(); n != c.applied {
				t.Errorf("it was applied %d times, want %d", n, c.applied)
			}
			if a, err := put(t.Context(), http.DefaultClient, proxy.URL+"/v1/a"); err != nil || a.status != 201 {
				t.Errorf("the next call: %+v, %v", a, err)
			}
		})
	}
}

func TestRewrites(t *testing.T) {
	_, proxy := start(t)
	proxy.Every("PUT /v1/a", faultplan.Wrong(func(body []byte) []byte { return bytes.Repeat(body, 3) }))
	a, err := put(t.Context(), http.DefaultClient, proxy.URL+"/v1/a")
	if err != nil || a.status != 201 || a.body != "hellohellohello" || a.header.Get("Content-Length") != "15" {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestIsLate(t *testing.T) {
	s, proxy := start(t)
	proxy.Next(1, "*", faultplan.Late(time.Millisecond))
	began := time.Now()
	if a, err := put(t.Context(), http.DefaultClient, proxy.URL+"/v1/a"); err != nil || a.status != 201 || time.Since(began) < time.Millisecond {
		t.Errorf("%+v, %v after %v", a, err, time.Since(began))
	}

	// Whoever gives up before is not applied.
	proxy.Next(1, "*", faultplan.Late(time.Hour))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for proxy.Pending() > 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if _, err := put(ctx, http.DefaultClient, proxy.URL+"/v1/a"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that the caller gave up", err)
	}
	if n := s.applied.Load(); n != 1 {
		t.Errorf("%d calls were applied, want the first alone", n)
	}
}

// A server that is away looks so through the proxy, and not like a proxy that is there.
func TestServerAway(t *testing.T) {
	server := httptest.NewServer(&target{})
	proxy := faultproxy.New(t, server.URL)
	server.Close()
	if a, err := put(t.Context(), http.DefaultClient, proxy.URL+"/v1/a"); !errors.Is(err, io.EOF) {
		t.Errorf("%+v, %v, want no answer", a, err)
	}
}

func TestTLS(t *testing.T) {
	s := &target{}
	server := httptest.NewTLSServer(s)
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	if err := os.WriteFile(ca, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	proxy := faultproxy.NewTLS(t, server.URL, ca)
	trusted, err := os.ReadFile(proxy.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(trusted)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()

	proxy.Next(1, "*", faultplan.Lost())
	if a, err := put(t.Context(), client, proxy.URL+"/v1/a"); !errors.Is(err, io.EOF) {
		t.Errorf("%+v, %v, want no answer", a, err)
	}
	if a, err := put(t.Context(), client, proxy.URL+"/v1/a"); err != nil || a.body != "hello" {
		t.Errorf("%+v, %v", a, err)
	}
	if n := s.applied.Load(); n != 2 {
		t.Errorf("%d calls were applied, want 2", n)
	}
}
