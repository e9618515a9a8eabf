package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/procs"
)

// hostEnv makes the test binary a host that is to be killed, with the plugins of
// the directory that it names; see TestHostKilled.
const hostEnv = "CATALOG_TEST_HOST"

// fixture is what every test shares: built plugins and their pins.
type fixture struct {
	dir  string
	lock *Lock
}

var plugins fixture

func TestMain(m *testing.M) {
	if dir := os.Getenv(hostEnv); dir != "" {
		beHost(dir)
	}
	if slices.Contains(os.Args, "-test.fuzzworker") {
		os.Exit(m.Run()) // is killed at its end, and needs no plugins
	}
	tmp, err := os.MkdirTemp("", "catalog-test-")
	if err == nil {
		plugins, err = build(tmp)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(tmp)
		os.Exit(code)
	}))
}

// build compiles the plugins into dir and pins them in a file beside them.
func build(dir string) (fixture, error) {
	for typ, pkg := range map[string]string{"faulty": "testing/hostile/plugin", "local": "plugins/local"} {
		if err := procs.Build(filepath.Join(dir, FileName(typ)), pkg); err != nil {
			return fixture{}, err
		}
	}
	lock := NewLock()
	if err := lock.Pin(context.Background(), dir, slog.New(slog.DiscardHandler)); err != nil {
		return fixture{}, err
	}
	return fixture{dir, lock}, lock.Write(lockIn(dir))
}

func lockIn(dir string) string { return filepath.Join(dir, "plugins.lock") }

// host is a catalog under test with its surroundings.
type host struct {
	*Catalog
	t       testing.TB
	log     *logBuffer
	sockets string
	journal string
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newHost makes a catalog over the built plugins. change may alter its config.
func newHost(t testing.TB, change func(*Config)) *host {
	t.Helper()
	sockets, err := os.MkdirTemp("/tmp", "kr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(sockets) })
	h := &host{t: t, log: &logBuffer{}, sockets: sockets, journal: t.TempDir()}
	config := Config{
		PluginDir:  plugins.dir,
		Lock:       plugins.lock,
		Log:        slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		SocketRoot: sockets,
	}
	if change != nil {
		change(&config)
	}
	if h.Catalog, err = New(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// add registers an instance of the faulty plugin.
func (h *host) add(name, fault string) *Instance {
	h.t.Helper()
	err := h.Add(name, "faulty", provider.Body{Attributes: map[string]any{
		"journal": h.journal, "fault": fault, "tries": int64(3),
		"token": provider.NewSecret([]byte(testToken)),
	}})
	if err != nil {
		h.t.Fatal(err)
	}
	in, err := h.Provider(name)
	if err != nil {
		h.t.Fatal(err)
	}
	return in
}

// testToken has characters that JSON escapes.
const testToken = `hvs.S3cret"<&>\42`

// calls is how often an instance saw a call, over all processes.
func (h *host) calls(name, call string) int {
	h.t.Helper()
	files, err := filepath.Glob(filepath.Join(h.journal, name+"."+call+".*"))
	if err != nil {
		h.t.Fatal(err)
	}
	return len(files)
}

// mustPID is the process behind a provider.
func (h *host) mustPID(name string) int {
	h.t.Helper()
	pid, ok := h.PID(name)
	if !ok {
		h.t.Fatalf("no process runs behind %q", name)
	}
	return pid
}

// check makes the cheapest call there is.
func check(t testing.TB, in *Instance) provider.CheckResponse {
	t.Helper()
	res, err := in.Check(context.Background(), provider.CheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// eventually polls for what other processes or goroutines bring about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("did not happen in time: %s", what)
		}
	}
}

// wantCode fails unless err has the code, by both ways of asking.
func wantCode(t testing.TB, err error, code provider.Code) {
	t.Helper()
	var e *provider.Error
	if !errors.Is(err, code) || !errors.As(err, &e) || e.Code != code {
		t.Fatalf("got error %v, want code %s", err, code)
	}
}

// fakePluginDir holds a file that is no plugin, under a plugin's name.
func fakePluginDir(t *testing.T, content string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName("faulty")), []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// faultyDir holds the faulty plugin, which does not get as far as to serve.
func faultyDir(t *testing.T, startFault string) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, FileName("faulty"))
	if err := errors.Join(
		os.Link(filepath.Join(plugins.dir, FileName("faulty")), file),
		os.WriteFile(file+".start", []byte(startFault), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	return dir
}

// wrapItems is one root to wrap.
func wrapItems() []provider.WrapItem {
	return []provider.WrapItem{{
		Plaintext: provider.NewSecret(bytes.Repeat([]byte{7}, provider.RootSize)),
		AAD:       []byte("aad"),
	}}
}
