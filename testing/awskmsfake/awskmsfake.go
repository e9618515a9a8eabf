// Package awskmsfake is AWS KMS as its documentation describes it, for tests: the JSON 1.1
// protocol over HTTP, signatures checked, key material that rotates, aliases, tags,
// quotas, and enough of AWS STS to assume a role. Nothing else on a developer's machine
// shows what a provider must cope with: rotations in the background, 25 of them a key,
// throttling, moved aliases, denied calls.
//
// Each rule names the page that it comes from: the API reference
// (https://docs.aws.amazon.com/kms/latest/APIReference/) as API_X, the developer's guide
// (https://docs.aws.amazon.com/kms/latest/developerguide/) by the page's name.
//
// What goes wrong on the way is said with package faultplan; calls are named as AWS's
// header X-Amz-Target does, "TrentService.Encrypt", and "STS.AssumeRole".
package awskmsfake

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/testing/faultplan"
)

// The account and the region of keys, unless a test names others.
const (
	Account = "111122223333"
	Region  = "eu-west-1"
)

// Config sets what differs from the zero value's AWS: an immediate one, without quotas.
type Config struct {
	// Now is the clock of keys, quotas and a role's credentials; time.Now without it. Signatures
	// are compared with the time of this machine, which is the SDK's too.
	Now func() time.Time
	// RotationTakes is how long a rotation on demand stays in progress.
	RotationTakes time.Duration
	// Quotas are requests a second by class, see [PublishedQuotas]; what has none is
	// not throttled.
	Quotas map[string]int
}

// Server is one AWS: all its regions behind one address. The region of a call is the one
// that it is signed for.
type Server struct {
	faultplan.Plan
	// URL is where it listens, for KMS and STS.
	URL string

	config Config

	mu         sync.Mutex
	keys       map[place]*key
	aliases    map[place]*alias
	principals map[string]*principal // by access key
	roles      map[string]*Role      // by ARN
	spent      map[string]spent      // by class
	serial     int
}

// place is a name in a region.
type place struct{ region, name string }

// New answers a server that is not listening yet; it is an [http.Handler].
func New(c Config) *Server {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Server{
		config: c, keys: map[place]*key{}, aliases: map[place]*alias{}, principals: map[string]*principal{},
		roles: map[string]*Role{}, spent: map[string]spent{},
	}
}

// Start answers a server that listens on the loopback interface until the test ends.
func Start(t testing.TB, c Config) *Server {
	t.Helper()
	s := New(c)
	server := httptest.NewServer(s)
	s.URL = server.URL
	t.Cleanup(func() {
		server.CloseClientConnections() // a plugin may still wait
		server.Close()
	})
	return s
}

// Listen serves outside of a test, until the listener is closed.
func (s *Server) Listen(l net.Listener) error {
	s.URL = "http://" + l.Addr().String()
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	return server.Serve(l)
}

// next numbers what needs a name of its own.
func (s *Server) next() int {
	s.serial++
	return s.serial
}

// apiError is an error in the words of AWS.
type apiError struct {
	code    string
	status  int
	message string
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

// refuse is an error of the caller, which KMS answers with 400 (page: CommonErrors).
func refuse(code, format string, args ...any) *apiError {
	return &apiError{code: code, status: http.StatusBadRequest, message: fmt.Sprintf(format, args...)}
}
