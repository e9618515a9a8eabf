// Command gcp-kms is the provider plugin for Google Cloud KMS.
package main

import (
	"github.com/keyrotor/keyrotor/plugins/sdk"
	"github.com/keyrotor/keyrotor/providers/gcpkms"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = "dev"

func main() {
	sdk.Serve(sdk.Plugin{Info: gcpkms.Info(version), Schema: gcpkms.Schema(), New: gcpkms.New})
}
