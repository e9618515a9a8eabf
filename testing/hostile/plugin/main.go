// Command plugin is a provider plugin that misbehaves on demand, for the tests of the
// host. The real local provider stands behind it, so what is not broken on purpose is
// as it is in production.
//
// What goes wrong before it serves stands in a file beside the executable, with the
// name's extension .start. What goes wrong in the calls of an instance says the file
// INSTANCE.fault in the instance's journal or, without one, the attribute "fault"; see
// [faulty.fault]. A test takes a fault away by removing the file.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
	"github.com/keyrotor/keyrotor/plugins/sdk"
)

func main() {
	switch startFault() {
	case "exit":
		os.Exit(7)
	case "hang":
		select {}
	case "hang-once":
		_ = os.Remove(startFile())
		select {}
	case "escapee": // leaves the group with the stream that carries the handshake
		cmd := exec.Command("/bin/sleep", "30")
		cmd.SysProcAttr = detached()
		cmd.Stdout = os.Stdout
		_ = cmd.Start()
		select {}
	case "chatter":
		say("welcome to \x1b[31mfaulty\x1b[0m\n")
	case "garbage":
		say("\x00\xff|%s|;rm|`|\x1b[2J|\n")
	case "core-version":
		say("2|1|unix|/nowhere|grpc|\n")
	case "net-rpc":
		say("1|1|unix|/nowhere|netrpc|\n")
	case "flood":
		for {
			fmt.Print(strings.Repeat("x", 1<<16))
		}
	case "app-version":
		handshake := wire.Handshake()
		handshake.ProtocolVersion = 9
		serveByHand(handshake)
	case "no-tls":
		_ = os.Unsetenv("PLUGIN_CLIENT_CERT")
		serveByHand(wire.Handshake())
	case "no-limits":
		serveByHand(wire.Handshake())
	default:
		sdk.Serve(self())
	}
}

// startFault is what the file beside the executable says.
func startFault() string {
	text, _ := os.ReadFile(startFile()) // in general there is none
	return string(text)
}

func startFile() string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return exe + ".start"
}

// say writes in the handshake's place and waits to be killed.
func say(text string) {
	fmt.Print(text)
	select {}
}

func self() sdk.Plugin {
	return sdk.Plugin{
		Info: provider.Info{
			Name: "faulty", Version: "1.2.3",
			Capabilities: provider.Capabilities{provider.CanRotateKey, provider.CanGenerateDataKey},
		},
		Schema: provider.Schema{Doc: "Misbehaves.", Attributes: []provider.Attribute{
			{Name: "journal", Type: provider.Path, Required: true, Doc: "A directory; one file a call."},
			{Name: "fault", Type: provider.String, Default: "none"},
			{Name: "token", Type: provider.String, Sensitive: true},
			{Name: "tries", Type: provider.Int, Default: int64(3)},
		}},
		New: func(_ context.Context, cfg provider.Config) (provider.KeyManager, error) { return newFaulty(cfg) },
	}
}

// serveByHand serves as an author does who uses go-plugin without our SDK: there are
// no message limits and there is no lifeline.
func serveByHand(handshake plugin.HandshakeConfig) {
	p := self()
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: handshake,
		Plugins:         plugin.PluginSet{wire.PluginName: &wire.Plugin{Impl: wire.NewServer(p.Info, p.Schema, p.New, nil)}},
		GRPCServer:      func(opts []grpc.ServerOption) *grpc.Server { return grpc.NewServer(opts...) },
	})
}
