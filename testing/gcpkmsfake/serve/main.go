// Command serve runs a fake Cloud KMS with one key ring, for scripts/demo. It prints where
// it listens and the key ring's name, and ends with its standard input or a signal.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/keyrotor/keyrotor/testing/gcpkmsfake"
)

const ring = "projects/shop/locations/europe-west1/keyRings/keyrotor"

func main() {
	server, err := gcpkmsfake.Start("127.0.0.1:0", gcpkmsfake.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, "gcpkmsfake:", err)
		os.Exit(1)
	}
	defer server.Stop()
	server.AddKeyRing(ring)
	fmt.Println(server.Endpoint, ring)

	end := make(chan os.Signal, 2)
	signal.Notify(end, os.Interrupt, syscall.SIGTERM)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // whatever ends it
		end <- os.Interrupt
	}()
	<-end
}
