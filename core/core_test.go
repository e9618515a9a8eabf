package core_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/config"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/testing/procs"
)

// pluginDir holds the local plugin, configPath is a configuration with the key "payments",
// and emptyDir the folder of one without keys; they are made once.
var pluginDir, configPath, emptyDir string

func TestMain(m *testing.M) {
	if path := os.Getenv(setupChild); path != "" {
		setUpAndDie(path)
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "keyrotor-core-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	pluginDir = filepath.Join(dir, "plugins")
	if err := procs.BuildLocal(pluginDir); err != nil {
		return 1, err
	}
	emptyDir = filepath.Join(dir, "empty")
	if err := initShared(filepath.Join(dir, "kr"), emptyDir); err != nil {
		return 1, err
	}
	code = m.Run()
	return code, goleak.Find()
}

func initShared(dir, empty string) (err error) {
	ctx, cancel := contextForMain()
	defer cancel()
	if _, err = core.Init(ctx, empty, core.InitOptions{PluginDir: pluginDir}); err != nil {
		return err
	}
	if configPath, err = core.Init(ctx, dir, core.InitOptions{PluginDir: pluginDir}); err != nil {
		return err
	}
	kr, err := core.Open(ctx, configPath)
	if err != nil {
		return err
	}
	_, err = kr.CreateKey(ctx, "payments", core.KeyOptions{})
	return errors.Join(err, kr.Close())
}

// open opens a configuration for the length of a test.
func open(t *testing.T, path string) *core.Keyrotor {
	t.Helper()
	kr, err := core.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kr.Close(); err != nil {
			t.Error(err)
		}
	})
	return kr
}

// newDir answers a configuration of a test's own, as initDir does without options. It is a
// copy: no process is started, but the store and its key-encryption key have twins.
func newDir(t *testing.T) (path string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "kr")
	entries, err := os.ReadDir(emptyDir)
	if err := errors.Join(err, os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(emptyDir, e.Name()))
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, e.Name()), content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "keyrotor.hcl")
}

// initDir makes a configuration of a test's own.
func initDir(t *testing.T, o core.InitOptions) string {
	t.Helper()
	o.PluginDir = pluginDir
	path, err := core.Init(t.Context(), filepath.Join(t.TempDir(), "kr"), o)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInit(t *testing.T) {
	path := initDir(t, core.InitOptions{})
	dir := filepath.Dir(path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); e.Name() != "plugins.lock" && mode != 0o600 {
			t.Errorf("%s has mode %o", e.Name(), mode)
		}
	}
	for _, want := range []string{"keyrotor.db", "keyrotor.hcl", "keyrotor.kek", "plugins.lock"} {
		if !slices.Contains(names, want) {
			t.Errorf("init made %v, and no %s", names, want)
		}
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := core.Init(t.Context(), dir, core.InitOptions{PluginDir: pluginDir}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("init over a config: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the config changed: %v", err)
	}
	for _, bad := range []string{t.TempDir(), filepath.Join(t.TempDir(), "nowhere")} {
		target := filepath.Join(t.TempDir(), "kr")
		if _, err := core.Init(t.Context(), target, core.InitOptions{PluginDir: bad}); err == nil {
			t.Error("init without plugins succeeded")
		}
		if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a failed init left %s behind", target)
		}
	}
}

// TestInitKeepsPins: a lock file that pins other plugins is not replaced.
func TestInitKeepsPins(t *testing.T) {
	path := newDir(t)
	lock := filepath.Join(filepath.Dir(path), "plugins.lock")
	pinned, err := os.ReadFile(lock)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(pinned), "sha256:") + len("sha256:")
	other := string(pinned[:at]) + strings.Repeat("0", 64) + string(pinned[at+64:])
	other = strings.ReplaceAll(other, string(pinned[at:at+64]), strings.Repeat("0", 64))
	if err := errors.Join(os.Remove(path), os.WriteFile(lock, []byte(other), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := core.Init(t.Context(), filepath.Dir(path), core.InitOptions{PluginDir: pluginDir}); err == nil || !strings.Contains(err.Error(), "pins something else") {
		t.Errorf("init over other pins: %v", err)
	}
	if after, err := os.ReadFile(lock); err != nil || string(after) != other {
		t.Errorf("the lock file changed: %v", err)
	}
}

// TestInitOddPath: a path that HCL would read as a template.
func TestInitOddPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `odd ${path} %{x} "quoted"`)
	if err := os.CopyFS(dir, os.DirFS(pluginDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "keyrotor-plugin-local"), 0o755); err != nil {
		t.Fatal(err)
	}
	path, err := core.Init(t.Context(), filepath.Join(t.TempDir(), "kr"), core.InitOptions{PluginDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if got := open(t, path).Config.Plugins.Directory; got != dir {
		t.Errorf("the config names the plugin directory %s", got)
	}
}

// TestInitAgain: an init that was cut off before it wrote the config can be run
// again, and keeps the keys that it had made.
func TestInitAgain(t *testing.T) {
	path := newDir(t)
	kek, err := os.ReadFile(filepath.Join(filepath.Dir(path), "keyrotor.kek"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := core.Init(t.Context(), filepath.Dir(path), core.InitOptions{PluginDir: pluginDir}); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(filepath.Join(filepath.Dir(path), "keyrotor.kek")); err != nil || string(again) != string(kek) {
		t.Errorf("the key-encryption key was made anew: %v", err)
	}
}

// TestInitOverBadKEK: what lies there already must work.
func TestInitOverBadKEK(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "keyrotor.kek")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if path, err := core.Init(t.Context(), dir, core.InitOptions{PluginDir: pluginDir}); !errors.Is(err, provider.Integrity) {
		t.Errorf("init over an empty KEK file: %s, %v", path, err)
	}
	if path, err := core.Init(t.Context(), file, core.InitOptions{PluginDir: pluginDir}); err == nil || errors.Is(err, fs.ErrExist) {
		t.Errorf("init into a file: %s, %v", path, err)
	}
}

// TestNoStore: a store that is gone is not replaced by an empty one.
func TestNoStore(t *testing.T) {
	path := newDir(t)
	if err := os.Remove(filepath.Join(filepath.Dir(path), "keyrotor.db")); err != nil {
		t.Fatal(err)
	}
	if _, err := core.Open(t.Context(), path); !errors.Is(err, core.ErrNoStore) {
		t.Errorf("without its store: %v", err)
	}
	kr, err := core.Opener{CreateStore: true}.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := kr.Close(); err != nil {
		t.Error(err)
	}
}

func TestInitSealed(t *testing.T) {
	t.Setenv(core.PassphraseVariable, "correct horse")
	path := initDir(t, core.InitOptions{Seal: true})
	kr := open(t, path)
	if _, err := kr.CreateKey(t.Context(), "payments", core.KeyOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := kr.Encrypt(t.Context(), "payments", []byte("s3cret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(core.PassphraseVariable, "wrong horse")
	_, err = open(t, path).Decrypt(t.Context(), token, nil)
	if !errors.Is(err, provider.Unauthenticated) || strings.Contains(err.Error(), "horse") {
		t.Errorf("with a wrong passphrase: %v", err)
	}
}

func TestCreateKey(t *testing.T) {
	path := newDir(t)
	appendTo(t, path, `
provider "local" "second" {
  path = "second.kek"
}
key "invoices" {
  wrap_with = ["second", "local"]
}
`)
	kr := open(t, path)
	if _, err := kr.CreateKEK(t.Context(), "second"); err != nil {
		t.Fatal(err)
	}
	if _, err := kr.CreateKEK(t.Context(), "second"); !errors.Is(err, provider.AlreadyExists) {
		t.Errorf("a second time: %v", err)
	}
	for name, c := range map[string]struct {
		key  string
		with []string
		want []string
	}{
		"by the config":         {"invoices", nil, []string{"second", "local"}},
		"by the caller":         {"orders", []string{"second"}, []string{"second"}},
		"by nobody":             {"carts", nil, nil},
		"twice the same":        {"carts", []string{"local", "local"}, nil},
		"one that is not there": {"carts", []string{"third"}, nil},
	} {
		key, err := kr.CreateKey(t.Context(), c.key, core.KeyOptions{WrapWith: c.with})
		if (err == nil) != (c.want != nil) || err == nil && !slices.Equal(key.Settings.WrapWith, c.want) {
			t.Errorf("%s: wrapped with %v, %v", name, key.Settings.WrapWith, err)
		}
	}
	if names, err := kr.Keys(t.Context()); err != nil || !slices.Equal(names, []string{"invoices", "orders"}) {
		t.Errorf("keys %v, %v", names, err)
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestOpenRefuses: nothing starts half-configured.
func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct{ add, want string }{
		"unknown attribute":   {"provider \"local\" \"x\" {\n  pathh = \"y\"\n}\n", `"pathh"`},
		"plugin not pinned":   {"provider \"locl\" \"x\" {\n}\n", `keyrotor.hcl:16:1: provider "locl" "x": plugin "locl" is not pinned in plugins.lock, which has ["local"]`},
		"block to come":       {"notify \"webhook\" \"x\" {\n}\n", "notify"},
		"missing environment": {"provider \"local\" \"x\" {\n  path = env(\"KEYROTOR_TEST_UNSET\")\n}\n", "KEYROTOR_TEST_UNSET"},
	} {
		path := newDir(t)
		appendTo(t, path, c.add)
		kr, err := core.Open(t.Context(), path)
		if err == nil || kr != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v", name, kr, err)
		}
	}
	path := newDir(t)
	appendTo(t, path, "provider \"local\" \"x\" {\n}\n")
	_, err := core.Open(t.Context(), path)
	var problems *config.Error
	if !errors.As(err, &problems) || len(problems.Problems) != 1 || problems.Problems[0].Line < 15 {
		t.Errorf("a missing attribute: %v", err)
	}
}

// TestChangedPlugin: a binary that is not the pinned one never runs.
func TestChangedPlugin(t *testing.T) {
	dir := t.TempDir()
	binary, err := os.ReadFile(filepath.Join(pluginDir, "keyrotor-plugin-local"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "keyrotor-plugin-local")
	if err := os.WriteFile(file, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	path, err := core.Init(t.Context(), filepath.Join(t.TempDir(), "kr"), core.InitOptions{PluginDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(binary, 0), 0o755); err != nil {
		t.Fatal(err)
	}
	kr := open(t, path)
	if _, err := kr.CreateKey(t.Context(), "payments", core.KeyOptions{}); err == nil || !strings.Contains(err.Error(), "plugin lock") {
		t.Errorf("a changed plugin: %v", err)
	}
	if _, ok := kr.Catalog.PID("local"); ok {
		t.Error("the changed plugin runs")
	}
}

// TestLazy: opening, listing and describing start no plugin.
func TestLazy(t *testing.T) {
	kr := open(t, configPath)
	if _, err := kr.Describe(t.Context(), "payments"); err != nil {
		t.Fatal(err)
	}
	if pid, ok := kr.Catalog.PID("local"); ok {
		t.Errorf("plugin %d runs for nothing", pid)
	}
	if _, err := kr.Encrypt(t.Context(), "payments", nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, ok := kr.Catalog.PID("local"); !ok {
		t.Error("no plugin runs after an encryption")
	}
}

func TestActor(t *testing.T) {
	path := newDir(t)
	var steps []rotation.Step
	kr, err := core.Opener{
		Actor:  "billing-service",
		OnStep: func(_ string, s rotation.Step) { steps = append(steps, s) },
	}.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := kr.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := kr.CreateKey(t.Context(), "payments", core.KeyOptions{Note: "first"}); err != nil {
		t.Fatal(err)
	}
	page, err := kr.History(t.Context(), historyOf("payments"))
	if err != nil || len(page.Events) != 1 {
		t.Fatalf("history %v, %v", page, err)
	}
	for _, want := range []string{`"actor":"billing-service"`, `"note":"first"`, `"type":"creation"`} {
		if !strings.Contains(string(page.Events[0]), want) {
			t.Errorf("event %s lacks %s", page.Events[0], want)
		}
	}
	if len(steps) != 6 {
		t.Errorf("steps %v", steps)
	}
}
