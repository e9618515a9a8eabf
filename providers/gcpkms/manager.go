package gcpkms

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/keyrotor/keyrotor/core/provider"
)

// manager is one instance.
type manager struct {
	settings
	tokens *tokens // nil if none are sent
	// rotating holds a token while nobody rotates.
	rotating chan struct{}
	life     context.Context //nolint:containedctx // the instance's own, which ends what is under way
	end      context.CancelFunc
	closed   atomic.Bool
	now      func() time.Time

	mu     sync.Mutex
	conn   *grpc.ClientConn
	client *kms.KeyManagementClient
}

var (
	_ provider.KeyManager         = (*manager)(nil)
	_ provider.KeyCreator         = (*manager)(nil)
	_ provider.VersionStateSetter = (*manager)(nil)
)

// newManager takes another transport than HTTP's to Google's token services for a test.
func newManager(s settings, other http.RoundTripper) *manager {
	life, end := context.WithCancel(context.Background())
	m := &manager{settings: s, rotating: make(chan struct{}, 1), life: life, end: end, now: time.Now}
	m.rotating <- struct{}{}
	if !s.plaintext {
		m.tokens = newTokens(&m.settings, other)
	}
	return m
}

// connect answers the client. Making it touches no network; the first call does.
func (m *manager) connect() (*kms.KeyManagementClient, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.client != nil {
		return m.client, nil
	}
	secure := insecure.NewCredentials()
	if !m.plaintext {
		roots, err := m.authorities()
		if err != nil {
			return nil, err
		}
		secure = credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots})
	}
	// A connection of our own: the client's would look for endpoints, certificates and
	// credentials in the environment.
	conn, err := grpc.NewClient("dns:///"+m.endpoint,
		grpc.WithTransportCredentials(secure),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithUserAgent("keyrotor-gcp-kms"),
		// By default it is two minutes until it notices that an outage is over.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}))
	if err != nil {
		return nil, configError(attrEndpoint, "%w", err)
	}
	// The logger would log requests, roots and all, if an environment variable said so.
	client, err := kms.NewKeyManagementClient(m.life, option.WithGRPCConn(conn), option.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		_ = conn.Close()
		return nil, provider.Errorf(provider.Internal, "Cloud KMS's client cannot be set up: %w", err)
	}
	client.CallOptions = &kms.KeyManagementCallOptions{} // no retries
	m.conn, m.client = conn, client
	return client, nil
}

// authorities answers nil for the system's.
func (m *manager) authorities() (*x509.CertPool, error) {
	if m.caFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(m.caFile)
	if err != nil {
		return nil, configError(attrCAFile, "cannot read the certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, configError(attrCAFile, "%s holds no PEM certificate", m.caFile)
	}
	return pool, nil
}

// method is a call of Cloud KMS.
type method struct {
	name       string
	permission string // what a role needs for it
}

// The calls that are made.
var (
	methodGetKey         = method{"GetCryptoKey", "cloudkms.cryptoKeys.get"}
	methodCreateKey      = method{"CreateCryptoKey", "cloudkms.cryptoKeys.create"}
	methodSetPrimary     = method{"UpdateCryptoKeyPrimaryVersion", "cloudkms.cryptoKeys.update"}
	methodGetVersion     = method{"GetCryptoKeyVersion", "cloudkms.cryptoKeyVersions.get"}
	methodListVersions   = method{"ListCryptoKeyVersions", "cloudkms.cryptoKeyVersions.list"}
	methodCreateVersion  = method{"CreateCryptoKeyVersion", "cloudkms.cryptoKeyVersions.create"}
	methodUpdateVersion  = method{"UpdateCryptoKeyVersion", "cloudkms.cryptoKeyVersions.update"}
	methodDestroyVersion = method{"DestroyCryptoKeyVersion", "cloudkms.cryptoKeyVersions.destroy"}
	methodRestoreVersion = method{"RestoreCryptoKeyVersion", "cloudkms.cryptoKeyVersions.restore"}
	methodEncrypt        = method{"Encrypt", "cloudkms.cryptoKeyVersions.useToEncrypt"}
	methodDecrypt        = method{"Decrypt", "cloudkms.cryptoKeyVersions.useToDecrypt"}
)

// call makes one call as the identity of the block. Its errors are of the contract's kind.
func call[T any](ctx context.Context, m *manager, what method, resource string,
	do func(context.Context, *kms.KeyManagementClient) (T, error),
) (T, error) {
	var none T
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	defer context.AfterFunc(m.life, cancel)()
	client, err := m.connect()
	if err != nil {
		return none, err
	}
	if m.tokens != nil {
		headers, err := m.tokens.headers(ctx)
		if err != nil {
			return none, err
		}
		ctx = metadata.AppendToOutgoingContext(ctx, headers...)
	}
	res, err := do(ctx, client)
	if err != nil {
		return none, m.failure(what, resource, err)
	}
	return res, nil
}

// alive refuses what nobody waits for. A call that meets a closed instance was overtaken
// by a new configuration: the host replays that and tries again.
func (m *manager) alive(ctx context.Context) error {
	if m.closed.Load() {
		return provider.Errorf(provider.NotFoundInstance, "the instance for %s is closed", m.key)
	}
	if err := ctx.Err(); err != nil {
		return provider.Errorf(provider.Unavailable, "%w", err)
	}
	return nil
}

// Check reads the key, which tells whether Cloud KMS is there and lets us. A deep one wraps
// and unwraps a root, too. The identity is what the credentials say of themselves: nobody
// is asked.
func (m *manager) Check(ctx context.Context, req provider.CheckRequest) (provider.CheckResponse, error) {
	if err := m.alive(ctx); err != nil {
		return provider.CheckResponse{}, err
	}
	res := provider.CheckResponse{Account: m.key.project}
	if m.tokens != nil {
		if _, err := m.tokens.headers(ctx); err != nil { // its time is not that of a request
			return provider.CheckResponse{}, err
		}
		res.Identity = m.tokens.identity()
	}
	start := m.now()
	_, err := m.readKey(ctx)
	if err == nil && req.Deep {
		err = m.checkWrap(ctx)
	}
	if err != nil {
		return provider.CheckResponse{}, err
	}
	res.Latency = max(0, m.now().Sub(start))
	return res, nil
}

// Close ends what is under way.
func (m *manager) Close() error {
	if m.closed.Swap(true) {
		return nil
	}
	m.end()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn != nil {
		_ = m.conn.Close() // nothing is lost if that fails
	}
	return nil
}
