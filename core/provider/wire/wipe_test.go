package wire_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
	providerv1 "github.com/keyrotor/keyrotor/core/provider/wire/keyrotor/provider/v1"
)

func TestPlaintextsAreWipedInThePlugin(t *testing.T) {
	opened, generated := bytes.Repeat([]byte{6}, provider.RootSize), bytes.Repeat([]byte{7}, provider.RootSize)
	var roots []provider.Secret
	m := &manager{
		on: func(_ context.Context, call string, req any) error {
			if call == "Wrap" {
				for _, item := range req.([]provider.WrapItem) {
					roots = append(roots, item.Plaintext)
				}
			}
			return nil
		},
		answer: func(call string) any {
			switch call {
			case "Unwrap":
				return []provider.UnwrapResult{{Plaintext: provider.NewSecret(opened)}}
			case "GenerateDataKey":
				g := generateResponse()
				g.Plaintext = provider.NewSecret(generated)
				return g
			}
			return nil
		},
	}
	server := wire.NewServer(fullInfo(), provider.Schema{}, always(m), nil)
	conn, grpcServer := serve(t, func(g *grpc.Server) { server.Register(g) }, server.Options()...)
	defer server.Close()
	client := wire.NewClient(conn)
	if err := client.Configure(t.Context(), "one", provider.Body{}); err != nil {
		t.Fatal(err)
	}
	instance := client.Instance("one")
	items := wrapItems()
	if _, err := instance.Wrap(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	unwrapped, err := instance.Unwrap(t.Context(), unwrapItems()[:1])
	if err != nil {
		t.Fatal(err)
	}
	dataKey, err := instance.GenerateDataKey(t.Context(), provider.GenerateDataKeyRequest{})
	if err != nil {
		t.Fatal(err)
	}
	grpcServer.GracefulStop() // Every handler, and what runs after it, has ended now.
	for i, root := range roots {
		if root.Len() != 0 {
			t.Errorf("root %d lives on in the plugin", i)
		}
	}
	if !bytes.Equal(opened, make([]byte, len(opened))) || !bytes.Equal(generated, make([]byte, len(generated))) {
		t.Error("an answered plaintext lives on in the plugin")
	}
	if string(items[0].Plaintext.Reveal()) != "first root" || !bytes.Equal(unwrapped[0].Plaintext.Reveal(), bytes.Repeat([]byte{6}, provider.RootSize)) ||
		!bytes.Equal(dataKey.Plaintext.Reveal(), bytes.Repeat([]byte{7}, provider.RootSize)) {
		t.Error("the host's own secrets were wiped or altered")
	}
}

// TestWhatIsNotAnsweredIsWipedInThePlugin has plaintexts beside an error, and in an
// answer that is too large to be sent.
func TestWhatIsNotAnsweredIsWipedInThePlugin(t *testing.T) {
	root := func() []byte { return bytes.Repeat([]byte{7}, provider.RootSize) }
	ofItem, ofCall, ofGenerate, unsent := root(), root(), root(), root()
	var answer any
	m := &talkative{KeyManager: &manager{answer: func(string) any { return answer }}}
	server := wire.NewServer(fullInfo(), provider.Schema{}, always(m), nil)
	conn, grpcServer := serve(t, func(g *grpc.Server) { server.Register(g) }, server.Options()...)
	defer server.Close()
	client := wire.NewClient(conn)
	if err := client.Configure(t.Context(), "one", provider.Body{}); err != nil {
		t.Fatal(err)
	}
	instance := client.Instance("one")

	answer = []provider.UnwrapResult{{Plaintext: provider.NewSecret(ofItem), Err: provider.Integrity}}
	if got, err := instance.Unwrap(t.Context(), unwrapItems()[:1]); err != nil || !errors.Is(got[0].Err, provider.Integrity) {
		t.Errorf("item: %v, %v", got, err)
	}
	answer = []provider.UnwrapResult{
		{Plaintext: provider.NewSecret(unsent)},
		{Plaintext: provider.NewSecret(make([]byte, wire.MaxMessage))},
	}
	if _, err := instance.Unwrap(t.Context(), unwrapItems()); !errors.Is(err, provider.LimitExceeded) {
		t.Errorf("too large: %v", err)
	}
	m.err = provider.Denied
	answer = []provider.UnwrapResult{{Plaintext: provider.NewSecret(ofCall)}}
	if _, err := instance.Unwrap(t.Context(), unwrapItems()[:1]); !errors.Is(err, provider.Denied) {
		t.Errorf("call: %v", err)
	}
	g := generateResponse()
	g.Plaintext = provider.NewSecret(ofGenerate)
	answer = g
	if _, err := instance.GenerateDataKey(t.Context(), provider.GenerateDataKeyRequest{}); !errors.Is(err, provider.Denied) {
		t.Errorf("generate: %v", err)
	}
	grpcServer.GracefulStop()
	for what, b := range map[string][]byte{"item": ofItem, "call": ofCall, "generate": ofGenerate, "unsent": unsent} {
		if !bytes.Equal(b, make([]byte, provider.RootSize)) {
			t.Errorf("%s: the plaintext lives on in the plugin", what)
		}
	}
}

// talkative answers a plaintext even where it fails.
type talkative struct {
	provider.KeyManager
	err error
}

func (m *talkative) Unwrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.UnwrapResult, error) {
	results, _ := m.KeyManager.Unwrap(ctx, items)
	return results, m.err
}

func (m *talkative) GenerateDataKey(ctx context.Context, req provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
	resp, _ := m.KeyManager.GenerateDataKey(ctx, req)
	return resp, m.err
}

func TestARefusedAnswerIsWiped(t *testing.T) {
	root := bytes.Repeat([]byte{9}, provider.RootSize)
	opened := []byte("opened")
	conn := retaining{func(reply any) {
		switch r := reply.(type) {
		case *providerv1.GenerateDataKeyResponse:
			r.Plaintext = root
		case *providerv1.UnwrapResponse:
			r.Results = []*providerv1.UnwrapResponse_Result{{Outcome: &providerv1.UnwrapResponse_Result_Unwrapped{
				Unwrapped: &providerv1.UnwrapResponse_Unwrapped{Plaintext: opened},
			}}}
		}
	}}
	instance := wire.NewClient(conn).Instance("one")
	_, generateErr := instance.GenerateDataKey(t.Context(), provider.GenerateDataKeyRequest{})
	_, unwrapErr := instance.Unwrap(t.Context(), unwrapItems())
	if generateErr == nil || unwrapErr == nil {
		t.Fatal("the answers were accepted")
	}
	if !bytes.Equal(root, make([]byte, provider.RootSize)) || !bytes.Equal(opened, make([]byte, len(opened))) {
		t.Errorf("plaintexts live on: %x %q", root, opened)
	}
}

// retaining answers messages whose buffers the test keeps.
type retaining struct{ fill func(reply any) }

func (r retaining) Invoke(_ context.Context, _ string, _, reply any, _ ...grpc.CallOption) error {
	r.fill(reply)
	return nil
}

func (retaining) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.New("the contract has no streams")
}
