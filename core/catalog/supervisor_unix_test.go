//go:build unix

package catalog

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
)

func TestInstancesShareOneProcess(t *testing.T) {
	h := newHost(t, nil)
	a, b := h.add("a", "none"), h.add("b", "none")
	check(t, a)
	check(t, b)
	if h.mustPID("a") != h.mustPID("b") {
		t.Error("two processes run")
	}
	if got := h.Names(); len(got) != 2 || got[0] != "a" || got[1] != "b" {
		t.Errorf("Names: %q", got)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if h.calls("a", "Close") != 1 || h.calls("b", "Close") != 0 {
		t.Error("closing an instance is to release that instance, once")
	}
	check(t, a)
	check(t, b)
	if h.calls("a", "Configure") != 2 || h.calls("b", "Configure") != 1 {
		t.Errorf("Configure: a %d times, b %d times; want 2 and 1", h.calls("a", "Configure"), h.calls("b", "Configure"))
	}
}

// localInstance configures the local provider in a folder of its own.
func localInstance(t testing.TB) (*host, *Instance) {
	t.Helper()
	h := newHost(t, nil)
	err := h.Add("prod", "local", provider.Body{Attributes: map[string]any{"path": filepath.Join(t.TempDir(), "kek.json")}})
	if err != nil {
		t.Fatal(err)
	}
	in, err := h.Provider("prod")
	if err != nil {
		t.Fatal(err)
	}
	return h, in
}

// TestLocalPlugin does one round through the plugin that ships.
func TestLocalPlugin(t *testing.T) {
	h, in := localInstance(t)
	ctx := context.Background()
	if _, err := in.CreateKey(ctx, provider.CreateKeyRequest{RequestID: "1"}); err != nil {
		t.Fatal(err)
	}
	wraps, err := in.Wrap(ctx, wrapItems())
	if err != nil || wraps[0].Err != nil {
		t.Fatal(err, wraps)
	}
	before, err := in.DescribeKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	rotated, err := in.RotateKey(ctx, provider.RotateKeyRequest{ExpectedVersion: before.PrimaryVersion, RequestID: "2"})
	if err != nil || rotated.OldVersion != before.PrimaryVersion {
		t.Fatal(err, rotated)
	}
	signalTo(t, h.mustPID("prod"), syscall.SIGKILL)
	plains, err := in.Unwrap(ctx, []provider.UnwrapItem{{Wrapped: wraps[0].Wrapped, AAD: []byte("aad")}})
	if err != nil || plains[0].Err != nil || !plains[0].Plaintext.Equal(wrapItems()[0].Plaintext) {
		t.Fatalf("a wrap from before the rotation and the crash: %v, %v", err, plains)
	}
	if in.Name() != "prod" || in.Type() != "local" || !in.Info().Capabilities.Has(provider.CanRotateKey) {
		t.Errorf("%s %s %+v", in.Name(), in.Type(), in.Info())
	}
}

func TestFirstCallsShareOneStart(t *testing.T) {
	h := newHost(t, nil)
	in := h.add("prod", "none")
	impatient, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := in.Check(impatient, provider.CheckRequest{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled call: %v", err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := in.Check(context.Background(), provider.CheckRequest{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := strings.Count(h.log.String(), "plugin started"); n != 1 {
		t.Errorf("%d processes were started", n)
	}
	if n := h.calls("prod", "Configure"); n != 1 {
		t.Errorf("%d Configure calls", n)
	}
}

func TestKilledWhileIdle(t *testing.T) {
	h := newHost(t, nil)
	a, b := h.add("a", "none"), h.add("b", "none")
	check(t, a)
	check(t, b)
	pid := h.mustPID("a")
	signalTo(t, pid, syscall.SIGKILL)
	begin := time.Now()
	check(t, a)
	t.Logf("killed to answered: %s", time.Since(begin))
	check(t, b)
	if h.mustPID("a") == pid {
		t.Error("the killed process answers")
	}
	if h.calls("a", "Configure") != 2 || h.calls("b", "Configure") != 2 {
		t.Error("Configure was not replayed")
	}
}

func TestForgottenInstanceIsConfiguredAgain(t *testing.T) {
	h := newHost(t, nil)
	in := h.add("prod", "none")
	check(t, in)
	if err := in.plugin.current.client.CloseInstance(context.Background(), "prod"); err != nil {
		t.Fatal(err)
	}
	if _, err := in.RotateKey(context.Background(), provider.RotateKeyRequest{ExpectedVersion: "1"}); err != nil {
		t.Fatal(err)
	}
	if n := h.calls("prod", "Configure"); n != 2 {
		t.Errorf("%d Configure calls, want 2", n)
	}
}

func TestCrashInMidCall(t *testing.T) {
	h := newHost(t, nil)
	in := h.add("prod", "crash-once")
	ctx := context.Background()
	if _, err := in.DescribeKey(ctx); err != nil {
		t.Errorf("a read was not tried again: %v", err)
	}
	if n := h.calls("prod", "DescribeKey"); n != 2 {
		t.Errorf("DescribeKey reached the plugin %d times, want 2", n)
	}
	_, err := in.RotateKey(ctx, provider.RotateKeyRequest{ExpectedVersion: "1"})
	wantCode(t, err, provider.PluginCrashed)
	if want := `provider "prod" (plugin faulty): RotateKey: PLUGIN_CRASHED: the plugin is gone, its process ended: exit status 3`; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	if n := h.calls("prod", "RotateKey"); n != 1 {
		t.Errorf("RotateKey reached the plugin %d times: a mutation must never be repeated", n)
	}
}

func TestPanics(t *testing.T) {
	h := newHost(t, nil)
	in := h.add("caught", "panic")
	_, err := in.DescribeKey(context.Background())
	wantCode(t, err, provider.Internal)
	if _, ok := h.PID("caught"); !ok {
		t.Error("a panic in a call ended the plugin")
	}
	_, err = h.add("stray", "stray-panic").RotateKey(context.Background(), provider.RotateKeyRequest{ExpectedVersion: "1"})
	wantCode(t, err, provider.PluginCrashed)
	eventually(t, "the trace in the log", func() bool {
		return strings.Contains(h.log.String(), `level=ERROR msg="panic: boom [redacted]"`)
	})
	if strings.Contains(h.log.String(), "S3cret") {
		t.Error("the secret is in the log")
	}
}

func TestCrashLoopOpensTheCircuit(t *testing.T) {
	h := newHost(t, nil)
	h.policy = restartPolicy{healthy: time.Hour, first: time.Millisecond, longest: time.Hour, budget: 2}
	in := h.add("prod", "crash")
	ctx := context.Background()
	crash := func() string {
		_, err := in.RotateKey(ctx, provider.RotateKeyRequest{ExpectedVersion: "1"})
		wantCode(t, err, provider.PluginCrashed)
		return err.Error()
	}
	for range 3 {
		_ = crash()
	}
	h.plugins["faulty"].mu.Lock()
	h.plugins["faulty"].noteEnd()
	h.plugins["faulty"].restarts.next = time.Now().Add(time.Hour)
	h.plugins["faulty"].mu.Unlock()
	text := crash()
	if want := `plugin "faulty" ended 3 times in a row and rests for another 1h0m0s`; !strings.Contains(text, want) {
		t.Errorf("got %s, want it to say %s", text, want)
	}
	if !strings.Contains(text, "exit status 3") {
		t.Errorf("the error does not say how it ended: %s", text)
	}
	if n := h.calls("prod", "RotateKey"); n != 3 {
		t.Errorf("the plugin saw %d calls, want 3: the circuit is open", n)
	}
	h.plugins["faulty"].mu.Lock()
	h.plugins["faulty"].restarts.next = time.Now()
	h.plugins["faulty"].mu.Unlock()
	_ = crash()
	if n := h.calls("prod", "RotateKey"); n != 4 {
		t.Errorf("the plugin saw %d calls, want 4: a pause that is over lets one through", n)
	}
}

func TestCloseDuringCalls(t *testing.T) {
	h := newHost(t, nil)
	in := h.add("prod", "hang")
	done := make(chan error, 1)
	go func() {
		_, err := in.DescribeKey(context.Background())
		done <- err
	}()
	eventually(t, "the call under way", func() bool { return h.calls("prod", "DescribeKey") == 1 })
	pid := h.mustPID("prod")
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err == nil {
			t.Error("a call that hangs succeeded")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Close left a call behind")
	}
	if alive(pid) {
		t.Error("the plugin outlived Close")
	}
}

// TestCloseWaitsForCalls has a call hold its configuration while the catalog
// closes. It needs no process: the plugin counts as configured.
func TestCloseWaitsForCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := provider.NewSecret([]byte(testToken))
		in := &Instance{name: "prod", body: provider.Body{Attributes: map[string]any{"token": token}}}
		in.plugin = newSupervisor("faulty", defaultRestartPolicy(), nil)
		p := &process{child: newChild("faulty", "", "", nil), configured: map[string]*configuration{}}
		p.configuration("prod").done = true
		in.plugin.current = p
		c := &Catalog{plugins: map[string]*supervisor{"faulty": in.plugin}, instances: map[string]*Instance{"prod": in}}

		release, seen, closed := make(chan struct{}), "", false
		go func() {
			_ = in.plugin.do(context.Background(), "prod", in.body, func(context.Context, *wire.Instance) error {
				<-release
				seen = string(token.Reveal())
				return nil
			})
		}()
		synctest.Wait()
		go func() {
			_ = c.Close()
			closed = true
		}()
		synctest.Wait()
		if closed {
			t.Error("Close did not wait for a call under way")
		}
		close(release)
		synctest.Wait()
		if seen != testToken || !closed || token.Len() != 0 {
			t.Errorf("the call saw %q; closed: %v; left of the secret: %d bytes", seen, closed, token.Len())
		}
	})
}

func TestRetries(t *testing.T) {
	h := newHost(t, nil)
	ctx := context.Background()
	if _, err := h.add("throttled", "throttle-once").DescribeKey(ctx); err != nil {
		t.Error(err)
	}
	if n := h.calls("throttled", "DescribeKey"); n != 2 {
		t.Errorf("throttled once: %d calls, want 2", n)
	}
	_, err := h.add("long", "throttle-long").DescribeKey(ctx)
	wantCode(t, err, provider.Throttled)
	var e *provider.Error
	if errors.As(err, &e); e.RetryAfter != time.Hour {
		t.Errorf("RetryAfter %s, want 1h", e.RetryAfter)
	}
	if n := h.calls("long", "DescribeKey"); n != 1 {
		t.Errorf("throttled for an hour: %d calls, want 1", n)
	}
	_, err = h.add("down", "unavailable").DescribeKey(ctx)
	wantCode(t, err, provider.Unavailable)
	if n := h.calls("down", "DescribeKey"); n != maxTries || !strings.HasSuffix(err.Error(), "try 2 failed") {
		t.Errorf("%d calls, then %v; want %d and the last error", n, err, maxTries)
	}
	_, err = h.add("mutation", "unavailable").RotateKey(ctx, provider.RotateKeyRequest{ExpectedVersion: "1"})
	wantCode(t, err, provider.Unavailable)
	if n := h.calls("mutation", "RotateKey"); n != 1 {
		t.Errorf("RotateKey: %d calls, want 1", n)
	}
}

func TestMissingCapabilityIsRefusedFirst(t *testing.T) {
	h := newHost(t, nil)
	in := h.add("prod", "none")
	ctx := context.Background()
	_, err := in.WriteMirror(ctx, provider.WriteMirrorRequest{})
	wantCode(t, err, provider.Unsupported)
	if want := `provider "prod" (plugin faulty): WriteMirror: UNSUPPORTED: the plugin lacks the capability "mirror"`; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	_, err = in.ReadMirror(ctx, provider.ReadMirrorRequest{})
	wantCode(t, err, provider.Unsupported)
	_, err = in.CreateKey(ctx, provider.CreateKeyRequest{})
	wantCode(t, err, provider.Unsupported)
	wantCode(t, in.SetVersionState(ctx, provider.SetVersionStateRequest{}), provider.Unsupported)
	if _, ok := h.PID("prod"); ok {
		t.Error("the plugin was started to be refused")
	}
}
