package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keyrotor/keyrotor/core/provider"
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
	for typ, pkg := range map[string]string{"faulty": "./testdata/faulty", "local": "../../plugins/local"} {
		out, err := exec.Command("go", "build", "-o", filepath.Join(dir, FileName(typ)), pkg).CombinedOutput()
		if err != nil {
			return fixture{}, fmt.Errorf("building %s: %w\n%s", pkg, err, out)
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

// waitGone waits until a process is gone and answers how long that took.
func waitGone(t testing.TB, pid int, within time.Duration) time.Duration {
	t.Helper()
	begin := time.Now()
	for alive(pid) {
		if time.Since(begin) > within {
			t.Fatalf("process %d still runs after %s", pid, within)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(begin)
}

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	return syscall.Kill(pid, 0) == nil && processState(pid) != 'Z'
}

// processState is the letter that Linux has for it, or 0 where that is unknown.
func processState(pid int) byte {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return state[0]
}

// suspend stops a process and waits until it has stopped, which takes a moment.
func suspend(t testing.TB, pid int) {
	t.Helper()
	signalTo(t, pid, syscall.SIGSTOP)
	eventually(t, "the process stopped", func() bool { state := processState(pid); return state == 'T' || state == 0 })
}

func signalTo(t testing.TB, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatalf("signal %v to %d: %v", sig, pid, err)
	}
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
