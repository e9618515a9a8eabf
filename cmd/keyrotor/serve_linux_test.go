package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/testing/procs"
)

// daemonPatience is how long a machine that is slow may take for anything.
const daemonPatience = 30 * time.Second

// lines are those of a stream, or the messages of a socket, while they come.
type lines struct {
	mu   sync.Mutex
	all  []string
	more chan struct{} // closed at each line, and replaced
}

func newLines() *lines { return &lines{more: make(chan struct{})} }

func (l *lines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, line)
	close(l.more)
	l.more = make(chan struct{})
}

// next waits for the first line from a number on that matches, and answers it with the
// number of the one after.
func (l *lines) next(t *testing.T, from int, pattern string) (line string, after int) {
	t.Helper()
	want := regexp.MustCompile(pattern)
	deadline := time.After(daemonPatience)
	for {
		l.mu.Lock()
		all, more := l.all, l.more
		l.mu.Unlock()
		for ; from < len(all); from++ {
			if want.MatchString(all[from]) {
				return all[from], from + 1
			}
		}
		select {
		case <-more:
		case <-deadline:
			t.Fatalf("nothing matches %q:\n%s", pattern, strings.Join(all, "\n"))
		}
	}
}

// daemon is `keyrotor serve` as a process, and the service manager that hears from it.
type daemon struct {
	*testing.T
	config string
	cmd    *exec.Cmd
	stderr io.Closer
	log    *lines
	told   *lines
	ended  chan struct{}
}

// startDaemon serves the config of a folder as a service manager would have it do.
func startDaemon(t *testing.T, dir string) *daemon {
	t.Helper()
	d := &daemon{T: t, config: filepath.Join(dir, "keyrotor.hcl"), log: newLines(), told: newLines(), ended: make(chan struct{})}
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = manager.Close() })
	go func() {
		for b := make([]byte, 4096); ; {
			n, err := manager.Read(b)
			if err != nil {
				return
			}
			d.told.add(string(b[:n]))
		}
	}()
	d.cmd = exec.Command("keyrotor", "serve", "--interval", "1s", "--listen", "127.0.0.1:0", "--config", d.config)
	d.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+manager.LocalAddr().String(), "WATCHDOG_USEC=1000000")
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.stderr = stderr
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(d.ended)
		for in := bufio.NewScanner(stderr); in.Scan(); {
			d.log.add(in.Text())
		}
		_ = d.cmd.Wait() // its state says it all
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		<-d.ended
	})
	return d
}

func (d *daemon) signal(s syscall.Signal) {
	d.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		d.Fatal(err)
	}
}

// endsAs waits for the end, after which no plugin is left.
func (d *daemon) endsAs(state string, plugins []string) {
	d.Helper()
	select {
	case <-d.ended:
	case <-time.After(daemonPatience):
		d.Fatal("it does not end")
	}
	if got := d.cmd.ProcessState.String(); got != state {
		d.Errorf("it ended with %q, want %q", got, state)
	}
	deadline := time.Now().Add(daemonPatience)
	for _, dir := range plugins {
		for _, err := os.Stat(dir); err == nil; _, err = os.Stat(dir) {
			if time.Now().After(deadline) {
				d.Fatal("the plugin outlives it")
			}
		}
	}
}

// initDaemon makes a config in a folder with a short name, for sockets.
func initDaemon(t *testing.T, plugins string) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "kr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if out, err := exec.Command("keyrotor", "init", dir, "--plugins", plugins).CombinedOutput(); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	return dir
}

// createLimited makes a key with few uses, of which half make it due.
func createLimited(t *testing.T, dir, name, provider string) {
	t.Helper()
	kr, err := core.Opener{CreateStore: true}.Open(t.Context(), filepath.Join(dir, "keyrotor.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kr.Engine.CreateKey(t.Context(), name, keyring.Settings{WrapWith: []string{provider}, HardLimit: 100}, ""); err != nil {
		t.Fatal(err)
	}
	if err := kr.Close(); err != nil {
		t.Fatal(err)
	}
}

func useHalf(t *testing.T, dir, name string) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(dir, "keyrotor.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if _, err := s.Acquire(t.Context(), store.LeaseRequest{Key: name, Owner: "x", Count: 50, TTL: time.Minute}); err != nil {
		t.Fatal(err)
	}
}

// TestServeUnderManager: what systemd hears of a daemon from its start to its end, and
// what plugins do not.
func TestServeUnderManager(t *testing.T) {
	// A script in the plugin's place writes down what it is given, and becomes the plugin.
	plugins := t.TempDir()
	seen := filepath.Join(plugins, "seen")
	script := fmt.Sprintf("#!/bin/sh\nenv >%s\nexec %s \"$@\"\n", seen, filepath.Join(os.Getenv(pluginsVariable), catalog.FileName("local")))
	if err := os.WriteFile(filepath.Join(plugins, catalog.FileName("local")), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	dir := initDaemon(t, plugins)
	createLimited(t, dir, "payments", "local")
	d := startDaemon(t, dir)

	ready, at := d.told.next(t, 0, `^READY=1\n`)
	if want := "READY=1\nSTATUS=keys: 1, due: 0, checked every 1s; rotated: 0, failed: 0"; ready != want {
		t.Errorf("told %q, want %q", ready, want)
	}
	_, at = d.told.next(t, at, `^WATCHDOG=1$`)
	useHalf(t, dir, "payments")
	_, at = d.told.next(t, at, `STATUS=keys: 1, due: 0, checked every 1s; rotated: 1, failed: 0`)

	d.signal(syscall.SIGHUP)
	_, at = d.told.next(t, at, `^RELOADING=1\nMONOTONIC_USEC=[1-9]\d+\nSTATUS=reloading$`)
	_, at = d.told.next(t, at, `^READY=1\nSTATUS=keys: 1, due: 0`)

	config, err := os.ReadFile(d.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.config, append(config, "nonsense {\n}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	d.signal(syscall.SIGHUP)
	_, at = d.told.next(t, at, `^RELOADING=1\n`)
	_, at = d.told.next(t, at, `^READY=1\nSTATUS=reload refused: [^\n]*nonsense`)
	_, at = d.told.next(t, at, `^WATCHDOG=1$`)

	below := children(t, d.cmd.Process.Pid)
	if len(below) != 1 {
		t.Errorf("processes below: %q, want one plugin", below)
	}
	d.signal(syscall.SIGTERM)
	d.told.next(t, at, `^STOPPING=1\n`)
	d.endsAs("exit status 0", below)

	text, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "PLUGIN_") || regexp.MustCompile(`(?m)^(NOTIFY_SOCKET|WATCHDOG_)`).Match(text) {
		t.Errorf("the plugin's environment: %q", text)
	}
	for _, line := range d.log.all {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON in the log: %q", line)
		}
	}
}

// TestServeOutlivesItsLog: a reader of the log that is gone is no reason to rotate no more.
func TestServeOutlivesItsLog(t *testing.T) {
	d := startDaemon(t, initDaemon(t, os.Getenv(pluginsVariable)))
	_, at := d.told.next(t, 0, `^READY=1\n`)
	if err := d.stderr.Close(); err != nil {
		t.Fatal(err)
	}
	d.signal(syscall.SIGHUP)
	_, at = d.told.next(t, at, `^RELOADING=1\n`)
	d.told.next(t, at, `^READY=1\n`)
	d.signal(syscall.SIGTERM)
	d.endsAs("exit status 0", nil)
}

// TestServeSecondSignal: who does not want to wait for a rotation does not have to.
func TestServeSecondSignal(t *testing.T) {
	plugins, journal := t.TempDir(), t.TempDir()
	for name, source := range map[string]string{"local": "plugins/local", "faulty": "testing/hostile/plugin"} {
		if err := procs.Build(filepath.Join(plugins, catalog.FileName(name)), source); err != nil {
			t.Fatal(err)
		}
	}
	dir := initDaemon(t, plugins)
	config, err := os.OpenFile(filepath.Join(dir, "keyrotor.hcl"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(config, "provider \"faulty\" \"cloud\" {\n  journal = %q\n  token = \"none\"\n}\n", journal); err != nil {
		t.Fatal(err)
	}
	if err := config.Close(); err != nil {
		t.Fatal(err)
	}
	createLimited(t, dir, "orders", "cloud")
	if err := os.WriteFile(filepath.Join(journal, "cloud.fault"), []byte("GenerateDataKey hang"), 0o600); err != nil {
		t.Fatal(err)
	}
	useHalf(t, dir, "orders")
	d := startDaemon(t, dir)
	d.told.next(t, 0, `^READY=1\n`)
	deadline := time.Now().Add(daemonPatience)
	for { // the first call made the key
		if _, err := os.Stat(filepath.Join(journal, "cloud.GenerateDataKey.1")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no rotation is under way")
		}
	}
	below := children(t, d.cmd.Process.Pid)
	d.signal(syscall.SIGTERM)
	d.told.next(t, 0, `^STOPPING=1\n`)
	address, _ := d.log.next(t, 0, `serving HTTP`)
	var record struct{ Address string }
	if err := json.Unmarshal([]byte(address), &record); err != nil {
		t.Fatal(err)
	}
	res, err := http.Get("http://" + record.Address + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("healthz while it stops: %d", res.StatusCode)
	}
	d.signal(syscall.SIGTERM)
	d.endsAs("signal: terminated", below)
}
