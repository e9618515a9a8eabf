//go:build unix

package catalog

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

// debugPlugin starts a plugin as its author does, and answers what it prints.
func debugPlugin(t *testing.T, typ string) (Reattach, *exec.Cmd) {
	t.Helper()
	tmp, err := os.MkdirTemp("/tmp", "kr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(tmp) })
	cmd := exec.Command(filepath.Join(plugins.dir, FileName(typ)), "-debug")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	reattach, err := ParseReattach(line)
	if err != nil {
		t.Fatal(err)
	}
	return reattach, cmd
}

// attachedHost attaches, and trusts and finds no plugin.
func attachedHost(t *testing.T, reattach Reattach) *host {
	t.Helper()
	return newHost(t, func(c *Config) { c.Reattach, c.Lock, c.PluginDir = reattach, nil, t.TempDir() })
}

func TestAttach(t *testing.T) {
	reattach, cmd := debugPlugin(t, "faulty")
	h := attachedHost(t, reattach)
	schema, err := h.Schema(context.Background(), "faulty")
	if err != nil || schema.Doc != "Misbehaves." {
		t.Fatalf("schema %+v, %v", schema, err)
	}
	in := h.add("prod", "none")
	check(t, in)
	if pid := h.mustPID("prod"); pid != cmd.Process.Pid {
		t.Errorf("process %d answers, and %d was attached to", pid, cmd.Process.Pid)
	}
	if info := in.Info(); info.Version != "1.2.3" || !info.Capabilities.Has(provider.CanRotateKey) {
		t.Errorf("the plugin says %+v", info)
	}
	if in.timeout != debugTimeout {
		t.Errorf("a call may take %s, which is too short for a breakpoint", in.timeout)
	}
	if n := strings.Count(h.log.String(), `level=WARN msg="ATTACHED TO A PLUGIN THAT A DEVELOPER RUNS: its binary is not verified`); n != 1 {
		t.Errorf("%d warnings in the log:\n%s", n, h.log)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if h.calls("prod", "Close") != 1 {
		t.Error("the plugin was left with the host's credentials")
	}
	if !alive(cmd.Process.Pid) {
		t.Fatal("the host ended a process that is not its own")
	}
	again := attachedHost(t, reattach)
	check(t, again.add("prod", "none"))

	// Without the host's explicit will there is no attaching.
	check(t, newHost(t, nil).add("prod", "none"))
}

// TestAttachedPluginGoes: its connection shows it, and no other process takes its place.
func TestAttachedPluginGoes(t *testing.T) {
	reattach, cmd := debugPlugin(t, "faulty")
	h := attachedHost(t, reattach)
	in := h.add("prod", "none")
	check(t, in)
	if err := errors.Join(cmd.Process.Signal(syscall.SIGINT), cmd.Wait()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end is noticed", func() bool { _, ok := h.PID("prod"); return !ok })
	_, err := in.RotateKey(context.Background(), provider.RotateKeyRequest{})
	wantCode(t, err, provider.PluginCrashed)
	socket := reattach["faulty"].Address
	if want := `provider "prod" (plugin faulty): RotateKey: PLUGIN_CRASHED: plugin "faulty", to which KEYROTOR_REATTACH_PLUGINS attaches: lstat ` +
		socket + `: no such file or directory: start it again with -debug`; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
}

func TestAttachRefuses(t *testing.T) {
	reattach, _ := debugPlugin(t, "local")
	at := reattach["local"]
	dir, err := os.MkdirTemp("/tmp", "kr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file, open := filepath.Join(dir, "file"), filepath.Join(dir, "open")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Mkdir(open, 0o700), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(open, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	for name, c := range map[string]struct{ typ, address, want string }{
		"another plugin":    {"other", at.Address, `it calls itself "local"`},
		"no socket":         {"local", file, file + " is no socket"},
		"an open directory": {"local", listener.Addr().String(), "the directory " + open + " can be written by everybody: chmod o-w it"},
	} {
		a := at
		a.Address = c.address
		h := attachedHost(t, Reattach{c.typ: a})
		err := h.Add("prod", c.typ, provider.Body{})
		wantCode(t, err, provider.PluginCrashed)
		if want := `provider "prod": PLUGIN_CRASHED: plugin "` + c.typ + `", to which KEYROTOR_REATTACH_PLUGINS attaches: ` + c.want + ": start it again with -debug"; err.Error() != want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, err, want)
		}
	}
}

// TestAttachedProcessIsNotKilled: a plugin at a breakpoint looks like one that hangs.
func TestAttachedProcessIsNotKilled(t *testing.T) {
	_, cmd := debugPlugin(t, "local")
	c := newAttached("local", cmd.Process.Pid)
	if err := c.Kill(context.Background()); err != nil || !alive(cmd.Process.Pid) {
		t.Errorf("alive: %v, %v", alive(cmd.Process.Pid), err)
	}
}
