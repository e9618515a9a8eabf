//go:build unix

package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
)

func TestCloseLeavesNothing(t *testing.T) {
	h := newHost(t, nil)
	in := h.add("prod", "none")
	if _, ok := h.PID("prod"); ok {
		t.Fatal("a process runs before the first call")
	}
	check(t, in)
	pid := h.mustPID("prod")
	if left, err := os.ReadDir(h.sockets); err != nil || len(left) != 0 {
		t.Errorf("the socket's directory is still there: %v, %v", left, err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if alive(pid) {
		t.Error("the plugin outlived Close")
	}
	if left, _ := os.ReadDir(h.sockets); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if strings.Count(h.log.String(), "closing prod") != 1 {
		t.Errorf("the plugin was not given the time to close its instance; its log:\n%s", h.log)
	}
	if err := h.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := in.Check(context.Background(), provider.CheckRequest{}); !errors.Is(err, errClosed) {
		t.Errorf("a call after Close: %v", err)
	}
	if err := h.Add("late", "faulty", provider.Body{}); !errors.Is(err, errClosed) {
		t.Errorf("Add after Close: %v", err)
	}
}

// TestDescriptorsAreClosed starts, breaks and ends plugins, and counts.
func TestDescriptorsAreClosed(t *testing.T) {
	count := func() int {
		fds, err := os.ReadDir("/dev/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	round := func() {
		h := newHost(t, nil)
		in := h.add("prod", "none")
		check(t, in)
		signalTo(t, h.mustPID("prod"), syscall.SIGKILL)
		check(t, in)
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		bad := newHost(t, func(c *Config) { c.PluginDir = fakePluginDir(t, "#!/bin/sh\nexit 1\n") })
		if _, err := bad.add("prod", "none").Check(context.Background(), provider.CheckRequest{}); err == nil {
			t.Fatal("a replaced binary answered")
		}
	}
	round() // what the runtime opens once
	before := count()
	for range 3 {
		round()
	}
	eventually(t, "as many descriptors as before", func() bool { return count() <= before })
}

func TestCloseWipesSecrets(t *testing.T) {
	h := newHost(t, nil)
	secret := provider.NewSecret([]byte("wipe me"))
	if err := h.Add("prod", "faulty", provider.Body{Blocks: []provider.Block{
		{Type: "auth", Body: provider.Body{Attributes: map[string]any{"token": secret}}},
	}}); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if secret.Len() != 0 {
		t.Error("a secret of the configuration survived Close")
	}
}

func TestHostEnvironmentAndInputStayHome(t *testing.T) {
	t.Setenv("VAULT_TOKEN", "hvs.host")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "host")
	t.Setenv("PLUGIN_MIN_PORT", "1")
	t.Setenv("TZ", "UTC")
	t.Setenv("GODEBUG", "panicnil=0") // FIPS mode is switched on in it
	t.Setenv("AWS_ROLE_ARN", "arn:role")
	stdin, err := os.CreateTemp(t.TempDir(), "stdin")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stdin.WriteString("plaintext for the host"); err != nil {
		t.Fatal(err)
	}
	if _, err := stdin.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	defer func(old *os.File) { os.Stdin = old; _ = stdin.Close() }(os.Stdin)
	os.Stdin = stdin

	h := newHost(t, func(c *Config) { c.Env = map[string][]string{"faulty": {"AWS_ROLE_ARN", "NOT_SET"}} })
	check(t, h.add("prod", "none"))
	text, err := os.ReadFile(filepath.Join(h.journal, "prod.surroundings"))
	if err != nil {
		t.Fatal(err)
	}
	var env []string
	if err := json.Unmarshal(text, &env); err != nil {
		t.Fatal(err)
	}
	if got := env[len(env)-1]; got != "stdin=" {
		t.Errorf("the plugin read %q from the host's standard input", got)
	}
	env = env[:len(env)-1]
	allowed := append(passedOn(), "AWS_ROLE_ARN", wire.LifelineEnv, wire.LogLevelEnv, "KEYROTOR_PLUGIN",
		"PLUGIN_MIN_PORT", "PLUGIN_MAX_PORT", "PLUGIN_PROTOCOL_VERSIONS", "PLUGIN_CLIENT_CERT", "PLUGIN_UNIX_SOCKET_DIR")
	for _, v := range env {
		if name, _, _ := strings.Cut(v, "="); !slices.Contains(allowed, name) {
			t.Errorf("the plugin sees %s", v)
		}
	}
	for _, want := range []string{"TZ=UTC", "GODEBUG=panicnil=0", "AWS_ROLE_ARN=arn:role", "PLUGIN_MIN_PORT=10000", wire.LogLevelEnv + "=debug"} {
		if !slices.Contains(env, want) {
			t.Errorf("the plugin's environment lacks %s", want)
		}
	}
	if !slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "PLUGIN_UNIX_SOCKET_DIR="+h.sockets+"/") }) {
		t.Errorf("the plugin's socket is not in our directory: %q", env)
	}
}

func TestReplacedBinaryIsNotStarted(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "ran")
	dir := fakePluginDir(t, "#!/bin/sh\ntouch "+marker+"\n")
	h := newHost(t, func(c *Config) { c.PluginDir = dir })
	_, err := h.add("prod", "none").Check(context.Background(), provider.CheckRequest{})
	var mismatch *MismatchError
	if !errors.As(err, &mismatch) {
		t.Fatalf("got %v, want a MismatchError", err)
	}
	_, pin, _ := plugins.lock.pinned("faulty")
	if mismatch.Expected != pin || mismatch.Actual == pin || mismatch.Type != "faulty" {
		t.Errorf("the error says %+v", mismatch)
	}
	if !strings.Contains(err.Error(), "keyrotor plugin lock faulty") {
		t.Errorf("the error does not say what to do: %v", err)
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("the replaced binary ran")
	}
	if left, _ := os.ReadDir(h.sockets); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestStartFailures(t *testing.T) {
	for fault, want := range map[string]string{
		"exit":    "did not start",
		"chatter": "welcome to",
		"flood":   "did not start",
		"hang":    "was not ready in time",
		"escapee": "was not ready in time",
	} {
		t.Run(fault, func(t *testing.T) {
			h := newHost(t, func(c *Config) { c.PluginDir = faultyDir(t, fault) })
			b, err := h.locate("faulty")
			if err != nil {
				t.Fatal(err)
			}
			b.redact = &redactor{}
			ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
			defer cancel()
			if strings.Contains(want, "in time") {
				ctx, cancel = context.WithTimeout(ctx, 200*time.Millisecond)
				defer cancel()
			}
			begin := time.Now()
			_, err = launch(ctx, b)
			if took := time.Since(begin); took > startTimeout/2 {
				t.Errorf("the start was given up after %s", took)
			}
			wantCode(t, err, provider.PluginCrashed)
			if !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want it to say %q", err, want)
			}
			if strings.ContainsRune(err.Error(), '\x1b') {
				t.Errorf("a control character got into the error: %q", err)
			}
			if left, _ := os.ReadDir(h.sockets); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestWrongNameIsRefused(t *testing.T) {
	dir := t.TempDir()
	binary, err := os.ReadFile(filepath.Join(plugins.dir, FileName("faulty")))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, FileName("vault-transit")), binary, 0o755); err != nil {
		t.Fatal(err)
	}
	h := newHost(t, nil)
	lock := NewLock()
	err = lock.Pin(context.Background(), dir, h.config.Log)
	if err == nil || !strings.Contains(err.Error(), `calls itself "faulty"`) {
		t.Errorf("got %v", err)
	}
	if len(lock.Plugins) != 0 {
		t.Errorf("the lock trusts %v", lock.Types())
	}
}

func TestStoppedPlugin(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	in := h.add("prod", "none")
	check(t, in)
	in.timeout = 300 * time.Millisecond
	pid := h.mustPID("prod")
	suspend(t, pid)
	begin := time.Now()
	_, err := in.RotateKey(context.Background(), provider.RotateKeyRequest{ExpectedVersion: "1"})
	if !errors.Is(err, context.DeadlineExceeded) || !provider.Transient(err) {
		t.Errorf("got %v, want a passing error of the deadline", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the deadline of 300ms took %s", took)
	}
	begin = time.Now()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	t.Logf("Close of a stopped plugin took %s", took)
	if took > killAfter+reapTimeout+5*time.Second {
		t.Errorf("Close took %s", took)
	}
	if alive(pid) {
		t.Error("the stopped plugin outlived Close")
	}
}

// TestEveryCallHasADeadline asks a plugin that answers nothing but who it is.
func TestEveryCallHasADeadline(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	in := h.add("prod", "hang")
	in.timeout = 100 * time.Millisecond
	check(t, h.add("warm", "none")) // starts the process that they share
	items := []provider.UnwrapItem{{Wrapped: provider.Wrapped{KEKID: "k", Blob: []byte("b")}}}
	var wg sync.WaitGroup
	for _, call := range []string{"Check", "DescribeKey", "GenerateDataKey", "Wrap", "Unwrap", "Rewrap", "RotateKey"} {
		wg.Go(func() {
			err := makeCall(context.Background(), in, call, items)
			want := `provider "prod" (plugin faulty): ` + call + ": UNAVAILABLE: the plugin did not answer in time: context deadline exceeded: a call may take 100ms"
			if !errors.Is(err, context.DeadlineExceeded) || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
	wg.Wait()
	if err := in.Close(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close: %v", err)
	}
}

// TestHungPluginIsReplaced shows that a plugin which answers nothing is not kept.
func TestHungPluginIsReplaced(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	in := h.add("prod", "none")
	check(t, in)
	in.timeout = 200 * time.Millisecond
	pid := h.mustPID("prod")
	suspend(t, pid)
	if _, err := in.RotateKey(context.Background(), provider.RotateKeyRequest{ExpectedVersion: "1"}); err == nil {
		t.Fatal("a stopped plugin answered")
	}
	waitGone(t, pid, probeTimeout+10*time.Second)
	in.timeout = DefaultTimeout
	check(t, in)
	if h.mustPID("prod") == pid {
		t.Error("the same process answers")
	}
}

// TestHungStartIsReplaced shows that a start which hangs does not use up the tries of
// the call that waits for it.
func TestHungStartIsReplaced(t *testing.T) {
	t.Parallel()
	h := newHost(t, func(c *Config) { c.PluginDir = faultyDir(t, "hang-once") })
	in := h.add("prod", "none")
	ctx, cancel := context.WithTimeout(context.Background(), DefaultTimeout+5*time.Second)
	defer cancel()
	if _, err := in.Check(ctx, provider.CheckRequest{}); err != nil {
		t.Fatal(err)
	}
}

func TestPluginsChildrenEndWithIt(t *testing.T) {
	h := newHost(t, nil)
	child, err := strconv.Atoi(check(t, h.add("prod", "child")).Identity)
	if err != nil || !alive(child) {
		t.Fatalf("no child: %v", err)
	}
	begin := time.Now()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > killAfter {
		t.Errorf("a child that keeps the streams open delayed Close by %s", took)
	}
	waitGone(t, child, 5*time.Second)
}

// TestEscapedChildDoesNotHoldTheHost has a process that left the plugin's group
// keep the plugin's streams open. It is out of reach, but nothing waits for it.
func TestEscapedChildDoesNotHoldTheHost(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	child, err := strconv.Atoi(check(t, h.add("prod", "escapee")).Identity)
	if err != nil || !alive(child) {
		t.Fatalf("no child: %v", err)
	}
	defer signalTo(t, child, syscall.SIGKILL)
	pid := h.mustPID("prod")
	begin := time.Now()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > killAfter+reapTimeout+2*time.Second {
		t.Errorf("Close took %s", took)
	}
	if alive(pid) {
		t.Error("the plugin outlived Close")
	}
	if strings.Contains(h.log.String(), "holds on to") {
		t.Error("go-plugin still waits for the streams")
	}
}
