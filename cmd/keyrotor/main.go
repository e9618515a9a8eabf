// Command keyrotor is the command line of Keyrotor: keys, encryption, rotation,
// and the re-encryption of what was encrypted before.
package main

import (
	"os"
	_ "time/tzdata" // schedules name zones, and a machine may have none

	"github.com/keyrotor/keyrotor/cmd/keyrotor/internal/cli"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = "dev"

func main() { os.Exit(cli.Main(version)) }
