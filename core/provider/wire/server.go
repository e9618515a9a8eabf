package wire

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/keyrotor/keyrotor/core/provider"
	providerv1 "github.com/keyrotor/keyrotor/core/provider/wire/keyrotor/provider/v1"
)

// Server puts an author's provider on the wire. It keeps the configured
// instances, tells them apart by the id that the host chose, and stands between
// the wire and the author's code: it refuses what the provider cannot do,
// recovers panics and makes every error one of the closed set.
type Server struct {
	info   provider.Info
	schema provider.Schema
	build  provider.New
	log    hclog.Logger
	// digestKey makes digests of configurations worthless to whoever reads memory.
	digestKey []byte

	mu       sync.Mutex
	closed   bool
	running  map[string]*instance
	retiring sync.WaitGroup
}

// instance is one configured KeyManager. A new configuration makes a new
// instance; the calls that still run on the old one finish there.
type instance struct {
	manager provider.KeyManager
	digest  []byte
	calls   sync.WaitGroup
}

// NewServer serves one plugin. Nothing is built before the host configures an
// instance. A nil log discards.
func NewServer(info provider.Info, schema provider.Schema, build provider.New, log hclog.Logger) *Server {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // It never fails: the runtime aborts instead.
	return &Server{
		info: info, schema: schema, build: build, log: log, digestKey: key,
		running: make(map[string]*instance),
	}
}

// Register puts both services on a gRPC server, which should be made with
// [Server.Options].
func (s *Server) Register(r grpc.ServiceRegistrar) {
	r.RegisterService(s.guardService(providerv1.PluginService_ServiceDesc), pluginService{server: s})
	r.RegisterService(s.guardService(providerv1.KeyManagerService_ServiceDesc), keyManagerService{server: s})
}

// Options are what the gRPC server needs beside the services: the message
// limits, and a hook that wipes plaintexts once they are sent.
func (s *Server) Options() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxSendMsgSize(MaxMessage),
		grpc.StatsHandler(wiper{}),
	}
}

// Close closes every instance after the calls that run on it, and refuses what
// comes later. Closing twice succeeds.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for id := range s.running {
		s.retire(id)
	}
	s.mu.Unlock()
	s.retiring.Wait()
}

// acquire finds an instance and keeps it open until the caller is done with it
// and says so with calls.Done.
func (s *Server) acquire(id string) (*instance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.running[id]
	if !ok {
		return nil, provider.Errorf(provider.NotFoundInstance, "the plugin has no instance %q; it must be configured first", id)
	}
	i.calls.Add(1)
	return i, nil
}

// configure builds an instance first and swaps it in only then, so that a
// configuration that fails leaves the old one at work.
func (s *Server) configure(ctx context.Context, id string, body *providerv1.Body) error {
	if id == "" {
		return provider.Errorf(provider.InvalidArgument, "Configure needs an instance id")
	}
	digest, err := s.digest(body)
	if err != nil {
		return err
	}
	if s.runs(id, digest) {
		return nil
	}
	checked, err := fromBody("", s.schema, body)
	if err != nil {
		return err
	}
	manager, err := s.build(ctx, provider.Config{Instance: id, Body: checked})
	if err != nil {
		return err
	}
	if manager == nil {
		return provider.Errorf(provider.Internal, "the provider's constructor answered neither a key manager nor an error")
	}
	return s.install(ctx, id, &instance{manager: manager, digest: digest})
}

// install makes next the instance of this id, unless the host has gone by now:
// for the host a call that ends in an error changed nothing.
func (s *Server) install(ctx context.Context, id string, next *instance) error {
	s.mu.Lock()
	err := ctx.Err()
	if s.closed {
		err = provider.Errorf(provider.Unavailable, "the plugin is shutting down")
	}
	if err == nil {
		s.retire(id)
		s.running[id] = next
	}
	s.mu.Unlock()
	if err != nil {
		_ = s.closeManager(id, next.manager)
	}
	return err
}

// release ends an instance; unknown ones have ended already. It waits for the
// instance's calls as long as ctx allows.
func (s *Server) release(ctx context.Context, id string) error {
	s.mu.Lock()
	closed := s.retire(id)
	s.mu.Unlock()
	select {
	case err := <-closed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retire takes an instance out of use and closes it once its last call ends. The
// caller holds mu, so no call can start on the instance any more. The channel
// answers how closing went.
func (s *Server) retire(id string) <-chan error {
	closed := make(chan error, 1)
	old, ok := s.running[id]
	if !ok {
		closed <- nil
		return closed
	}
	delete(s.running, id)
	s.retiring.Go(func() {
		old.calls.Wait()
		closed <- s.closeManager(id, old.manager)
	})
	return closed
}

// closeManager runs outside any gRPC call, where a panic would end the process.
func (s *Server) closeManager(id string, manager provider.KeyManager) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = s.panicked("Close", r)
		}
		if err != nil {
			s.log.Warn("closing an instance failed", "instance", id, "error", err)
		}
	}()
	return manager.Close()
}

func (s *Server) runs(id string, digest []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.running[id]
	return ok && hmac.Equal(i.digest, digest)
}

// digest tells two configurations apart without keeping their secrets.
func (s *Server) digest(body *providerv1.Body) ([]byte, error) {
	plain, err := proto.MarshalOptions{Deterministic: true}.Marshal(body)
	if err != nil {
		return nil, provider.Errorf(provider.Internal, "encoding the configuration: %w", err)
	}
	defer clear(plain)
	mac := hmac.New(sha256.New, s.digestKey)
	_, _ = mac.Write(plain) // A hash never fails.
	return mac.Sum(nil), nil
}
