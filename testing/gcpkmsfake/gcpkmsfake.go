// Package gcpkmsfake is a Cloud KMS for tests: the published gRPC service, on a loopback
// address, with the behaviour that Google documents and a provider could trip over. Each
// rule names the page that it comes from. What is not documented is refused, so that no
// test comes to rely on it.
//
// Its keys are real ones: AES-256-GCM, one a version. Ciphertexts do not say which version
// made them, as the service's do not to anybody outside.
package gcpkmsfake

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/keyrotor/keyrotor/testing/faultplan"
)

// Options are what a test can have otherwise than by default.
type Options struct {
	// TLS has it speak TLS, with the certificate in Server.CAFile. It needs a test.
	TLS bool
	// Authorize judges the token of each call, which is "" if there is none; it answers
	// what the token lacks. Without it all calls are authenticated.
	Authorize func(token string) error
	// Now is time.Now if nil.
	Now func() time.Time
	// LaggingEncrypts is how many Encrypts that name no version still use the former
	// primary after it changed, and LaggingReads how many GetCryptoKeys still show it:
	// https://cloud.google.com/kms/docs/consistency
	LaggingEncrypts, LaggingReads int
	// GenerationReads is how many reads of a new version show it as PENDING_GENERATION. By
	// default it is enabled at once:
	// https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys.cryptoKeyVersions#cryptokeyversionstate
	GenerationReads int
	// WriteQuota is how many writes a minute are let through; without it all are:
	// https://cloud.google.com/kms/quotas
	WriteQuota int
	// RequireChecksums has it refuse a root, an AAD or a ciphertext without a CRC32C. The
	// service does not: a test sees so whether each is sent.
	RequireChecksums bool
}

// Server is a running fake. The embedded plan says which calls go wrong; their names are
// full methods, such as "/google.cloud.kms.v1.KeyManagementService/Encrypt".
type Server struct {
	faultplan.Plan
	// Endpoint is where it listens.
	Endpoint string
	// CAFile has the certificate to trust, with TLS.
	CAFile string

	options  Options
	server   *grpc.Server
	listener *listener
	serving  sync.WaitGroup

	mu       sync.Mutex
	rings    map[string]*kmspb.KeyRing
	keys     map[string]*cryptoKey
	writes   []time.Time
	granted  map[string]bool // nil for all
	instance []byte          // makes the fake's ciphertexts its own
}

// New starts a fake, until the test ends.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	var secure []grpc.ServerOption
	caFile := ""
	if o.TLS {
		cert, pemBytes := certificate(t)
		caFile = filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(caFile, pemBytes, 0o600); err != nil {
			t.Fatal(err)
		}
		secure = append(secure, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	}
	s, err := Start("127.0.0.1:0", o, secure...)
	if err != nil {
		t.Fatal(err)
	}
	s.CAFile = caFile
	t.Cleanup(s.Stop)
	return s
}

// Start runs a fake without a test, until Stop.
func Start(address string, o Options, options ...grpc.ServerOption) (*Server, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	s := &Server{
		Endpoint: tcp.Addr().String(), options: o, listener: newListener(tcp),
		rings: map[string]*kmspb.KeyRing{}, keys: map[string]*cryptoKey{}, instance: randomBytes(8),
	}
	s.server = grpc.NewServer(append(options, grpc.UnaryInterceptor(s.intercept))...)
	kmspb.RegisterKeyManagementServiceServer(s.server, service{Server: s})
	s.serving.Go(func() { _ = s.server.Serve(s.listener) })
	return s, nil
}

// Stop ends it, and what is under way.
func (s *Server) Stop() {
	s.server.Stop()
	s.serving.Wait()
}

// AddKeyRing makes a key ring: an administrator's work, which no provider does.
func (s *Server) AddKeyRing(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rings[name] = &kmspb.KeyRing{Name: name, CreateTime: timestamppb.New(s.options.Now())}
}

// Grant leaves callers these permissions and no others, such as "cloudkms.cryptoKeys.get".
func (s *Server) Grant(permissions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.granted = map[string]bool{}
	for _, p := range permissions {
		s.granted[p] = true
	}
}

// SetOptions changes what the fake is like from now on, but for TLS.
func (s *Server) SetOptions(change func(*Options)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.options)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, says crypto/rand
	return b
}

// listener remembers connections, so that one of them can be cut.
type listener struct {
	net.Listener

	mu    sync.Mutex
	conns map[string]net.Conn
}

func newListener(l net.Listener) *listener {
	return &listener{Listener: l, conns: map[string]net.Conn{}}
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[c.RemoteAddr().String()] = c
	return c, nil
}

// cut breaks the connection from an address.
func (l *listener) cut(from string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c, ok := l.conns[from]; ok {
		_ = c.Close()
		delete(l.conns, from)
	}
}

// certificate makes one for the loopback address, which is its own authority.
func certificate(t testing.TB) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gcpkmsfake"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
