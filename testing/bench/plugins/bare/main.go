// Command bare is a go-plugin process with one call, which answers what it was sent.
package main

import (
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"github.com/keyrotor/keyrotor/testing/bench/bare"
)

func main() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: bare.Handshake(),
		Plugins:         plugin.PluginSet{bare.Name: &bare.Plugin{}},
		GRPCServer:      plugin.DefaultGRPCServer,
		Logger:          hclog.NewNullLogger(),
	})
}
