//go:build vault

package vaulttest_test

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/testing/procs"
	"github.com/keyrotor/keyrotor/testing/vaulttest"
)

// The whole life of a server: sealed, unsealed, stopped, back with all it knew,
// killed, back again.
func TestLife(t *testing.T) {
	server := vaulttest.Start(t)
	mount := server.MountTransit(t)
	server.CreateKey(t, mount, "k", false)
	client := server.Client(t)
	encrypt := func() error {
		// On a connection of its own: an old one ends with the server, by an error
		// that says little of the server.
		client.CloneConfig().HttpClient.CloseIdleConnections()
		return encrypt(t, client, mount, "k")
	}
	works := func(when string) {
		t.Helper()
		if err := encrypt(); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	sealed := func(when string) {
		t.Helper()
		if err := encrypt(); status(err) != http.StatusServiceUnavailable {
			t.Errorf("%s: %v, want 503", when, err)
		}
	}
	gone := func(when string) {
		t.Helper()
		if err := encrypt(); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v, want a refused connection", when, err)
		}
	}
	before := *server

	works("at first")
	server.Seal(t)
	sealed("after Seal")
	server.Unseal(t)
	works("after Unseal")
	server.Stop(t)
	gone("after Stop")
	server.Restart(t)
	works("after Restart")
	server.RestartSealed(t)
	sealed("after RestartSealed")
	server.Unseal(t)
	works("after Unseal again")
	server.Kill(t)
	gone("after Kill")
	server.Restart(t)
	works("after a kill and Restart")

	if server.Addr != before.Addr || server.TLSAddr != before.TLSAddr || server.RootToken != before.RootToken || server.AuditLog != before.AuditLog {
		t.Errorf("it came back as %+v and was %+v", server, before)
	}
	server.Close()
	gone("after Close")
	if _, err := os.Stat(server.AuditLog); !os.IsNotExist(err) {
		t.Errorf("Close left something behind: %v", err)
	}
}

// A server ends with the process that started it, and leaves nothing, even if that
// process is killed.
func TestNoOrphan(t *testing.T) {
	child := procs.Start(t, nil, childVariable+"=1")
	line, ok := child.Next()
	if !ok {
		_, stderr := child.Wait()
		t.Fatal(stderr)
	}
	var server vaulttest.Server
	if err := json.Unmarshal([]byte(line), &server); err != nil {
		t.Fatal(err)
	}
	child.Kill()
	if state, _ := child.Wait(); state != procs.Killed {
		t.Fatalf("the child ended by %s", state)
	}
	addr := strings.TrimPrefix(server.Addr, "http://")
	deadline := time.Now().Add(time.Minute)
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close() // still there
		}
		_, left := os.Stat(server.AuditLog)
		if errors.Is(err, syscall.ECONNREFUSED) && os.IsNotExist(left) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a minute after its parent: dial %v, audit log %v", err, left)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestShareTakesTheOneThatIsThere(t *testing.T) {
	t.Setenv(vaulttest.AddrVariable, shared.TLSAddr)
	t.Setenv(vaulttest.TokenVariable, "")
	if _, err := vaulttest.Share(); err == nil || !strings.Contains(err.Error(), vaulttest.TokenVariable) {
		t.Errorf("without a token: %v", err)
	}
	t.Setenv(vaulttest.TokenVariable, shared.RootToken)
	t.Setenv(vaulttest.CAVariable, shared.CAFile)
	server, err := vaulttest.Share()
	if err != nil {
		t.Fatal(err)
	}
	has := func(mount string) bool {
		t.Helper()
		mounts, err := shared.Client(t).Sys().ListMountsWithContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return mounts[mount+"/"] != nil
	}
	var mount string
	t.Run("a test", func(t *testing.T) {
		mount = server.MountTransit(t)
		server.Policy(t, policy(mount))
		if !has(mount) {
			t.Error("it is not there")
		}
	})
	if has(mount) {
		t.Error("a test left its mount on a server that is not ours")
	}
	server.Close() // is not for it to end
	if kept := shared.MountTransit(t); !has(kept) {
		t.Error("a mount is missing")
	}
}
