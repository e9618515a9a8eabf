package e2e

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/provider"
)

// TestCloudVariablesStayHome: no plugin has a variable of the host that a cloud's library
// would take credentials, an address or an account from, unless the operator lets it
// through. What the library does with one is the provider's test.
func TestCloudVariablesStayHome(t *testing.T) {
	prefixes := []string{"GOOGLE_", "GCLOUD_", "GCE_", "CLOUDSDK_", "AWS_", "VAULT_", "HOME"}
	const wanted, key = "GOOGLE_CLOUD_QUOTA_PROJECT", "projects/p/locations/l/keyRings/r/cryptoKeys/k"
	for _, name := range []string{
		"GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", wanted, "GOOGLE_CLOUD_UNIVERSE_DOMAIN", "GOOGLE_API_USE_MTLS_ENDPOINT",
		"GOOGLE_API_USE_CLIENT_CERTIFICATE", "GOOGLE_API_CERTIFICATE_CONFIG", "GOOGLE_SDK_GO_LOGGING_LEVEL",
		"GCLOUD_PROJECT", "GCE_METADATA_HOST", "CLOUDSDK_CONFIG",
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL_KMS", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
		"VAULT_ADDR", "VAULT_TOKEN",
	} {
		t.Setenv(name, "host's")
	}
	for typ, block := range map[string]provider.Body{
		"local":         {Attributes: map[string]any{"path": filepath.Join(t.TempDir(), "keyring")}},
		"vault-transit": {Attributes: map[string]any{"address": "http://127.0.0.1:1", "key": "k"}},
		"aws-kms":       {Attributes: map[string]any{"key_id": "alias/k", "region": "eu-west-1", "endpoint": "http://127.0.0.1:1"}},
		"gcp-kms":       {Attributes: map[string]any{"key": key, "endpoint": "127.0.0.1:1", "plaintext": true}},
	} {
		for _, let := range [][]string{nil, {wanted}} {
			var cloud []string
			for _, name := range environmentOf(t, typ, block, let) {
				for _, p := range prefixes {
					if strings.HasPrefix(name, p) {
						cloud = append(cloud, name)
					}
				}
			}
			if fmt.Sprint(cloud) != fmt.Sprint(let) {
				t.Errorf("the plugin %s has the variables %v, want %v", typ, cloud, let)
			}
		}
	}
}

// environmentOf answers the names of the variables that a plugin's process is started
// with. A script in the plugin's place writes them down and then becomes the plugin, for
// a plugin's own process lets nobody look.
func environmentOf(t *testing.T, typ string, block provider.Body, let []string) (names []string) {
	t.Helper()
	buildPlugin(t, typ)
	dir, err := os.MkdirTemp("/tmp", "kr")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	seen := filepath.Join(dir, "seen")
	script := fmt.Sprintf("#!/bin/sh\nenv >%s\nexec %s \"$@\"\n", seen, filepath.Join(pluginDir, catalog.FileName(typ)))
	if err := os.WriteFile(filepath.Join(dir, catalog.FileName(typ)), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	log, lock := slog.New(slog.DiscardHandler), catalog.NewLock()
	if err := lock.Pin(t.Context(), dir, log, typ); err != nil {
		t.Fatal(err)
	}
	c, err := catalog.New(catalog.Config{PluginDir: dir, Lock: lock, Log: log, SocketRoot: dir, Env: map[string][]string{typ: let}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.Add("cloud", typ, block); err != nil {
		t.Fatal(err)
	}
	km, err := c.Provider("cloud")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = km.DescribeKey(t.Context()) // nobody answers it
	if _, runs := c.PID("cloud"); !runs {
		t.Fatalf("the plugin %s does not run", typ)
	}
	text, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(line, "=")
		names = append(names, name)
	}
	if !strings.Contains(string(text), "PLUGIN_") {
		t.Errorf("no plugin's environment: %q", text)
	}
	return names
}
