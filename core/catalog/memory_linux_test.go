package catalog

import (
	"context"
	"crypto/fips140"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

// TestIdlePluginIsSmall measures the local plugin after the one thing that takes
// it much memory for a moment, deriving a key from a passphrase.
func TestIdlePluginIsSmall(t *testing.T) {
	most := 25 << 10 // KiB
	if fips140.Enabled() {
		most += 32 << 10 // what Go's module scratches for entropy, once and for good
	}
	h := newHost(t, nil)
	if err := h.Add("prod", "local", provider.Body{Attributes: map[string]any{
		"path": filepath.Join(t.TempDir(), "kek.json"), "passphrase": provider.NewSecret([]byte("correct horse")),
	}}); err != nil {
		t.Fatal(err)
	}
	in, err := h.Provider("prod")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.CreateKey(context.Background(), provider.CreateKeyRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Wrap(context.Background(), wrapItems()); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.mustPID("prod")))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var resident int
	if _, err := fmt.Sscan(rest, &resident); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d KiB resident", resident)
	if resident > most {
		t.Errorf("an idle plugin holds %d KiB, at most %d are allowed", resident, most)
	}
}
