// Package faultproxy is an HTTP proxy between a plugin and its key manager's
// server. The server stays a real one; what goes wrong on the way to it and back
// is what the test's plan says.
package faultproxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/testing/faultplan"
)

// Proxy passes calls on. Their names in the plan are method and path, such as
// "PUT /v1/transit/encrypt/k"; a query is not part of it.
type Proxy struct {
	faultplan.Plan
	// URL is where it listens.
	URL string
	// CAFile has the certificate to trust at URL, of a proxy with TLS.
	CAFile string
}

// New starts a proxy in front of the server at target, until the test ends.
func New(t testing.TB, target string) *Proxy {
	t.Helper()
	p, server := prepare(t, target, http.DefaultTransport.(*http.Transport).Clone())
	server.Start()
	p.URL = server.URL
	return p
}

// NewTLS is New with TLS on both sides; caFile is what to trust at the target. It
// has no client certificate to show there: a login by one needs the server itself.
func NewTLS(t testing.TB, target, caFile string) *Proxy {
	t.Helper()
	ca, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatalf("%s holds no certificate", caFile)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	p, server := prepare(t, target, transport)
	server.StartTLS()
	p.URL = server.URL
	p.CAFile = filepath.Join(t.TempDir(), "proxy-ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	if err := os.WriteFile(p.CAFile, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func prepare(t testing.TB, target string, transport *http.Transport) (*Proxy, *httptest.Server) {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	transport.Proxy = nil // straight to the target, whatever the environment says
	p := &Proxy{}
	forward := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Header.Del("Accept-Encoding") // a rewrite wants to see plain text
		},
		ModifyResponse: spoil,
		// A server that is away is away for the plugin too.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { cut() },
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.serve(w, r, forward)
	}))
	t.Cleanup(func() {
		server.CloseClientConnections() // a plugin may still wait
		server.Close()
		transport.CloseIdleConnections()
	})
	return p, server
}

// cut breaks the connection without an answer.
func cut() { panic(http.ErrAbortHandler) }

// faultKey is that of the call's fault in its context.
type faultKey struct{}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	// The whole of it first: otherwise a cut could come while the plugin still
	// writes, and look different each time. And a caller who goes away is only
	// noticed once the body was read.
	body, err := io.ReadAll(r.Body)
	if err != nil {
		cut()
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	fault := p.Take(r.Method+" "+r.URL.Path, r.Header.Clone())
	switch fault.Kind {
	case faultplan.None, faultplan.CutAfter, faultplan.WrongAnswer:
	case faultplan.Latency:
		late := time.NewTimer(fault.Delay)
		defer late.Stop()
		select {
		case <-late.C:
		case <-r.Context().Done():
			cut()
		}
	case faultplan.Throttle:
		if fault.Delay > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(fault.Delay.Seconds()))))
		}
		refuse(w, http.StatusTooManyRequests)
		return
	case faultplan.ServerError:
		refuse(w, fault.Status)
		return
	case faultplan.Denied:
		refuse(w, http.StatusForbidden)
		return
	case faultplan.CutBefore:
		cut()
	}
	forward.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), faultKey{}, fault)))
}

// refuse answers in the form of Vault's errors, which others read as text.
func refuse(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":["faultproxy: %s"]}`, http.StatusText(status))
}

// spoil does to an answer what the call's fault says.
func spoil(answer *http.Response) error {
	fault, _ := answer.Request.Context().Value(faultKey{}).(faultplan.Fault)
	switch fault.Kind {
	case faultplan.CutAfter:
		// To the end, so that the server has seen nothing strange.
		_, _ = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		cut()
	case faultplan.WrongAnswer:
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			return err
		}
		answer.Body.Close()
		body = fault.Rewrite(body)
		answer.Body = io.NopCloser(bytes.NewReader(body))
		answer.ContentLength = int64(len(body))
		answer.Header.Set("Content-Length", strconv.Itoa(len(body)))
	default:
	}
	return nil
}
