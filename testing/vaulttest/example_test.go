package vaulttest_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/testing/vaulttest"
)

// The tests of a package share a server; each has mounts and tokens of its own.
func ExampleShare() {
	var server *vaulttest.Server
	_ = func(m *testing.M) { // func TestMain(m *testing.M)
		var err error
		if server, err = vaulttest.Share(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		code := m.Run()
		server.Close()
		os.Exit(code)
	}
	_ = func(t *testing.T) { // func TestEncrypt(t *testing.T)
		mount := server.MountTransit(t)
		server.CreateKey(t, mount, "payments", true)
		token := server.Token(t, vaulttest.Grant{
			Policy: server.Policy(t, `path "`+mount+`/encrypt/payments" { capabilities = ["update"] }`),
			TTL:    time.Hour,
		})
		audit := server.Audit(t)

		_ = token // let the provider encrypt with it

		if n := audit.Counts(t)["update "+mount+"/encrypt/payments"]; n != 1 {
			t.Errorf("it took %d requests, want 1", n)
		}
	}
}

// A test that breaks its server has one of its own.
func ExampleStart() {
	_ = func(t *testing.T) { // func TestOutage(t *testing.T)
		server := vaulttest.Start(t)
		server.Stop(t)

		// Nothing answers here.

		server.Restart(t) // at the same address, with all that it had stored
	}
}
