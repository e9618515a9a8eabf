// Command aws-kms is the provider plugin for AWS KMS.
package main

import (
	"github.com/keyrotor/keyrotor/plugins/sdk"
	"github.com/keyrotor/keyrotor/providers/awskms"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = "dev"

func main() {
	sdk.Serve(sdk.Plugin{Info: awskms.Info(version), Schema: awskms.Schema(), New: awskms.New})
}
