package wire_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a gRPC server in memory and answers a connection to it. Stopping
// the server waits for its handlers.
func serve(t *testing.T, register func(*grpc.Server), opts ...grpc.ServerOption) (*grpc.ClientConn, *grpc.Server) {
	t.Helper()
	listener := bufconn.Listen(1 << 16)
	server := grpc.NewServer(append(opts, grpc.WaitForHandlers(true))...)
	register(server)
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(listener) })
	conn, err := grpc.NewClient("passthrough:///memory",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		running.Wait()
	})
	return conn, server
}

// connect serves s and answers a client of it.
func connect(t *testing.T, s *wire.Server) *wire.Client {
	t.Helper()
	conn, _ := serve(t, func(g *grpc.Server) { s.Register(g) }, s.Options()...)
	t.Cleanup(s.Close)
	return wire.NewClient(conn)
}

// start configures the instance "one" of a plugin whose every instance is m.
func start(t *testing.T, m provider.KeyManager) *wire.Instance {
	t.Helper()
	client := connect(t, wire.NewServer(fullInfo(), provider.Schema{}, always(m), nil))
	if err := client.Configure(t.Context(), "one", provider.Body{}); err != nil {
		t.Fatal(err)
	}
	return client.Instance("one")
}

func always(m provider.KeyManager) provider.New {
	return func(context.Context, provider.Config) (provider.KeyManager, error) { return m, nil }
}

// manager answers the samples of this file. on sees each request first and can
// fail the call; nil lets everything pass.
type manager struct {
	on     func(ctx context.Context, call string, req any) error
	answer func(call string) any
	close  func() error
}

// call lets on see the request, then answers what answer says, or the sample.
func call[T any](ctx context.Context, m *manager, name string, req any, sample T) (T, error) {
	var none T
	if m.on != nil {
		if err := m.on(ctx, name, req); err != nil {
			return none, err
		}
	}
	if m.answer != nil {
		if other, ok := m.answer(name).(T); ok {
			return other, nil
		}
	}
	return sample, nil
}

func (m *manager) Check(ctx context.Context, req provider.CheckRequest) (provider.CheckResponse, error) {
	return call(ctx, m, "Check", req, checkResponse())
}

func (m *manager) DescribeKey(ctx context.Context) (provider.DescribeKeyResponse, error) {
	return call(ctx, m, "DescribeKey", nil, describeResponse())
}

func (m *manager) GenerateDataKey(ctx context.Context, req provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
	return call(ctx, m, "GenerateDataKey", req, generateResponse())
}

func (m *manager) Wrap(ctx context.Context, items []provider.WrapItem) ([]provider.WrapResult, error) {
	return call(ctx, m, "Wrap", items, wrapResults("wrap"))
}

func (m *manager) Unwrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.UnwrapResult, error) {
	return call(ctx, m, "Unwrap", items, unwrapResults())
}

func (m *manager) Rewrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.WrapResult, error) {
	return call(ctx, m, "Rewrap", items, wrapResults("rewrap"))
}

func (m *manager) RotateKey(ctx context.Context, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
	return call(ctx, m, "RotateKey", req, rotateResponse())
}

func (m *manager) WriteMirror(ctx context.Context, req provider.WriteMirrorRequest) (provider.WriteMirrorResponse, error) {
	head := mirrorHead(30)
	return call(ctx, m, "WriteMirror", req, provider.WriteMirrorResponse{Head: &head})
}

func (m *manager) ReadMirror(ctx context.Context, req provider.ReadMirrorRequest) (provider.ReadMirrorResponse, error) {
	return call(ctx, m, "ReadMirror", req, readMirrorResponse())
}

func (m *manager) CreateKey(ctx context.Context, req provider.CreateKeyRequest) (provider.CreateKeyResponse, error) {
	return call(ctx, m, "CreateKey", req, provider.CreateKeyResponse{KEKID: "created-kek", Version: "created-version"})
}

func (m *manager) SetVersionState(ctx context.Context, req provider.SetVersionStateRequest) error {
	_, err := call(ctx, m, "SetVersionState", req, struct{}{})
	return err
}

func (m *manager) Close() error {
	if m.close == nil {
		return nil
	}
	return m.close()
}

// plainManager hides the optional interfaces of a manager.
type plainManager struct{ provider.KeyManager }

func fullInfo() provider.Info {
	return provider.Info{
		Name: "in-memory-7", Version: "1.2.3-test", ProtocolMinor: 42,
		Capabilities: provider.Capabilities{
			provider.CanBatch, provider.CanSetVersionState, provider.CanCreateKey, provider.CanMirror,
			provider.CanRotateKey, provider.CanNativeRewrap, provider.CanGenerateDataKey,
		},
	}
}

func checkResponse() provider.CheckResponse {
	return provider.CheckResponse{Identity: "who", Account: "where", Latency: 1234567 * time.Nanosecond}
}

func describeResponse() provider.DescribeKeyResponse {
	return provider.DescribeKeyResponse{
		KEKID: "described-kek", State: provider.KeyPendingDestruction, Algorithm: "aes256-gcm96", PrimaryVersion: "12",
		Versions: []provider.KeyVersion{
			{Version: "10", State: provider.KeyDestroyed},
			{Version: "11", State: provider.KeyDisabled, Created: time.Date(2024, 2, 29, 1, 2, 3, 4, time.UTC)},
			{Version: "12", State: provider.KeyEnabled, Created: time.Unix(0, 0).UTC()},
		},
		IgnoresAAD: true,
	}
}

func generateResponse() provider.GenerateDataKeyResponse {
	return provider.GenerateDataKeyResponse{
		Wrapped:   provider.Wrapped{KEKID: "generated-kek", KEKVersion: "generated-version", Blob: []byte("generated-blob")},
		Plaintext: provider.NewSecret(bytes.Repeat([]byte{0xA5}, provider.RootSize)),
	}
}

func rotateResponse() provider.RotateKeyResponse {
	return provider.RotateKeyResponse{OldVersion: "seen", NewVersion: "new"}
}

// wrapResults are for the two items of each batch in these tests.
func wrapResults(prefix string) []provider.WrapResult {
	return []provider.WrapResult{
		{Err: &provider.Error{Code: provider.Throttled, Message: prefix + "-slow", RetryAfter: 3 * time.Second}},
		{Wrapped: provider.Wrapped{KEKID: prefix + "-kek", KEKVersion: prefix + "-version", Blob: []byte(prefix + "-blob")}},
	}
}

func unwrapResults() []provider.UnwrapResult {
	return []provider.UnwrapResult{
		{Plaintext: provider.NewSecret(bytes.Repeat([]byte{0x5A}, provider.RootSize)), KEKID: "kek-1", KEKVersion: "opened-version"},
		{Err: &provider.Error{Code: provider.Integrity, Message: "another AAD"}},
	}
}

func wrapItems() []provider.WrapItem {
	return []provider.WrapItem{
		{Plaintext: provider.NewSecret([]byte("first root")), AAD: []byte("first aad")},
		{Plaintext: provider.NewSecret([]byte("second root")), AAD: []byte("second aad")},
	}
}

func unwrapItems() []provider.UnwrapItem {
	return []provider.UnwrapItem{
		{Wrapped: provider.Wrapped{KEKID: "kek-1", KEKVersion: "version-1", Blob: []byte("blob-1")}, AAD: []byte("aad-1")},
		{Wrapped: provider.Wrapped{KEKID: "kek-2", KEKVersion: "version-2", Blob: []byte("blob-2")}, AAD: []byte("aad-2")},
	}
}

func mirrorHead(seed byte) provider.MirrorHead {
	return provider.MirrorHead{
		Seq: uint64(seed), Root: [32]byte{seed, 1}, Time: time.Unix(int64(seed), 5).UTC(), EventType: "rotation",
		Signer: [4]byte{seed, 2}, Signature: bytes.Repeat([]byte{seed + 3}, 64),
	}
}

func mirrorEvent(seed byte) provider.MirrorEvent {
	return provider.MirrorEvent{
		Seq: uint64(seed), KeyID: [16]byte{seed, 4}, Type: "creation", Time: time.Unix(int64(seed), 6).UTC(),
		MaterialID: "material", Leaf: [32]byte{seed, 7}, OperationID: "operation", Event: []byte{seed, 8},
	}
}

func writeMirrorRequest() provider.WriteMirrorRequest {
	return provider.WriteMirrorRequest{
		StoreID: [16]byte{9, 9}, Head: mirrorHead(20), RequestID: "write-request",
		Events: []provider.MirrorEvent{mirrorEvent(19), mirrorEvent(20)},
	}
}

func readMirrorResponse() provider.ReadMirrorResponse {
	head := mirrorHead(40)
	return provider.ReadMirrorResponse{
		Head: &head, Events: []provider.MirrorEvent{mirrorEvent(39), mirrorEvent(40)}, WriteOnly: true,
	}
}

// providerError asserts that err is a provider.Error and answers it.
func providerError(t *testing.T, err error) *provider.Error {
	t.Helper()
	e, ok := errors.AsType[*provider.Error](err)
	if !ok {
		t.Fatalf("error is %T %v, want a *provider.Error", err, err)
	}
	return e
}
