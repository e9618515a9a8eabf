package vaulttransit

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

// testCertificate writes a self-signed pair for 127.0.0.1 and answers the two files.
func testCertificate(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"vault.internal"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, b := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// serveTLS serves with a certificate of its own.
func serveTLS(t *testing.T, h http.Handler, change func(*tls.Config)) (address, certFile string) {
	t.Helper()
	certFile, keyFile := testCertificate(t, t.TempDir())
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(h)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if change != nil {
		change(server.TLS)
	}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // refusing is what some tests are for
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL, certFile
}

func TestTLS(t *testing.T) {
	address, ca := serveTLS(t, newScript(), nil)
	_, other := serveTLS(t, newScript(), nil)
	plain := httptest.NewServer(newScript())
	t.Cleanup(plain.Close)
	asking, askingCA := serveTLS(t, newScript(), func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert })
	dir := t.TempDir()
	caDir := filepath.Join(dir, "ca")
	if err := os.MkdirAll(filepath.Join(caDir, "..data"), 0o700); err != nil {
		t.Fatal(err)
	}
	copyFile(t, ca, filepath.Join(caDir, "vault.crt"))
	noCert := filepath.Join(dir, "no.crt")
	if err := os.WriteFile(noCert, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key := testCertificate(t, dir)
	for name, c := range map[string]struct {
		address   string
		other     map[string]any
		code      provider.Code
		attribute string
		says      string
	}{
		"the right CA":       {address, map[string]any{"ca_file": ca}, "", "", ""},
		"a folder of CAs":    {address, map[string]any{"ca_path": caDir}, "", "", ""},
		"both":               {address, map[string]any{"ca_path": caDir, "ca_file": other}, "", "", ""},
		"another name":       {address, map[string]any{"ca_file": ca, "tls_server_name": "vault.internal"}, "", "", ""},
		"a certificate":      {asking, map[string]any{"ca_file": askingCA, "client_cert_file": cert, "client_key_file": key}, "", "", ""},
		"no CA":              {address, nil, provider.InvalidConfig, "ca_file", "not signed by an authority"},
		"another CA":         {address, map[string]any{"ca_file": other}, provider.InvalidConfig, "ca_file", "not signed by an authority"},
		"another folder":     {asking, map[string]any{"ca_path": caDir}, provider.InvalidConfig, "ca_path", "not signed by an authority"},
		"no such CA":         {address, map[string]any{"ca_file": "/none"}, provider.InvalidConfig, "ca_file", "/none"},
		"no such folder":     {address, map[string]any{"ca_path": "/none"}, provider.InvalidConfig, "ca_path", "/none"},
		"no CA inside":       {address, map[string]any{"ca_file": noCert}, provider.InvalidConfig, "ca_file", "no PEM certificate"},
		"the wrong name":     {address, map[string]any{"ca_file": ca, "tls_server_name": "vault.test"}, provider.InvalidConfig, "tls_server_name", "another name"},
		"no certificate":     {asking, map[string]any{"ca_file": askingCA}, provider.Unauthenticated, "", "client_cert_file"},
		"no such key":        {asking, map[string]any{"ca_file": askingCA, "client_cert_file": cert, "client_key_file": "/none"}, provider.InvalidConfig, "client_cert_file", "/none"},
		"TLS where none is":  {strings.Replace(plain.URL, "http:", "https:", 1), nil, provider.InvalidConfig, "address", "http://"},
		"nobody there":       {"http://127.0.0.1:1", nil, provider.Unavailable, "", "cannot be reached"},
		"no such host":       {"http://vault.invalid:8200", nil, provider.Unavailable, "", "cannot be reached"},
		"not Vault's answer": {plain.URL + "/elsewhere", nil, provider.InvalidConfig, "auth.mount", ""},
	} {
		err := describe(t.Context(), dial(t, c.address, c.other))
		if c.code == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		wantError(t, name, err, c.code, c.attribute, c.says)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestTLSFilesAreReadAnew: an authority that is replaced needs no restart.
func TestTLSFilesAreReadAnew(t *testing.T) {
	address, ca := serveTLS(t, newScript(), nil)
	_, other := serveTLS(t, newScript(), nil)
	file := filepath.Join(t.TempDir(), "ca.pem")
	copyFile(t, other, file)
	m := dial(t, address, map[string]any{"ca_file": file})
	wantError(t, "before", describe(t.Context(), m), provider.InvalidConfig, "ca_file")
	copyFile(t, ca, file)
	if err := os.Chtimes(file, time.Time{}, time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := describe(t.Context(), m); err != nil {
		t.Errorf("after: %v", err)
	}
}

// TestRedirect: a standby sends its clients to the active node, with all that they said.
func TestRedirect(t *testing.T) {
	s := newScript().on("PUT transit/encrypt/kek", says(200, `{"data":{"batch_results":[{"ciphertext":"vault:v2:YWJj"}]}}`))
	active := httptest.NewServer(s)
	t.Cleanup(active.Close)
	standby := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, active.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	t.Cleanup(standby.Close)
	m := dial(t, standby.URL, nil)
	results, err := m.Wrap(t.Context(), []provider.WrapItem{{Plaintext: root()}})
	if err != nil || results[0].Err != nil {
		t.Fatal(err, results)
	}
	if body, ok := s.body(t, "PUT transit/encrypt/kek").(map[string]any); !ok || body["type"] != noType {
		t.Errorf("the active node gets %v", body)
	}
	loop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	}))
	t.Cleanup(loop.Close)
	wantError(t, "a loop", describe(t.Context(), dial(t, loop.URL, nil)), provider.InvalidConfig, "address", "307")
}

func TestTimeouts(t *testing.T) {
	release := make(chan struct{})
	s := newScript().on(readKey, func(http.ResponseWriter, *http.Request) { <-release })
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	err := describe(t.Context(), dial(t, server.URL, map[string]any{"timeout": "50ms"}))
	wantError(t, "Vault hangs", err, provider.Unavailable, "", "within the 50ms that timeout allows")

	m := dial(t, server.URL, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	wantError(t, "the caller gives up", describe(ctx, m), provider.Unavailable, "", "did not answer in time")
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	s.made()
	wantError(t, "the caller is gone", describe(ctx, m), provider.Unavailable, "")
	wantCalls(t, "the caller is gone", s.made())
}

// TestAnswerIsCut: half an answer is none.
func TestAnswerIsCut(t *testing.T) {
	s := newScript().on(readKey, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(`{"data":`))
	})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	wantError(t, "half", describe(t.Context(), dial(t, server.URL, nil)), provider.Unavailable, "")
}

// TestAnswerWithoutEnd is given up at a bound.
func TestAnswerWithoutEnd(t *testing.T) {
	s := newScript().on(readKey, func(w http.ResponseWriter, r *http.Request) {
		for chunk := make([]byte, 1<<20); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	wantError(t, "no end", describe(t.Context(), dial(t, server.URL, nil)), provider.Unavailable, "", "no end")
}

// TestCloseEndsARenewalUnderWay, of which nobody knows how long Vault would take.
func TestCloseEndsARenewalUnderWay(t *testing.T) {
	renewing := make(chan struct{})
	s := newScript().
		on("PUT auth/approle/login", says(200, `{"auth":{"client_token":"hvs.fresh","lease_duration":2,"renewable":true}}`)).
		on("PUT auth/token/renew-self", func(_ http.ResponseWriter, r *http.Request) {
			close(renewing)
			<-r.Context().Done()
		})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	m := dial(t, server.URL, map[string]any{"timeout": "1h"})
	if err := describe(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	<-renewing
	closed := make(chan error, 1)
	go func() { closed <- m.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("Close waits for the renewal")
	}
}

// spy keeps the buffers that it fills.
type spy struct {
	chunks []string
	seen   [][]byte
}

func (s *spy) Read(p []byte) (int, error) {
	if len(s.chunks) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.chunks[0])
	s.seen = append(s.seen, p[:n])
	s.chunks = s.chunks[1:]
	return n, nil
}

// TestBuffersAreWiped: those that an answer outgrew. Those of requests are package wipingbody's.
func TestBuffersAreWiped(t *testing.T) {
	r := &spy{chunks: []string{strings.Repeat("a", 600), strings.Repeat("b", 425), strings.Repeat("c", 500)}}
	body, err := readBody(r, 0)
	if err != nil || string(body) != strings.Repeat("a", 600)+strings.Repeat("b", 425)+strings.Repeat("c", 500) {
		t.Fatalf("%q, %v", body, err)
	}
	for i, seen := range r.seen[:2] {
		if strings.Trim(string(seen), "\x00") != "" {
			t.Errorf("buffer %d, which was outgrown, holds %.10q…", i, seen)
		}
	}
}
