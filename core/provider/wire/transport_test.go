package wire_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
	providerv1 "github.com/keyrotor/keyrotor/core/provider/wire/keyrotor/provider/v1"
)

func TestMessagesAboveTheLimitDoNotLookLikeThrottling(t *testing.T) {
	m := &manager{answer: func(call string) any {
		if call == "DescribeKey" {
			d := describeResponse()
			d.Algorithm = strings.Repeat("x", wire.MaxMessage)
			return d
		}
		return nil
	}}
	server := wire.NewServer(fullInfo(), provider.Schema{}, always(m), nil)
	conn, _ := serve(t, func(g *grpc.Server) { server.Register(g) }, server.Options()...)
	t.Cleanup(server.Close)
	client := wire.NewClient(conn)
	if err := client.Configure(t.Context(), "one", provider.Body{}); err != nil {
		t.Fatal(err)
	}
	huge := provider.GenerateDataKeyRequest{AAD: make([]byte, wire.MaxMessage)}
	if _, err := client.Instance("one").GenerateDataKey(t.Context(), huge); !errors.Is(err, provider.LimitExceeded) || provider.Transient(err) {
		t.Errorf("a request: %v", err)
	}
	if _, err := client.Instance("one").DescribeKey(t.Context()); !errors.Is(err, provider.LimitExceeded) || provider.Transient(err) {
		t.Errorf("an answer: %v", err)
	}
	// A host in another language may set no limit of its own.
	_, err := providerv1.NewKeyManagerServiceClient(conn).GenerateDataKey(t.Context(), &providerv1.GenerateDataKeyRequest{
		InstanceId: "one", Aad: huge.AAD,
	})
	if !errors.Is(wire.FromStatus(err), provider.LimitExceeded) {
		t.Errorf("a foreign host's request: %v", err)
	}
	largest := provider.GenerateDataKeyRequest{AAD: make([]byte, wire.MaxMessage-100)}
	if _, err := client.Instance("one").GenerateDataKey(t.Context(), largest); err != nil {
		t.Errorf("a request just below the limit: %v", err)
	}
}

func TestTheHostLimitsAnswersByItself(t *testing.T) {
	server := wire.NewServer(fullInfo(), provider.Schema{Doc: strings.Repeat("x", wire.MaxMessage)}, always(&manager{}), nil)
	conn, _ := serve(t, func(g *grpc.Server) { server.Register(g) }) // A plugin that sets no limits.
	if _, err := wire.NewClient(conn).Schema(t.Context()); !errors.Is(err, provider.LimitExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestALostConnectionIsACrash(t *testing.T) {
	lose := map[string]func(*grpc.ClientConn, *grpc.Server){
		"the host closes it": func(c *grpc.ClientConn, _ *grpc.Server) { _ = c.Close() },
		"the plugin ends":    func(_ *grpc.ClientConn, s *grpc.Server) { go s.Stop() },
	}
	for name, lose := range lose {
		t.Run(name, func(t *testing.T) {
			entered := make(chan struct{})
			server := wire.NewServer(fullInfo(), provider.Schema{}, always(&manager{on: func(ctx context.Context, _ string, _ any) error {
				close(entered)
				<-ctx.Done()
				return ctx.Err()
			}}), nil)
			conn, grpcServer := serve(t, func(g *grpc.Server) { server.Register(g) }, server.Options()...)
			client := wire.NewClient(conn)
			if err := client.Configure(t.Context(), "one", provider.Body{}); err != nil {
				t.Fatal(err)
			}
			go func() {
				<-entered
				lose(conn, grpcServer)
			}()
			_, err := client.Instance("one").DescribeKey(t.Context())
			if !errors.Is(err, provider.PluginCrashed) || errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAnOlderPluginLacksACall(t *testing.T) {
	conn, _ := serve(t, func(g *grpc.Server) {
		providerv1.RegisterPluginServiceServer(g, providerv1.UnimplementedPluginServiceServer{})
	})
	client := wire.NewClient(conn)
	if _, err := client.Info(t.Context()); !errors.Is(err, provider.Unsupported) {
		t.Errorf("a call it does not implement: %v", err)
	}
	if _, err := client.Instance("one").DescribeKey(t.Context()); !errors.Is(err, provider.Unsupported) {
		t.Errorf("a service it does not have: %v", err)
	}
}

func TestUnreadableRequestsAreRefused(t *testing.T) {
	server := wire.NewServer(fullInfo(), provider.Schema{}, always(&manager{}), nil)
	conn, _ := serve(t, func(g *grpc.Server) { server.Register(g) }, server.Options()...)
	t.Cleanup(server.Close)
	if err := wire.NewClient(conn).Configure(t.Context(), "one", provider.Body{}); err != nil {
		t.Fatal(err)
	}
	keys := providerv1.NewKeyManagerServiceClient(conn)
	calls := map[string]func() error{
		"a mirror write without a store": func() error {
			_, err := keys.WriteMirror(t.Context(), &providerv1.WriteMirrorRequest{InstanceId: "one"})
			return err
		},
		"a mirror write without a head": func() error {
			_, err := keys.WriteMirror(t.Context(), &providerv1.WriteMirrorRequest{InstanceId: "one", StoreId: make([]byte, 16)})
			return err
		},
		"a mirror read without a store": func() error {
			_, err := keys.ReadMirror(t.Context(), &providerv1.ReadMirrorRequest{InstanceId: "one"})
			return err
		},
		"a version state of no version": func() error {
			_, err := keys.SetVersionState(t.Context(), &providerv1.SetVersionStateRequest{InstanceId: "one", State: 1})
			return err
		},
		"an unknown version state": func() error {
			_, err := keys.SetVersionState(t.Context(), &providerv1.SetVersionStateRequest{InstanceId: "one", Version: "1", State: 50})
			return err
		},
	}
	for name, do := range calls {
		if err := wire.FromStatus(do()); !errors.Is(err, provider.InvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlugin(t *testing.T) {
	if err := (&wire.Plugin{}).GRPCServer(nil, grpc.NewServer()); err == nil {
		t.Error("a plugin without a server is served")
	}
	conn, _ := serve(t, func(g *grpc.Server) {
		p := wire.Plugin{Impl: wire.NewServer(fullInfo(), provider.Schema{}, always(&manager{}), nil)}
		if err := p.GRPCServer(nil, g); err != nil {
			t.Fatal(err)
		}
	})
	dispensed, err := (&wire.Plugin{}).GRPCClient(t.Context(), nil, conn)
	if err != nil {
		t.Fatal(err)
	}
	info, err := dispensed.(*wire.Client).Info(t.Context())
	if err != nil || info.Name != "in-memory-7" {
		t.Errorf("got %+v, %v", info, err)
	}
}
