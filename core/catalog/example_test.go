package catalog_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/provider"
)

// pluginDir stands for the directory that holds keyrotor-plugin-local.
var pluginDir = catalog.BuiltPlugins

// A plugin is pinned once, by an operator, and then used by name.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()

	lock := catalog.NewLock()
	if err := lock.Pin(ctx, pluginDir(), slog.New(slog.DiscardHandler), "local"); err != nil {
		panic(err)
	}
	c, err := catalog.New(catalog.Config{PluginDir: pluginDir(), Lock: lock})
	if err != nil {
		panic(err)
	}
	defer func() { _ = c.Close() }()

	body := provider.Body{Attributes: map[string]any{"path": filepath.Join(dir, "kek.json")}}
	if err := c.Add("dev", "local", body); err != nil {
		panic(err)
	}
	keys, err := c.Provider("dev")
	if err != nil {
		panic(err)
	}
	created, err := keys.CreateKey(ctx, provider.CreateKeyRequest{RequestID: "first"})
	if err != nil {
		panic(err)
	}
	fmt.Println("primary version:", created.Version)
	// Output: primary version: 1
}

func ExampleLock_Pin() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "plugins.lock")

	lock := catalog.NewLock()
	if err := lock.Pin(context.Background(), pluginDir(), slog.New(slog.DiscardHandler), "local"); err != nil {
		panic(err)
	}
	if err := lock.Write(file); err != nil {
		panic(err)
	}
	if lock, err = catalog.ReadLock(file); err != nil {
		panic(err)
	}
	fmt.Println(lock.Types(), lock.Verify(pluginDir(), "local"))
	// Output: [local] <nil>
}

func ExampleFileName() {
	fmt.Println(catalog.FileName("vault-transit") == "keyrotor-plugin-vault-transit" ||
		catalog.FileName("vault-transit") == "keyrotor-plugin-vault-transit.exe")
	// Output: true
}

func ExampleParseReattach() {
	reattach, err := catalog.ParseReattach(`{"mykms":{"protocol":"grpc","protocol_version":1,"pid":4711,"network":"unix","address":"/tmp/keyrotor-debug-1/plugin.sock","tls":false}}`)
	if err != nil {
		panic(err)
	}
	fmt.Println(reattach["mykms"].PID)
	// Output: 4711
}
