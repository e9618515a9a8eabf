package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/rewrap"
	"github.com/keyrotor/keyrotor/testing/procs"
)

// newConfig makes a configuration in a folder of the test's own.
func newConfig(t *testing.T) (dir, config string) {
	t.Helper()
	// A short path, and nobody else's: the plugins' sockets go here too.
	dir, err := os.MkdirTemp("/tmp", "kr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Setenv("TMPDIR", dir)
	if config, err = core.Init(t.Context(), filepath.Join(dir, "kr"), core.InitOptions{PluginDir: pluginDir}); err != nil {
		t.Fatal(err)
	}
	return dir, config
}

// buildPlugin puts another plugin beside the local one, unless it is there.
func buildPlugin(t *testing.T, typ string) {
	t.Helper()
	file := filepath.Join(pluginDir, catalog.FileName(typ))
	if _, err := os.Stat(file); err == nil {
		return
	}
	if err := procs.Build(file, "plugins/"+typ); err != nil {
		t.Fatal(err)
	}
}

// useProvider puts a provider block in the place of the one that is there.
func useProvider(t *testing.T, config, block string) {
	t.Helper()
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`(?ms)^provider .*^}\n`).ReplaceAllLiteral(text, []byte(block))
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// cloudHost is a host with a plugin process, whose provider "cloud" is a service that
// somebody else runs. Once it has a key, it has a token of that too.
type cloudHost struct {
	t      *testing.T
	config string
	kr     *core.Keyrotor
	token  []byte
}

func newCloudHost(t *testing.T, plugin, block string) *cloudHost {
	t.Helper()
	buildPlugin(t, plugin)
	h := &cloudHost{t: t}
	_, h.config = newConfig(t)
	useProvider(t, h.config, block)
	h.open()
	return h
}

// createKEK has the provider make the KEK of a key.
func (h *cloudHost) createKEK() {
	h.t.Helper()
	if _, err := h.kr.CreateKEK(h.t.Context(), "cloud"); err != nil {
		h.t.Fatal(err)
	}
	h.createKey()
}

func (h *cloudHost) createKey() {
	h.t.Helper()
	if _, err := h.kr.CreateKey(h.t.Context(), "payments", core.KeyOptions{}); err != nil {
		h.t.Fatal(err)
	}
	var err error
	if h.token, err = h.kr.Encrypt(h.t.Context(), "payments", []byte("a card"), nil); err != nil {
		h.t.Fatal(err)
	}
}

// open is a host that starts.
func (h *cloudHost) open() {
	h.t.Helper()
	kr, err := core.Opener{CreateStore: true}.Open(h.t.Context(), h.config)
	if err != nil {
		h.t.Fatal(err)
	}
	h.kr = kr
	h.t.Cleanup(func() {
		if err := kr.Close(); err != nil {
			h.t.Error(err)
		}
	})
}

func (h *cloudHost) rotateKEK() (rewrap.KEKRotation, error) {
	return h.kr.RotateKEK(h.t.Context(), rewrap.KEKRequest{Provider: "cloud"})
}

// holds: the KEK has so many versions, this one is the primary, all wraps stand under it
// and open, in this host and in a new one.
func (h *cloudHost) holds(versions int, primary string) {
	h.t.Helper()
	kek, err := h.kr.DescribeKEK(h.t.Context(), "cloud")
	if err != nil {
		h.t.Fatal(err)
	}
	if len(kek.Versions) != versions || kek.Primary != primary {
		h.t.Errorf("the KEK is %+v, want %d versions and %s the primary", kek, versions, primary)
	}
	report, err := h.kr.RewrapKEK(h.t.Context(), rewrap.KEKRequest{Provider: "cloud"})
	if err != nil || report.KEKVersion != primary || report.Rewrapped != 0 || report.RotatedExternally || len(report.Failed) > 0 {
		h.t.Errorf("a rewrap has something left to do: %+v, %v", report, err)
	}
	h.open()
	h.decrypts()
}

func (h *cloudHost) decrypts() {
	h.t.Helper()
	got, err := h.kr.Decrypt(h.t.Context(), h.token, nil)
	if err != nil || string(got) != "a card" {
		h.t.Errorf("the token opens to %q, %v", got, err)
	}
}
