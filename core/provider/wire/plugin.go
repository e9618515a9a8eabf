// Package wire carries core/provider across a process boundary: protobuf
// messages over the gRPC connection that HashiCorp go-plugin sets up.
//
// It is the one place where wire types meet domain types. [Server] runs in the
// plugin, in front of the author's [provider.KeyManager]; [Client] runs in the
// host and answers the same interface. Neither believes the other: the server
// checks a configuration against the schema and refuses what the plugin cannot
// do before the author's code runs, the client refuses every answer that breaks
// the contract and says how.
package wire

import (
	"context"
	"errors"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// PluginName is the name that the host dispenses.
const PluginName = "keyrotor"

// MaxMessage is the size in bytes of the largest message in either direction. A
// larger one fails with [provider.LimitExceeded]. It leaves room for a batch of
// some ten thousand wraps.
const MaxMessage = 16 << 20

// The variables that the host sets in a plugin's environment, beside go-plugin's own.
const (
	// LogLevelEnv holds the host's log level: trace, debug, info, warn, error or
	// off. Without it the level is info.
	LogLevelEnv = "KEYROTOR_PLUGIN_LOG_LEVEL"
	// LifelineEnv holds the number of the lifeline's file descriptor, in general 3.
	//
	// The lifeline is a pipe whose read end the plugin inherits. The host puts that
	// end first into exec.Cmd.ExtraFiles, which go-plugin starts as it is, closes
	// its own copy of it after the start, keeps the write end open and never writes.
	// The kernel closes the write end when the host ends, even by SIGKILL; the
	// plugin reads the end of the file and ends too. The write end must be
	// close-on-exec, as os.Pipe makes it, or a sibling would keep it open.
	LifelineEnv = "KEYROTOR_PLUGIN_LIFELINE_FD"
)

// Handshake is what host and plugin agree on before anything else. The cookie
// is no secret: it only tells a plugin that a host started it, not a person.
func Handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{
		ProtocolVersion:  1,
		MagicCookieKey:   "KEYROTOR_PLUGIN",
		MagicCookieValue: "f3c1a2e5-6f0b-4f0c-9a55-2f6f2d8c1f7e",
	}
}

// Plugin connects this package to go-plugin. A host uses the zero value and
// dispenses a [*Client]; a plugin sets Impl.
type Plugin struct {
	plugin.NetRPCUnsupportedPlugin
	Impl *Server
}

var _ plugin.GRPCPlugin = (*Plugin)(nil)

// GRPCServer implements [plugin.GRPCPlugin] on the plugin's side.
func (p *Plugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	if p.Impl == nil {
		return errors.New("wire: Plugin.Impl is not set, there is nothing to serve")
	}
	p.Impl.Register(s)
	return nil
}

// GRPCClient implements [plugin.GRPCPlugin] on the host's side; it answers a [*Client].
func (p *Plugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return NewClient(conn), nil
}
