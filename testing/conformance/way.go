package conformance

import (
	"bytes"
	"context"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
)

// closeTimeout bounds the cleaning up after a case: a provider that hangs has
// failed one by then, and the report of that must get out.
const closeTimeout = 5 * time.Second

// route is one of the four ways to a provider, with the cases that it is for.
type route struct {
	name  string
	cases []testCase
	// connect answers a way that t takes down.
	connect func(t testing.TB) way
	// anew: each case has a connection of its own.
	anew bool
}

// way opens instances.
type way interface {
	// open answers an instance for a provider block. The error of a constructor may
	// come from here or from the first call. The body stays the caller's.
	open(ctx context.Context, name string, body provider.Body) (provider.KeyManager, error)
}

// routes lists the ways that there are to this provider.
func routes(t *testing.T, h *Harness) []route {
	t.Helper()
	var rs []route
	if h.New != nil {
		rs = append(rs,
			route{name: "direct", cases: cases(h), anew: true, connect: func(testing.TB) way { return direct{h.New} }},
			route{name: "memory", cases: cases(h), anew: true, connect: func(t testing.TB) way { return inMemory(t, h) }},
		)
	}
	p := newPlugin(t, h)
	rs = append(rs, route{
		name: "process", cases: append(p.cases(), cases(h)...),
		connect: func(t testing.TB) way { return p.start(t) },
	})
	if canSuspend {
		// Each case kills, and a catalog makes a plugin that keeps ending wait.
		rs = append(rs, route{
			name: "killed", cases: killedCases(), anew: true,
			connect: func(t testing.TB) way { return p.start(t) },
		})
	}
	return rs
}

// direct calls the constructor.
type direct struct{ build provider.New }

func (d direct) open(ctx context.Context, name string, body provider.Body) (provider.KeyManager, error) {
	return d.build(ctx, provider.Config{Instance: name, Body: cloneBody(body)})
}

// memory speaks the wire protocol over a connection within this process.
type memory struct{ client *wire.Client }

func inMemory(t testing.TB, h *Harness) memory {
	t.Helper()
	server := wire.NewServer(h.Info, h.Schema, h.New, nil)
	listener := bufconn.Listen(1 << 16)
	g := grpc.NewServer(server.Options()...)
	server.Register(g)
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(listener) })
	conn, err := grpc.NewClient("passthrough:///memory",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		g.Stop()
		serving.Wait()
		within(closeTimeout, server.Close)
	})
	return memory{wire.NewClient(conn)}
}

func (m memory) open(ctx context.Context, name string, body provider.Body) (provider.KeyManager, error) {
	if err := m.client.Configure(ctx, name, body); err != nil {
		return nil, err
	}
	return m.client.Instance(name), nil
}

// within waits for f, up to a limit.
func within(limit time.Duration, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}

// cloneBody copies a body, for whoever is given one may wipe its secrets.
func cloneBody(b provider.Body) provider.Body {
	out := provider.Body{Attributes: maps.Clone(b.Attributes), Blocks: slices.Clone(b.Blocks)}
	for name, value := range out.Attributes {
		if s, ok := value.(provider.Secret); ok {
			out.Attributes[name] = s.Clone()
		}
	}
	for i := range out.Blocks {
		out.Blocks[i].Body = cloneBody(out.Blocks[i].Body)
	}
	return out
}

func cloneWrapped(w provider.Wrapped) provider.Wrapped {
	w.Blob = bytes.Clone(w.Blob)
	return w
}
