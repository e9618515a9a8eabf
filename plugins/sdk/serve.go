package sdk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
	"github.com/keyrotor/keyrotor/core/secret"
)

// closeTimeout bounds how long a plugin that ends waits for its instances to
// close. The host kills it after two seconds anyway.
const closeTimeout = time.Second

// Plugin is a provider as its author wrote it.
type Plugin struct {
	// Info names the plugin. Serve sets its ProtocolMinor.
	Info   provider.Info
	Schema provider.Schema
	// New builds one instance of the provider.
	New provider.New
}

// Serve runs the plugin until the host ends it. It is all that a plugin's main
// calls. It answers --version on its own, and tells a person who starts the
// plugin by hand what it is. With -debug it serves hosts that attach to it, until
// Ctrl-C, so that an author can run it in a debugger.
//
// The process is made non-dumpable where the system allows it, since it holds
// the key manager's credential.
func Serve(p Plugin) {
	if status, done := answerPerson(p, os.Args[1:], os.Getenv, os.Stdout, os.Stderr); done {
		os.Exit(status)
	}
	if asksForDebug(os.Args[1:]) {
		if err := serveDebug(p, os.Stdout, os.Stderr); err != nil {
			_, _ = fmt.Fprintf(os.Stderr, "%s: %v\n", p.Info.Name, err)
			os.Exit(1)
		}
		return
	}
	log := newLogger(p.Info.Name, os.Getenv(wire.LogLevelEnv), os.Stderr)
	if err := secret.ForbidDumps(); err != nil {
		log.Warn("the process stays open to core dumps and debuggers", "error", err)
	}
	p.Info.ProtocolMinor = provider.ProtocolMinor
	server := wire.NewServer(p.Info, p.Schema, p.New, log)
	lifeline, err := openLifeline(os.Getenv(wire.LifelineEnv))
	if err != nil {
		log.Error("the host passed no usable lifeline", "error", err)
		os.Exit(1)
	}
	if lifeline != nil {
		ignoreTerminalSignals()
		go endWithHost(lifeline, server)
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: wire.Handshake(),
		Plugins:         plugin.PluginSet{wire.PluginName: &wire.Plugin{Impl: server}},
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, server.Options()...)...)
		},
		Logger: log,
	})
	closeWithin(server, closeTimeout)
}

// answerPerson handles a start that is not a host's, and a plugin that is not
// complete. It reports the exit status, and whether there is nothing to serve.
func answerPerson(p Plugin, args []string, getenv func(string) string, stdout, stderr io.Writer) (status int, done bool) {
	if len(args) == 1 && args[0] == "--version" {
		_, _ = fmt.Fprintf(stdout, "%s %s\n", p.Info.Name, p.Info.Version)
		return 0, true
	}
	if err := p.validate(); err != nil {
		_, _ = fmt.Fprintf(stderr, "this plugin is not complete: %v\n", err)
		return 1, true
	}
	if asksForDebug(args) {
		return 0, false
	}
	handshake := wire.Handshake()
	if getenv(handshake.MagicCookieKey) != handshake.MagicCookieValue {
		_, _ = fmt.Fprintf(stderr, `This is %[1]s %[2]s, a provider plugin for Keyrotor. Keyrotor starts it by itself;
there is nothing to do with it by hand but to debug it, with -debug. To use it, put it
into Keyrotor's plugin directory, run "keyrotor plugin lock", and name it in the
configuration:

    provider "%[1]s" "NAME" {
      …
    }

"keyrotor provider schema %[1]s" lists what goes inside.
`, p.Info.Name, p.Info.Version)
		return 1, true
	}
	return 0, false
}

// validate names what an author forgot.
func (p Plugin) validate() error {
	switch {
	case p.Info.Name == "":
		return errors.New("sdk.Plugin.Info.Name is empty")
	case p.New == nil:
		return errors.New("sdk.Plugin.New is nil")
	default:
		return nil
	}
}

// newLogger writes the JSON that the host reads from the plugin's stderr and
// merges into its own log.
func newLogger(name, level string, out io.Writer) hclog.Logger {
	l := hclog.LevelFromString(level)
	if l == hclog.NoLevel {
		l = hclog.Info
	}
	return hclog.New(&hclog.LoggerOptions{Name: name, Level: l, Output: out, JSONFormat: true})
}
