// Command local is the provider plugin that keeps its key-encryption keys in a file.
package main

import (
	"github.com/keyrotor/keyrotor/plugins/sdk"
	"github.com/keyrotor/keyrotor/providers/local"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = "dev"

func main() {
	sdk.Serve(sdk.Plugin{Info: local.Info(version), Schema: local.Schema(), New: local.New})
}
