package sdk

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
)

// asksForDebug reports whether the author wants to run the plugin by hand.
func asksForDebug(args []string) bool {
	return len(args) == 1 && (args[0] == "-debug" || args[0] == "--debug")
}

// serveDebug serves hosts that attach, until a signal ends it. It prints where, for
// [wire.ReattachEnv], on stdout.
//
// What protects a plugin in production is missing: nobody checks the binary, the
// connection is not encrypted, and the process stays open to debuggers, which is the
// point. The socket lies in a directory of its own that only its owner may enter.
func serveDebug(p Plugin, stdout, stderr io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "keyrotor-debug-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	listener, err := net.Listen("unix", filepath.Join(dir, "plugin.sock")) //nolint:noctx // it listens at once
	if err != nil {
		return err
	}
	log := hclog.New(&hclog.LoggerOptions{Name: p.Info.Name, Level: hclog.Debug, Output: stderr})
	p.Info.ProtocolMinor = provider.ProtocolMinor
	server := wire.NewServer(p.Info, p.Schema, p.New, log)
	g := grpc.NewServer(server.Options()...)
	server.Register(g)

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(listener) }()
	if err := announce(p.Info.Name, listener.Addr(), stdout, stderr); err != nil {
		return err
	}
	select {
	case <-signals:
		g.Stop()
		err = <-ended // nil after a stop
	case err = <-ended:
	}
	closeWithin(server, closeTimeout)
	return err
}

// announce says where the plugin serves: to a program on stdout, to a person on stderr.
func announce(name string, addr net.Addr, stdout, stderr io.Writer) error {
	text, err := json.Marshal(map[string]wire.Attachment{name: {
		Protocol: "grpc", ProtocolVersion: wire.Handshake().ProtocolVersion,
		PID: os.Getpid(), Network: addr.Network(), Address: addr.String(),
	}})
	if err != nil {
		return err
	}
	fmt.Fprintf(stderr, `Serving %s until Ctrl-C, unverified and without TLS: for development only. In another
terminal, with the line that follows on standard output:

    export %s='…'
    keyrotor --dev-reattach provider check

`, name, wire.ReattachEnv)
	_, err = fmt.Fprintf(stdout, "%s\n", text)
	return err
}
