// Package bare is the least that go-plugin can do over gRPC: one call that answers
// what it was sent.
package bare

import (
	"context"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Name is what the host dispenses.
const Name = "bare"

// Handshake is what host and plugin agree on.
func Handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "KEYROTOR_BENCH", MagicCookieValue: Name}
}

// Plugin is both ends of the call. The host dispenses a [*Client].
type Plugin struct{ plugin.NetRPCUnsupportedPlugin }

// GRPCServer implements [plugin.GRPCPlugin].
func (*Plugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: service,
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: method, Handler: answer}},
	}, struct{}{})
	return nil
}

// GRPCClient implements [plugin.GRPCPlugin].
func (*Plugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return &Client{conn}, nil
}

const (
	service = "bare"
	method  = "Echo"
)

func answer(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // as grpc calls it
	var message wrapperspb.BytesValue
	err := decode(&message)
	return &message, err
}

// Client makes the call.
type Client struct{ conn *grpc.ClientConn }

// Echo sends b and answers what came back.
func (c *Client) Echo(ctx context.Context, b []byte) ([]byte, error) {
	var answer wrapperspb.BytesValue
	err := c.conn.Invoke(ctx, "/"+service+"/"+method, wrapperspb.Bytes(b), &answer)
	return answer.GetValue(), err
}
