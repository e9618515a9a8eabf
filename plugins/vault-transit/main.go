// Command vault-transit is the provider plugin for HashiCorp Vault's transit engine.
package main

import (
	"github.com/keyrotor/keyrotor/plugins/sdk"
	"github.com/keyrotor/keyrotor/providers/vaulttransit"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = "dev"

func main() {
	sdk.Serve(sdk.Plugin{Info: vaulttransit.Info(version), Schema: vaulttransit.Schema(), New: vaulttransit.New})
}
