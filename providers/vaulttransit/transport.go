package vaulttransit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/keyrotor/keyrotor/providers/wipingbody"
)

const dialTimeout = 5 * time.Second

// tlsFiles are what a TLS connection to Vault is made with.
type tlsFiles struct {
	caFile, caPath    string
	certFile, keyFile string
	serverName        string
}

func (f tlsFiles) validate() error {
	switch {
	case f.certFile != "" && f.keyFile == "":
		return configError(attrClientKeyFile, "it is missing, and %s is set: a certificate needs its key", attrClientCertFile)
	case f.certFile == "" && f.keyFile != "":
		return configError(attrClientCertFile, "it is missing, and %s is set: a key needs its certificate", attrClientKeyFile)
	default:
		return nil
	}
}

// stamp changes when one of the files does. A file that cannot be looked at has a stamp,
// too: reading it says what is wrong.
func (f tlsFiles) stamp() string {
	var out strings.Builder
	for _, path := range append(f.caFiles(), f.certFile, f.keyFile) {
		out.WriteString(stampOf(path))
	}
	return out.String()
}

// stampOf tells a file from what stood there before, links followed.
func stampOf(path string) string {
	if path == "" {
		return "-\n"
	}
	info, err := os.Stat(path)
	if err != nil {
		return "?\n"
	}
	return fmt.Sprintf("%s %d %d\n", path, info.Size(), info.ModTime().UnixNano())
}

func (f tlsFiles) caFiles() []string {
	var files []string
	if f.caFile != "" {
		files = append(files, f.caFile)
	}
	entries, _ := os.ReadDir(f.caPath) // load says what is wrong
	for _, e := range entries {
		// Folders that Kubernetes mounts hold the real files in others that begin so.
		if path := filepath.Join(f.caPath, e.Name()); !strings.HasPrefix(e.Name(), "..") {
			files = append(files, path)
		}
	}
	return files
}

// load reads the files.
func (f tlsFiles) load() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: f.serverName}
	var err error
	if cfg.RootCAs, err = f.authorities(); err != nil {
		return nil, err
	}
	if f.certFile == "" {
		return cfg, nil
	}
	cert, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
	if err != nil {
		return nil, configError(attrClientCertFile, "cannot read the client's certificate and its key: %w", err)
	}
	// Sent whatever authorities the server lists: those of Vault's auth method are its own.
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	return cfg, nil
}

// authorities answers nil for the system's.
func (f tlsFiles) authorities() (*x509.CertPool, error) {
	if f.caFile == "" && f.caPath == "" {
		return nil, nil
	}
	pool, found := x509.NewCertPool(), false
	for _, path := range f.caFiles() {
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, configError(f.caAttribute(), "cannot read the certificates: %w", err)
		}
		ok := pool.AppendCertsFromPEM(pem)
		if !ok && path == f.caFile {
			return nil, configError(attrCAFile, "%s holds no PEM certificate", path)
		}
		found = found || ok
	}
	if !found {
		return nil, configError(attrCAPath, "%s holds no file with a PEM certificate", f.caPath)
	}
	return pool, nil
}

// caAttribute is where an error about the authorities points to.
func (f tlsFiles) caAttribute() string {
	if f.caFile == "" && f.caPath != "" {
		return attrCAPath
	}
	return attrCAFile
}

// transport makes requests with the TLS files as they are now, and ends what is under way
// when the instance closes. It also sees to it that no body outlives its request.
type transport struct {
	files tlsFiles
	life  context.Context //nolint:containedctx // the instance's own, which no request has

	mu      sync.Mutex
	stamp   string
	current *http.Transport
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := wipingbody.Take(req)
	if err != nil {
		return nil, err
	}
	next, err := t.connections()
	if err != nil {
		_ = body.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(req.Context())
	stop := context.AfterFunc(t.life, cancel)
	end := func() {
		stop()
		cancel()
	}
	out := req.Clone(ctx)
	out.Body, out.GetBody = body, nil
	resp, err := next.RoundTrip(out)
	if err != nil {
		end()
		return nil, err
	}
	resp.Body = &endingBody{resp.Body, end}
	return resp, nil
}

// connections answers the pool of connections for the files of now.
func (t *transport) connections() (*http.Transport, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	stamp := t.files.stamp()
	if t.current != nil && stamp == t.stamp {
		return t.current, nil
	}
	cfg, err := t.files.load()
	if err != nil {
		return nil, err
	}
	if t.current != nil {
		t.current.CloseIdleConnections()
	}
	t.stamp = stamp
	t.current = &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     cfg,
		TLSHandshakeTimeout: dialTimeout,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true, // an unpacked copy of a secret is one more to wipe
	}
	return t.current, nil
}

// close lets idle connections go.
func (t *transport) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != nil {
		t.current.CloseIdleConnections()
	}
}

// endingBody releases what a request held once its answer was read.
type endingBody struct {
	io.ReadCloser
	end func()
}

func (b *endingBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}
